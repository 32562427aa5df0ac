"""Two runs side by side, against a difference made by plain dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord

from galflow.catalog.difference import _Rows, _separation_arcsec, compare_runs
from galflow.errors import StoreError
from galflow.storage.receipts import Receipt, RunManifest, publish_manifest, write_receipt
from galflow.storage.store import Store

Tile = dict[int, tuple[float, float | None]]
"""Object id -> (declination, calibrated score)."""


@pytest.fixture
def publish(local_store: Store) -> Callable[..., None]:
    """``publish(run, tiles, models={})``: a run of these tiles; equal tiles are the same product."""

    def write(run: str, tiles: dict[str, Tile], models: dict[str, str] | None = None) -> None:
        keys = []
        for tile, rows in tiles.items():
            product = f"scores/s/1/{tile}/{abs(hash(tuple(sorted(rows.items(), key=str)))):x}.parquet"
            table = pa.table(
                {
                    "object_id": pa.array(list(rows), pa.int64()),
                    "ra": pa.array([10.0] * len(rows)),
                    "dec": pa.array([dec for dec, _ in rows.values()], pa.float64()),
                    "tile": pa.array([tile] * len(rows), pa.string()),
                    "vae_kl_sigma": pa.array([score for _, score in rows.values()], pa.float64()),
                    "is_primary": pa.array([True] * len(rows)),
                }
            )
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            local_store.put(product, sink.getvalue().to_pybytes())
            receipt = Receipt(product=product, fingerprint=product, rows=len(rows), details={"tile": tile})
            write_receipt(local_store, receipt)
            keys.append(receipt.key)
        publish_manifest(
            local_store,
            RunManifest(
                run=run, name="s", finished="2026-01-01T00:00:00+00:00", code_version="0", specification={},
                models=models or {}, products={"scores": keys}, catalog="", report=None, summary={},
            ),
        )  # fmt: skip

    return write


A: Tile = {1: (0.0, 0.5), 2: (0.1, 1.0), 3: (0.2, None), 4: (0.3, 2.0), 9: (0.9, 0.0)}
B: Tile = {5: (1.0, 0.0), 6: (1.1, 0.0)}
C: Tile = {7: (2.0, 0.0), 8: (2.1, 0.0)}


def changes(table: pa.Table) -> set[tuple[object, ...]]:
    """(object, change, tile before, tile after) of every row."""
    return set(zip(*(table[n].to_pylist() for n in ("object_id", "change", "tile_before", "tile_after")), strict=True))


def test_every_kind_of_change(local_store: Store, publish: Callable[..., None]) -> None:
    publish("r1", {"a": A, "b": B, "c": C}, {"vae": "x", "wgan": "y"})
    moved_on = {
        1: (0.0, 0.6),  # next to the same
        2: (0.1, 4.5),  # rescored
        3: (0.2, 0.1),  # scored for the first time
        4: (0.3 + 1 / 3600, 2.0),  # one arcsecond to the north
        10: (0.5, 0.0),  # new
        7: (2.0, 0.0),  # came over from tile c, which is gone
    }
    publish("r2", {"a": moved_on, "b": B}, {"vae": "z", "wgan": "y", "ae": "n"})
    found = compare_runs(local_store, "r1", "r2")
    assert found.tiles == {"unchanged": 1, "changed": 1, "added": 0, "removed": 1}
    assert found.models == ["ae", "vae"]
    assert found.objects == {
        "before": 9, "after": 8, "same": 3, "added": 1, "removed": 2, "moved": 2, "rescored": 2,
    }  # fmt: skip
    assert changes(found.table) == {
        (2, "rescored", "a", "a"), (3, "rescored", "a", "a"), (4, "moved", "a", "a"), (7, "moved", "c", "a"),
        (10, "added", None, "a"), (8, "removed", "c", None), (9, "removed", "a", None),
    }  # fmt: skip
    by_object = {row["object_id"]: row for row in found.table.to_pylist()}
    assert by_object[2]["change_sigma"] == 3.5
    assert by_object[2]["score"] == "vae_kl"
    assert by_object[3]["change_sigma"] == np.inf
    assert by_object[4]["shift_arcsec"] == pytest.approx(1.0)
    assert by_object[10]["shift_arcsec"] is None
    assert found.table["object_id"].to_pylist()[:2] == [3, 2], "the largest change of a score comes first"
    strict = compare_runs(local_store, "r1", "r2", changed_sigma=0.05, moved_arcsec=2.0)
    assert (strict.objects["rescored"], strict.objects["moved"]) == (3, 1)


def test_the_same_run_has_no_difference(local_store: Store, publish: Callable[..., None]) -> None:
    publish("r1", {"a": A, "b": B})
    publish("r2", {"a": A, "b": B})
    found = compare_runs(local_store, "r1", "r2")
    assert (found.tiles["unchanged"], found.objects["same"], len(found.table), found.models) == (2, 7, 0, [])
    assert found.to_json()["objects"]["after"] == 7


def test_many_objects_against_dictionaries(local_store: Store, publish: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)

    def survey(seed: int) -> dict[str, Tile]:
        own = np.random.default_rng(seed)
        return {
            tile: {int(i): (float(i) / 1e4, float(own.normal(0, 2))) for i in ids}
            for tile, ids in zip("abcd", np.array_split(own.permutation(rng.permutation(400)[:300]), 4), strict=True)
        }

    one, other = survey(1), survey(2)
    publish("r1", one)
    publish("r2", other)
    before = {i: (tile, score) for tile, rows in one.items() for i, (_, score) in rows.items()}
    after = {i: (tile, score) for tile, rows in other.items() for i, (_, score) in rows.items()}
    both = set(before) & set(after)
    expected = {
        "before": 300,
        "after": 300,
        "added": len(set(after) - set(before)),
        "removed": len(set(before) - set(after)),
        "moved": sum(before[i][0] != after[i][0] for i in both),
        "rescored": sum(abs(after[i][1] - before[i][1]) > 3 for i in both),  # type: ignore[operator]
        "same": sum(before[i][0] == after[i][0] and abs(after[i][1] - before[i][1]) <= 3 for i in both),  # type: ignore[operator]
    }
    assert compare_runs(local_store, "r1", "r2").objects == expected


def test_a_run_that_is_none_is_named(local_store: Store, publish: Callable[..., None], tmp_path: Path) -> None:
    publish("r1", {"a": A})
    with pytest.raises(StoreError, match=r"no run 'r2' has been published at file://"):
        compare_runs(local_store, "r1", "r2")


def test_separations_are_those_on_the_sphere() -> None:
    """At declination 60 a second of right ascension is half as long; right ascension 0 is no edge."""
    rng = np.random.default_rng(3)
    ra, dec = np.array([359.99999, 0.00001, 150.0, 10.0]), np.array([60.0, -75.0, 85.0, 0.0])
    after_ra, after_dec = (ra + rng.normal(0, 2e-4, 4)) % 360, dec + rng.normal(0, 2e-4, 4)
    rows = [_Rows(np.arange(4), *place, np.full(4, "t"), {}) for place in ((ra, dec), (after_ra, after_dec))]
    expected = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(after_ra, after_dec, unit="deg")).arcsec
    np.testing.assert_allclose(_separation_arcsec(*rows), expected, rtol=1e-3)
