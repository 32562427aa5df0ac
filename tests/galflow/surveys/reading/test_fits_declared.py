"""What a FITS file declares about itself is meant; a wrong card, link or size costs no more than that."""

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_skycoord
from pydantic import ValidationError

from galflow.errors import ChangedError, DataError
from galflow.photometry import njy_per_count
from galflow.surveys.base import Plane
from galflow.surveys.fits_tiles import FitsTiles, FitsTilesOptions
from galflow.surveys.reading.positions import icrs_to_pixel, pixel_to_icrs

SHAPE = (60, 80)


def header(**cards) -> fits.Header:
    found = fits.Header()
    found.update(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 35.0, "CRPIX2": 30.0}
    )
    found.update({"CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600})
    for name, value in cards.items():
        if value is None:
            del found[name]
        else:
            found[name] = value
    return found


def noise(seed: int = 1, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, 2, shape).astype(np.float32)


def survey(root: Path, **options) -> FitsTiles:
    plain = {"bands": {"r": "{tile}.fits"}, "background": "none"}
    return FitsTiles("s", "1", FitsTilesOptions.model_validate(plain | {"root": str(root)} | options))


def read(root: Path, band: str = "r", **options):
    opened = survey(root, **options)
    return opened.read(opened.tiles()[0], band)


def write(path: Path, pixels: np.ndarray, head: fits.Header | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(pixels, header() if head is None else head).writeto(path, overwrite=True)


# --- world coordinates

OLD_ROTATION = header() + fits.Header({"PC001001": -1.0, "PC001002": 0.0, "PC002001": 0.0, "PC002002": 1.0})
WORLDS = {
    "plain": header(),
    "PC00i00j": OLD_ROTATION,
    "CROTA2": header(CROTA2=30.0),
    "CD": header(CDELT1=None, CDELT2=None) + fits.Header({"CD1_1": 3e-5, "CD1_2": 4e-5, "CD2_1": 4e-5, "CD2_2": -3e-5}),
    "latitude first": header(CTYPE1="DEC--TAN", CTYPE2="RA---TAN", CRVAL1=2.0, CRVAL2=150.0),
    "galactic": header(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL1=49.0, CRVAL2=-0.5),
    "ecliptic": header(CTYPE1="ELON-TAN", CTYPE2="ELAT-TAN"),
    "FK4": header(RADESYS="FK4", EQUINOX=1950.0),
    "RADECSYS": header(RADECSYS="FK5", EQUINOX=2000.0),
    "arcsec": header(CUNIT1="arcsec", CUNIT2="arcsec", CRVAL1=540000.0, CRVAL2=7200.0, CDELT1=-0.2, CDELT2=0.2),
    "Degrees": header(CUNIT1="Degrees", CUNIT2="DEG"),
    "a third axis": header(WCSAXES=3) + fits.Header({"CTYPE3": "WAVE", "CRVAL3": 1.0, "CDELT3": 1.0, "CRPIX3": 1.0}),
    "a broken date": header() + fits.Header({"DATE-OBS": "31/13/99", "MJD-OBS": "never"}),
    "SIP": header(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")
    + fits.Header({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4, "B_0_2": -1e-4}),
}


@pytest.mark.parametrize("name", WORLDS)
def test_positions_are_those_that_astropy_gives(tmp_path, name):
    write(tmp_path / "a.fits", noise(), WORLDS[name])
    x, y = np.array([3.0, 40.0, 70.0]), np.array([5.0, 20.0, 55.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.getheader(tmp_path / "a.fits"))
        sky = wcs.celestial.pixel_to_world(x, y) if wcs.naxis > 2 else wcs.pixel_to_world(x, y)
    image = read(tmp_path)
    ra, dec = pixel_to_icrs(image.wcs, x, y)
    apart = SkyCoord(ra, dec, unit="deg").separation(sky.icrs).arcsec
    assert apart.max() < 1e-5
    back = icrs_to_pixel(image.wcs, ra, dec)
    np.testing.assert_allclose(back, (x, y), atol=1e-4)


def test_the_mirror_of_an_old_rotation_is_seen(tmp_path):
    write(tmp_path / "a.fits", noise(), OLD_ROTATION)
    ra, _ = pixel_to_icrs(read(tmp_path).wcs, np.array([0.0, 79.0]), np.array([30.0, 30.0]))
    assert ra[1] > ra[0]  # a negative CDELT1, mirrored


@pytest.mark.parametrize(
    ("cards", "text"),
    [
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "the WCS in its header cannot be used"),
        ({"CDELT1": 0.0, "CDELT2": 0.0}, "the WCS in its header cannot be used"),
        ({"CUNIT1": "furlong", "CUNIT2": "furlong"}, "the WCS in its header cannot be used"),
    ],
)
def test_a_wcs_that_is_none_costs_its_band(tmp_path, cards, text):
    write(tmp_path / "a.fits", noise(), header(**cards))
    with pytest.raises(DataError, match=text):
        read(tmp_path)


# --- cards


@pytest.mark.parametrize(
    "card",
    [
        b"SEEING  =                  NaN / could not be measured",
        b"SEEING  =                 1,5",
        b"SEEING  = 'unclosed",
        b"SEEING  = 1.5 / no\xe9te",
        b"SEEING  = ",
        b"SEE ING = 3",
    ],
)
def test_a_card_that_cannot_be_read_costs_that_card(tmp_path, card):
    write(tmp_path / "a.fits", noise(), header(SEEING=1.5, EXPTIME=30.0))
    raw = (tmp_path / "a.fits").read_bytes()
    at = raw.index(b"SEEING  =")
    (tmp_path / "a.fits").write_bytes(raw[:at] + card.ljust(80) + raw[at + 80 :])
    image = read(tmp_path)
    np.testing.assert_array_equal(image.flux, noise())
    assert image.wcs is not None
    assert image.header["EXPTIME"] == 30.0


def test_what_a_primary_header_says_holds_for_its_extensions_unless_it_may_not(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header.update({"MAGZERO": 27.0, "EXPTIME": 30.0, "CRVAL1": 5.0})
    for name, inherit in (("yes", True), ("silent", None), ("no", False)):
        own = header() if inherit is None else header(INHERIT=inherit)
        extension = fits.ImageHDU(noise(), own, name="SCI")
        fits.HDUList([primary, extension]).writeto(tmp_path / f"{name}.fits")
    opened = survey(tmp_path, extension="SCI", zero_point_keyword="MAGZERO")
    tiles = {tile.name: tile for tile in opened.tiles()}
    for name in ("yes", "silent"):
        image = opened.read(tiles[name], "r")
        np.testing.assert_allclose(image.flux, noise() * njy_per_count(27.0), rtol=1e-6)
        assert image.header["EXPTIME"] == 30.0
        assert pixel_to_icrs(image.wcs, np.array([34.0]), np.array([29.0]))[0][0] == pytest.approx(150.0)
    with pytest.raises(DataError, match="gives MAGZERO = None"):
        opened.read(tiles["no"], "r")


@pytest.mark.parametrize("point", [-99.0, 99.0, 1e30])
def test_a_zero_point_that_is_none_is_refused(tmp_path, point):
    write(tmp_path / "a.fits", noise(), header(MAGZERO=point))
    with pytest.raises(DataError, match="which is no AB magnitude of one count"):
        read(tmp_path, zero_point_keyword="MAGZERO")
    with pytest.raises(ValidationError, match="is no AB magnitude of one count"):
        survey(tmp_path, zero_point=point)


# --- pixels


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("offset", [0, 32768])
def test_undefined_whole_numbers_are_missing(tmp_path, compressed, offset):
    values = np.clip(np.rint(noise() * 20), 1, 30000).astype(np.int32) + (1000 if offset else 0)
    stored = (values - offset).astype(np.int16)
    lost = np.zeros(SHAPE, bool)
    lost[:, 7:9] = True
    stored[lost] = -32768
    head = header(BZERO=offset, BSCALE=1, BLANK=-32768)
    if compressed:
        hdu = fits.CompImageHDU(stored, header(BLANK=-32768), compression_type="RICE_1")
        hdu.header["BZERO"], hdu.header["BSCALE"] = offset, 1
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    else:
        hdu = fits.PrimaryHDU(stored, do_not_scale_image_data=True)
        hdu.header.update(head)
        hdu.writeto(tmp_path / "a.fits")
    flux = read(tmp_path).flux
    np.testing.assert_array_equal(np.isnan(flux), lost)
    np.testing.assert_allclose(flux[~lost], values[~lost])


def test_scaled_pixels_and_unsigned_ones_are_their_values(tmp_path):
    stored = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    hdu = fits.PrimaryHDU(stored, do_not_scale_image_data=True)
    hdu.header.update(header(BSCALE=0.5, BZERO=100.0))
    hdu.writeto(tmp_path / "a.fits")
    np.testing.assert_allclose(read(tmp_path).flux, stored * 0.5 + 100.0)
    write(tmp_path / "a.fits", np.full(SHAPE, 65000, np.uint16))
    assert (read(tmp_path).flux == 65000).all()


def test_asinh_pixels_become_linear(tmp_path):
    linear = noise() * np.logspace(0, 4, SHAPE[1]).astype(np.float32)
    scale = 2.5 * np.log10(np.e)
    write(
        tmp_path / "a.fits",
        (scale * np.arcsinh((linear - 3.0) / 20.0)).astype(np.float32),
        header(BSOFTEN=10.0, BOFFSET=3.0),
    )
    np.testing.assert_allclose(read(tmp_path).flux, linear, rtol=1e-3)
    write(tmp_path / "a.fits", noise(), header(BSOFTEN=-1.0, BOFFSET=0.0))
    with pytest.raises(DataError, match="BSOFTEN"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "njy"),
    [("nJy", 1.0), ("uJy", 1e3), ("Jy", 1e9), ("nanomaggy", 3631.0), ("MJy/sr", 1e15 * (0.2 * np.pi / 648000) ** 2)],
)
def test_a_flux_density_is_taken_from_bunit_where_that_is_declared(tmp_path, text, njy):
    write(tmp_path / "a.fits", noise(), header(BUNIT=text))
    image = read(tmp_path, unit="bunit")
    assert image.unit == "nJy"
    np.testing.assert_allclose(image.flux, noise() * njy, rtol=1e-5)
    (fault,) = survey(tmp_path).inspect(survey(tmp_path).tiles())
    assert f"BUNIT = {text}, but pixels are taken for counts" in str(fault)


@pytest.mark.parametrize("text", ["mag", "mag(AB)", "AB mag/arcsec2"])
def test_pixels_in_magnitudes_are_refused(tmp_path, text):
    write(tmp_path / "a.fits", noise(), header(BUNIT=text))
    with pytest.raises(DataError, match="its pixels are magnitudes"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("kind", "good", "none"),
    [("sigma", 2.0, 1e16), ("variance", 4.0, 1e32), ("ivar", 0.25, 1e-33), ("weight", 5.0, 0.0)],
)
def test_noise_that_stands_for_no_data_is_no_data(tmp_path, kind, good, none):
    rng = np.random.default_rng(3)
    shape = (120, 120)
    stored = np.full(shape, good, np.float32)
    stored[:, 70:] = none
    flux = rng.normal(10, 2, shape).astype(np.float32)
    flux[:, 70:] = 0
    write(tmp_path / "a.fits", flux)
    write(tmp_path / "noise" / "a.fits", stored, fits.Header())
    image = read(tmp_path, weight={"pattern": "noise/{tile}.fits", "kind": kind}, background="constant")
    assert (image.ivar[:, 70:] == 0).all()
    np.testing.assert_allclose(image.ivar[:, :70], 0.25, rtol=0.06)
    assert np.median(image.flux[:, :70]) == pytest.approx(0, abs=0.1)  # the level of what was exposed


# --- masks


def masked(path: Path, cards: dict[str, object]) -> None:
    flags = np.zeros(SHAPE, np.int32)
    flags[5, 5] |= 1 << int(cards["sat"])
    flags[8, 8] |= 1 << int(cards["cr"])
    mask = fits.ImageHDU(flags, name="MASK")
    for name, value in cards["head"].items():
        mask.header[name] = value
    path.parent.mkdir(exist_ok=True)
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(noise(), header(), name="IMAGE"), mask]).writeto(path)


DICTIONARIES = {
    "MP": lambda sat, cr: {"MP_SAT": sat, "MP_CR": cr, "HIERARCH MP_BRIGHT_OBJECT": 9},
    "MSK": lambda sat, cr: {"MSKN0000": "SAT", "MSKM0000": 1 << sat, "MSKN0001": "CR", "MSKM0001": 1 << cr},
    "MBIT": lambda sat, cr: {f"MBIT_{sat}": "SAT", f"MBIT_{cr}": "CR"},
}


@pytest.mark.parametrize("style", DICTIONARIES)
@pytest.mark.parametrize("planes", [{"SAT": "SATURATED", "CR": "COSMIC_RAY"}, {"1": "SATURATED", "3": "COSMIC_RAY"}])
def test_mask_planes_follow_each_files_own_names(tmp_path, style, planes):
    for tile, sat, cr in (("a", 1, 3), ("b", 3, 1)):
        masked(tmp_path / f"{tile}.fits", {"sat": sat, "cr": cr, "head": DICTIONARIES[style](sat, cr)})
    options = {"extension": "IMAGE", "mask": {"pattern": "{tile}.fits", "extension": "MASK", "planes": planes}}
    opened = survey(tmp_path, **options)
    for tile in opened.tiles():
        mask = opened.read(tile, "r").mask
        assert (mask[5, 5], mask[8, 8]) == (Plane.SATURATED, Plane.COSMIC_RAY)
        assert np.count_nonzero(mask) == 2
    missing = survey(tmp_path, **options | {"mask": options["mask"] | {"planes": {"GHOST": "BAD"}}})
    with pytest.raises(DataError, match=r"its header names no mask plane 'GHOST'; it names .*CR"):
        missing.read(missing.tiles()[0], "r")
    assert {fault.field for fault in missing.inspect(missing.tiles())} == {"survey.options.mask"}


# --- files


def test_bands_in_extensions_of_one_file(tmp_path):
    levels = {"VIS": 1.0, "Y": 2.0, "H": 3.0}
    planes = [fits.ImageHDU(np.full(SHAPE, v, np.float32), header(), name=n) for n, v in levels.items()]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(tmp_path / "a.fits")
    by_option = {"bands": dict.fromkeys("vyh", "{tile}.fits"), "extension": {"v": "VIS", "y": "Y", "h": 3}}
    by_name = {"bands": {"v": "{tile}.fits[VIS]", "y": "{tile}.fits[Y]", "h": "{tile}.fits[3]"}}
    for options in (by_option, by_name):
        assert [float(read(tmp_path, band, **options).flux[0, 0]) for band in "vyh"] == [1.0, 2.0, 3.0]
    with pytest.raises(ValidationError, match="extension names bands"):
        survey(tmp_path, extension={"x": 1})
    with pytest.raises(
        ValidationError, match=r"bands v and y are the same image of \{tile\}.fits; say which extension"
    ):
        survey(tmp_path, bands=dict.fromkeys("vy", "{tile}.fits"))


def test_links_are_followed_and_hidden_files_and_loops_are_not(tmp_path):
    archive, root = tmp_path / "archive", tmp_path / "survey"
    write(archive / "B" / "r.fits", noise())
    write(root / "A" / "r.fits", noise(2))
    (root / "B").symlink_to(archive / "B")
    (root / "A" / "loop").symlink_to(root)
    write(root / ".hidden" / "r.fits", noise())
    write(root / "C" / "._r.fits", noise())
    (root / "D").mkdir()
    (root / "D" / "r.fits").symlink_to(tmp_path / "nowhere.fits")
    opened = survey(root, bands={"r": "{tile}/r.fits"})
    tiles = {tile.name: tile for tile in opened.tiles()}
    assert sorted(tiles) == ["A", "B", "D"]
    assert tiles["D"].bands == ()
    (fault,) = opened.inspect(list(tiles.values()))
    assert (fault.tile, fault.problem) == ("D", "the file of band r is a link to nothing")
    every = survey(root, bands={"r": "{tile:path}/r.fits"})
    assert len(every.tiles()) == 3


def test_a_file_that_is_replaced_between_plan_and_reading_is_noticed(tmp_path):
    write(tmp_path / "a.fits", noise(1))
    opened = survey(tmp_path)
    (tile,) = opened.tiles()
    os.utime(tmp_path / "a.fits")  # touched, and still the same
    np.testing.assert_array_equal(opened.read(tile, "r").flux, noise(1))
    write(tmp_path / "a.fits", noise(2))
    with pytest.raises(ChangedError, match="was replaced while the run was under way"):
        opened.read(tile, "r")
    np.testing.assert_array_equal(opened.read(opened.tiles()[0], "r").flux, noise(2))


# --- headers that cannot be true


@pytest.mark.parametrize(
    ("card", "value"),
    [
        ("NAXIS", 1_000_000_000),
        ("NAXIS1", 2_000_000_000_000),
        ("NAXIS1", -5),
        ("BITPIX", 7),
        ("NAXIS", 1000),
        ("NAXIS2", 10**18),
    ],
)
def test_sizes_that_cannot_be_are_refused_at_once(tmp_path, card, value):
    write(tmp_path / "a.fits", noise())
    raw = (tmp_path / "a.fits").read_bytes()
    at = raw.index(card.ljust(8).encode() + b"=")
    (tmp_path / "a.fits").write_bytes(raw[:at] + f"{card:<8}= {value:>20}".encode().ljust(80) + raw[at + 80 :])
    opened = survey(tmp_path, pixel_scale_arcsec=0.2)
    (tile,) = opened.tiles()
    started = time.process_time()
    with pytest.raises(DataError, match=r"header claims|truncated|fetch it again"):
        opened.read(tile, "r")
    opened.inspect([tile])
    assert time.process_time() - started < 5  # it would take hours


# --- what is told before any work


def faults(root: Path, **options) -> list[str]:
    opened = survey(root, **options)
    return [str(fault) for fault in opened.inspect(opened.tiles())]


def test_a_sound_survey_has_no_faults(tmp_path):
    write(tmp_path / "a.fits", noise(), header(MAGZERO=27.0))
    assert faults(tmp_path, zero_point_keyword="MAGZERO") == []


def test_headers_and_companions_are_looked_at_before_any_work(tmp_path):
    write(tmp_path / "a.fits", noise(), fits.Header())
    write(tmp_path / "w" / "a.fits", noise(shape=(9, 9)), fits.Header())
    found = faults(
        tmp_path,
        zero_point_keyword="MAGZERO",
        saturation_keyword="SATURATE",
        weight={"pattern": "w/{tile}.fits"},
        mask={"pattern": "m/{tile}.fits"},
        psf={"fwhm_keyword": "SEEING"},
    )
    for text in (
        "zero_point_keyword: MAGZERO is no usable zero point",
        "pixel_scale_arcsec: neither a WCS nor a pixel scale is known",
        "saturation_keyword: SATURATE is missing",
        "psf.fwhm_keyword: SEEING is missing",
        "weight: a weight file of band r cannot be used",
        "mask: no mask file is there for band r (m/{tile}.fits)",
    ):
        assert any(text in line for line in found), (text, found)
    assert len(found) == 6


@pytest.mark.parametrize("per_tile", [False, True])
@pytest.mark.parametrize(("factor", "text"), [(np.pi / 180, "they look like radians"), (1.1, "lies in")])
def test_a_catalogue_that_lies_elsewhere_is_told(tmp_path, per_tile, factor, text):
    write(tmp_path / "a.fits", noise())
    (tmp_path / "a.csv").write_text(f"object_id,ra_deg,dec_deg\n1,{150.0 * factor},{2.0 * factor}\n")
    path = "{tile}.csv" if per_tile else "a.csv"
    options = {"catalog": {"path": path}} if per_tile else {"catalog": {"path": path}, "bands": {"r": "{tile}.fits"}}
    (found,) = faults(tmp_path, **options)
    assert text in found


def test_ids_that_each_tile_counts_for_itself_are_told(tmp_path):
    for tile, ra in (("a", 150.0), ("b", 151.0)):
        write(tmp_path / f"{tile}.fits", noise(), header(CRVAL1=ra))
        rows = "".join(f"{i},{ra + 1e-4 * i},2.0\n" for i in range(1, 9))
        (tmp_path / f"{tile}.csv").write_text("object_id,ra_deg,dec_deg\n" + rows)
    (found,) = faults(tmp_path, catalog={"path": "{tile}.csv"})
    assert "8 of 8 ids name objects at other places in other tiles" in found
    assert faults(tmp_path, catalog={"path": "{tile}.csv", "ids_per_tile": True}) == []


def test_reference_band_decides_where_positions_lie(tmp_path):
    write(tmp_path / "a_g.fits", noise())
    write(tmp_path / "a_i.fits", noise(shape=(90, 100)), header(CRPIX1=45.0))
    opened = survey(tmp_path, bands={"g": "{tile}_g.fits", "i": "{tile}_i.fits"})
    (tile,) = opened.tiles()
    assert opened.footprint(tile).shape == SHAPE
    assert opened.footprint(tile, "i").shape == (90, 100)
    place = pixel_to_skycoord(44, 29, opened.footprint(tile, "i").wcs)
    assert place.ra.deg == pytest.approx(150.0)
