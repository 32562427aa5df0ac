"""Killed with SIGKILL in training, and once more in ingest and scoring: the next start redoes what was in flight."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml

from galflow.storage.layout import RECEIPT_SUFFIX
from galflow.storage.store import Store
from galflow.training.learning_curve import CurvePoint
from galflow.training.trained_model import load_uri

if TYPE_CHECKING:
    from conftest import Command, Finished, RunToItsEnd

CUTOUT_SETS = 4
"""Three tiles, and that of the sample."""
EPOCHS = 40
_LOOK_SECONDS = 0.005
_PATIENCE_SECONDS = 120.0


def receipts(root: Path, stage: str) -> list[Path]:
    """Receipts below a stage's folder, the oldest first; the run may make and replace folders in the meantime."""
    found = [Path(at, name) for at, _, names in os.walk(root / stage) for name in names]
    return sorted((p for p in found if p.name.endswith(RECEIPT_SUFFIX)), key=lambda path: path.stat().st_mtime_ns)


def product_files(receipt: Path) -> list[Path]:
    """A receipt and the files of its product."""
    product = Path(str(receipt).removesuffix(RECEIPT_SUFFIX))
    inside = [p for p in product.rglob("*") if p.is_file()] if product.is_dir() else [product]
    return [receipt, *(p for p in inside if p.name != "checkpoint.pt")]


def state_of(done: list[Path]) -> dict[Path, tuple[int, int]]:
    """Inode and time of the last change of every file behind these receipts: both change when it is written anew."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for r in done for file in product_files(r)}


def start_and_kill(galflow: Command, spec: Path, root: Path, begun: Callable[[], Any], prefect: dict[str, str]) -> None:
    """Start a run, kill its process as soon as ``begun``, and see its workers and its server end by themselves."""
    log = root.parent / "killed.log"
    process = galflow.start(log, "run", str(spec), "--root", str(root), **prefect)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not begun():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the run did not come so far (exit {process.poll()}):\n{log.read_text(errors='replace')}")
            time.sleep(_LOOK_SECONDS)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert galflow.left_behind(10.0) == []


def curve_in(checkpoint: Path) -> list[CurvePoint]:
    """The learning curve in a checkpoint, the epochs that were done when it was written; empty if there is none."""
    if not checkpoint.exists():
        return []
    data = checkpoint.read_bytes()
    payload = io.BytesIO(data[data.index(b"PK\x03\x04") :])
    document = torch.load(payload, map_location="cpu", weights_only=True)
    return [CurvePoint(**point) for point in document["state"]["training"]["curves"]]


@dataclass(frozen=True)
class Killed:
    """What was done when a run was killed."""

    done: list[Path]
    """Receipts."""
    state: dict[Path, tuple[int, int]]
    """Of their products' files."""


@dataclass(frozen=True)
class Restarted:
    """A store on which a run was killed, and then went to its end."""

    root: Path
    killed: dict[str, Killed]
    """By the stage that was under way."""
    curve: list[CurvePoint]
    """Of the VAE, as its checkpoint had it when the run was killed in training."""
    end: Finished


EVERY = ("ingest", "training", "scoring")


