"""Presets on the real files there are: as they are, and pixels whose headers were lost under written ones."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning

from galflow.errors import DataError
from galflow.spec.run import SurveySpec
from galflow.surveys.base import Survey
from tests.galflow.surveys import survey_files as written
from tests.galflow.surveys.test_presets import aperture, faults, opened

DATA = Path(os.environ.get("GALFLOW_DATA", Path(__file__).parents[3].parent / "shared" / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are not at {DATA}")
MAD = 1.482602
JWST = DATA / "jwst_i2d_stamp" / "jw01324001001-01324-o001_t001_nircam_clear-f200w_i2d_stamp.fits"
HSC = DATA / "hsc_cosmos_patch"
Read = Callable[[Path], tuple[Survey, str, np.ndarray, float]]


def _vista(root: Path) -> tuple[Survey, str, np.ndarray, float]:
    """Three frames as they are, in the folder they lie in."""
    pixels = fits.getdata(DATA / "viking_H_frames" / "image_1.fits", 1)
    return opened("vista", DATA / "viking_H_frames"), "H", pixels, written.njy_per_count(30.0)


def _sdss(root: Path) -> tuple[Survey, str, np.ndarray, float]:
    """A part of a frame as it is, under the frame's name."""
    (root / "frame-r-002125-1-0018.fits").symlink_to(DATA / "sdss_frame" / "SDSS_r.fits")
    return opened("sdss", root), "r", fits.getdata(DATA / "sdss_frame" / "SDSS_r.fits"), 3631.0


def _jwst(root: Path) -> tuple[Survey, str, np.ndarray, float]:
    """A stamp of SCI alone, under its mosaic's name; the nJy of a pixel by PIXAR_SR."""
    (root / JWST.name.replace("_stamp", "")).symlink_to(JWST)
    pixels, header = fits.getdata(JWST, header=True)
    return opened("jwst", root, noise="sky"), "f200w", pixels, 1e15 * header["PIXAR_SR"]


def _euclid(root: Path) -> tuple[Survey, str, np.ndarray, float]:
    """A stamp of four bands, its extensions each a file as in a mosaic: flux and RMS with their own headers."""
    with fits.open(DATA / "euclid_q1_stamp" / "group.fits") as hdus:
        for band in ("VIS", "NIR_Y", "NIR_J", "NIR_H"):
            name, rest = band.replace("_", "-"), "TILE102018211-5EBF45_20241018T001123.1Z_00.00.fits"
            flux, rms = hdus[f"{band}_FLUX"], hdus[f"{band}_RMS"]
            fits.writeto(root / f"EUC_MER_BGSUB-MOSAIC-{name}_{rest}", flux.data, flux.header)
            fits.writeto(root / f"EUC_MER_MOSAIC-{name}-RMS_{rest}", rms.data, rms.header)
        pixels = hdus["VIS_FLUX"].data.copy()
    return opened("euclid", root, mask="none"), "vis", pixels, written.njy_per_count(24.6)


def _kids(root: Path) -> tuple[Survey, str, np.ndarray, float]:
    """Real pixels whose header was lost, under a written one."""
    pixels = fits.getdata(DATA / "kids_viking_tile" / "r.fits", 1)
    head = written.header(0.2, INSTRUME="OMEGACAM", PHOTZP=0.0)
    fits.writeto(root / "KiDS_DR5.0_150.1_2.2_r_sci.fits", pixels, head)
    return opened("kids", root, noise="sky", mask="none"), "r", pixels, 3631e9


def _hsc(root: Path) -> tuple[Survey, str, np.ndarray, float]:
    """Real pixels whose header, mask and variance were lost, under written ones."""
    pixels = fits.getdata(HSC / "I-10054-0,2-c1_scarlet_img.fits")
    mask = fits.Header({f"HIERARCH MP_{name}": bit for name, bit in (("BAD", 0), ("SAT", 1), ("NO_DATA", 8))})
    written.write(
        root / "calexp-HSC-I-10054-0,2.fits",
        fits.PrimaryHDU(header=fits.Header({"FLUXMAG0": 10 ** (0.4 * 27.0)})),
        fits.ImageHDU(pixels, written.header(0.168)),
        fits.ImageHDU(np.zeros(pixels.shape, np.int32), mask),
    )
    return opened("hsc", root, noise="sky"), "i", pixels, written.njy_per_count(27.0)


REAL: dict[str, Read] = {
    "euclid": _euclid, "hsc": _hsc, "jwst": _jwst, "kids": _kids, "sdss": _sdss, "vista": _vista,
}  # fmt: skip
kinds = pytest.mark.parametrize("kind", sorted(REAL))


