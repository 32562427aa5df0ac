"""Planted anomalies: copies with ids that lead back, originals untouched, the same each time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_NORMAL, NOT_SCORED, Flag
from galflow.cutouts.plant import PLANTED_COLUMN, Planting
from galflow.cutouts.set_writing import CutoutData, Pixels, write_cutout_set
from galflow.errors import DataError
from galflow.spec.run import CutoutSpec, PlantSpec
from galflow.storage.store import Store
from galflow.surveys.drawing.anomalies import KINDS

MakeData = Callable[..., CutoutData]
N = 40


@pytest.fixture
def galaxies(data: MakeData) -> CutoutData:
    """Noise with a round galaxy in the middle of each cutout."""
    content = data(N, size=32, mag=np.linspace(18, 22, N), tag=["a", None] * (N // 2))
    y, x = np.mgrid[:32, :32] - 16
    content.flux[:] += (60 * np.exp(-0.5 * (x**2 + y**2) / 3.0**2)).astype(np.float32)
    return content


def add_planted(data: CutoutData, spec: PlantSpec, tile: str) -> tuple[CutoutData, list[str]]:
    """The originals with the copies after them, painted in two parts, and why there are fewer than asked."""
    planting = Planting(data.rows, data.attributes, spec, tile)
    pixels = Pixels(data.flux, data.ivar, data.mask)
    half = len(planting.chosen) // 2
    parts = [planting.paint(pixels[rows]) for rows in (planting.chosen[:half], planting.chosen[half:])]
    all_of = Pixels.joined([pixels, *parts])
    made = dataclasses.replace(
        data,
        flux=all_of.flux,
        ivar=all_of.ivar,
        mask=all_of.mask,
        rows=planting.rows(data.rows, data.rows.column("flags").to_numpy()[planting.chosen]),
    )
    return made, planting.reasons


def _same(a: CutoutData, b: CutoutData) -> bool:
    same = all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n == "flux") for n in ("flux", "ivar", "mask"))
    return bool(same and a.rows.equals(b.rows))


def test_copies_come_after_the_untouched_originals(galaxies: CutoutData) -> None:
    before = dataclasses.replace(galaxies, flux=galaxies.flux.copy(), mask=galaxies.mask.copy())
    planted, reasons = add_planted(galaxies, PlantSpec(per_tile=15), "t")
    assert reasons == []
    assert _same(galaxies, before)
    np.testing.assert_array_equal(planted.flux[:N], before.flux)
    assert planted.flux.shape == (N + 15, 2, 32, 32)
    rows = planted.rows
    assert rows.slice(0, N).drop_columns([PLANTED_COLUMN]).equals(before.rows)
    assert rows.slice(0, N).column(PLANTED_COLUMN).null_count == N
    copies = rows.slice(N)
    originals = (~copies.column("object_id").to_numpy()).tolist()
    assert len(set(originals)) == 15
    assert set(originals) <= set(range(N))
    assert (copies.column("object_id").to_numpy() < 0).all()
    expected = before.rows.take(pa.array(originals))
    for name in ("ra", "dec", "x_pixel", "mag", "tag"):
        assert copies.column(name).to_pylist() == expected.column(name).to_pylist()
    assert (copies.column("flags").to_numpy() == int(Flag.PLANTED)).all()
    assert int(Flag.PLANTED) & int(NOT_NORMAL)
    assert not int(Flag.PLANTED) & int(NOT_SCORED)
    for i, row in enumerate(originals):
        assert np.abs(planted.flux[N + i] - before.flux[row]).max() > 3, "nothing was painted"
        np.testing.assert_array_equal(planted.ivar[N + i], before.ivar[row])
        np.testing.assert_array_equal(planted.mask[N + i], before.mask[row])


def test_all_kinds_come_in_turn_or_those_asked_for(galaxies: CutoutData) -> None:
    every = add_planted(galaxies, PlantSpec(per_tile=len(KINDS)), "t")[0].rows.column(PLANTED_COLUMN).to_pylist()[N:]
    assert every == list(KINDS)
    spec = PlantSpec(per_tile=5, kinds=(KINDS[2], KINDS[0]))
    some = add_planted(galaxies, spec, "t")[0].rows.column(PLANTED_COLUMN).to_pylist()[N:]
    assert some == [KINDS[2], KINDS[0], KINDS[2], KINDS[0], KINDS[2]]


def test_planting_depends_on_the_seed_and_the_tile_alone(galaxies: CutoutData) -> None:
    first = add_planted(galaxies, PlantSpec(per_tile=10), "t")[0]
    np.random.default_rng(9).random(100)
    add_planted(galaxies, PlantSpec(per_tile=10), "another tile in between")
    assert _same(first, add_planted(galaxies, PlantSpec(per_tile=10), "t")[0])
    assert not _same(first, add_planted(galaxies, PlantSpec(per_tile=10, seed=2), "t")[0])
    assert not _same(first, add_planted(galaxies, PlantSpec(per_tile=10), "u")[0])


def test_the_order_of_rows_plays_no_part(galaxies: CutoutData) -> None:
    turned = np.arange(N)[::-1]
    other = dataclasses.replace(
        galaxies, flux=galaxies.flux[turned], ivar=galaxies.ivar[turned], mask=galaxies.mask[turned],
        rows=galaxies.rows.take(pa.array(turned)),
    )  # fmt: skip
    one, two = (add_planted(content, PlantSpec(per_tile=10), "t")[0] for content in (galaxies, other))
    np.testing.assert_array_equal(one.flux[N:], two.flux[N:])
    assert one.rows.slice(N).column("object_id").to_pylist() == two.rows.slice(N).column("object_id").to_pylist()


def test_spoilt_objects_are_not_copied_and_fewer_is_told(galaxies: CutoutData) -> None:
    flags = np.full(N, int(Flag.EDGE))
    flags[[3, 5, 8]] = 0
    flags[9] = int(Flag.BRIGHT_NEIGHBOUR)  # a neighbour does no harm
    rows = galaxies.rows.set_column(galaxies.rows.column_names.index("flags"), "flags", pa.array(flags))
    planted, reasons = add_planted(dataclasses.replace(galaxies, rows=rows), PlantSpec(per_tile=10), "t")
    assert (~planted.rows.column("object_id").to_numpy()[N:]).tolist() == [3, 5, 8, 9]
    assert planted.rows.column("flags").to_pylist()[N + 3] == int(Flag.BRIGHT_NEIGHBOUR | Flag.PLANTED)
    assert reasons == ["4 anomalies planted instead of 10: too few objects"]


def test_an_empty_tile_gets_none(data: MakeData) -> None:
    planted, reasons = add_planted(data(0), PlantSpec(per_tile=4), "t")
    assert planted.rows.num_rows == 0
    assert PLANTED_COLUMN in planted.rows.column_names
    assert reasons == ["0 anomalies planted instead of 4: too few objects"]


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_a_planted_id_is_never_one_of_the_catalogue(galaxies: CutoutData, dtype: Any) -> None:
    ids = np.arange(N, dtype=dtype)
    ids[20:] = ~ids[:20]  # half of the catalogue are complements of the other half
    ids[0] = 2**62
    rows = galaxies.rows.set_column(0, "object_id", pa.array(ids))
    planted, _ = add_planted(dataclasses.replace(galaxies, rows=rows), PlantSpec(per_tile=N), "t")
    found = planted.rows.column("object_id").to_numpy()
    assert found.dtype == dtype
    assert len(np.unique(found)) == len(found) == N + 2
    assert sorted((~found[N:]).tolist()) == sorted([2**62, int(ids[20])])


def test_without_a_sky_sigma_nothing_is_painted(galaxies: CutoutData) -> None:
    blind = dataclasses.replace(galaxies, attributes={**galaxies.attributes, "sky_sigma": [1.0, None]})
    with pytest.raises(DataError, match="tile t: anomalies cannot be painted to scale, since a band's sky sigma"):
        add_planted(blind, PlantSpec(per_tile=2), "t")


def test_planted_copies_are_stored_with_their_kind(local_store: Store, galaxies: CutoutData) -> None:
    planted, _ = add_planted(galaxies, PlantSpec(per_tile=3), "t")
    write_cutout_set(local_store, "p.zarr", planted, CutoutSpec(size=32))
    rows = CutoutSet(local_store, "p.zarr").rows()
    assert rows.column(PLANTED_COLUMN).to_pylist() == [None] * N + list(KINDS[:3])
    assert (rows.column("object_id").to_numpy()[N:] < 0).all()
