import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from pydantic import ValidationError

from galflow.errors import ChangedError, DataError, SpecError, StoreError
from galflow.photometry import njy_per_count
from galflow.surveys.base import REQUIRED_COLUMNS, UNUSABLE, Plane
from galflow.surveys.fits_tiles import FitsTiles, FitsTilesOptions
from galflow.surveys.reading.identity import tile_keys
from galflow.surveys.reading.sky import measure_sky, with_ivar

SHAPE = (120, 150)
DATA = Path(os.environ.get("GALFLOW_DATA", Path(__file__).parents[3].parent / "shared" / "data"))


def pixels(seed=0, level=50.0, sigma=2.0):
    """Sky with a few round sources, in counts."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flux = rng.normal(level, sigma, SHAPE)
    for y, x in ((30, 40), (60, 100), (90, 30)):
        flux += 200 * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 8)
    return flux.astype(np.float32)


def wcs_header(ra=150.0, dec=2.0):
    return fits.Header(
        {
            **{"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec, "CRPIX1": 75.5, "CRPIX2": 60.5},
            **{"CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600, "SEEING": 0.8, "MAGZPT": 25.0, "SATURATE": 200.0},
        }
    )


def put(path, data, header=None, compress=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if compress:
        hdus = [fits.PrimaryHDU(), fits.CompImageHDU(data, header, compression_type="RICE_1", quantize_level=64)]
    else:
        hdus = [fits.PrimaryHDU(data, header)]
    fits.HDUList(hdus).writeto(path, overwrite=True)


@pytest.fixture
def root(tmp_path):
    """Two tiles; the second lacks band r."""
    put(tmp_path / "t,1/g.fits", pixels(1), wcs_header())
    put(tmp_path / "t,1/r.fits", pixels(2), wcs_header(), compress=True)
    put(tmp_path / "t2/g.fits", pixels(3), wcs_header(dec=2.005))
    return tmp_path


def survey(root, **options):
    options = {"bands": {"g": "{tile}/g.fits", "r": "{tile}/r.fits"}} | options
    return FitsTiles("sim", "1", FitsTilesOptions(root=str(root), **options))


def test_tiles_say_what_is_there(root):
    one, two = survey(root).tiles()
    assert (one.name, two.name) == ("t-1", "t2")
    assert (one.bands, two.bands) == (("g", "r"), ("g",))
    assert [file.role for file in one.files] == ["flux/g", "flux/r"]


def test_identity_follows_the_content(root):
    before = [tile.identity for tile in survey(root).tiles()]
    put(root / "t2/g.fits", pixels(4), wcs_header())
    after = [tile.identity for tile in survey(root).tiles()]
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    ("options", "unit", "factor"),
    [
        ({}, "count", 1.0),
        ({"zero_point": 27.0}, "nJy", njy_per_count(27.0)),
        ({"zero_point": {"g": 25.0, "r": 26.0}}, "nJy", njy_per_count(25.0)),
        ({"zero_point_keyword": "MAGZPT"}, "nJy", njy_per_count(25.0)),
    ],
)
def test_flux_and_unit(root, options, unit, factor):
    sim = survey(root, background="none", **options)
    image = sim.read(sim.tiles()[0], "g")
    assert (image.unit, sim.unit) == (unit, unit)
    assert image.flux.dtype == np.float32
    assert image.flux.dtype.isnative
    assert image.flux.flags.c_contiguous
    assert np.allclose(image.flux, pixels(1) * factor, rtol=1e-6)
    assert (image.pixel_scale_arcsec, sim.pixel_scale_arcsec) == (pytest.approx(0.2), 0.2)
    assert image.header["SEEING"] == 0.8


def test_the_sky_level_is_subtracted(root):
    sim = survey(root)
    image = sim.read(sim.tiles()[0], "g")
    assert np.allclose(image.flux, pixels(1) - measure_sky(pixels(1)).level, atol=1e-4)
    assert abs(measure_sky(image.flux).level) < 0.01


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float64])
def test_stored_types(root, dtype):
    put(root / "t2/g.fits", pixels(3).astype(dtype), wcs_header())
    sim = survey(root, background="none")
    assert np.allclose(sim.read(sim.tiles()[1], "g").flux, pixels(3).astype(dtype))


def test_missing_pixels_become_nan(root):
    data = pixels(3)
    data[0, :3], data[5] = (np.nan, np.inf, -np.inf), 0
    put(root / "t2/g.fits", data, wcs_header())
    sim = survey(root, blank_value=0)
    image, _ = with_ivar(sim.read(sim.tiles()[1], "g"))
    lost = np.zeros(SHAPE, dtype=bool)
    lost[0, :3], lost[5] = True, True
    assert np.array_equal(np.isnan(image.flux), lost)
    assert np.array_equal((image.mask & Plane.NO_DATA) > 0, lost)


def test_a_tile_of_nan_is_read_and_holds_nothing(root):
    put(root / "t2/g.fits", np.full(SHAPE, np.nan, dtype=np.float32), wcs_header())
    put(root / "w.fits", np.ones(SHAPE, dtype=np.float32))
    sim = survey(root, background="mesh", weight={"kind": "weight", "pattern": "w.fits"})
    tile = sim.tiles()[1]
    image, _ = with_ivar(sim.read(tile, "g"))
    assert (image.ivar == 0).all()
    assert (image.mask == Plane.NO_DATA).all()
    assert sim.catalog(tile, {"g": image}).num_rows == 0


@pytest.mark.parametrize("kind", ["ivar", "variance", "sigma", "weight"])
def test_noise_images_of_all_kinds(root, kind):
    sigma = np.full(SHAPE, 2.0, dtype=np.float32)
    sigma[:60] = 1.0
    stored = {"ivar": sigma**-2, "variance": sigma**2, "sigma": sigma, "weight": 300 * sigma**-2}[kind]
    stored[0, 0] = 0 if kind in ("ivar", "weight") else np.nan
    rng = np.random.default_rng(1)
    put(root / "t,1/g.fits", (rng.normal(0, 1, SHAPE) * sigma).astype(np.float32), wcs_header())
    put(root / "noise/t,1_g.fits", stored)
    put(root / "noise/t2_g.fits", stored)
    sim = survey(root, zero_point=25.0, weight={"kind": kind, "pattern": "noise/{tile}_{band}.fits"})
    ivar = sim.read(sim.tiles()[0], "g").ivar
    expected = (njy_per_count(25.0) * sigma) ** -2
    assert ivar[0, 0] == 0
    assert np.allclose(ivar[1:], expected[1:], rtol=0.05 if kind == "weight" else 1e-5)
    with pytest.raises(DataError, match="tile t-1 of sim has no weight file for band r"):
        sim.read(sim.tiles()[0], "r")


def test_masks_are_translated(root):
    flags = np.zeros(SHAPE, dtype=np.int32)
    flags[0, :4] = 1, 4, 5, 2
    for tile in ("t,1", "t2"):
        put(root / f"{tile}/flags.fits", flags)
    mapped = {"pattern": "{tile}/flags.fits", "planes": {0: "BAD", 2: "COSMIC_RAY"}}

    def mask(**options):
        sim = survey(root, **options)
        return sim.read(sim.tiles()[0], "g").mask

    assert mask(mask=mapped)[0, :5].tolist() == [Plane.BAD, Plane.COSMIC_RAY, Plane.BAD | Plane.COSMIC_RAY, 0, 0]
    assert mask(mask={"pattern": "{tile}/flags.fits"})[0, :5].tolist() == [Plane.BAD] * 4 + [0]
    assert mask(mask={"pattern": "{tile}/flags.fits", "invert": True})[0, :5].tolist() == [0] * 4 + [Plane.BAD]
    for saturation in ({"saturation_level": 200}, {"saturation_keyword": "SATURATE"}):
        assert np.array_equal(mask(**saturation) == Plane.SATURATED, pixels(1) >= 200)
    both = mask(mask=mapped, saturation_level={"g": 200.0, "r": 1.0})
    assert both[0, 0] == Plane.BAD
    assert both[30, 40] == Plane.SATURATED
    assert mask() is None
    assert not Plane.SATURATED & UNUSABLE


def test_companions_of_another_shape_are_refused(root):
    put(root / "flags.fits", np.zeros((5, 5), dtype=np.int16))
    sim = survey(root, mask={"pattern": "flags.fits"})
    with pytest.raises(DataError, match=r"flags.fits has shape \(5, 5\)"):
        sim.read(sim.tiles()[0], "g")


def test_psfs(root):
    psf = np.zeros((6, 7))
    psf[3, 3], psf[2, 3] = 3.0, 1.0
    put(root / "psf.fits", psf)
    sim = survey(root, psf={"pattern": "psf.fits", "fwhm_keyword": "SEEING", "fwhm_unit": "pixel"})
    found = sim.read(sim.tiles()[0], "g").psf
    assert found.image.shape == (7, 7)
    assert found.image[3, 3] == 0.75
    assert found.image.sum() == pytest.approx(1)
    assert found.fwhm_arcsec == pytest.approx(0.16)
    sim = survey(root, psf={"fwhm_arcsec": {"g": 0.7}})
    assert sim.read(sim.tiles()[0], "g").psf.fwhm_arcsec == 0.7
    assert sim.read(sim.tiles()[0], "r").psf is None
    sim = survey(root, psf={"fwhm_keyword": "NOSUCH"})
    with pytest.raises(DataError, match="gives NOSUCH = None; expected a number"):
        sim.read(sim.tiles()[0], "g")
    put(root / "psf.fits", psf * 0)
    sim = survey(root, psf={"pattern": "psf.fits"})
    with pytest.raises(DataError, match="sum to 0; expected a positive sum"):
        sim.read(sim.tiles()[0], "g")


@pytest.mark.parametrize(("band", "keep"), [("g", 0.5), ("g", 0.97), ("r", 0.5), ("r", 0.9), ("g", 0.01)])
def test_a_truncated_file_is_a_data_error(root, band, keep):
    path = root / f"t,1/{band}.fits"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    sim = survey(root)
    with pytest.raises(DataError, match=rf"{band}.fits (is truncated: .* promises|is truncated or no FITS file)"):
        sim.read(sim.tiles()[0], band)


def test_gzipped_files_and_their_truncation(root):
    content = gzip.compress((root / "t2/g.fits").read_bytes())
    (root / "t2/z.fits.gz").write_bytes(content)
    sim = survey(root, bands={"z": "{tile}/z.fits.gz"}, background="none")
    assert np.array_equal(sim.read(sim.tiles()[0], "z").flux, pixels(3))
    (root / "t2/z.fits.gz").write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"z.fits.gz is truncated or corrupt"):
        sim.read(sim.tiles()[0], "z")


def test_damaged_and_vanished_files(root):
    sim = survey(root)
    tile = sim.tiles()[0]
    (root / "t,1/g.fits").write_bytes(b"<html>404 not found</html>" * 500)
    with pytest.raises(ChangedError, match=r"g.fits was replaced while the run was under way"):
        sim.read(tile, "g")
    with pytest.raises(DataError, match=r"g.fits is truncated or no FITS file"):
        sim.read(sim.tiles()[0], "g")
    content = bytearray((root / "t,1/r.fits").read_bytes())
    with fits.open(root / "t,1/r.fits", disable_image_compression=True) as hdus:
        start = hdus[1].fileinfo()["datLoc"]
    content[start : start + 16 * SHAPE[0]] = b"\xff" * 16 * SHAPE[0]
    (root / "t,1/r.fits").write_bytes(content)
    with pytest.raises(DataError, match=r"r.fits cannot be read as FITS"):
        sim.read(sim.tiles()[0], "r")
    (root / "t,1/g.fits").unlink()
    with pytest.raises(StoreError, match="does not exist"):
        sim.read(tile, "g")
    with pytest.raises(DataError, match="tile t2 of sim has no flux file for band r"):
        sim.read(sim.tiles()[-1], "r")


def test_extensions(root):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 3, 4))), fits.ImageHDU(pixels(5), name="SCI")]
    fits.HDUList(hdus).writeto(root / "t2/g.fits", overwrite=True)
    for extension in (None, 2, "SCI"):
        sim = survey(root, extension=extension, pixel_scale_arcsec=0.2, background="none")
        assert np.array_equal(sim.read(sim.tiles()[1], "g").flux, pixels(5))
    for extension, text in (("ERR", "no extension 'ERR'"), (1, "no 2-D image"), (0, "no 2-D image")):
        sim = survey(root, extension=extension, pixel_scale_arcsec=0.2)
        with pytest.raises(DataError, match=text):
            sim.read(sim.tiles()[1], "g")


def test_one_tile_with_a_declared_position(root):
    put(root / "one/field_g.fits", pixels(6))
    nominal = {"ra_deg": 34.0, "dec_deg": -5.0, "pixel_scale_arcsec": 0.168}
    sim = survey(root / "one", bands={"g": "field_{band}.fits"}, nominal=nominal)
    (tile,) = sim.tiles()
    assert tile.name == "one"
    image = sim.read(tile, "g")
    assert (image.pixel_scale_arcsec, sim.pixel_scale_arcsec) == (pytest.approx(0.168), 0.168)
    ra, dec = image.wcs.pixel_to_world_values((SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2)
    assert (ra, dec) == (pytest.approx(34.0), pytest.approx(-5.0))
    assert survey(root / "one", bands={"g": "field_g.fits"}, tile="c/1").tiles()[0].name == "c/1"
    with pytest.raises(SpecError, match="declare pixel_scale_arcsec or nominal"):
        _ = survey(root / "one", bands={"g": "field_g.fits"}).pixel_scale_arcsec


def test_detection_gives_all_tiles_the_same_columns_and_ids_of_their_own(root):
    sim = survey(root, zero_point=25.0)
    tables = [sim.catalog(tile) for tile in sim.tiles()]
    assert tables[0].schema == tables[1].schema
    assert set(REQUIRED_COLUMNS) <= set(tables[0].column_names)
    assert [table.num_rows for table in tables] == [3, 3]
    assert tables[1]["flux_r"].null_count == 3
    keys = tile_keys(["t-1", "t2"])
    for table, name in zip(tables, ("t-1", "t2"), strict=True):
        assert {int(i) >> 30 for i in table["object_id"].to_pylist()} == {keys[name]}
    # A Gaussian of height 200 and sigma 2 holds 5027 counts.
    assert np.median(tables[0]["flux_g"]) == pytest.approx(200 * 2 * np.pi * 4 * njy_per_count(25.0), rel=0.08)


def test_a_catalogue_for_the_survey(root):
    table = pa.table({"ID": [2**62 + 1, 5, 6], "ra_deg": [150.0, 150.0, None], "dec_deg": [2.0, 2.005, 1.0]})
    pq.write_table(table, root / "objects.parquet")
    sim = survey(root, catalog={"path": "objects.parquet", "columns": {"object_id": "ID"}})
    assert sim.survey_catalog()["object_id"].to_pylist() == [2**62 + 1, 5, 6]
    one, two = (sim.catalog(tile) for tile in sim.tiles())
    assert one["object_id"].to_pylist() == [2**62 + 1]
    assert two["object_id"].to_pylist() == [5]
    assert one["x"][0].as_py() == pytest.approx(74.5, abs=1e-3)
    pq.write_table(pa.table({"object_id": [1], "x": [1.0], "y": [2.0]}), root / "objects.parquet")
    with pytest.raises(SpecError, match="so it needs ra_deg and dec_deg"):
        survey(root, catalog={"path": "objects.parquet"}).survey_catalog()


def test_each_tile_keeps_the_rows_of_its_own_catalogue(root):
    shared, own = "7,150.001,2.002,20.5", "8,150.002,2.001,21.0"
    (root / "t,1/cat.csv").write_text(f"object_id,ra_deg,dec_deg,MAG\n{shared}\n{own}\n")
    (root / "t2/cat.csv").write_text(
        f"object_id,ra_deg,dec_deg,MAG\n9,150.003,2.004,22.0\n{shared}\n7,150.2,2.1,19.0\n"
    )
    sim = survey(root, catalog={"path": "{tile}/cat.csv"})
    assert sim.survey_catalog() is None
    assert sim.joins_tiles
    one, two = (sim.catalog(tile) for tile in sim.tiles())
    assert one["object_id"].to_pylist() == [7, 8]
    assert two["object_id"].to_pylist() == [9, 7, 7]
    assert two["MAG"].to_pylist() == [22.0, 20.5, 19.0]
    # Where each tile counts its own objects, 7 here is not 7 there.
    sim = survey(root, catalog={"path": "{tile}/cat.csv", "ids_per_tile": True})
    one, two = (sim.catalog(tile) for tile in sim.tiles())
    assert two["source_name"].to_pylist() == ["t2/9", "t2/7", "t2/7"]
    assert not set(one["object_id"].to_pylist()) & set(two["object_id"].to_pylist())


def test_a_tile_with_one_unreadable_header_takes_its_footprint_from_another_band(root):
    (root / "t,1/g.fits").write_bytes(b"SIMPLE  =                    T")
    sim = survey(root)
    assert sim.footprint(sim.tiles()[0]).wcs is not None
    (root / "t2/g.fits").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no readable header"):
        sim.footprint(sim.tiles()[1])


def test_a_catalogue_per_tile(root):
    for tile, x in (("t,1", 10.0), ("t2", 20.0)):
        (root / tile / "cat.csv").write_text(f"NUMBER,X_IMAGE,Y_IMAGE,MAG\n7,{x},5,21.5\n")
    columns = {"object_id": "NUMBER", "x": "X_IMAGE", "y": "Y_IMAGE"}
    sim = survey(root, catalog={"path": "{tile}/cat.csv", "columns": columns, "pixel_origin": 1})
    assert sim.survey_catalog() is None
    one, two = sim.tiles()
    assert one.file("catalog").uri.endswith("t,1/cat.csv")
    table = sim.catalog(two)
    assert table.column_names == [*REQUIRED_COLUMNS, "MAG"]
    assert (table["x"][0].as_py(), table["y"][0].as_py()) == (19.0, 4.0)
    assert table["ra_deg"][0].as_py() == pytest.approx(150.0, abs=0.01)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bands": {"g": "{tile}/g.fits", "r": "r.fits"}}, "either all or none"),
        ({"zero_point": {"g": 1.0}}, "zero_point names bands"),
        ({"zero_point": 1.0, "zero_point_keyword": "M"}, "not both"),
        ({"tile": "x"}, "leave it out here"),
        ({"nominal": {"ra_deg": 1, "dec_deg": 1, "pixel_scale_arcsec": 1}}, "gives all tiles one position"),
        ({"psf": {}}, "psf needs a pattern"),
        ({"mask": {"pattern": "m", "planes": {0: "FUNNY"}}}, "maps 0 to 'FUNNY'"),
        ({"mask": {"pattern": "m", "planes": {0: "BAD"}, "invert": True}}, "leave out planes or invert"),
        ({"color": 1}, "Extra inputs"),
    ],
)
def test_options_that_cannot_be_meant(root, change, text):
    with pytest.raises(ValidationError, match=text):
        survey(root, **change)


def test_patterns_that_cannot_be_meant(root):
    with pytest.raises(SpecError, match=r"no file below .* matches \{tile\}/z.fits; check"):
        survey(root, bands={"z": "{tile}/z.fits"}).tiles()
    with pytest.raises(SpecError, match=r"placeholder \{field\}"):
        survey(root, bands={"z": "{field}/{tile}.fits"}).tiles()
    with pytest.raises(SpecError, match="matches both"):
        survey(root, bands={"z": "{tile}/*.fits"}).tiles()
    put(root / "t-1/g.fits", pixels(), wcs_header())
    with pytest.raises(SpecError, match="another tile already"):
        survey(root).tiles()
    with pytest.raises(SpecError, match="no file below"):
        survey(root / "nowhere").tiles()


def test_tile_names_across_folders(root):
    put(root / "deep/a/b/g.fits", pixels(), wcs_header())
    deep = survey(root, bands={"g": "{tile:path}/g.fits"})
    assert [tile.name for tile in deep.tiles()] == ["deep/a/b", "t-1", "t2"]
    assert [tile.name for tile in survey(root, bands={"g": "deep/{tile}/b/g.fits"}).tiles()] == ["a"]
    assert [tile.name for tile in survey(root).tiles()] == ["t-1", "t2"]


@pytest.mark.parametrize("projection", ["TPV", "SIP"])
def test_distorted_wcs(root, projection):
    header = wcs_header()
    if projection == "TPV":
        header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
        header["PV1_1"], header["PV2_1"] = 1.01, 1.0
    else:
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        header["A_ORDER"], header["A_2_0"], header["B_ORDER"], header["B_0_2"] = 2, 1e-3, 2, 0.0
    put(root / "t2/g.fits", pixels(), header)
    sim = survey(root)
    wcs = sim.footprint(sim.tiles()[1]).wcs
    ra, _ = wcs.all_pix2world(124.5, 59.5, 0)
    offset_arcsec = (150.0 - float(ra)) * np.cos(np.radians(2)) * 3600
    # 50 pixels of 0.2 arcsec: stretched by 1.01 (TPV), or moved by 1e-3 * 50^2 pixels (SIP).
    assert offset_arcsec == pytest.approx(10.1 if projection == "TPV" else 10.5, abs=0.005)


real = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are not at {DATA}")


@real
def test_real_zpn_frames_agree_with_each_other_and_their_headers():
    options = {"bands": {"H": "image_{tile}.fits"}, "zero_point_keyword": "MAGZPT"}
    options["psf"] = {"fwhm_keyword": "SEEING", "fwhm_unit": "pixel"}
    frames = survey(DATA / "viking_H_frames", **options)
    tiles = frames.tiles()
    assert [tile.name for tile in tiles] == ["1", "2", "6"]
    tables = []
    for tile in tiles[:2]:
        image, sigma = with_ivar(frames.read(tile, "H"))
        inverse_variance = fits.getheader(tile.files[0].uri[7:], 1)["INVAR"]
        assert sigma == pytest.approx(njy_per_count(30.0) * inverse_variance**-0.5, rel=0.04)
        assert image.pixel_scale_arcsec == pytest.approx(0.3373, abs=0.0005)
        assert 0.6 < image.psf.fwhm_arcsec < 0.9
        tables.append(frames.catalog(tile, {"H": image}))
    first, second = (np.column_stack([t["ra_deg"], t["dec_deg"], t["flux_H"], t["snr"]]) for t in tables)
    bright = first[first[:, 3] > 50]
    shift = bright[:, None, :2] - second[None, :, :2]
    distance = np.hypot(shift[..., 0] * np.cos(np.radians(5.15)), shift[..., 1]) * 3600
    nearest = distance.argmin(axis=1)
    matched = distance.min(axis=1) < 1.0
    assert matched.mean() > 0.9
    assert np.median(distance.min(axis=1)) < 0.1
    ratio = second[nearest, 2] / bright[:, 2]
    assert np.median(ratio[matched]) == pytest.approx(1.0, abs=0.03)


@real
def test_real_tile_of_five_bands():
    zero_points = {"g": 0.0, "r": 0.0, "i": 0.0, "Z": 30.0, "J": 30.0}
    bands = dict.fromkeys(zero_points, "{band}.fits")
    kids = survey(DATA / "kids_viking_tile", bands=bands, zero_point=zero_points, pixel_scale_arcsec=0.2)
    (tile,) = kids.tiles()
    assert tile.bands == tuple("griZJ")
    image, sigma = with_ivar(kids.read(tile, "r"))
    assert image.flux.shape == (2600, 2600)
    assert sigma == pytest.approx(15.3, rel=0.05)
    assert 1500 < kids.catalog(tile, {"r": image}).num_rows < 4000
