"""What the watcher finds and when it speaks, on real tiles; who listens is in served/."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from flows import watch as watching
from flows.release import Release
from flows.watch import find_change, look_once, watch
from galflow.errors import StoreError
from galflow.report.inputs import CUTOUTS
from galflow.runs.plan import plan_cutouts
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import Receipt, RunManifest, publish_manifest, write_receipt
from galflow.storage.store import Store


def write_tile(folder: Path, name: str, seed: int) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).normal(size=(40, 40)).astype(np.float32)
    fits.PrimaryHDU(pixels).writeto(folder / name / "r.fits", overwrite=True)


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    """Three tiles, t0 to t2, and an empty store."""
    for number in range(3):
        write_tile(tmp_path / "tiles", f"t{number}", number)
    options = {"root": str(tmp_path / "tiles"), "bands": {"r": "{tile}/r.fits"}, "pixel_scale_arcsec": 0.2}
    return parse_spec(
        {
            "name": "watched",
            "survey": {"kind": "fits_tiles", "name": "wide", "release": "dr1", "options": options},
            "cutouts": {"size": 16},
            "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
            "store": {"root": str(tmp_path / "store")},
        }
    )


@pytest.fixture
def store(spec: RunSpec) -> Store:
    return Store.open(spec.store.root)


def publish(spec: RunSpec, store: Store, finished: str) -> None:
    """What a run leaves that a watcher looks at."""
    keys = []
    for unit in plan_cutouts(spec, spec.survey, store):
        receipt = Receipt(
            product=unit.product, fingerprint=unit.fingerprint, code_version="1",
            inputs={"tile": unit.tile.identity}, details={"tile": unit.name},
        )  # fmt: skip
        write_receipt(store, receipt)
        keys.append(receipt.key)
    manifest = RunManifest(
        run=f"watched-{finished[5:7]}", name="watched", finished=finished, code_version="1",
        specification=spec.content(), models={}, products={CUTOUTS: keys}, catalog="", report=None, summary={},
    )  # fmt: skip
    publish_manifest(store, manifest)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Release]:
    """What a server would have heard."""
    heard: list[Release] = []

    def announce(releases: list[Release]) -> str:
        heard.extend(releases)
        return "http://server/api"

    monkeypatch.setattr(watching, "announce", announce)
    return heard


def test_everything_is_new_until_something_is_published(spec: RunSpec, store: Store) -> None:
    change = find_change(spec, store)
    assert (change.since, change.new, change.changed, change.gone) == (None, ("t0", "t1", "t2"), (), ())
    publish(spec, store, "2026-01-01")
    assert not find_change(spec, store)


def test_new_changed_and_gone_tiles_are_told_once(
    spec: RunSpec, store: Store, told: list[Release], tmp_path: Path
) -> None:
    publish(spec, store, "2026-01-01")
    lines: list[str] = []
    assert not look_once(spec, lines.append)
    write_tile(tmp_path / "tiles", "t1", 100)
    write_tile(tmp_path / "tiles", "t3", 3)
    shutil.rmtree(tmp_path / "tiles" / "t2")
    assert look_once(spec, lines.append)
    assert not look_once(spec, lines.append)
    assert lines == [
        "watched: no tile differs (since watched-01)",
        "watched: 1 new: t3; 1 changed: t1; 1 gone: t2 (since watched-01); emitted galflow.release.published to "
        "http://server/api",
        "watched: 1 new: t3; 1 changed: t1; 1 gone: t2 (since watched-01); told before",
    ]
    (release,) = told
    payload = release.payload()
    assert (payload["survey"], payload["release"], payload["since"]) == ("wide", "dr1", "watched-01")
    assert (payload["new"], payload["changed"], payload["gone"]) == (["t3"], ["t1"], ["t2"])

    # A further change is another one; what is published is none any more.
    write_tile(tmp_path / "tiles", "t0", 101)
    assert look_once(spec, lines.append)
    publish(spec, store, "2026-02-01")
    assert not look_once(spec, lines.append)
    assert len(told) == 2


def test_a_moved_file_is_the_same_tile(spec: RunSpec, store: Store, tmp_path: Path) -> None:
    publish(spec, store, "2026-01-01")
    (tmp_path / "tiles").rename(tmp_path / "elsewhere")
    options = dict(spec.survey.options) | {"root": str(tmp_path / "elsewhere")}
    moved = spec.model_copy(update={"survey": spec.survey.model_copy(update={"options": options})})
    assert not find_change(moved, store)


def test_a_change_that_nobody_heard_of_is_told_at_the_next_look(
    spec: RunSpec, told: list[Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    hearing = watching.announce

    def deaf(releases: list[Release]) -> str:
        raise StoreError("the server is away")

    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        monkeypatch.setattr(watching, "announce", hearing)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "announce", deaf)
    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=nap))
    with pytest.raises(KeyboardInterrupt):
        watch(spec, 7.0, lines.append)
    assert naps == [7.0, 7.0, 7.0]
    assert len(told) == 1
    assert lines[0] == "watched: the server is away; trying again in 7 s"
    assert "emitted" in lines[1]
    assert lines[2].endswith("told before")


def test_many_tiles_are_counted_and_few_are_named(spec: RunSpec, store: Store, tmp_path: Path) -> None:
    for number in range(3, 9):
        write_tile(tmp_path / "tiles", f"t{number}", number)
    assert str(find_change(spec, store)) == "9 new: t0, t1, t2, t3, t4 and 4 more (since ever)"
