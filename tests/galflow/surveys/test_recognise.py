"""Folders are recognised as what wrote them, by names and headers; what is mixed or unknown is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image as Picture

from galflow.errors import SpecError
from galflow.runs.explained import explain
from galflow.spec.run import SurveySpec
from galflow.surveys.preset import Preset
from galflow.surveys.recognise import recognise
from galflow.surveys.resolve import open_survey, survey_kinds
from tests.galflow.surveys import simulation_files as simulated
from tests.galflow.surveys import survey_files as written

PRESETS = {
    "hsc": (("i", "r"), 0.168), "legacy": (("r", "z"), 0.262), "kids": (("r", "g"), 0.2), "vista": (("H",), 0.339),
    "jwst": (("f200w", "f277w"), 0.031), "euclid": (("vis", "h"), 0.1), "des": (("r", "g"), 0.263),
    "lsst": (("i", "r"), 0.2), "sdss": (("r", "g"), 0.396),
}  # fmt: skip
"""Kind -> (bands, arcsec a pixel) of the files that survey_files writes."""


def test_every_preset_has_files_here() -> None:
    assert {kind for kind, survey in survey_kinds().items() if issubclass(survey, Preset)} == set(PRESETS)


@pytest.mark.parametrize("kind", PRESETS)
def test_a_survey_is_known_by_its_files(kind: str, tmp_path: Path) -> None:
    getattr(written, kind)(tmp_path)
    found = recognise(str(tmp_path))
    bands, scale = PRESETS[kind]
    assert (found.kind, found.bands, found.images, found.shape) == (kind, bands, len(bands), written.SHAPE)
    assert found.pixel_scale_arcsec == pytest.approx(scale, rel=1e-3)
    assert found.options == {"root": str(tmp_path)}, "nothing that its own files have is given up"
    survey = open_survey(SurveySpec(kind=found.kind, options=found.options))
    assert survey.inspect(survey.listed) == []


def test_what_was_not_fetched_is_told_and_done_without(tmp_path: Path) -> None:
    written.kids(tmp_path)
    for path in tmp_path.glob("*_wei.fits"):
        path.unlink()
    found = recognise(str(tmp_path))
    assert found.options == {"root": str(tmp_path), "noise": "sky"}
    assert any(s.startswith("noise: ") and "measured from the sky" in s for s in found.unknown)
    assert any(s.startswith("PSF: FWHM 0.70 arcsec") for s in found.known)


def test_what_else_lies_there_is_named(tmp_path: Path) -> None:
    written.des(tmp_path)
    written.write(tmp_path / "notes.fits", fits.ImageHDU(np.zeros((9, 9), np.float32)))
    assert any("notes.fits" in sentence for sentence in recognise(str(tmp_path)).unknown)


def test_files_of_two_surveys_are_named(tmp_path: Path) -> None:
    written.hsc(tmp_path)
    written.legacy(tmp_path)
    with pytest.raises(SpecError, match=r"several surveys \(hsc: .*calexp-HSC-I.*; legacy: .*image-r\.fits\.fz"):
        recognise(str(tmp_path))


def test_frames_of_two_filters_under_one_name_are_refused(tmp_path: Path) -> None:
    written.vista(tmp_path, tile="a_1")
    written.vista(tmp_path, tile="b_1", FILTER="J")
    with pytest.raises(SpecError, match=r"bands H, J under names that do not say the band"):
        recognise(str(tmp_path))


def image(path: Path, seed: int = 0, extensions: tuple[Any, ...] = (), **cards: Any) -> None:
    pixels = (written.sky_njy(seed) / written.njy_per_count(25.0)).astype(np.float32)
    written.write(path, fits.PrimaryHDU(pixels, written.header(0.2, **cards)), *extensions)


def test_an_unknown_survey_says_what_was_seen(tmp_path: Path) -> None:
    image(tmp_path / "coadd_r.fits", BUNIT="adu")
    with pytest.raises(
        SpecError, match=r"no zero point .*coadd_r\.fits: 0 PRIMARY \(150, 170\) BUNIT = adu.*fits_tiles"
    ):
        recognise(str(tmp_path))


@pytest.mark.parametrize("what", ["nothing", "texts", "nowhere"])
def test_a_folder_without_images_is_refused(what: str, tmp_path: Path) -> None:
    if what == "texts":
        (tmp_path / "readme.txt").write_text("x")
    folder = tmp_path / "none" if what == "nowhere" else tmp_path
    said = {"nothing": "no file lies below", "texts": "no FITS images and no pictures, but readme.txt"}
    with pytest.raises(SpecError, match=said.get(what, "no file lies below")):
        recognise(str(folder))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("field{tile}_{band}.fits", "{tile}_r.fits"),
        ("{tile}/coadd-{band}.fits", "{tile}/coadd-r.fits"),
        ("{band}/img_{tile}.fits", "r/img_{tile}.fits"),
        ("{tile}/{tile}_{band}_sci.fits", "{tile}/{tile}_r_sci.fits"),
    ],
)
def test_bands_and_tiles_are_guessed_from_names(name: str, pattern: str, tmp_path: Path) -> None:
    for tile in ("101", "202"):
        for seed, band in enumerate("gr"):
            image(tmp_path / name.replace("{tile}", tile).replace("{band}", band), seed, MAGZERO=25.0)
    found = recognise(str(tmp_path))
    assert (found.kind, found.bands) == ("fits_tiles", ("r", "g"))
    assert found.options["zero_point_keyword"] == "MAGZERO"
    assert found.options["bands"]["r"] == pattern
    survey = open_survey(SurveySpec(kind=found.kind, options=found.options))
    assert [(len(tile.bands), survey.inspect([tile])) for tile in survey.listed] == [(2, []), (2, [])]
    flux = survey.read(survey.listed[0], "r").flux
    assert float(flux[40, 50]) == pytest.approx(float(written.sky_njy(1)[40, 50]), rel=0.02)


@pytest.mark.parametrize("where", ["beside", "within"])
def test_weights_and_masks_are_found(where: str, tmp_path: Path) -> None:
    weight, mask = np.full(written.SHAPE, 4.0, np.float32), written.flags({"BAD": 0})
    cards = written.header(0.2)
    for tile in ("a1", "b2"):
        within = (fits.ImageHDU(weight, cards, name="IVAR"), fits.ImageHDU(mask, cards, name="MASK"))
        image(tmp_path / f"{tile}_r_img.fits", 0, within if where == "within" else (), BUNIT="nJy")
        if where == "beside":
            written.write(tmp_path / f"{tile}_r_ivar.fits", fits.PrimaryHDU(weight, cards))
            written.write(tmp_path / f"{tile}_r_mask.fits", fits.PrimaryHDU(mask, cards))
    found = recognise(str(tmp_path))
    assert found.options["weight"]["kind"] == "ivar"
    survey = open_survey(SurveySpec(kind=found.kind, options=found.options))
    assert survey.inspect(survey.listed) == []
    read = survey.read(survey.listed[0], "r")
    assert read.ivar is not None
    assert np.median(read.ivar) == pytest.approx(4.0)
    assert read.mask is not None
    assert (read.mask != 0).sum() == (mask != 0).sum()


def test_pictures_are_stamps(tmp_path: Path) -> None:
    for number in range(5):
        Picture.new("RGB", (150, 140), (number, 20, 30)).save(tmp_path / f"galaxy_{number}.png")
    found = recognise(str(tmp_path))
    assert (found.kind, found.bands, found.shape, found.ready_made) == ("stamps", ("r", "g", "b"), (46, 50), True)
    assert any(s.startswith("pixel scale: no picture says it") for s in found.unknown)
    survey = open_survey(SurveySpec(kind=found.kind, options=found.options))
    assert sum(len(survey.catalog(tile)) for tile in survey.listed) == 5


@pytest.mark.parametrize("tiles", [("one",), ("101", "202")])
def test_a_band_in_each_extension_is_known_by_its_name(tiles: tuple[str, ...], tmp_path: Path) -> None:
    """With the noise and the PSF of each band beside it, as in Euclid's stamps."""
    cards = written.header(0.1, BUNIT="nJy")
    for tile in tiles:
        hdus: list[Any] = [fits.PrimaryHDU()]
        for number, band in enumerate(("VIS", "NIR-Y")):
            hdus += [
                fits.ImageHDU(written.sky_njy(number).astype(np.float32), cards, name=f"{band}_FLUX"),
                fits.ImageHDU(np.full(written.SHAPE, 2.0 + number, np.float32), name=f"{band}_RMS"),
                fits.ImageHDU(np.outer(*[np.hanning(9 + 2 * number)] * 2).astype(np.float32), name=f"{band}_PSF"),
            ]
        written.write(tmp_path / f"field_{tile}.fits", *hdus)
    found = recognise(str(tmp_path))
    assert (found.kind, found.bands) == ("fits_tiles", ("vis", "nir_y"))
    told = explain(str(tmp_path / f"field_{tiles[0]}.fits")).used["bands"]
    assert told.startswith("vis: VIS_FLUX with weight VIS_RMS, psf VIS_PSF; nir_y: NIR-Y_FLUX with")
    assert any("mask: none was found" in text for text in found.unknown)
    survey = open_survey(SurveySpec(kind=found.kind, options=found.options | {"background": "none"}))
    assert len(survey.listed) == len(tiles)
    assert survey.inspect(survey.listed) == []
    for number, band in enumerate(found.bands):
        image_read = survey.read(survey.listed[0], band)
        np.testing.assert_allclose(image_read.flux, written.sky_njy(number), rtol=1e-6)
        assert image_read.ivar is not None
        np.testing.assert_allclose(image_read.ivar, (2.0 + number) ** -2)
        assert image_read.psf is not None
        assert image_read.psf.image is not None
        assert image_read.psf.image.shape == (9 + 2 * number,) * 2


def test_simulated_galaxies_are_told_with_the_sample_to_write(tmp_path: Path) -> None:
    """They are no survey of the sky: no specification that would run them as one is made up."""
    simulated.sunrise(tmp_path / "sunrise/broadband_7.fits")
    with pytest.raises(SpecError, match=r"Sunrise \(broadband_7\.fits, 2 cameras\).*kind: illustris, options"):
        recognise(str(tmp_path / "sunrise"))
    simulated.skirt(tmp_path / "skirt/m_i0_r.fits", "r", ORIGIN="SKIRT simulation")
    with pytest.raises(SpecError, match=r"SKIRT \(m_i0_r\.fits, BUNIT = AB mag/arcsec2\).*kind: skirt"):
        recognise(str(tmp_path / "skirt"))
