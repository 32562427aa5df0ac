"""Every survey known by one word, on files after its published data model, against astropy reading them plainly."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError
from galflow.runs.check_survey import check_survey
from galflow.spec.form import run_schema
from galflow.spec.run import CutoutSpec, SurveySpec
from galflow.surveys.base import Image, Plane, Survey
from galflow.surveys.preset import Preset
from galflow.surveys.resolve import open_survey, survey_kinds, survey_options
from tests.galflow.surveys import survey_files as written

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(4000)


@dataclass(frozen=True)
class Plain:
    """How a person would read a survey's band with astropy alone."""

    band: str
    image: str
    """Glob of its file."""
    extension: int | str
    njy: Callable[[fits.Header], float]
    """nJy of one stored count, from the header of the image and of the file's first HDU."""
    noise: tuple[str, int | str, Callable[[np.ndarray], np.ndarray]] | None = None
    """(glob of the file, extension, pixels -> variance in stored units)."""
    planes: Mapping[str, Plane | int] | None = None
    """Plane that the generator set -> what galflow makes of it; None: there is no mask."""
    scale_arcsec: float = 0.0
    fwhm_arcsec: float | None = None


def _card(card: str) -> Callable[[fits.Header], float]:
    return lambda header: 3631e9 * 10 ** (-0.4 * header[card])


COADD = {
    **{"BAD": Plane.BAD, "SAT": Plane.SATURATED, "CR": Plane.INTERPOLATED, "INTRP": Plane.INTERPOLATED},
    **{"NO_DATA": Plane.NO_DATA, "EDGE": Plane.EDGE, "DETECTED": 0, "BRIGHT": Plane.BRIGHT_STAR},
}
STARS = {"BAD": Plane.BAD, "SAT": Plane.SATURATED, "BRIGHT": Plane.BRIGHT_STAR, "DETECTED": 0, "CR": 0, "EDGE": 0}
DES = STARS | {"CR": Plane.COSMIC_RAY, "INTRP": Plane.INTERPOLATED, "EDGE": Plane.EDGE}
PLAIN = {
    "hsc": Plain("r", "**/calexp-HSC-R-*.fits", 1, lambda h: 3631e9 / h["FLUXMAG0"], ("**/calexp-HSC-R-*.fits", 3, abs),
                 COADD, 0.168),
    "legacy": Plain("z", "**/*-image-z.fits.fz", 1, lambda h: 3631.0, ("**/*-invvar-z.fits.fz", 1, lambda w: 1 / w),
                    STARS | {"SAT": 0, "BAD": 0}, 0.262, 1.3),
    "kids": Plain("g", "KiDS*_g_sci.fits", 0, lambda h: 3631e9, None, STARS, 0.2, 0.7),
    "vista": Plain("H", "*.fits", 1, _card("MAGZPT"), None, None, 0.339, 2.2 * 0.339),
    "jwst": Plain("f277w", "*f277w_i2d.fits", "SCI", lambda h: 1e15 * h["PIXAR_SR"],
                  ("*f277w_i2d.fits", "ERR", np.square), None, 0.031),
    "euclid": Plain("h", "**/*BGSUB-MOSAIC-NIR-H_*.fits", 0, _card("MAGZERO"),
                    ("**/*MOSAIC-NIR-H-RMS_*.fits", 0, np.square), {"BAD": Plane.BAD, "SAT": Plane.BAD, "CR": 0}, 0.1),
    "des": Plain("g", "**/*_g.fits.fz", "SCI", _card("MAGZERO"), ("**/*_g.fits.fz", "WGT", lambda w: 1 / w),
                 DES, 0.263),
    "lsst": Plain("r", "*_r_*.fits", "IMAGE", lambda h: 1.0, ("*_r_*.fits", "VARIANCE", abs), COADD, 0.2),
    "sdss": Plain("g", "frame-g-*.fits.bz2", 0, lambda h: 3631.0, None, None, 0.396),
}  # fmt: skip
kinds = pytest.mark.parametrize("kind", sorted(PLAIN))


def opened(kind: str, root: Path, **options: Any) -> Survey:
    return open_survey(SurveySpec(kind=kind, options={"root": str(root), **options}))


