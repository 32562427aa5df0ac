"""Faults of files beyond the common ones, through the survey alone: what each costs, and what is said."""

import bz2
import gzip
import time
import warnings

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from galflow.errors import ChangedError, DataError, GalflowError
from galflow.surveys.base import Plane
from galflow.surveys.fits_tiles import FitsTiles, FitsTilesOptions
from galflow.surveys.reading.files import list_entries
from galflow.surveys.reading.positions import pixel_to_icrs

SHAPE = (64, 72)
SECOND = 1.0


def cards(**more):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 30.0, "CRVAL2": -5.0})
    header["CRPIX1"], header["CRPIX2"], header["CDELT1"], header["CDELT2"] = 36.5, 32.5, -1e-4, 1e-4
    header.update(more)
    return header


def sky(seed=0):
    return np.random.default_rng(seed).normal(0, 1, SHAPE).astype(np.float32)


def put(path, pixels=None, header=None, **primary):
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(sky() if pixels is None else pixels, cards() if header is None else header, **primary).writeto(path)
    return path


def survey(root, **options):
    base = {"root": str(root), "bands": {"r": "{tile}.fits"}, "background": "none"}
    return FitsTiles("s", "1", FitsTilesOptions(**(base | options)))


def read(root, band="r", **options):
    opened = survey(root, **options)
    return opened.read(opened.tiles()[0], band)


def edit(path, keyword, card):
    """Replace one card of the file as it lies on disk."""
    content = path.read_bytes()
    at = content.index(keyword.ljust(8).encode() + b"=")
    path.write_bytes(content[:at] + card.ljust(80)[:80] + content[at + 80 :])


# Folders


def test_two_links_to_one_folder_are_two_tiles(tmp_path):
    put(tmp_path / "archive/x/r.fits")
    root = tmp_path / "root"
    root.mkdir()
    for name in "AB":
        (root / name).symlink_to(tmp_path / "archive/x")
    assert [tile.name for tile in survey(root, bands={"r": "{tile}/r.fits"}).tiles()] == ["A", "B"]


@pytest.mark.parametrize("pattern", ["{tile}/r.fits", "{tile:path}/r.fits", "**/r.fits"])
def test_links_that_lead_back_end(tmp_path, pattern):
    put(tmp_path / "A/r.fits")
    (tmp_path / "A/up").symlink_to(tmp_path)
    (tmp_path / "A/self").symlink_to(".")
    (tmp_path / "B").mkdir()
    (tmp_path / "B/a").symlink_to("../A")
    (tmp_path / "A/b").symlink_to("../B")
    if "{" not in pattern:
        assert f"file://{tmp_path}/A/r.fits" in [entry.uri for entry in list_entries(f"file://{tmp_path}", pattern)]
    else:
        assert "A" in [tile.name for tile in survey(tmp_path, bands={"r": pattern}).tiles()]


def test_a_link_to_a_file_and_one_to_nothing(tmp_path):
    put(tmp_path / "far/a.fits")
    root = tmp_path / "root"
    put(root / "B_g.fits")
    (root / "A_r.fits").symlink_to(tmp_path / "far/a.fits")
    (root / "A_g.fits").symlink_to(tmp_path / "far/nothing.fits")
    (root / "B_r.fits").symlink_to(root / "B_r.fits")  # to itself
    opened = survey(root, bands={"g": "{tile}_g.fits", "r": "{tile}_r.fits"})
    one, two = opened.tiles()
    assert opened.read(one, "r").flux.shape == SHAPE
    assert opened.read(two, "g").flux.shape == SHAPE
    for tile, band in ((one, "g"), (two, "r")):
        with pytest.raises(GalflowError, match="link to nothing"):
            opened.read(tile, band)
    said = [fault for fault in opened.inspect([one, two]) if "link" in fault.problem]
    assert sorted(str(fault.tile) for fault in said) == ["A", "B"]
    assert len({fault.problem.replace("band g", "").replace("band r", "") for fault in said}) == 1