@kinds
def test_the_brightest_objects_agree_with_an_aperture_on_the_file(kind: str, tmp_path: Path) -> None:
    survey, band, stored, njy = REAL[kind](tmp_path)
    tile = survey.tiles()[0]
    image = survey.read(tile, band)
    table = survey.catalog(tile, {band: image}).to_pandas()
    assert len(table) > 15
    inside = table[
        (table.x > 40) & (table.y > 40) & (table.x < stored.shape[1] - 41) & (table.y < stored.shape[0] - 41)
    ]
    compared = 0
    for _, row in inside.nlargest(20, f"flux_{band}").iterrows():
        y, x = int(row.y), int(row.x)
        window = (slice(y - 40, y + 41), slice(x - 40, x + 41))
        there = aperture(stored[window].astype(np.float64), 40, 40, radius=10.0) * njy
        here = aperture(image.flux[window].astype(np.float64), 40, 40, radius=10.0)
        if there > 0:
            compared += 1
            assert abs(2.5 * math.log10(here / there)) < 0.01
    assert compared >= 10


def difference_noise(pixels: np.ndarray) -> float:
    """Sigma of a pixel by the differences of neighbours: right where their noise is independent."""
    apart = pixels[:, 1:].astype(np.float64) - pixels[:, :-1]
    return float(MAD * np.nanmedian(np.abs(apart - np.nanmedian(apart))) / math.sqrt(2))


def test_the_made_variance_of_a_real_frame_is_the_scatter_of_its_pixels(tmp_path: Path) -> None:
    survey, band, stored, njy = _sdss(tmp_path)
    image = survey.read(survey.tiles()[0], band)
    assert np.median(image.ivar**-0.5) == pytest.approx(difference_noise(stored) * njy, rel=0.05)


def test_a_euclid_stamp_has_its_noise_and_no_data_where_it_says(tmp_path: Path) -> None:
    survey, *_ = _euclid(tmp_path)
    assert survey.bands == ("vis", "y", "j", "h")
    (tile,) = survey.tiles()
    with fits.open(DATA / "euclid_q1_stamp" / "group.fits") as hdus:
        for band, zero_point in (("vis", 24.6), ("y", 29.8), ("j", 30.0), ("h", 29.9)):
            name = "VIS" if band == "vis" else f"NIR_{band.upper()}"
            image, rms = survey.read(tile, band), hdus[f"{name}_RMS"].data.astype(np.float64)
            assert hdus[f"{name}_FLUX"].header["MAGZERO"] == zero_point
            np.testing.assert_array_equal(image.ivar == 0, rms > 1e15)
            good = rms < 1e15
            sigma = rms[good] * written.njy_per_count(zero_point)
            np.testing.assert_allclose(image.ivar[good], sigma**-2.0, rtol=1e-4)
    assert faults(SurveySpec(kind="euclid", options={"root": str(tmp_path), "mask": "none"})) == ([], [])


def test_the_solid_angle_of_a_jwst_pixel_is_that_of_its_header(tmp_path: Path) -> None:
    _, band, stored, njy = _jwst(tmp_path)
    plain = opened("jwst", tmp_path, noise="sky", background="none")
    image = plain.read(plain.tiles()[0], band)
    np.testing.assert_array_equal(np.isnan(image.flux), np.isnan(stored))
    # 2.23e-14 sr is nominal; the WCS's own pixel is 0.17% smaller.
    assert np.nanmedian(image.flux / stored) / njy == pytest.approx(1.0, abs=0.003)
    whole = opened("jwst", tmp_path)
    with pytest.raises(DataError, match="has no extension 'ERR'"):
        whole.read(whole.tiles()[0], band)


def test_vista_frames_have_their_seeing_and_lie_where_zpn_says(tmp_path: Path) -> None:
    survey, *_ = _vista(tmp_path)
    assert faults(SurveySpec(kind="vista", options={"root": str(DATA / "viking_H_frames")})) == ([], [])
    assert [tile.name for tile in survey.tiles()] == ["image_1", "image_2", "image_6"]
    for tile in survey.tiles():
        image = survey.read(tile, "H")
        header = fits.getheader(DATA / "viking_H_frames" / f"{tile.name}.fits", 1)
        assert image.psf.fwhm_arcsec == pytest.approx(header["SEEING"] * image.pixel_scale_arcsec)
        places = np.array([[0.0, 0.0], [1800.0, 900.0]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)  # RADECSYS is an old name
            expected = WCS(header).all_pix2world(places, 0)
        np.testing.assert_allclose(image.wcs.all_pix2world(places, 0), expected, atol=1e-9)


def test_real_files_of_one_survey_are_foreign_to_another(tmp_path: Path) -> None:
    for kind in ("sdss", "vista"):
        (tmp_path / kind).mkdir()
    (tmp_path / "sdss" / "frame-r-000001-1-0001.fits").symlink_to(JWST)
    (tmp_path / "vista" / "image_9.fits").symlink_to(DATA / "sdss_frame" / "SDSS_r.fits")
    for kind, name, reason in (
        ("sdss", "frame-r-000001-1-0001.fits", "has none of ORIGIN = .*INSTRUME = 'NIRCAM'"),
        ("vista", "image_9.fits", "has none of INSTRUME = .*TELESCOP = '2.5m', ORIGIN = 'SDSS'"),
    ):
        survey = opened(kind, tmp_path / kind, bands=["r" if kind == "sdss" else "H"])
        with pytest.raises(DataError, match=f"{name} is not .*{reason}"):
            survey.read(survey.tiles()[0], survey.bands[0])