def make(kind: str, root: Path, **changed: Any) -> Survey:
    getattr(written, kind)(root, seed=3, **changed)
    return opened(kind, root)


def faults(survey: SurveySpec) -> tuple[list[str], list[str]]:
    """(what refuses a run, what is said)."""
    refused, said = list[str](), list[str]()
    check_survey(survey, CutoutSpec(size=16), "survey", refused, said)
    return refused, said


def plainly(root: Path, glob: str, extension: int | str) -> tuple[np.ndarray, fits.Header]:
    """Pixels as float64, and the header with that of the file's first HDU below it."""
    (path,) = root.glob(glob)
    with fits.open(path) as hdus:
        header = hdus[0].header.copy() if len(hdus) > 1 else fits.Header()
        header.update(hdus[extension].header)
        return np.array(hdus[extension].data, np.float64), header


def read(kind: str, root: Path, survey: Survey | None = None) -> Image:
    survey = survey or opened(kind, root)
    (tile,) = survey.tiles()
    return survey.read(tile, PLAIN[kind].band)


def test_every_preset_is_held_to_this() -> None:
    assert {name for name, kind in survey_kinds().items() if issubclass(kind, Preset)} == set(PLAIN)


@kinds
def test_pixels_are_those_of_the_file_in_njy(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path)
    plain = PLAIN[kind]
    pixels, header = plainly(tmp_path, plain.image, plain.extension)
    image = read(kind, tmp_path, opened(kind, tmp_path, background="none"))
    assert image.unit == "nJy"
    np.testing.assert_allclose(image.flux, pixels * plain.njy(header), rtol=2e-5, atol=1e-3)
    by_default = read(kind, tmp_path)  # what is left of a sky level is taken off, where the survey leaves one
    assert abs(np.nanmedian(by_default.flux - image.flux)) < 0.5 * written.SKY_SIGMA_NJY


@kinds
def test_pixels_lie_where_the_wcs_of_the_header_says(kind: str, tmp_path: Path) -> None:
    survey = make(kind, tmp_path)
    plain = PLAIN[kind]
    _, header = plainly(tmp_path, plain.image, plain.extension)
    image = read(kind, tmp_path)
    places = np.array([[0.0, 0.0], [169.0, 0.0], [20.5, 149.0]])
    np.testing.assert_allclose(image.wcs.all_pix2world(places, 0), WCS(header).all_pix2world(places, 0), atol=1e-10)
    assert image.pixel_scale_arcsec == pytest.approx(plain.scale_arcsec, rel=1e-4)
    assert survey.pixel_scale_arcsec == pytest.approx(plain.scale_arcsec, rel=1e-3)


@kinds
def test_the_noise_is_the_surveys(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path)
    plain, image = PLAIN[kind], read(kind, tmp_path)
    if plain.noise is None:
        assert (image.ivar is not None) == (kind in ("kids", "sdss"))  # tested on their own below
        return
    _, header = plainly(tmp_path, plain.image, plain.extension)
    glob, extension, variance_of = plain.noise
    with np.errstate(divide="ignore"):
        variance = variance_of(plainly(tmp_path, glob, extension)[0]) * plain.njy(header) ** 2
    lost = ~np.isfinite(variance) | (variance > 1e20)
    assert lost.any() or kind == "lsst"
    np.testing.assert_array_equal(image.ivar == 0, lost)
    np.testing.assert_allclose(image.ivar[~lost], 1 / variance[~lost], rtol=1e-4)
    assert opened(kind, tmp_path, noise="sky").read(opened(kind, tmp_path).tiles()[0], plain.band).ivar is None


@kinds
def test_the_mask_is_the_surveys(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path)
    plain, image = PLAIN[kind], read(kind, tmp_path)
    if plain.planes is None:
        assert image.mask is None
        return
    expected = np.zeros(written.SHAPE, np.uint16)
    for name, where in written.bad_pixels().items():
        expected[where] = plain.planes.get(name, 0)
    np.testing.assert_array_equal(image.mask, expected)
    bare = opened(kind, tmp_path, mask="none")
    assert bare.read(bare.tiles()[0], plain.band).mask is None


@kinds
def test_the_psf_is_what_the_files_say(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path)
    psf, expected = read(kind, tmp_path).psf, PLAIN[kind].fwhm_arcsec
    assert (None if psf is None else psf.fwhm_arcsec) == (
        None if expected is None else pytest.approx(expected, rel=1e-4)
    )


