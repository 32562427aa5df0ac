"""What is read once in a look, and afresh outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from galflow.runs.check import check_run
from galflow.runs.plan import plan_run
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.look import one_look, seen
from galflow.storage.receipts import Receipt, receipt_keys, write_receipt
from galflow.storage.store import Store
from galflow.surveys import resolve
from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.reading import brought_catalog, fits_inspect


def test_within_a_look_a_thing_is_made_once() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [seen("a", make), seen("a", make)] == [1, 2]
    with one_look():
        assert [seen("a", make), seen("b", make), seen("a", make)] == [3, 4, 3]
        with one_look():
            assert seen("a", make) == 3
    assert seen("a", make) == 5


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CDELT1": -1e-4, "CDELT2": 1e-4})
    for tile in "AB":
        fits.PrimaryHDU(np.zeros((90, 90), np.float32), header).writeto(tmp_path / f"{tile}.fits")
    (tmp_path / "all.csv").write_text("object_id,ra_deg,dec_deg\n1,9.995,0.005\n")
    options = {"root": str(tmp_path), "bands": {"r": "{tile}.fits"}, "catalog": {"path": "all.csv"}}
    return parse_spec(
        {
            "name": "x",
            "survey": {"kind": "fits_tiles", "name": "s", "release": "1", "options": options},
            "cutouts": {"size": 16},
            "models": [{"name": "k", "model": "kmeans.KMeans"}],
            "store": {"root": str(tmp_path / "store")},
        }
    )


def test_check_and_plan_list_a_survey_and_read_its_catalogue_and_headers_once(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = dict.fromkeys(("tiles", "catalogue", "header", "opened"), 0)

    def counted(what: str, function):  # type: ignore[no-untyped-def]
        def call(*arguments, **named):  # type: ignore[no-untyped-def]
            counts[what] += 1
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(FitsTiles, "tiles", counted("tiles", FitsTiles.tiles))
    monkeypatch.setattr(brought_catalog, "read_catalog", counted("catalogue", brought_catalog.read_catalog))
    monkeypatch.setattr(fits_inspect, "read_header", counted("header", fits_inspect.read_header))
    monkeypatch.setattr(resolve, "_opened", counted("opened", resolve._opened))
    with one_look():
        for _ in range(2):  # as the command does, and then the flow
            check_run(spec)
            plan_run(spec, Store.open(spec.store.root))
    assert counts == {"tiles": 1, "catalogue": 1, "header": 2, "opened": 1}


def test_a_receipt_is_read_once_and_a_new_one_is_seen(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(spec.store.root)
    asked: list[str] = []
    get_many = Store.get_many

    def watched(self: Store, keys: list[str]) -> dict[str, bytes]:
        asked.extend(key for key in keys if key.endswith(".receipt.json"))
        return get_many(self, keys)

    monkeypatch.setattr(Store, "get_many", watched)
    with one_look():
        units = plan_run(spec, store).cutouts
        for unit in units:
            write_receipt(
                store, Receipt(product=unit.product, fingerprint=unit.fingerprint, details={"tile": unit.name})
            )
            assert next(u for u in plan_run(spec, store).cutouts if u.name == unit.name).done
        plan_run(spec, store)
    assert sorted(asked) == receipt_keys(store, "cutouts")
