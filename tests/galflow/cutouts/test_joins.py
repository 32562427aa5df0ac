"""Joins of FITS tiles in a store: what is one object at declination 60, whom a changed tile touches, which ids stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image as PillowImage

from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.cutouts.joins import join_tiles
from galflow.cutouts.splits import marked_flags, splits
from galflow.runs.plan import JoinUnit, plan_cutouts, plan_joins
from galflow.spec.run import PlantSpec, RunSpec, parse_spec
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey

SIDE, STEP, SCALE = 96, 80, 2.0
"""Tiles of 96 pixels of 2 arcsec, each of which begins 80 pixels further: the first knows nothing of the third."""

STAMPS = {"pattern": "*.jpg", "bands": ["grey"], "pixel_scale_arcsec": 0.4, "tile_bits": 1}


def tile_wcs(number: int, ra: float = 150.0, dec: float = 60.0) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [1 - number * STEP, 1]
    wcs.wcs.cdelt = [-SCALE / 3600, SCALE / 3600]
    wcs.wcs.set()
    return wcs


def galaxies(width: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Places on the plane of the first tile's pixels, at least 8 apart."""
    rng = np.random.default_rng(seed)
    x, y = (g.ravel() for g in np.meshgrid(np.arange(6, width, 12.0), np.arange(6, SIDE, 12.0)))
    return x + rng.uniform(-2, 2, len(x)), y + rng.uniform(-2, 2, len(y))


def write_tile(folder: Path, number: int, seed: int = 0, drop: int | None = None) -> None:
    x, y = galaxies(5 * STEP)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    image = np.random.default_rng([seed, number]).normal(size=(SIDE, SIDE))
    for i in range(len(x)):
        if i != drop:
            r2 = (columns + number * STEP - x[i]) ** 2 + (rows - y[i]) ** 2
            image += 60 * np.exp(-r2 / (2 * 1.5**2))
    folder.mkdir(parents=True, exist_ok=True)
    fits.writeto(folder / f"t{number}.fits", image.astype(np.float32), tile_wcs(number).to_header(), overwrite=True)


def specify(root: Path, kind: str = "fits_tiles", **options: Any) -> RunSpec:
    chosen = {"root": str(root), "bands": {"r": "{tile}.fits"}, "psf": {"fwhm_arcsec": 5.0}, "background": "none"}
    return parse_spec(
        {
            "name": "joined",
            "survey": {
                "kind": kind,
                "name": "made",
                "options": chosen if kind == "fits_tiles" else options | {"root": str(root)},
            },
            "cutouts": {"size": 12 if kind == "fits_tiles" else 48},
            "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
        }
    )


def carried_out(spec: RunSpec, store: Store) -> tuple[dict[str, CutoutSet], list[JoinUnit]]:
    """Cut and join what is to do: tile -> joined set, and the units as planned before the joining."""
    units = plan_cutouts(spec, spec.survey, store)
    for unit in units:
        if not unit.done:
            cut_tile(store, open_survey(spec.survey), unit.tile, spec.cutouts, unit.fingerprint, unit.rows)
    joins = plan_joins(spec, spec.survey, store, [u.cut for u in units], {u.name: u.place for u in units})
    for _, outcome in join_tiles(store, [u.task for u in joins if u.task is not None], spec.join):
        assert not isinstance(outcome, str), outcome
    return {u.name: CutoutSet(store, u.cutouts.product, u.product) for u in joins}, joins