@pytest.mark.parametrize("name", ["._A.fits", ".A.fits", ".trash/A.fits", "A.fits~", "#A.fits#", ".A.fits.swp"])
def test_hidden_files_and_leftovers_are_no_tiles(tmp_path, name):
    put(tmp_path / "B.fits")
    put(tmp_path / "x/A.fits").rename(tmp_path / "kept")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "kept").rename(tmp_path / name)
    for pattern in ("{tile}.fits", "**{tile:path}.fits*", "{tile}"):
        names = [tile.name for tile in survey(tmp_path, bands={"r": pattern}).tiles() if "x" not in tile.name]
        assert not [n for n in names if "A" in n]


@pytest.mark.parametrize("pattern", ["**a" * 12 + "b.fits", "*a" * 12 + "b.fits", "**/" * 12 + "{tile}.fits"])
def test_many_wildcards_end_soon(tmp_path, pattern):
    (tmp_path / ("a" * 120 + ".fits")).touch()
    put(tmp_path / "B.fits")
    started = time.monotonic()
    list_entries(f"file://{tmp_path}", pattern.replace("{tile}", "*"))
    if "{" in pattern:
        with pytest.raises(GalflowError):
            survey(tmp_path, bands={"r": pattern}).tiles()
    assert time.monotonic() - started < SECOND


# Headers that lie


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("NAXIS", "1000000000"), ("NAXIS", "-2"), ("NAXIS", "999"), ("NAXIS1", "2000000"), ("NAXIS1", "-72"),
        ("NAXIS2", "99999999999999999999"), ("NAXIS1", "0"), ("BITPIX", "17"), ("BITPIX", "'x'"), ("NAXIS1", "72.5"),
        ("NAXIS2", "T"), ("NAXIS", "NaN"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", ["", "gz", "bz2"])
def test_headers_that_claim_what_cannot_be(tmp_path, keyword, value, zipped):
    path = put(tmp_path / "A.fits")
    edit(path, keyword, f"{keyword:8}= {value:>20}".encode())
    if zipped:
        path.write_bytes((gzip if zipped == "gz" else bz2).compress(path.read_bytes()))
    opened = survey(tmp_path, pixel_scale_arcsec=0.36)
    (tile,) = opened.tiles()
    started = time.monotonic()
    with pytest.raises(DataError, match=r"A\.fits"):
        opened.read(tile, "r")
    assert time.monotonic() - started < SECOND
    if zipped != "bz2":  # whose length is not known without unzipping it
        assert [fault.tile for fault in opened.inspect([tile])] == ["A"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("ZNAXIS", "1000000000"), ("ZNAXIS1", "-1"), ("ZNAXIS1", "9000000000"), ("ZNAXIS2", "1000000"),
     ("NAXIS2", "900000000000"), ("PCOUNT", "900000000000"), ("TFIELDS", "1000000000"), ("PCOUNT", "-5"),
     ("ZTILE1", "0"), ("ZBITPIX", "3")],
)  # fmt: skip
def test_tile_compressed_headers_that_claim_what_cannot_be(tmp_path, keyword, value):
    path = tmp_path / "A.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(sky(), cards(), compression_type="RICE_1")]).writeto(path)
    edit(path, keyword, f"{keyword:8}= {value:>20}".encode())
    started = time.monotonic()
    with pytest.raises(DataError, match=r"A\.fits"):
        read(tmp_path)
    assert time.monotonic() - started < SECOND


@pytest.mark.parametrize(
    "card",
    [b"JUNK    =                  NaN / seeing", b"JUNK    = 'unclosed", b"JUNK    = 1.2.3", b"JUNK    = \xe9t\xe9",
     b"JUNK    = 'Jos\xe9'", b"JUNK    = 1.0 / \xb0C", b"\xff\xfe\x00\x01JUNK", b"JUNK    = T'", b"JUNK    = (1,",
     b"JUNK    =" + b"\x00" * 20, b"COMMENT \xe9\xe9", b"HIERARCH  = x", b"CONTINUE  'orphan'", b"JUNK    = -inf"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["plain", "extension", "compressed", "table before"])
def test_one_bad_card_costs_itself(tmp_path, card, kind):
    header, path = cards(JUNK=1.0, EXPTIME=30.0), tmp_path / "A.fits"
    if kind == "plain":
        put(path, header=header)
    elif kind == "extension":
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(sky(), header)]).writeto(path)
    elif kind == "compressed":
        hdu = fits.CompImageHDU(sky(), header, quantize_level=0, compression_type="GZIP_1")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    else:
        table = fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1, 2])], header=fits.Header({"JUNK": 1}))
        fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(sky(), cards(EXPTIME=30.0))]).writeto(path)
    edit(path, "JUNK", card)
    image = read(tmp_path, header_keywords=("JUNK", "EXPTIME"))
    assert np.array_equal(image.flux, sky())
    assert image.wcs is not None
    assert image.header["EXPTIME"] == 30.0
    if card.startswith(b"JUNK") and b"\xb0" not in card and b"'Jos" not in card:  # astropy writes ? for the accent
        assert "JUNK" not in image.header


