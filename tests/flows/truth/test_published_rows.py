"""Who is in a published catalogue, where and with which flux, against the galaxies that were drawn and their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import sep
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

import galflow

if TYPE_CHECKING:
    from conftest import Truth

# The bits of the column flags, as its description in the file has them.
EDGE, SATURATED, TRAIL, BRIGHT_NEIGHBOUR, MISSING_PIXELS, PLANTED, DUPLICATE = 1, 4, 8, 16, 64, 2048, 4096
SIZE, SCALE_ARCSEC = 16, 0.2
ZERO_POINTS, COLOUR = {"g": 27.0, "r": 26.5}, {"g": 1.0, "r": 1.4}
BITS = {SATURATED: 3, TRAIL: 5}


def places(ra: np.ndarray, dec: np.ndarray) -> SkyCoord:
    return SkyCoord(ra, dec, unit="deg")


def njy_per_count(band: str) -> float:
    return float((ZERO_POINTS[band] * units.ABmag).to_value(units.nJy))


def depths(truth: Truth) -> np.ndarray:
    """(tile, galaxy): pixels from the nearest edge, negative beyond it."""
    found = []
    for tile in ("t0", "t1", "t2"):
        x, y = truth.wcs(tile).all_world2pix(truth.sky.ra, truth.sky.dec, 0)
        height, width = truth.pixels(tile, "g").shape
        found.append(np.min([x + 0.5, width - 0.5 - x, y + 0.5, height - 0.5 - y], axis=0))
    return np.array(found)


def alone(truth: Truth, arcsec: float = 2.4) -> np.ndarray:
    """(galaxy,) bool: nothing else nearby."""
    sky = places(truth.sky.ra, truth.sky.dec)
    return np.asarray(sky.match_to_catalog_sky(sky, nthneighbor=2)[1].arcsec > arcsec)


def galaxy_of(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the nearest drawn galaxy, and its distance in arcsec."""
    rows = places(truth.columns["ra"], truth.columns["dec"])
    nearest, apart, _ = rows.match_to_catalog_sky(places(truth.sky.ra, truth.sky.dec))
    return nearest, apart.arcsec