def places(sets: dict[str, CutoutSet]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Tile -> x and y of its rows on the plane."""
    return {name: (cut.read("x_pixel") + int(name[1:]) * STEP, cut.read("y_pixel")) for name, cut in sets.items()}


def nearest(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the galaxy drawn nearest, and how far off it is."""
    tx, ty = galaxies(5 * STEP)
    apart = np.hypot(x[:, None] - tx, y[:, None] - ty)
    return apart.argmin(axis=1), apart.min(axis=1)


@pytest.fixture
def three(tmp_path: Path) -> tuple[RunSpec, Store]:
    for number in range(3):
        write_tile(tmp_path / "sky", number)
    return specify(tmp_path / "sky"), Store.open(tmp_path / "store")


def test_each_object_of_overlapping_tiles_has_one_primary_row(three: tuple[RunSpec, Store]) -> None:
    sets, _ = carried_out(*three)
    found: dict[int, list[tuple[str, int, bool]]] = {}
    for name, (x, y) in places(sets).items():
        galaxy, apart = nearest(x, y)
        join = sets[name].join
        depth = np.min([sets[name].read("x_pixel") + 0.5, SIDE - 0.5 - sets[name].read("x_pixel")], axis=0)
        for row in np.flatnonzero((apart < 1.5) & (depth > 3)):
            found.setdefault(int(galaxy[row]), []).append((name, int(join.object_id[row]), bool(join.is_primary[row])))
        second = ~join.is_primary
        np.testing.assert_array_equal((marked_flags(sets[name]) & int(Flag.DUPLICATE)) != 0, second)
    shared = [rows for rows in found.values() if len(rows) > 1]
    assert len(shared) > 10
    for rows in found.values():
        assert sum(primary for _, _, primary in rows) == 1
        assert len({object_id for _, object_id, _ in rows}) == 1
    sides = {
        (int(i), side)
        for cut in sets.values()
        for i, side in zip(cut.join.object_id, splits(cut, 0.2, 0.3), strict=True)
        if side
    }
    assert len({i for i, _ in sides}) == len(sides)


def test_the_surveys_own_primary_flags_decide(three: tuple[RunSpec, Store], tmp_path: Path) -> None:
    """Here the shallower tile's row is to count."""
    spec, store = three
    for number, primary in enumerate((True, False, True)):
        rows = [f"{100 * number + i},{x - number * STEP},{40.0},{primary}" for i, x in enumerate((40, 84, 120, 165))
                if 0 <= x - number * STEP < SIDE]  # fmt: skip
        (tmp_path / "sky" / f"t{number}.csv").write_text("object_id,x,y,is_primary\n" + "\n".join(rows) + "\n")
    document = spec.model_dump(mode="json")
    document["survey"]["options"]["catalog"] = {"path": "{tile}.csv"}
    sets, _ = carried_out(parse_spec(document), store)
    assert {name: cut.join.is_primary.tolist() for name, cut in sets.items()} == {
        "t0": [True, True], "t1": [False, False, False], "t2": [True],
    }  # fmt: skip


def test_planted_copies_are_nobodys_rows(three: tuple[RunSpec, Store]) -> None:
    spec, store = three
    plain, _ = carried_out(spec, store)
    planted, _ = carried_out(
        spec.model_copy(update={"cutouts": spec.cutouts.model_copy(update={"plant": PlantSpec(per_tile=20)})}), store
    )
    for name, cut in planted.items():
        copies = (cut.read("flags") & int(Flag.PLANTED)) != 0
        assert copies.sum() == 20
        assert not cut.join.is_primary[copies].any()
        np.testing.assert_array_equal(cut.join.object_id[copies], cut.read("object_id")[copies])
        for column in ("object_id", "is_primary", "split_hash", "neighbour_hash"):
            np.testing.assert_array_equal(getattr(cut.join, column)[~copies], getattr(plain[name].join, column))


def test_a_changed_tile_changes_its_neighbours_joins_alone(three: tuple[RunSpec, Store], tmp_path: Path) -> None:
    spec, store = three
    _, before = carried_out(spec, store)
    assert all(unit.task is not None for unit in before)
    _, again = carried_out(spec, store)
    assert [unit.task for unit in again] == [None] * 3
    write_tile(tmp_path / "sky", 3)  # a fourth one, beside the third
    _, joins = carried_out(spec, store)
    assert [unit.name for unit in joins if unit.task is not None] == ["t2", "t3"]
    write_tile(tmp_path / "sky", 0, seed=5)
    _, joins = carried_out(spec, store)
    assert [unit.name for unit in joins if unit.task is not None] == ["t0", "t1"]
    unchanged = {unit.name: unit.fingerprint for unit in before}
    assert {unit.name for unit in joins if unchanged.get(unit.name) == unit.fingerprint} == set()


def test_a_second_release_of_a_tile_keeps_its_objects_ids(three: tuple[RunSpec, Store], tmp_path: Path) -> None:
    spec, store = three
    first, _ = carried_out(spec, store)
    tx, _ = galaxies(5 * STEP)
    gone = int(np.flatnonzero((tx > 20) & (tx < 50))[0])
    for number in range(3):
        write_tile(tmp_path / "sky", number, seed=9, drop=gone)
    second, _ = carried_out(spec, store)
    moved = 0
    for name in first:
        galaxy, apart = nearest(*places(first)[name])
        ids = dict(zip(galaxy[apart < 1], first[name].join.object_id[apart < 1], strict=True))
        own = dict(zip(galaxy[apart < 1], first[name].read("object_id")[apart < 1], strict=True))
        galaxy, apart = nearest(*places(second)[name])
        kept = [
            (g, i, o)
            for g, i, o, a in zip(
                galaxy, second[name].join.object_id, second[name].read("object_id"), apart, strict=True
            )
            if a < 1 and g in ids
        ]
        assert len(kept) > 20
        assert all(ids[g] == i for g, i, _ in kept)
        moved += sum(own[g] != o for g, _, o in kept)
        assert gone not in {g for g, _, _ in kept}
        assert len(np.unique(second[name].join.object_id)) == len(second[name])
    assert moved > 2, "the brightest pixel of many is another one under other noise"


def test_copies_of_one_image_stand_on_one_side(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:48, :48]
    folder = tmp_path / "stamps"
    folder.mkdir()
    for i in range(40):
        x, y, s, q = rng.uniform(20, 28, 2).tolist() + rng.uniform(2, 8, 2).tolist()
        light = 200 * np.exp(-(((columns - x) / s) ** 2) - ((rows - y) / q) ** 2) + rng.uniform(0, 30, (48, 48))
        picture = PillowImage.fromarray(light.clip(0, 255).astype(np.uint8))
        picture.save(folder / f"a{i:02d}.jpg", quality=95)
        if i < 20:
            picture.save(folder / f"z{i:02d}.jpg", quality=95 if i < 10 else 90)
    spec = specify(folder, "stamps", **STAMPS)
    sets, _ = carried_out(spec, Store.open(tmp_path / "store"))
    side: dict[str, str | None] = {}
    hashes: dict[str, float] = {}
    for cut in sets.values():
        names = [Path(name).stem for name in cut.column("source_name").to_pylist()]
        side |= dict(zip(names, splits(cut, 0.3, 0.3), strict=True))
        hashes |= dict(zip(names, cut.join.split_hash.tolist(), strict=True))
    assert len(side) == 60
    for i in range(20):
        assert side[f"a{i:02d}"] == side[f"z{i:02d}"] is not None
        assert hashes[f"a{i:02d}"] == hashes[f"z{i:02d}"]
    assert len({hashes[f"a{i:02d}"] for i in range(40)}) == 40