def aperture(pixels: np.ndarray, row: int, column: int, radius: float = 8.0) -> float:
    """Sum within a circle, less the median of a ring around it."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    distance = np.hypot(y - row, x - column)
    inside, ring = distance <= radius, (distance > 1.5 * radius) & (distance < 2.5 * radius)
    return float(np.nansum(pixels[inside]) - np.nanmedian(pixels[ring]) * inside.sum())


@kinds
def test_magnitudes_of_stars_agree_with_an_aperture_on_the_file(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path)
    plain, image = PLAIN[kind], read(kind, tmp_path)
    pixels, header = plainly(tmp_path, plain.image, plain.extension)
    for number, (row, column) in enumerate(written.STARS):
        there = aperture(pixels, row, column) * plain.njy(header)
        here = aperture(image.flux.astype(np.float64), row, column)
        assert abs(2.5 * math.log10(here / there)) < 0.01
        assert abs(2.5 * math.log10(here / written.star_njy(number))) < 0.02


@kinds
def test_each_star_is_detected_where_it_is(kind: str, tmp_path: Path) -> None:
    survey = make(kind, tmp_path)
    (tile,) = survey.tiles()
    table = survey.catalog(tile)
    found = np.column_stack([table["y"].to_numpy(), table["x"].to_numpy()])
    np.testing.assert_allclose(found[np.lexsort(found.T)], sorted(written.STARS, key=lambda p: p[1]), atol=0.2)
    assert survey.catalog_columns == set(table.column_names)
    assert faults(SurveySpec(kind=kind, options={"root": str(tmp_path)})) == ([], [])


@kinds
def test_a_picture_under_the_surveys_name_is_refused(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path)
    (path,) = tmp_path.glob(PLAIN[kind].image)
    path.write_bytes(PNG)
    survey = opened(kind, tmp_path, bands=[PLAIN[kind].band])
    with pytest.raises(DataError, match=rf"{path.name} is not {_words(kind)}: .*\. Expected .*; take it out of root"):
        survey.read(survey.tiles()[0], PLAIN[kind].band)
    refused, _ = faults(SurveySpec(kind=kind, options={"root": str(tmp_path), "bands": [PLAIN[kind].band]}))
    assert path.name in refused[0]
    assert "survey.options.root: a file of band" in refused[0]


@kinds
def test_a_file_of_another_survey_is_refused(kind: str, tmp_path: Path) -> None:
    make(kind, tmp_path / "own")
    other = "des" if kind == "euclid" else "euclid"
    make(other, tmp_path / "other")
    (path,) = (tmp_path / "own").glob(PLAIN[kind].image)
    (foreign,) = (tmp_path / "other").glob(PLAIN[other].image)
    shutil.copy(foreign, path)
    survey = opened(kind, tmp_path / "own", bands=[PLAIN[kind].band])
    with pytest.raises(DataError, match=rf"{path.name} is not {_words(kind)}: .*\. Expected "):
        survey.read(survey.tiles()[0], PLAIN[kind].band)


def _words(kind: str) -> str:
    return survey_kinds()[kind].model.product.replace("(", r"\(").replace(")", r"\)")  # type: ignore[attr-defined]


@kinds
def test_a_folder_without_the_surveys_files_says_what_was_expected(kind: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(PNG)
    with pytest.raises(SpecError, match=rf"no file below .* is named as {_words(kind)} of bands .*; expected such as"):
        opened(kind, tmp_path).tiles()


@kinds
def test_an_unknown_band_is_refused_with_those_there_are(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"survey.options.bands: 'nonesuch' is no band of .*; expected some of"):
        opened(kind, tmp_path, bands=["nonesuch"])


@kinds
def test_one_word_and_a_root_are_enough_and_the_form_shows_the_rest(kind: str) -> None:
    definition = run_schema(survey_options(), {})["$defs"][survey_options()[kind].__name__]
    assert definition["required"] == ["root"]
    assert {"bands", "noise", "mask", "psf", "background", "catalog", "detection"} <= set(definition["properties"])
    assert len(definition["properties"]) <= 10
    assert all(field.get("description") for field in definition["properties"].values())
