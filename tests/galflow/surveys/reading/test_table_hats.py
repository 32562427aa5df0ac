"""Of a HATS catalogue of the whole sky the partitions near tiles are read, and no row in a tile is missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from scipy.spatial import cKDTree

from galflow.runs.plan_cutouts import plan_cutouts
from galflow.spec.run import parse_spec
from galflow.storage.store import Store
from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.reading import table_hats
from galflow.surveys.reading.fits_options import FitsTilesOptions
from galflow.surveys.reading.healpix import pixel_centres, pixel_reach_deg
from galflow.surveys.reading.places import Place
from galflow.surveys.reading.positions import unit_vectors
from galflow.surveys.reading.tables import read_catalog, rows_inside, with_positions

COLUMNS = {"object_id": "ID", "ra_deg": "RA", "dec_deg": "DEC"}


def test_healpix_centres_are_those_of_astropy_healpix() -> None:
    """astropy_healpix 1.1: HEALPix(32, order="nested").healpix_to_lonlat; radii by its boundaries_lonlat."""
    centres = {0: (45.0, 1.1937484371), 777: (43.3928571429, 48.1412077944), 4000: (286.5789473684, 61.9438370232),
               9999: (135.0, -31.3881664643), 12287: (315.0, -1.1937484371)}  # fmt: skip
    found = pixel_centres(5, np.array(list(centres)))
    np.testing.assert_allclose(found, unit_vectors(*np.array(list(centres.values())).T), atol=1e-11)
    for order, reach in ((0, 48.189685104), (1, 27.585653018), (3, 7.472826997)):
        assert pixel_reach_deg(order) == pytest.approx(reach, rel=1e-9)


@pytest.mark.parametrize("order", [0, 2, 7])
def test_every_place_lies_within_reach_of_a_pixel(order: int) -> None:
    centres = pixel_centres(order, np.arange(12 << 2 * order))
    np.testing.assert_allclose(centres.sum(axis=0), 0, atol=1e-9)
    random = np.random.default_rng(1).normal(size=(500, 3))
    random /= np.linalg.norm(random, axis=1)[:, None]
    apart = cKDTree(centres).query(random)[0]
    assert np.rad2deg(2 * np.arcsin(apart / 2)).max() <= pixel_reach_deg(order)
    nearest = np.rad2deg(2 * np.arcsin(cKDTree(centres).query(centres, 2)[0][:, 1].min() / 2))
    assert nearest > 0.5 * pixel_reach_deg(order)


ORDER = 3


def all_sky(folder: Path, near: tuple[float, float], rng: np.random.Generator) -> dict[str, int]:
    """20,000 rows over the sky and 400 about a place, in the partitions of HEALPix order 3: file -> rows."""
    z, about = rng.uniform(-1, 1, 20_000), rng.uniform(-0.02, 0.02, (2, 400))
    ra = np.r_[rng.uniform(0, 360, len(z)), near[0] + about[0]]
    dec = np.r_[np.rad2deg(np.arcsin(z)), near[1] + about[1]]
    pixels = cKDTree(pixel_centres(ORDER, np.arange(12 << 2 * ORDER))).query(unit_vectors(ra, dec))[1]
    found = {}
    for pixel in np.unique(pixels):
        mine = pixels == pixel
        path = folder / f"dataset/Norder={ORDER}/Dir=0/Npix={pixel}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"ID": np.flatnonzero(mine) + 1, "RA": ra[mine], "DEC": dec[mine], "flux": z[:1].repeat(mine.sum())}
        pq.write_table(pa.table(rows), path)
        found[path.name] = int(mine.sum())
    return found


@pytest.mark.parametrize("tiles", [{"r": "{tile}.fits"}, {"r": "a.fits"}], ids=["of a survey", "of its one tile"])
def test_of_a_hats_catalogue_the_partitions_near_tiles_are_read(
    tiles: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.2, "CRPIX1": 100})
    header.update({"CRPIX2": 100, "CDELT1": -5e-5, "CDELT2": 5e-5})
    fits.PrimaryHDU(np.ones((200, 200), np.float32), header).writeto(tmp_path / "a.fits")
    files = all_sky(tmp_path / "sky_hats", (150.0, 2.2), np.random.default_rng(4))
    options = {"root": str(tmp_path), "bands": tiles, "catalog": {"path": "sky_hats", "columns": COLUMNS}}
    opened = []
    read = table_hats.read_parquet_table
    monkeypatch.setattr(
        table_hats, "read_parquet_table", lambda data, uri, head: (opened.append(uri), read(data, uri, head))[1]
    )
    survey = FitsTiles("s", "1", FitsTilesOptions.model_validate(options))
    (tile,) = survey.tiles()
    assert survey.inspect([tile]) == []
    rows = survey.catalog(tile)
    assert len(files) > 700
    assert 1 <= len(set(opened)) <= 9, "a pixel and those about it"
    whole = read_catalog(str(tmp_path / "sky_hats"), COLUMNS)
    inside = rows_inside(with_positions(whole, survey.footprint(tile).wcs), (200, 200))
    assert len(inside) > 20
    assert sorted(rows["object_id"].to_pylist()) == sorted(inside["object_id"].to_pylist())
    if survey.survey_catalog() is not None:
        kept = survey.survey_catalog()
        assert len(inside) < len(kept) < 2.5 * len(inside), "its circle"
        spec = parse_spec({"name": "n", "survey": {"kind": "fits_tiles", "options": options}, "cutouts": {"size": 16},
                           "models": [{"name": "k", "model": "kmeans.KMeans"}]})  # fmt: skip
        units = plan_cutouts(spec, spec.survey, Store.open(tmp_path / "store"))
        assert [(unit.name, len(unit.rows)) for unit in units] == [("a", len(inside))], "nothing is listed as outside"


def test_tiles_where_a_hats_catalogue_has_no_row_have_none(tmp_path: Path) -> None:
    all_sky(tmp_path / "sky_hats", (150.0, 2.2), np.random.default_rng(4))
    far = Place(tuple(unit_vectors(np.array(20.0), np.array(-40.0)).tolist()), 1e-6)
    read = read_catalog(str(tmp_path / "sky_hats"), COLUMNS, places=[far])
    assert read.num_rows == 0
    assert {"object_id", "ra_deg", "dec_deg", "flux"} <= set(read.column_names)