@pytest.mark.parametrize("keyword", ["CRVAL1", "CDELT2", "CTYPE1", "CRPIX2"])
def test_a_bad_card_of_the_wcs_costs_the_band(tmp_path, keyword):
    edit(put(tmp_path / "A.fits"), keyword, f"{keyword:8}=                  NaN".encode())
    with pytest.raises(DataError, match=keyword):
        read(tmp_path)


# World coordinates


@pytest.mark.parametrize(
    "change",
    [
        {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"},
        {"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"},
        {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": -5.0, "CRVAL2": 30.0},
        {"CTYPE1": "GLAT-TAN", "CTYPE2": "GLON-TAN", "CRVAL1": -5.0, "CRVAL2": 30.0},
        {"RADESYS": "FK4", "EQUINOX": 1950.0}, {"RADESYS": "FK5", "EQUINOX": 1975.0}, {"RADECSYS": "FK5"},
        {"RADESYS": "FK4-NO-E"}, {"EQUINOX": 1950.0}, {"CROTA2": 30.0}, {"CROTA1": 0.0, "CROTA2": -10.0},
        {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8}, {"CUNIT1": "DEG", "CUNIT2": "Degrees"},
        {"CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRVAL1": 108000.0, "CRVAL2": -18000.0, "CDELT1": -0.3, "CDELT2": 0.3},
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "PV2_1": 0.01, "PV2_2": 0.02},
        {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 42.0},
        {"CTYPE1": "RA---HPX", "CTYPE2": "DEC--HPX", "CRVAL1": 0.0, "CRVAL2": 0.0, "CRPIX1": -3e5, "CRPIX2": 5e4},
        {"LONPOLE": 170.0}, {"DATE-OBS": "yesterday", "MJD-OBS": "x"}, {"DATE-OBS": "31/12/99", "TIMESYS": "UT"},
        {"OBSGEO-X": "far", "OBSGEO-L": 1e9},
        {"WCSAXES": 3, "CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0},
    ],
)  # fmt: skip
def test_positions_are_astropys(tmp_path, change):
    put(tmp_path / "A.fits", header=cards(**change))
    x, y = np.array([3.0, 40.0, 70.0]), np.array([60.0, 10.0, 30.0])
    header = fits.getheader(tmp_path / "A.fits")
    for name in ("DATE-OBS", "MJD-OBS", "TIMESYS", "OBSGEO-X", "OBSGEO-L"):
        header.remove(name, ignore_missing=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(_two_axes(header))
        world = wcs.all_pix2world(x, y, 0)  # pixel_to_skycoord swaps the pixel axes where the latitude comes first
        right = SkyCoord(world[wcs.wcs.lng], world[wcs.wcs.lat], unit="deg", frame=wcs_to_celestial_frame(wcs)).icrs
    ra, dec = pixel_to_icrs(read(tmp_path).wcs, x, y)
    assert np.allclose(ra, right.ra.deg, atol=1e-9)
    assert np.allclose(dec, right.dec.deg, atol=1e-9)


def _two_axes(header):
    for key in ("WCSAXES", "CTYPE3", "CRVAL3", "CDELT3", "CRPIX3"):
        header.remove(key, ignore_missing=True)
    return header


def test_a_cube_of_one_plane_is_an_image(tmp_path):
    header = cards(CTYPE3="FREQ", CRVAL3=1.4e9, CDELT3=1e6, CRPIX3=1.0, CUNIT3="Hz")
    put(tmp_path / "A.fits", pixels=sky()[None], header=header)
    image = read(tmp_path)
    assert np.array_equal(image.flux, sky())
    assert np.allclose(pixel_to_icrs(image.wcs, np.array([35.5]), np.array([31.5])), [[30.0], [-5.0]])


@pytest.mark.parametrize(
    "change",
    [{"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, {"CDELT1": 0.0}, {"CUNIT1": "furlong", "CUNIT2": "furlong"},
     {"CTYPE2": "FREQ"}, {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}, {"RADESYS": "NOSUCH"}, {"CPDIS1": "LOOKUP"},
     {"CD1_1": 1e-4, "CD1_2": 1e-4, "CD2_1": 1e-4, "CD2_2": 1e-4}],
)  # fmt: skip
def test_a_wcs_that_cannot_be_used_costs_the_band_and_is_said(tmp_path, change):
    put(tmp_path / "A.fits", header=cards(**change))
    opened = survey(tmp_path, pixel_scale_arcsec=0.36)
    (tile,) = opened.tiles()
    with pytest.raises(DataError, match=r"A\.fits"):
        opened.read(tile, "r")
    assert [fault.tile for fault in opened.inspect([tile])] == ["A"]


# Numbers


@pytest.mark.parametrize(("bitpix", "zero"), [(8, -128), (16, 0), (16, 32768), (32, 0), (32, 2**31)])
@pytest.mark.parametrize("compressed", [False, True])
def test_undefined_integers_are_missing(tmp_path, bitpix, zero, compressed):
    kind = {8: np.uint8, 16: np.int16, 32: np.int32}[bitpix]
    stored = np.random.default_rng(1).integers(10, 100, SHAPE).astype(kind)
    stored[5:9, 7] = 3
    hdu = fits.PrimaryHDU(stored, cards())
    if compressed:
        hdu = fits.CompImageHDU(stored, cards(), compression_type="GZIP_1" if bitpix == 8 else "RICE_1")
    hdu.header["BLANK"] = 3
    if zero:
        hdu.header["BZERO"], hdu.header["BSCALE"] = zero, 1
    hdus = [fits.PrimaryHDU(), hdu] if compressed else [hdu]
    if not compressed:
        hdu._orig_bzero, hdu._bzero = zero, zero
    fits.HDUList(hdus).writeto(tmp_path / "A.fits", output_verify="ignore")
    with fits.open(tmp_path / "A.fits", do_not_scale_image_data=True) as hdus:
        on_disk, header = np.array(hdus[-1].data), hdus[-1].header
    if header.get("BLANK") is None or header.get("BZERO", 0) != zero:
        pytest.skip("astropy wrote other cards than were asked for")
    image = read(tmp_path)
    assert np.array_equal(np.isnan(image.flux), on_disk == 3)
    seen = on_disk != 3
    assert np.allclose(image.flux[seen], on_disk[seen].astype(float) + zero)


def test_scale_and_zero_of_integers_and_floats(tmp_path):
    for kind in (np.int16, np.float32):
        stored = np.random.default_rng(2).integers(0, 1000, SHAPE).astype(kind)
        hdu = fits.PrimaryHDU(stored, cards(), do_not_scale_image_data=True)
        hdu.header["BSCALE"], hdu.header["BZERO"] = 0.25, 7.5
        content = hdu.header.tostring().encode() + stored.astype(stored.dtype.newbyteorder(">")).tobytes()
        (tmp_path / "A.fits").write_bytes(content + b"\0" * (-len(content) % 2880))
        assert np.allclose(read(tmp_path).flux, stored * 0.25 + 7.5)


@pytest.mark.parametrize("card", [b"BZERO   =                  NaN", b"BSCALE  = 'one'", b"BSCALE  = 1.0.0"])
def test_a_scale_that_is_no_number_costs_the_band(tmp_path, card):
    path = put(tmp_path / "A.fits", pixels=sky().astype(np.int16), header=cards(JUNK=1))
    edit(path, "JUNK", card)
    with pytest.raises(DataError, match=card[:6].decode().strip()):
        read(tmp_path)


@pytest.mark.parametrize("where", ["plain", "compressed", "integers"])
def test_asinh_pixels_are_linear(tmp_path, where):
    linear = sky().astype(float) * 100 + 500
    a = 2.5 * np.log10(np.e)
    stored = (a * np.arcsinh((linear - 12.0) / (2 * 8.0))).astype(np.float32)
    header = cards(BOFFSET=12.0, BSOFTEN=8.0, EXPTIME=43.0)
    if where == "plain":
        put(tmp_path / "A.fits", stored, header)
    elif where == "compressed":
        hdu = fits.CompImageHDU(stored, header, compression_type="RICE_1", quantize_level=256)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "A.fits")
    else:
        hdu = fits.PrimaryHDU(stored, header)
        hdu.scale("int32", bscale=1e-6, bzero=0)
        hdu.writeto(tmp_path / "A.fits")
    image = read(tmp_path)
    assert np.allclose(image.flux, linear, rtol=0.01 if where == "compressed" else 1e-4)
    assert image.header["EXPTIME"] == 43.0


@pytest.mark.parametrize("unit", ["mag", "mag/arcsec2", "AB mag/arcsec2", "mag(AB)", "MAG"])
@pytest.mark.parametrize("options", [{}, {"zero_point": 25.0}])
def test_magnitudes_are_refused(tmp_path, unit, options):
    put(tmp_path / "A.fits", header=cards(BUNIT=unit))
    with pytest.raises(DataError, match="magnitude"):
        read(tmp_path, **options)


@pytest.mark.parametrize(
    ("unit", "zero_point"), [("nJy", 25.0), ("nanomaggy", 31.4), ("uJy", 22.5), ("Jy", 25.0), ("MJy/sr", 5.0)]
)
def test_a_zero_point_that_the_unit_contradicts_is_not_silent(tmp_path, unit, zero_point):
    put(tmp_path / "A.fits", header=cards(BUNIT=unit))
    with pytest.raises(DataError, match=f"BUNIT.*{unit}"):
        read(tmp_path, zero_point=zero_point)


@pytest.mark.parametrize("unit", ["adu/s", "electron", "counts", "DN", "ADU", "nanomaggy", "e-/s", "  "])
def test_a_zero_point_that_the_unit_agrees_with(tmp_path, unit):
    put(tmp_path / "A.fits", header=cards(BUNIT=unit))
    assert read(tmp_path, zero_point=22.5).unit == "nJy"


@pytest.mark.parametrize("zero_point", [99.0, -99.0, 250.0, float("inf"), float("nan")])
def test_implausible_zero_points_of_options(tmp_path, zero_point):
    with pytest.raises(ValueError, match="zero_point"):
        survey(tmp_path, zero_point=zero_point)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("sigma", 1e16), ("sigma", np.inf), ("sigma", 0), ("sigma", -1), ("ivar", 1e-33), ("ivar", 0), ("ivar", np.nan),
     ("variance", np.inf), ("variance", 1e32), ("variance", -1), ("weight", 0), ("weight", 1e-35)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sentinels_are_missing_and_bias_nothing(tmp_path, kind, value, dtype):
    pixels = sky() + 50
    noise = np.ones(SHAPE, dtype)
    noise[:, :20] = value
    pixels[:, :20] = 0
    put(tmp_path / "A.fits", pixels)
    put(tmp_path / "w/A.fits", noise)
    weight = {"kind": kind, "pattern": "w/{tile}.fits"}
    image = read(tmp_path, weight=weight, background="constant")
    assert (image.ivar[:, :20] == 0).all()
    assert (image.ivar[:, 20:] > 0).all()
    assert np.isnan(image.flux[:, :20]).all()
    assert abs(np.median(image.flux[:, 20:])) < 0.1


# Masks


@pytest.mark.parametrize(
    "dictionary",
    [{"MP_SAT": 5, "MP_CR": 2}, {"MB_SAT": 5, "MB_CR": 2},
     {"MSKN0000": "SAT", "MSKM0000": 32, "MSKN0001": "CR", "MSKM0001": 4}],
)  # fmt: skip
@pytest.mark.parametrize("planes", [{"SAT": "SATURATED", "CR": "COSMIC_RAY"}, {2: "SATURATED", 5: "COSMIC_RAY"}])
def test_names_of_the_file_win(tmp_path, dictionary, planes):
    flags = np.zeros(SHAPE, np.int32)
    flags[0, 0], flags[0, 1] = 32, 4
    put(tmp_path / "A.fits")
    put(tmp_path / "m/A.fits", flags, fits.Header(dictionary))
    mask = read(tmp_path, mask={"pattern": "m/{tile}.fits", "planes": planes}).mask
    assert mask[0, :3].tolist() == [Plane.SATURATED, Plane.COSMIC_RAY, 0]


def test_detected_is_no_flaw(tmp_path):
    flags = np.full(SHAPE, 32, np.int32)
    flags[0, 0] |= 1
    put(tmp_path / "A.fits")
    put(
        tmp_path / "m/A.fits",
        flags,
        fits.Header({"MP_BAD": 0, "HIERARCH MP_DETECTED": 5, "HIERARCH MP_BRIGHT_OBJECT": 9}),
    )
    mask = read(
        tmp_path, mask={"pattern": "m/{tile}.fits", "planes": {"BAD": "BAD", "BRIGHT_OBJECT": "BRIGHT_STAR"}}
    ).mask
    assert (mask[0, 0], mask[0, 1]) == (Plane.BAD, 0)


def test_a_name_that_no_file_has_is_told(tmp_path):
    for tile in "AB":
        put(tmp_path / f"{tile}.fits")
        put(tmp_path / f"m/{tile}.fits", np.zeros(SHAPE, np.int32), fits.Header({"MP_BAD": 0}))
    opened = survey(tmp_path, mask={"pattern": "m/{tile}.fits", "planes": {"SATT": "SATURATED"}})
    faults = [fault for fault in opened.inspect(opened.tiles()) if "SATT" in fault.mend]
    assert sorted(str(fault.tile) for fault in faults) == ["A", "B"]
    assert len({fault.problem for fault in faults}) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int16])
def test_flags_of_all_integer_types(tmp_path, dtype):
    flags = np.zeros(SHAPE, dtype)
    top = np.iinfo(dtype).bits - 1
    flags[0, 0] = np.array(1 << top, dtype=np.uint64).astype(dtype)
    flags[0, 1] = 2
    put(tmp_path / "A.fits")
    put(tmp_path / "m/A.fits", flags, fits.Header())
    mask = read(tmp_path, mask={"pattern": "m/{tile}.fits", "planes": {top: "BAD", 1: "EDGE"}}).mask
    assert mask[0, :3].tolist() == [Plane.BAD, Plane.EDGE, 0]


# Replaced files


def test_each_file_of_a_tile_is_held_to_its_fingerprint(tmp_path):
    put(tmp_path / "A.fits")
    for name in ("w", "m", "p"):
        put(tmp_path / name / "A.fits", np.ones(SHAPE, np.float32 if name != "m" else np.int16), fits.Header())
    (tmp_path / "c").mkdir()
    (tmp_path / "c/A.csv").write_text("object_id,x,y\n1,5,5\n")
    options = {"weight": {"pattern": "w/{tile}.fits"}, "mask": {"pattern": "m/{tile}.fits"}}
    options |= {"psf": {"pattern": "p/{tile}.fits"}, "catalog": {"path": "c/{tile}.csv"}}
    opened = survey(tmp_path, **options)
    (tile,) = opened.tiles()
    for path in ("A.fits", "w/A.fits", "m/A.fits", "p/A.fits"):
        content = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(content[:-10] + b"0123456789")
        with pytest.raises(ChangedError, match=path):
            opened.read(tile, "r")
        (tmp_path / path).write_bytes(content)  # rolled back: the same bytes at another time
        assert opened.read(tile, "r").flux.shape == SHAPE
    (tmp_path / "c/A.csv").write_text("object_id,x,y\n1,6,5\n")
    with pytest.raises(ChangedError, match=r"A\.csv"):
        opened.catalog(tile)


def test_a_file_half_written_anew_is_changed_and_not_damaged(tmp_path, monkeypatch):
    path = put(tmp_path / "A.fits")
    opened = survey(tmp_path)
    (tile,) = opened.tiles()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ChangedError):
        opened.read(tile, "r")