@pytest.fixture(
    scope="module", params=[("training",), pytest.param(EVERY, marks=pytest.mark.full)], ids=["once", "in every stage"]
)
def restarted(
    request: pytest.FixtureRequest,
    galflow: Command,
    run_to_its_end: RunToItsEnd,
    prefect_api: dict[str, str],
    undisturbed: Finished,
    tmp_path_factory: pytest.TempPathFactory,
) -> Restarted:
    """The story of ``undisturbed``, killed in these stages."""
    folder = tmp_path_factory.mktemp("killed")
    root = folder / "store"
    document = undisturbed.document | {"cluster": {"workers": 1}}
    spec = folder / "one-worker.yaml"
    spec.write_text(yaml.safe_dump(document))

    def killed(begun: Callable[[], Any], prefect: dict[str, str] = prefect_api) -> Killed:
        start_and_kill(galflow, spec, root, begun, prefect)
        done = receipts(root, "")
        return Killed(done, state_of(done))

    def vae_curve() -> list[CurvePoint]:
        return next(filter(None, map(curve_in, (root / "models" / "vae").glob("*/checkpoint.pt"))), [])

    when: dict[str, Killed] = {}
    if "ingest" in request.param:  # with a Prefect server of its own, which has to end too
        when["ingest"] = killed(lambda: receipts(root, "cutouts"), {})
    when["training"] = killed(lambda: len(vae_curve()) > 2)
    curve = vae_curve()
    if "scoring" in request.param:
        when["scoring"] = killed(lambda: receipts(root, "scores"))
    end = run_to_its_end(folder, undisturbed.document, **prefect_api)
    return Restarted(root, when, curve, end)


def in_stage(done: list[Path], root: Path, stage: str) -> list[str]:
    """Names of the units of a stage that were done."""
    return [str(p.parent.relative_to(root / stage)) for p in done if p.is_relative_to(root / stage)]


def test_it_was_killed_in_the_middle_of_each_stage(restarted: Restarted) -> None:
    root, when = restarted.root, restarted.killed
    if "ingest" in when:
        assert 0 < len(when["ingest"].done) < CUTOUT_SETS
        assert len(in_stage(when["ingest"].done, root, "cutouts")) == len(when["ingest"].done)
    assert len(in_stage(when["training"].done, root, "cutouts")) == CUTOUT_SETS
    trained = {name.partition("/")[0] for name in in_stage(when["training"].done, root, "models")}
    assert {"kmeans"} <= trained <= {"kmeans", "pixelcnn"}  # the VAE's forty epochs were under way
    if "scoring" in when:
        assert set(in_stage(when["scoring"].done, root, "models")) == {"kmeans", "vae", "pixelcnn"}
        assert 0 < len(in_stage(when["scoring"].done, root, "scores")) < CUTOUT_SETS


def test_what_was_done_before_a_kill_is_never_written_again(restarted: Restarted) -> None:
    for killed in restarted.killed.values():
        assert state_of(killed.done) == killed.state


def test_training_goes_on_from_its_checkpoint(restarted: Restarted) -> None:
    """The epochs before the kill keep the wall time they took then: they were not trained again."""
    (folder,) = (p for p in (restarted.root / "models" / "vae").iterdir() if p.is_dir())
    curve = load_uri(str(folder)).card.curves
    assert len(curve) == EPOCHS
    assert list(curve[: len(restarted.curve)]) == restarted.curve
    assert not (folder / "checkpoint.pt").exists()


def test_the_catalogue_is_row_for_row_that_of_an_undisturbed_run(restarted: Restarted, undisturbed: Finished) -> None:
    assert restarted.end.manifest.run == undisturbed.manifest.run
    assert restarted.end.catalog.equals(undisturbed.catalog)
    assert restarted.end.manifest.summary == undisturbed.manifest.summary


def test_the_weights_are_bit_for_bit_those_of_an_undisturbed_run(restarted: Restarted, undisturbed: Finished) -> None:
    names = ("weights.safetensors", "reference.safetensors")
    mine, theirs = (
        {r.product: [r.files[n].sha256 for n in names] for r in run.receipts("models")}
        for run in (restarted.end, undisturbed)
    )
    assert mine == theirs
    assert len(mine) == 3


def test_the_store_holds_the_products_of_an_undisturbed_run_and_nothing_else(
    restarted: Restarted, undisturbed: Finished
) -> None:
    # As the store lists them: what SIGKILL cut short leaves a temporary file, which is no object of the store.
    mine, theirs = (Store.open(root).list("") for root in (restarted.root, undisturbed.root))
    assert [key for key in mine if not key.startswith("leases/")] == theirs  # the killed run's lease has to expire
