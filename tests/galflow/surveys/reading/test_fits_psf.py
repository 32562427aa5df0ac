"""PSF files of a tile that tell how the PSF differs over it, down to the PSF that a model sees of each object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from pydantic import ValidationError

from galflow.batch import Batch
from galflow.cutouts.batches import BatchFields, ObjectReader
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import DataError
from galflow.photometry import LinearStretch
from galflow.spec.run import CutoutSpec
from galflow.storage.store import Store
from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.reading.fits_options import FitsTilesOptions

SIDE = 90
STRETCH = LinearStretch((1.0,), (1.0,))
PLACES = {1: (20.0, 20.0), 2: (70.0, 20.0), 3: (44.5, 44.5), 4: (20.0, 70.0)}
STAMPS = np.random.default_rng(3).uniform(0.1, 1, (2, 2, 7, 7))
UNIT = STAMPS / STAMPS.sum(axis=(2, 3), keepdims=True)


def survey(root: Path, **psf: Any) -> FitsTiles:
    pixels = np.random.default_rng(1).normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    fits.PrimaryHDU(pixels).writeto(root / "A_img.fits")
    (root / "A.csv").write_text("object_id,x,y\n" + "".join(f"{n},{x},{y}\n" for n, (x, y) in PLACES.items()))
    options = {"root": str(root), "bands": {"r": "{tile}_img.fits"}, "catalog": {"path": "{tile}.csv"}}
    options |= {"pixel_scale_arcsec": 0.2, "background": "none", "psf": psf}
    return FitsTiles("s", "1", FitsTilesOptions.model_validate(options))


def cut(made: FitsTiles, root: Path) -> CutoutSet:
    store = Store.open(str(root / "store"))
    (tile,) = made.tiles()
    assert made.inspect([tile]) == []
    receipt = cut_tile(store, made, tile, CutoutSpec(size=16), "f")
    assert receipt.outcome == "done", receipt.reasons
    return CutoutSet(store, receipt.product)


def seen(cutouts: CutoutSet) -> dict[int, np.ndarray]:
    """Object -> the PSF that a model sees."""
    contents = BatchFields(psf=True)
    rows = ObjectReader.of(cutouts, contents).read(slice(0, len(cutouts)))
    batch: Batch = rows.batch(STRETCH, contents)
    assert batch.psf is not None
    assert rows.row(2).batch(STRETCH, contents).psf is not None
    return dict(zip(cutouts.read("object_id").tolist(), batch.psf.numpy()[:, 0], strict=True))


def written(root: Path, kind: str) -> dict[str, Any]:
    """The four stamps as they may lie in a file, and the options that say so."""
    name = {"pattern": "{tile}_psf.fits"}
    if kind == "cube":
        fits.PrimaryHDU(STAMPS).writeto(root / "A_psf.fits")
        return name | {"extension": 0}
    if kind == "mosaic":
        fits.PrimaryHDU(STAMPS.swapaxes(1, 2).reshape(14, 14)).writeto(root / "A_psf.fits")
        return name | {"stamp_pixels": 7}
    columns = [fits.Column(axis, "D", array=values) for axis, values in
               (("XC", [23.0, 68, 23, 68]), ("YC", [23.0, 23, 68, 68]))]  # fmt: skip
    table = fits.BinTableHDU.from_columns(columns, name="POSITIONS")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(STAMPS.reshape(4, 7, 7), name="PSF"), table]).writeto(
        root / "A_psf.fits"
    )
    return name | {"extension": "PSF", "positions": "POSITIONS", "position_columns": ["XC", "YC"], "pixel_origin": 1}


@pytest.mark.parametrize("kind", ["cube", "mosaic", "table"])
@pytest.mark.parametrize("varies", ["cells", "grid"])
def test_each_object_has_the_psf_of_its_place(varies: str, kind: str, tmp_path: Path) -> None:
    cutouts = cut(survey(tmp_path, varies=varies, **written(tmp_path, kind)), tmp_path)
    np.testing.assert_allclose(cutouts.read("psf")[0], UNIT.mean(axis=(0, 1)), rtol=1e-5)
    assert cutouts.read("psf_stamps").shape == (4, 7, 7)
    found = seen(cutouts)
    np.testing.assert_allclose(found[1], UNIT[0, 0], rtol=1e-5)
    np.testing.assert_allclose(found[2], UNIT[0, 1], rtol=1e-5)
    np.testing.assert_allclose(found[4], UNIT[1, 0], rtol=1e-5)
    if varies == "grid":
        np.testing.assert_allclose(found[3], UNIT.mean(axis=(0, 1)), rtol=1e-5)


def test_a_cell_without_data_lends_its_neighbours_psf(tmp_path: Path) -> None:
    stamps = STAMPS.copy()
    stamps[1, 0] = 0
    fits.PrimaryHDU(stamps).writeto(tmp_path / "A_psf.fits")
    cutouts = cut(survey(tmp_path, varies="cells", pattern="{tile}_psf.fits", extension=0), tmp_path)
    np.testing.assert_allclose(seen(cutouts)[4], UNIT[0, 0], rtol=1e-5)


def test_a_map_of_fwhm_becomes_a_column_and_its_median(tmp_path: Path) -> None:
    sizes = np.full((SIDE, SIDE), 4.0, np.float32)
    sizes[:45, 45:] = 5.0
    sizes[60:, :30] = 0
    fits.PrimaryHDU(sizes).writeto(tmp_path / "A_size.fits")
    cutouts = cut(survey(tmp_path, varies="map", pattern="{tile}_size.fits", fwhm_unit="pixel"), tmp_path)
    known = cutouts.rows(["object_id", "psf_fwhm_r"]).to_pylist()
    found = {row["object_id"]: row["psf_fwhm_r"] for row in known}
    assert found[4] is None
    assert [found[n] for n in (1, 2, 3)] == pytest.approx([0.8, 1.0, 0.8], rel=1e-6)
    assert cutouts.attributes["psf_fwhm_arcsec"] == pytest.approx([0.8])
    assert cutouts.rows(["psf_fwhm_r"]).schema.field(0).metadata[b"unit"] == b"arcsec"


@pytest.mark.parametrize(
    ("stored", "options", "said"),
    [
        (
            np.ones((3, 7, 7)),
            {"varies": "cells", "extension": 0},
            "3 PSF stamps without rows and columns; give psf.pos",
        ),
        (
            np.ones((15, 14)),
            {"varies": "grid", "stamp_pixels": 7},
            "expected a cube of PSF stamps, or an image of stamps",
        ),
        (np.zeros((2, 2, 7, 7)), {"varies": "cells", "extension": 0}, "holds no PSF: the pixels of all 4 stamps sum"),
        (np.ones((2, 7, 7)), {"varies": "map", "extension": 0}, "a map of FWHM has two axes"),
    ],
)
def test_what_is_no_such_file_costs_the_band(
    stored: np.ndarray, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    fits.PrimaryHDU(stored).writeto(tmp_path / "A_psf.fits")
    made = survey(tmp_path, pattern="{tile}_psf.fits", **options)
    (tile,) = made.tiles()
    with pytest.raises(DataError, match=said):
        made.read(tile, "r")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"varies": "map", "fwhm_arcsec": 1.0}, "no file says how; give psf.pattern"),
        ({"pattern": "a", "positions": 1}, "psf.stamp_pixels and psf.positions go with varies"),
        ({"pattern": "a", "varies": "map", "fwhm_keyword": "SEEING"}, "leave out fwhm_arcsec and fwhm_keyword"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=said):
        survey(tmp_path, **options)