def windows(truth: Truth, tile: str, plane: np.ndarray, beyond: float) -> np.ndarray:
    """(row, 16, 16): the pixels around each row of a tile; pixel 8 is the one that holds the position."""
    mine = truth.columns["tile"] == tile
    padded = np.pad(plane, SIZE, constant_values=beyond)
    x, y = (np.floor(truth.columns[name][mine] + 0.5).astype(int) + SIZE - SIZE // 2 for name in ("x", "y"))
    return np.array([padded[j : j + SIZE, i : i + SIZE] for i, j in zip(x, y, strict=True)])


def test_each_galaxy_has_one_primary_row_in_the_tile_that_has_it_deepest(truth: Truth) -> None:
    nearest, apart = galaxy_of(truth)
    primary, depth = truth.columns["is_primary"], depths(truth)
    inside = alone(truth) & (depth.max(axis=0) > 3)
    assert inside.sum() > 150
    assert ((depth > 3).sum(axis=0)[inside] > 1).sum() > 40, "many lie in two tiles"
    np.testing.assert_array_equal(np.bincount(nearest[primary & (apart < 1)], minlength=len(inside))[inside], 1)
    # A galaxy as deep in two tiles as makes no difference may be taken from either.
    ordered = np.sort(depth, axis=0)
    clear = inside[nearest] & primary & (ordered[-1] - ordered[-2] > 0.5)[nearest]
    tiles = np.array(["t0", "t1", "t2"])[depth.argmax(axis=0)]
    np.testing.assert_array_equal(truth.columns["tile"][clear], tiles[nearest[clear]])
    # And what is no galaxy is no row: everything lies at one that was drawn, blends between theirs.
    assert apart[primary].max() < 0.8


def test_second_rows_name_their_object_and_take_part_in_nothing(truth: Truth) -> None:
    columns = truth.columns
    second = ~columns["is_primary"]
    assert second.sum() > 40
    np.testing.assert_array_equal((columns["flags"] & DUPLICATE) != 0, second)
    np.testing.assert_array_equal(np.isnan(columns["anomaly_rank"]), second)
    assert np.isnan(columns["anomaly_q"][second]).all()
    assert set(columns["split"][second]) == {None}
    ids, counts = np.unique(columns["object_id"][columns["is_primary"]], return_counts=True)
    assert counts.max() == 1
    assert np.isin(columns["object_id"][second], ids).all()
    nearest, apart = galaxy_of(truth)
    lonely = alone(truth)[nearest] & (apart < 0.5)
    galaxy = dict(
        zip(columns["object_id"][columns["is_primary"] & lonely], nearest[columns["is_primary"] & lonely], strict=True)
    )
    for row in np.flatnonzero(second & lonely):
        assert galaxy[columns["object_id"][row]] == nearest[row]


def test_no_two_rows_within_an_arcsecond_stand_on_two_sides(truth: Truth) -> None:
    sky = places(truth.columns["ra"], truth.columns["dec"])
    one, other, _, _ = sky.search_around_sky(sky, 1.0 * units.arcsec)
    pairs = one < other
    split = np.array([s or "" for s in truth.columns["split"]])
    first, second = split[one[pairs]], split[other[pairs]]
    assert pairs.sum() > 40
    assert not ((first != second) & (first != "") & (second != "")).any()
    # Some objects are so close to another one on another side that they had to be left out; none else was.
    usable = truth.columns["is_primary"] & ((truth.columns["flags"] & (SATURATED | TRAIL)) == 0)
    left_out = usable & (split == "")
    near = np.zeros(len(split), bool)
    near_pairs = sky.search_around_sky(sky, 1.4 * units.arcsec)
    for i, j in zip(*near_pairs[:2], strict=True):
        near[i] |= i != j
    assert left_out.sum() > 0
    assert near[left_out].all()


def test_positions_are_those_of_the_files_wcs_and_of_the_galaxies(truth: Truth) -> None:
    nearest, apart = galaxy_of(truth)
    depth = depths(truth)
    for number, tile in enumerate(("t0", "t1", "t2")):
        mine = truth.columns["tile"] == tile
        x, y = (truth.columns[name] for name in "xy")
        ra, dec = truth.wcs(tile).all_pix2world(x[mine], y[mine], 0)
        np.testing.assert_allclose(
            places(ra, dec).separation(places(truth.columns["ra"][mine], truth.columns["dec"][mine])).arcsec,
            0,
            atol=1e-4,
        )
        whole = mine & (alone(truth) & (depth[number] > 8))[nearest] & (apart < 1)
        tx, ty = truth.wcs(tile).all_world2pix(truth.sky.ra[nearest], truth.sky.dec[nearest], 0)
        assert whole.sum() > 50
        assert np.abs(np.median((x - tx)[whole])) < 0.02
        assert np.abs(np.median((y - ty)[whole])) < 0.02
        assert np.hypot(x - tx, y - ty)[whole].max() < 0.5


@pytest.mark.parametrize("band", ["g", "r"])
def test_fluxes_are_those_of_the_galaxies_and_of_the_pixels_in_the_ellipse(truth: Truth, band: str) -> None:
    nearest, apart = galaxy_of(truth)
    columns, depth = truth.columns, depths(truth)
    factor = njy_per_count(band)
    for number, tile in enumerate(("t0", "t1", "t2")):
        clean = (columns["flags"] & ~(DUPLICATE | TRAIL | SATURATED)) == 0
        rows = np.flatnonzero(
            (columns["tile"] == tile) & clean & (alone(truth) & (depth[number] > 14))[nearest] & (apart < 0.5)
        )
        assert len(rows) > 40
        drawn = truth.sky.counts[nearest[rows]] * COLOUR[band] * factor
        # The Kron aperture of a Gaussian holds 99% of its light; noise of one count a pixel, in 150 pixels.
        ratio = columns[f"flux_{band}"][rows] / drawn
        assert 0.98 < np.median(ratio) < 1.0
        np.testing.assert_allclose(ratio, 0.99, atol=4 * 1.3 * np.sqrt(150) / truth.sky.counts[nearest[rows]].min())
        measured = columns[f"flux_{band}"][rows]
        off = measured / (factor * kron_sums(truth, tile, band, rows)) - 1
        assert np.abs(np.median(off)) < 0.001
        assert (np.abs(off) < 0.01).mean() > 0.8, "some ellipses reach a neighbour, whose pixels galflow leaves out"


def kron_sums(truth: Truth, tile: str, band: str, rows: np.ndarray) -> np.ndarray:
    """Counts in the ellipse of 2.5 Kron radii of each row, its radius measured on the bands' mean in sky sigmas."""
    images = {name: truth.pixels(tile, name).astype(np.float32) for name in ZERO_POINTS}
    light = np.mean([image / np.float32(1.15) for image in images.values()], axis=0)
    x, y, a, b, theta = (truth.columns[n][rows] for n in ("x", "y", "a_pix", "b_pix", "theta_rad"))
    kron, _ = sep.kron_radius(light, x, y, a, b, theta, 6.0)
    radius = np.maximum(2.5 * kron, 3.5 / np.sqrt(a * b))
    return np.asarray(sep.sum_ellipse(images[band], x, y, a, b, theta, radius, subpix=5)[0])


def test_signal_to_noise_is_that_of_the_light_in_both_bands(truth: Truth) -> None:
    nearest, apart = galaxy_of(truth)
    rows = np.flatnonzero((alone(truth) & (depths(truth).max(axis=0) > 14))[nearest] & (apart < 0.5))
    columns = truth.columns
    counts = truth.sky.counts[nearest[rows]] * np.mean([COLOUR[b] for b in ZERO_POINTS])
    # Pixels of the ellipse, each with the mean of two bands' noise; the tile's two halves differ in theirs by 30%.
    radius = 2.5 * 1.2533 * np.sqrt(columns["a_pix"][rows] * columns["b_pix"][rows])
    expected = counts / (np.sqrt(np.pi) * radius * 1.15 / np.sqrt(2))
    ratio = columns["snr"][rows] / expected
    assert 0.8 < np.median(ratio) < 1.25
    assert np.corrcoef(np.log(columns["snr"][rows]), np.log(expected))[0, 1] > 0.95


def test_flags_are_those_of_the_mask_files_and_of_the_cutouts_geometry(truth: Truth) -> None:
    columns = truth.columns
    for tile in ("t0", "t1", "t2"):
        mine = columns["tile"] == tile
        flags = columns["flags"][mine]
        bits = windows(truth, tile, truth.mask(tile), 0)
        for flag, bit in BITS.items():
            np.testing.assert_array_equal((flags & flag) != 0, ((bits >> bit) & 1).any(axis=(1, 2)))
        beyond = windows(truth, tile, np.zeros(truth.mask(tile).shape), 1).any(axis=(1, 2))
        np.testing.assert_array_equal((flags & EDGE) != 0, beyond)
        weights = windows(truth, tile, truth.pixels(tile, "g", ".weight"), 0)
        np.testing.assert_array_equal((flags & MISSING_PIXELS) != 0, (weights <= 0).any(axis=(1, 2)))
        light = np.where(weights > 0, windows(truth, tile, truth.pixels(tile, "g"), -np.inf), -np.inf)
        third = slice(SIZE // 3, SIZE - SIZE // 3)
        centre = light[:, third, third].max(axis=(1, 2))
        np.testing.assert_array_equal(
            (flags & BRIGHT_NEIGHBOUR) != 0, light.max(axis=(1, 2)) > 2 * np.maximum(centre, 0)
        )
    primary = columns["is_primary"]
    for flag in (EDGE, SATURATED, TRAIL, BRIGHT_NEIGHBOUR, MISSING_PIXELS):
        assert ((columns["flags"][primary] & flag) != 0).sum() > 2, "this sky has some of each"


def test_known_defects_are_learnt_by_no_model_and_calibrate_none(truth: Truth) -> None:
    columns = truth.columns
    for flag in (TRAIL, SATURATED):
        assert set(columns["split"][(columns["flags"] & flag) != 0]) == {None}
    for name, uri in truth.run.manifest.models.items():
        if name != "plain":
            counts = galflow.load_model(uri).card.training["counts"]
            assert counts == {s: int((columns["split"] == s).sum()) for s in ("train", "validation", "reference")}


def test_planted_copies_lie_beside_the_catalogue_and_count_nowhere(truth: Truth) -> None:
    columns, planted, found = truth.columns, truth.planted, truth.run.manifest.summary
    assert not (columns["flags"] & PLANTED).any()
    assert "planted_kind" not in truth.table.column_names
    assert len(planted) == found["planted"] == 12
    assert ((planted["flags"].to_numpy() & PLANTED) != 0).all()
    assert all(planted["planted_kind"].to_pylist())
    # A copy's id leads back to the row that it was painted on.
    assert np.isin(~planted["object_id"].to_numpy(), columns["id_in_tile"]).all()
    for name in ("anomaly_rank", "anomaly_q", "split"):
        assert planted[name].null_count == 12
    assert found["rows"] == len(truth.table)
    assert found["objects"] == columns["is_primary"].sum()


def test_cutout_and_row_lead_to_the_pixels_of_the_file(truth: Truth) -> None:
    columns = truth.columns
    for key in np.unique(columns["cutout"]):
        cutouts = galflow.open_cutouts(f"{truth.root}/{key}")
        mine = np.flatnonzero(columns["cutout"] == key)
        tile = columns["tile"][mine[0]]
        for band in ZERO_POINTS:
            centre = cutouts["flux"].sel(band=band).to_numpy()[columns["row"][mine], SIZE // 2, SIZE // 2]
            x, y = (np.floor(columns[n][mine] + 0.5).astype(int) for n in ("x", "y"))
            pixel = truth.pixels(tile, band)[y, x] * njy_per_count(band)
            known = truth.pixels(tile, band, ".weight")[y, x] > 0
            np.testing.assert_allclose(centre[known], pixel[known], rtol=1e-4)  # 3631 or 3630.8 Jy
            assert known.sum() > 90


def test_fits_format_has_the_same_rows_and_says_what_each_column_is(truth: Truth) -> None:
    (path,) = truth.root.glob("catalogs/*/*_supplement/anomalies.fits")
    table = Table.read(path)
    assert len(table) == len(truth.table)
    np.testing.assert_array_equal(np.asarray(table["object_id"]), truth.columns["object_id"])
    np.testing.assert_array_equal(np.asarray(table["ra"]), truth.columns["ra"])
    assert (table["ra"].unit, table["dec"].unit, table["x"].unit) == (units.deg, units.deg, units.pix)
    header = fits.getheader(path, 1)
    ucds = {header[f"TTYPE{i}"]: header.get(f"TUCD{i}") for i in range(1, header["TFIELDS"] + 1)}
    assert (ucds["ra"], ucds["dec"]) == ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main")
    fields = {field.name: field.metadata for field in truth.table.schema}
    assert fields["ra"][b"unit"] == b"deg"
    assert all(field[b"description"] for field in fields.values())
