"""One run over files as people have them: a tile's bands, noise and PSFs as extensions of one file, against stamps of
mixed sizes and scales with named arrays; what it published is compared with the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import galflow as api
from galflow.cutouts.cut import PREPARED
from tests.flows.conftest import Finished, RunToItsEnd

BANDS = ("v", "y")
SIGMA = {"v": 1.0, "y": 2.0}
SIZE = 16


def _header(scale_arcsec: float, side: int) -> fits.Header:
    return fits.Header({
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0,
        "CRPIX1": (side + 1) / 2, "CRPIX2": (side + 1) / 2,
        "CDELT1": -scale_arcsec / 3600, "CDELT2": scale_arcsec / 3600, "BUNIT": "nJy",
    })  # fmt: skip


def _blob(shape: tuple[int, int], x: float, y: float, flux: float, sigma: float) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return flux / (2 * np.pi * sigma**2) * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))


def _tile(path: Path) -> None:
    """A grid of sources in two bands, each with its noise and its PSF; a row of pixels has no data."""
    side, rng = 200, np.random.default_rng(1)
    places = [(x, y) for x in range(20, 190, 17) for y in range(20, 190, 17)]
    hdus: list[Any] = [fits.PrimaryHDU()]
    for number, band in enumerate(BANDS):
        sigma = np.full((side, side), SIGMA[band], np.float32)
        pixels = rng.normal(0, SIGMA[band], (side, side)) + sum(
            _blob((side, side), x, y, 600.0 * (number + 1), 1.8) for x, y in places
        )
        sigma[100], pixels[100] = 1e16, 0
        psf = _blob((21, 21), 10, 10, 3.0, 1.5 + number)
        name = {"v": "VIS", "y": "NIR_Y"}[band]
        hdus += [
            fits.ImageHDU(pixels.astype(np.float32), _header(0.2, side), name=f"{name}_FLUX"),
            fits.ImageHDU(sigma, name=f"{name}_RMS"),
            fits.ImageHDU(psf.astype(np.float32), name=f"{name}_PSF"),
        ]
    fits.HDUList(hdus).writeto(path)


def _stamps(folder: Path, count: int = 30) -> None:
    """NPZ files of 12 to 30 pixels of half the scale."""
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng([2, number])
        height, width = rng.integers(24, 60, 2)
        images = np.stack([
            rng.normal(0, SIGMA[b] / 2, (height, width)) + _blob((height, width), width // 2, height // 2, 700.0, 3.6)
            for b in BANDS
        ])  # fmt: skip
        weights = np.stack([np.full((height, width), (SIGMA[b] / 2) ** -2) for b in BANDS])
        np.savez(folder / f"{number + 1000}.npz", images=images, weights=weights)


@pytest.fixture(scope="module")
def finished(run_to_its_end: RunToItsEnd, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("layouts")
    (folder / "tiles").mkdir()
    _tile(folder / "tiles" / "A.fits")
    _stamps(folder / "stamps")
    names = {"v": "VIS", "y": "NIR_Y"}
    survey = {
        "root": str(folder / "tiles"),
        "bands": {band: f"{{tile}}.fits[{name}_FLUX]" for band, name in names.items()},
        "weight": {"pattern": "{tile}.fits", "extension": {b: f"{n}_RMS" for b, n in names.items()}, "kind": "sigma"},
        "psf": {"pattern": {band: f"{{tile}}.fits[{name}_PSF]" for band, name in names.items()}},
        "unit": "bunit",
        "background": "none",
    }
    stamps = {
        "root": str(folder / "stamps"),
        "pattern": "*.npz",
        "bands": list(BANDS),
        "array": "images",
        "weight": {"array": "weights"},
        "unit": "nJy",
        "pixel_scale_arcsec": 0.1,
        "resample_arcsec": 0.2,
        "crop": SIZE,
        "pad": True,
        "id_pattern": r"(\d+)\.",
        "psf_fwhm_arcsec": 0.7,
    }
    return run_to_its_end(folder, {
        "name": "layouts",
        "survey": {"kind": "fits_tiles", "name": "mef", "release": "1", "options": survey},
        "cutouts": {"size": SIZE, "bands": list(BANDS)},
        "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 3}}],
        "training": {"reference_fraction": 0.3},
        "comparison": {"controls": [],
            "bootstraps": 50,
            "samples": [{"name": "mixed", "survey": {"kind": "stamps", "name": "mixed", "options": stamps}}],
        },
        "cluster": {"workers": 1},
    })  # fmt: skip


def test_bands_noise_and_psfs_of_one_file_are_published_as_they_stand(finished: Finished) -> None:
    catalog = finished.catalog
    rows = [row for row in catalog.to_pylist() if row["survey"] == "mef"]
    assert len(rows) >= 90
    run = api.open_run(f"{finished.root}/runs/{finished.manifest.run}")
    with fits.open(Path(finished.document["survey"]["options"]["root"]) / "A.fits") as hdus:
        row = next(r for r in rows if 103 < r["y"] < 107 and 40 < r["x"] < 160)
        cutout = run.cutout(row["object_id"])
        x, y = round(row["x"]) - SIZE // 2, round(row["y"]) - SIZE // 2
        for number, name in enumerate(("VIS", "NIR_Y")):
            part = (slice(y, y + SIZE), slice(x, x + SIZE))
            stored, sigma = hdus[f"{name}_FLUX"].data[part], hdus[f"{name}_RMS"].data[part]
            np.testing.assert_allclose(cutout.flux[number], np.where(sigma < 1e15, stored, np.nan), rtol=1e-6)
            np.testing.assert_allclose(cutout.ivar[number], np.where(sigma < 1e15, sigma, np.inf) ** -2.0, rtol=1e-6)
        (cut,) = finished.receipts("cutouts/mef/")
        psf = api.open_cutouts(f"{finished.root}/{cut.product}")["psf"].values
        for number, name in enumerate(("VIS", "NIR_Y")):
            stored = hdus[f"{name}_PSF"].data
            np.testing.assert_allclose(psf[number], stored / stored.sum(), rtol=1e-5)


def test_stamps_of_mixed_sizes_are_brought_to_one_and_counted(finished: Finished) -> None:
    (receipt,) = finished.receipts("cutouts/mixed/")
    cutouts = api.open_cutouts(f"{finished.root}/{receipt.product}")
    told = cutouts.attrs[PREPARED]
    assert told == receipt.details[PREPARED]
    root = Path(finished.document["comparison"]["samples"][0]["survey"]["options"]["root"])
    native = {int(path.stem): np.load(path)["images"] for path in root.glob("*.npz")}
    sides = np.array([image.shape[1:] for image in native.values()])
    assert (told["images"], told["resampled"], told["unreadable"]) == (30, 30, 0)
    assert told["native_yx"] == [sides.min(axis=0).tolist(), sides.max(axis=0).tolist()]
    assert told["made_yx"] == [[SIZE, SIZE], [SIZE, SIZE]]
    assert 0 < told["padded"] < 30
    assert 0 < told["cropped"] <= 30
    for row, number in enumerate(cutouts["object_id"].values.tolist()):
        flux, ivar = cutouts["flux"].values[row], cutouts["ivar"].values[row]
        image = native[number]
        y, x = image.shape[1] // 2, image.shape[2] // 2
        # Of twice the side, a pixel has one whole pixel, four halves and four quarters of them.
        weights = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])
        np.testing.assert_allclose(
            flux[:, 8, 8], (image[:, y - 1 : y + 2, x - 1 : x + 2] * weights).sum(axis=(1, 2)), rtol=1e-4
        )
        expected = [(SIGMA[b] / 2) ** -2 / (weights**2).sum() for b in BANDS]
        np.testing.assert_allclose(ivar[:, 8, 8], expected, rtol=1e-5)
        if min(image.shape[1:]) < 30:
            assert (ivar == 0).any()
            assert (np.isnan(flux) | (flux == 0))[ivar == 0].all()