# Extensions


def test_a_band_in_each_extension(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for number, name in enumerate(("VIS", "NIR-Y", "VIS")):
        hdus.append(fits.ImageHDU(sky(number), cards(), name=name, ver=2 if number == 2 else 1))
    fits.HDUList(hdus).writeto(tmp_path / "A.fits")
    bands = {"v": "{tile}.fits[VIS]", "y": "{tile}.fits[2]", "w": "{tile}.fits[VIS,2]"}
    opened = survey(tmp_path, bands=bands)
    (tile,) = opened.tiles()
    assert all(np.array_equal(opened.read(tile, b).flux, sky(i)) for i, b in enumerate(("v", "y")))
    assert np.array_equal(opened.read(tile, "w").flux, sky(2))
    mapped = survey(tmp_path, bands=dict.fromkeys("vy", "{tile}.fits"), extension={"v": 1, "y": "nir-y"})
    assert np.array_equal(mapped.read(tile, "y").flux, sky(1))
    wrong = survey(tmp_path, bands={"v": "{tile}.fits[ERR]"})
    (fault,) = wrong.inspect(wrong.tiles())
    assert "ERR" in str(fault)


def test_damage_in_one_extension_costs_that_band(tmp_path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(sky(1), cards(), name="G"), fits.ImageHDU(sky(2), cards(), name="R")]
    fits.HDUList(hdus).writeto(tmp_path / "A.fits")
    (tmp_path / "A.fits").write_bytes((tmp_path / "A.fits").read_bytes()[:-8000])
    opened = survey(tmp_path, bands={"g": "{tile}.fits[G]", "r": "{tile}.fits[R]"})
    (tile,) = opened.tiles()
    assert np.array_equal(opened.read(tile, "g").flux, sky(1))
    with pytest.raises(DataError, match="truncated"):
        opened.read(tile, "r")


# Inspection


def test_all_faults_at_once_without_reading_pixels(tmp_path, monkeypatch):
    put(tmp_path / "A.fits", header=cards(ZP=99.0))
    put(tmp_path / "B.fits", header=fits.Header())
    put(tmp_path / "w/A.fits", np.ones((3, 3), np.float32), fits.Header())
    (tmp_path / "c.csv").write_text("object_id,ra_deg,dec_deg\n1,0.5235987755982988,-0.08726646259971647\n")
    opened = survey(
        tmp_path, zero_point_keyword="ZP", saturation_keyword="SATUR", weight={"pattern": "w/{tile}.fits"},
        psf={"fwhm_keyword": "SEEING"}, catalog={"path": "c.csv"},
    )  # fmt: skip
    faults = opened.inspect(opened.tiles())
    told = {(fault.field.removeprefix("survey.options."), fault.tile) for fault in faults}
    assert {("zero_point_keyword", "A"), ("zero_point_keyword", "B"), ("saturation_keyword", "A")} <= told
    assert {("psf.fwhm_keyword", "B"), ("pixel_scale_arcsec", "B")} <= told
    assert any(fault.field.startswith("survey.options.weight") and fault.tile == "B" for fault in faults)
    assert any(fault.field.startswith("survey.options.weight") and fault.tile == "A" for fault in faults)
    assert any("radians" in fault.problem for fault in faults)
    for fault in faults:
        assert str(tmp_path) not in fault.problem


def test_footprint_is_of_the_band_asked_for(tmp_path):
    put(tmp_path / "A_g.fits", header=cards(CRVAL1=31.0))
    put(tmp_path / "A_r.fits", pixels=np.zeros((20, 30), np.float32))
    opened = survey(tmp_path, bands={"g": "{tile}_g.fits", "r": "{tile}_r.fits"})
    (tile,) = opened.tiles()
    assert opened.footprint(tile, "r").shape == (20, 30)
    assert opened.footprint(tile, "g").shape == SHAPE
    assert opened.footprint(tile).shape == SHAPE
