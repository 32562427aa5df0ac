"""What only some surveys have: layers, primary flags, zero points that contradict, noise that is made."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
from astropy.io import fits
from pydantic import ValidationError
from scipy import ndimage

from galflow.errors import DataError, SpecError
from galflow.runs.check_columns import check_group
from galflow.runs.plan_cutouts import plan_cutouts
from galflow.spec.run import SurveySpec, parse_spec
from galflow.storage.store import Store
from galflow.surveys.base import Plane, Survey
from galflow.surveys.hsc import HscOptions
from galflow.surveys.reading import sdss_frame
from galflow.surveys.reading.fits_names import files_by_tile
from galflow.surveys.reading.parts import Part
from galflow.surveys.recognise import recognise
from galflow.surveys.resolve import open_survey
from tests.galflow.surveys import survey_files as written
from tests.galflow.surveys.test_presets import faults, opened


def edit(path: Path, extension: int | str, **cards: Any) -> None:
    """Cards set, or deleted where None, in one header of a file."""
    with fits.open(path, mode="update") as hdus:
        for name, value in cards.items():
            if value is None:
                del hdus[extension].header[name]
            else:
                hdus[extension].header[name] = value


def said(kind: str, root: Path, **options: Any) -> tuple[list[str], list[str]]:
    return faults(SurveySpec(kind=kind, options={"root": str(root), **options}))


# --- hsc


def layered(root: Path) -> dict[str, str]:
    for number, folder in enumerate(("pdr3_wide", "pdr3_deep", "elsewhere")):
        written.hsc(root / folder, seed=number, shift=0.1 * number)
    return {"wide": "pdr3_wide", "deep": "pdr3_deep"}


def test_layers_are_folders_and_a_column(tmp_path: Path) -> None:
    survey = opened("hsc", tmp_path, layers=layered(tmp_path))
    assert [tile.name for tile in survey.tiles()] == ["pdr3_deep/9813-4-4", "pdr3_wide/9813-4-4"]
    tables = [survey.catalog(tile) for tile in survey.tiles()]
    assert [set(table["layer"].to_pylist()) for table in tables] == [{"deep"}, {"wide"}]
    assert not set(tables[0]["object_id"].to_pylist()) & set(tables[1]["object_id"].to_pylist())
    assert survey.catalog_columns == set(tables[0].column_names)
    one = opened("hsc", tmp_path / "elsewhere", layers="ultradeep")
    assert set(one.catalog(one.tiles()[0])["layer"].to_pylist()) == {"ultradeep"}
    assert "layer" not in opened("hsc", tmp_path / "elsewhere").catalog(one.tiles()[0]).column_names


def test_rows_of_one_catalogue_for_all_tiles_get_the_layer_of_theirs(tmp_path: Path) -> None:
    rows = ["object_id,ra,dec,isprimary"]
    for number in (0, 1):  # the second layer lies north of the first
        rows += [f"{number}{i},{written.RA},{written.DEC + 0.1 * number + i * 1e-4},1" for i in range(4)]
    layers = layered(tmp_path)
    (tmp_path / "all.csv").write_text("\n".join([*rows, "99,10,10,1", ""]))
    options = {"root": str(tmp_path), "layers": layers, "catalog": {"path": "all.csv"}}
    survey = SurveySpec(kind="hsc", options=options)
    models = [{"name": "k", "model": "kmeans.KMeans"}]
    spec = parse_spec({"name": "x", "survey": survey.model_dump(), "models": models, "output": {"group_by": "layer"}})
    check_group(spec.output, open_survey(survey))
    units = plan_cutouts(spec, survey, Store.open(tmp_path / "store"))
    found = {u.name: u.rows for u in units if u.rows is not None}
    assert found["pdr3_wide/9813-4-4"]["layer"].to_pylist() == ["wide"] * 4
    assert found["pdr3_deep/9813-4-4"]["layer"].to_pylist() == ["deep"] * 4
    assert "layer" not in found["outside"].column_names, "it lies in no tile, so in no layer"


@pytest.mark.parametrize("layers", ["shallow", {"wide": "a/b"}, {"wide": "a", "deep": "a"}, {"wide": ""}])
def test_layers_that_cannot_be_meant(layers: Any) -> None:
    with pytest.raises(ValidationError, match=r"directly below root|'wide', 'deep' or 'ultradeep'"):
        HscOptions(root="/data", layers=layers)


def test_a_folder_of_no_layer_is_told_with_the_folders(tmp_path: Path) -> None:
    layered(tmp_path)
    with pytest.raises(SpecError, match=r"no file below .* in wide2 or deep2 is named as an HSC-SSP coadd"):
        opened("hsc", tmp_path, layers={"wide": "wide2", "deep": "deep2"}).tiles()


def test_a_group_begins_the_tiles_name(tmp_path: Path) -> None:
    layered(tmp_path)
    found = files_by_tile(f"file://{tmp_path}", "{group:pdr3_deep,elsewhere}/**calexp-{band}-{tile}.fits", "HSC-I")
    assert sorted(found) == ["elsewhere/9813-4,4", "pdr3_deep/9813-4,4"]


def test_a_plane_that_this_file_lacks_is_left_out_and_one_that_it_needs_is_not(tmp_path: Path) -> None:
    written.hsc(tmp_path)
    path = next(tmp_path.glob("**/calexp-HSC-I-*.fits"))
    edit(path, 2, **{"MP_BRIGHT_OBJECT": None})
    survey = opened("hsc", tmp_path)
    mask = survey.read(survey.tiles()[0], "i").mask
    assert not (mask & Plane.BRIGHT_STAR).any()
    assert (mask[written.bad_pixels()["SAT"]] == Plane.SATURATED).all()
    edit(path, 2, **{"MP_NO_DATA": None})
    survey = opened("hsc", tmp_path)
    with pytest.raises(DataError, match=r"HSC-I-9813-4,4.fits is not .*: its mask's header has no plane NO_DATA"):
        survey.read(survey.tiles()[0], "i")


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("hsc", {"zero_point": 26.0}, "the header of band i gives zero point 26.0000, its data model 27"),
        ("des", {"magzero": 29.5}, "the header of band r gives zero point 29.5000, its data model 30"),
    ],
)
def test_a_header_that_contradicts_the_data_model_is_right_and_said(
    kind: str, change: dict[str, float], told: str, tmp_path: Path
) -> None:
    getattr(written, kind)(tmp_path, seed=1, **change)
    refused, remarks = said(kind, tmp_path)
    assert refused == []
    assert any(told in remark and "the header's is taken" in remark for remark in remarks)
    survey = opened(kind, tmp_path)
    row, column = written.STARS[4]
    flux = survey.read(survey.tiles()[0], survey.bands[0]).flux[row - 8 : row + 9, column - 8 : column + 9].sum()
    assert flux == pytest.approx(written.star_njy(4), rel=0.01)


@pytest.mark.parametrize(
    ("kind", "image", "extension", "cards", "told"),
    [
        (
            "legacy",
            "**/*-image-r.fits.fz",
            1,
            {"MAGZERO": 22.0, "BUNIT": None},
            "22.0000, its data model 22.5",
        ),
        ("kids", "*_r_sci.fits", 0, {"PHOTZP": -0.5}, "zero point -0.5000, its data model 0"),
        ("euclid", "**/*BGSUB-MOSAIC-VIS_*", 0, {"MAGZERO": 24.1}, "zero point 24.1000, its data model 24.6"),
        ("lsst", "*_i_*.fits", "IMAGE", {"FLUXMAG0": 10**12.36, "BUNIT": None}, "30.9000, its data model 31.4"),
    ],
)
def test_a_header_of_another_zero_point_is_right(
    kind: str, image: str, extension: int | str, cards: dict[str, float], told: str, tmp_path: Path
) -> None:
    """Half a magnitude brighter: 10^0.2 the flux."""
    getattr(written, kind)(tmp_path, seed=1)
    (path,) = tmp_path.glob(image)
    before = _star(opened(kind, tmp_path))
    edit(path, extension, **cards)
    refused, remarks = said(kind, tmp_path)
    assert refused == []
    assert any(told in remark and "the header's is taken" in remark for remark in remarks)
    assert _star(opened(kind, tmp_path)) == pytest.approx(before * 10**0.2, rel=1e-4)


def test_a_coadd_in_another_unit_is_read_in_it_and_said(tmp_path: Path) -> None:
    written.lsst(tmp_path, seed=1)
    before = _star(opened("lsst", tmp_path))
    edit(next(tmp_path.glob("*_i_*.fits")), "IMAGE", BUNIT="uJy")
    refused, remarks = said("lsst", tmp_path)
    assert refused == []
    assert "the header of band i gives BUNIT = uJy, its data model nJy" in remarks[0]
    assert remarks[0].endswith("the header's is taken")
    assert _star(opened("lsst", tmp_path)) == pytest.approx(1000 * before, rel=1e-4)


def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    written.legacy(tmp_path)
    edit(next(tmp_path.glob("**/*-image-r.fits.fz")), 1, MAGZERO=22.0)
    survey = opened("legacy", tmp_path)
    with pytest.raises(DataError, match=r"image-r\.fits\.fz: BUNIT = 'nanomaggy' makes one stored unit 3631 nJy"):
        survey.read(survey.tiles()[0], "r")


def _star(survey: Survey) -> float:
    row, column = written.STARS[4]
    image = survey.read(survey.tiles()[0], survey.bands[0])
    return float(image.flux[row - 8 : row + 9, column - 8 : column + 9].sum())


# --- legacy


def test_what_a_neighbouring_brick_owns_is_not_primary(tmp_path: Path) -> None:
    written.legacy(tmp_path)
    survey = opened("legacy", tmp_path, mask="none")
    table = survey.catalog(survey.tiles()[0])
    beyond = table["x"].to_numpy() >= written.PRIMARY_COLUMNS
    assert 0 < beyond.sum() < len(table)
    np.testing.assert_array_equal(table["is_primary"].to_numpy(), ~beyond)
    next(tmp_path.glob("**/*maskbits*")).unlink()
    survey = opened("legacy", tmp_path, mask="none")
    with pytest.raises(DataError, match="tile 1501p022 of legacy has no maskbits, which say what is primary"):
        survey.catalog(survey.tiles()[0])


def test_saturation_is_of_its_own_band(tmp_path: Path) -> None:
    written.legacy(tmp_path)
    survey = opened("legacy", tmp_path)
    red, infrared = (survey.read(survey.tiles()[0], band).mask for band in "rz")
    where = written.bad_pixels()
    assert (red[where["SAT"]] == Plane.SATURATED).all()
    assert (red[where["BAD"]] == Plane.BAD).all()
    assert not infrared[where["SAT"]].any()
    assert not infrared[60:90, 112:130].any()  # GALAXY is no fault


def test_a_brick_without_psfsize_has_no_psf_and_one_without_invvar_is_told(tmp_path: Path) -> None:
    written.legacy(tmp_path)
    next(tmp_path.glob("**/*psfsize-r*")).unlink()
    survey = opened("legacy", tmp_path)
    assert survey.read(survey.tiles()[0], "r").psf is None
    next(tmp_path.glob("**/*invvar-r*")).unlink()
    _, remarks = said("legacy", tmp_path)
    refused, _ = said("legacy", tmp_path, bands=["r"])
    assert "no weight file is there for band r" in (remarks + refused)[0]


def test_the_psfsize_map_is_known_at_each_place(tmp_path: Path) -> None:
    written.legacy(tmp_path)
    survey = opened("legacy", tmp_path)
    psf = survey.read(survey.tiles()[0], "r").psf
    assert psf is not None
    assert psf.fwhm_map is not None
    with fits.open(next(tmp_path.glob("**/*psfsize-r*"))) as hdus:
        sizes = hdus[1].data
    y, x = np.array([20, 60]), np.array([30, 90])
    np.testing.assert_array_equal(psf.fwhm_map.at(x.astype(float), y.astype(float)), sizes[y, x].astype(float))
    assert psf.fwhm_arcsec == psf.fwhm_map.median
    part = Part(psf.fwhm_map.shape, np.arange(5))
    of_part = survey.read_part(survey.tiles()[0], "r", part).psf
    assert of_part is not None
    assert of_part.fwhm_map is not None
    assert of_part.fwhm_map.shape == psf.fwhm_map.shape


def test_psfs_beside_a_surveys_images_are_declared(tmp_path: Path) -> None:
    """Euclid's GRID-PSF as an image of stamps side by side."""
    written.euclid(tmp_path)
    stamps = np.random.default_rng(2).uniform(0.1, 1, (2, 3, 21, 21))
    for band in ("VIS", "NIR-H"):
        path = tmp_path / "102018211" / f"EUC_MER_GRID-PSF-{band}_TILE102018211-AA_20241018T001123.123450Z_00.00.fits"
        written.write(path, fits.PrimaryHDU(stamps.swapaxes(1, 2).reshape(42, 63)))
    declared = {"pattern": "**GRID-PSF-{band}_TILE{tile}-*.fits", "varies": "grid", "stamp_pixels": 21}
    plain, survey = opened("euclid", tmp_path), opened("euclid", tmp_path, psf=declared)
    assert plain.options.content() != survey.options.content()
    assert "psf" not in plain.options.content()
    for band in ("vis", "h"):
        psf = survey.read(survey.tiles()[0], band).psf
        assert psf is not None
        assert psf.field is not None
        np.testing.assert_allclose(psf.field.images[4], stamps[1, 1] / stamps[1, 1].sum(), rtol=1e-5)
    assert plain.read(plain.tiles()[0], "vis").psf is None


def test_the_columns_of_a_published_catalogue_are_known(tmp_path: Path) -> None:
    written.legacy(tmp_path)
    written.legacy(tmp_path, seed=9, brick="1502p022", shift=0.05)
    for brick, dec in (("1501p022", 2.2), ("1502p022", 2.25)):
        columns = [
            fits.Column("objid", "J", array=[1, 2]),
            fits.Column("ra", "D", array=[150.1, 150.101]),
            fits.Column("dec", "D", array=[dec, dec]),
            fits.Column("brick_primary", "L", array=[True, False]),
            fits.Column("flux_r", "E", array=[5.0, 6.0]),
        ]
        written.write(tmp_path / f"tractor/tractor-{brick}.fits", fits.BinTableHDU.from_columns(columns))
    survey = opened("legacy", tmp_path, catalog={"path": "tractor/tractor-{tile}.fits"})
    tables = [survey.catalog(tile) for tile in survey.tiles()]
    assert [table["is_primary"].to_pylist() for table in tables] == [[True, False]] * 2
    assert tables[0]["flux_r"].to_pylist() == [5.0, 6.0]
    ids = [number for table in tables for number in table["object_id"].to_pylist()]
    assert len(set(ids)) == 4  # each brick counts its own objects
    np.testing.assert_allclose(tables[1]["x"][0].as_py(), 84.0, atol=0.01)
    assert said("legacy", tmp_path, catalog={"path": "tractor/tractor-{tile}.fits"}) == ([], [])


@pytest.mark.s3
def test_bricks_are_found_in_a_bucket(tmp_path: Path, s3_root: str) -> None:
    written.legacy(tmp_path)
    s3fs.S3FileSystem(use_listings_cache=False).put(str(tmp_path / "south"), f"{s3_root}/dr10/south", recursive=True)
    here = opened("legacy", tmp_path)
    there = opened("legacy", f"{s3_root}/dr10")  # type: ignore[arg-type]
    assert [tile.name for tile in there.tiles()] == ["1501p022"]
    a, b = (survey.read(survey.tiles()[0], "z") for survey in (here, there))
    np.testing.assert_array_equal(a.flux, b.flux)
    np.testing.assert_array_equal(a.ivar, b.ivar)
    assert a.psf.fwhm_arcsec == b.psf.fwhm_arcsec


# --- kids


def test_a_relative_weight_is_scaled_to_the_sky(tmp_path: Path) -> None:
    written.kids(tmp_path)
    survey = opened("kids", tmp_path)
    ivar = survey.read(survey.tiles()[0], "r").ivar
    lost = written.flags({"NO_DATA": 0}) > 0
    np.testing.assert_array_equal(ivar == 0, lost)
    np.testing.assert_allclose(ivar[~lost] ** -0.5, written.SKY_SIGMA_NJY, rtol=0.03)


# --- vista


def test_a_frame_in_casus_own_zero_point_is_vega_a_second(tmp_path: Path) -> None:
    written.vista(tmp_path, MAGZPT=23.9)
    survey = opened("vista", tmp_path, background="none")
    tile = survey.tiles()[0]
    stored = fits.getdata(tmp_path / "frame_1.fits", 1)
    # H_AB = H_Vega + 1.366 (Gonzalez-Fernandez+18); ten seconds gather ten times the counts of one.
    expected = 3631e9 * 10 ** (-0.4 * (23.9 + 2.5 * math.log10(10.0) + 1.366))
    np.testing.assert_allclose(survey.read(tile, "H").flux, stored * expected, rtol=1e-5)
    refused, remarks = said("vista", tmp_path)
    assert refused == []
    assert "MAGZPT of band H is near NIGHTZPT: Vega" in remarks[0]


@pytest.mark.parametrize(("system", "offset"), [("VEGA", 1.366), ("AB", 0.0)])
def test_a_frame_with_esos_zero_point(system: str, offset: float, tmp_path: Path) -> None:
    written.vista(tmp_path, PHOTZP=29.0, PHOTSYS=system, PSF_FWHM=0.9)
    survey = opened("vista", tmp_path, background="none")
    image = survey.read(survey.tiles()[0], "H")
    factor = 3631e9 * 10 ** (-0.4 * (29.0 + offset))
    np.testing.assert_allclose(image.flux, fits.getdata(tmp_path / "frame_1.fits", 1) * factor, rtol=1e-5)
    assert image.psf.fwhm_arcsec == pytest.approx(0.9)


def test_a_confidence_map_is_the_weight_of_its_frame(tmp_path: Path) -> None:
    written.vista(tmp_path)
    head = written.header(0.339, INSTRUME="VIRCAM", FILTER="H")
    lost = written.flags({"NO_DATA": 0}) > 0
    confidence = np.where(lost, 0, 100).astype(np.int16)
    confidence[:, 100:] = 25
    written.write(tmp_path / "frame_1_conf.fits", fits.ImageHDU(confidence, head))
    _, remarks = said("vista", tmp_path)
    assert "its name is that of a confidence map; declare confidence" in remarks[0]
    declared = {"confidence": "{tile:path}_conf.fits", "background": "none"}
    survey = opened("vista", tmp_path, **declared)
    (tile,) = survey.tiles()
    assert survey.inspect([tile]) == []
    ivar = survey.read(tile, "H").ivar
    np.testing.assert_array_equal(ivar == 0, lost)
    known = ~lost[:, :100]
    assert np.median(ivar[:, :100][known]) == pytest.approx(4 * np.median(ivar[:, 100:]), rel=1e-5)
    # The sky's sigma is the same everywhere in this frame: the scale is between those of both parts.
    assert 0.3 < np.median(ivar[:, :100][known]) * written.SKY_SIGMA_NJY**2 < 4
    assert opened("vista", tmp_path, noise="sky", **declared).read(tile, "H").ivar is None


def test_frames_of_another_filter_and_files_of_several_detectors_are_told(tmp_path: Path) -> None:
    written.vista(tmp_path)
    written.vista(tmp_path, tile="frame_2", FILTER="J")
    written.vista(tmp_path, tile="frame_3")
    with fits.open(tmp_path / "frame_3.fits") as hdus:
        several = fits.HDUList([hdus[0].copy(), hdus[1].copy(), hdus[1].copy()])
        several.writeto(tmp_path / "frame_3.fits", overwrite=True)
    refused, remarks = said("vista", tmp_path)
    assert refused == []
    assert "tiles frame_2, frame_3: survey.options.root: a file of band H is not a VISTA frame" in remarks[0]
    survey = opened("vista", tmp_path)
    with pytest.raises(DataError, match="its FILTER is 'J', not H"):
        survey.read(survey.tiles()[1], "H")
    with pytest.raises(DataError, match="it holds several detectors; split it into one file each"):
        survey.read(survey.tiles()[2], "H")
    with pytest.raises(SpecError, match=r"pattern has no \{band\}"):
        opened("vista", tmp_path, bands=["H", "J"]).tiles()
    (tmp_path / "H").mkdir()
    (tmp_path / "frame_1.fits").rename(tmp_path / "H/field.fits")
    assert opened("vista", tmp_path, pattern="{band}/{tile}.fits").bands == ("H",)


# --- jwst, lsst


def test_a_stale_pixar_sr_is_said_and_the_wcs_is_right(tmp_path: Path) -> None:
    written.jwst(tmp_path)
    path = next(tmp_path.glob("*f200w*"))
    edit(path, "SCI", PIXAR_SR=4e-14)
    refused, remarks = said("jwst", tmp_path)
    assert refused == []
    assert "PIXAR_SR of band f200w is 4e-14 sr, the pixel of its WCS 2.259e-14" in remarks[0]
    assert remarks[0].endswith("the WCS's is taken")
    survey = opened("jwst", tmp_path)
    row, column = written.STARS[4]
    flux = survey.read(survey.tiles()[0], "f200w").flux[row - 8 : row + 9, column - 8 : column + 9].sum()
    assert flux == pytest.approx(written.star_njy(4), rel=0.01)


@pytest.mark.parametrize("form", ["cards", "bytes", "tree"])
def test_planes_of_dp2_are_known_by_name(form: str, tmp_path: Path) -> None:
    written.lsst(tmp_path / "dp1")
    written.lsst(tmp_path / "dp2", dp2=form)
    one, two = (opened("lsst", tmp_path / name) for name in ("dp1", "dp2"))
    assert two.inspect(two.listed) == []
    images = [survey.read(survey.tiles()[0], "i") for survey in (one, two)]
    masks = [image.mask for image in images]
    np.testing.assert_array_equal(images[0].flux, images[1].flux)
    np.testing.assert_array_equal(images[0].ivar, images[1].ivar)
    assert set(np.unique(masks[1])) == {0, Plane.SATURATED, Plane.INTERPOLATED, Plane.NO_DATA, Plane.EDGE}
    for name in written.DP2_BITS:
        np.testing.assert_array_equal(*(mask[written.bad_pixels()[name]] for mask in masks))
    assert not masks[1][8:].any()


def test_a_mask_of_three_axes_without_names_is_refused(tmp_path: Path) -> None:
    written.lsst(tmp_path, dp2="tree")
    path = next(tmp_path.glob("*_i_*"))
    with fits.open(path) as hdus:
        kept = fits.HDUList([hdu.copy() for hdu in hdus if hdu.name != "JSON"])
        nothing = fits.Column("JSON", "2B", array=np.frombuffer(b"{}", np.uint8)[None])
        kept.append(fits.BinTableHDU.from_columns([nothing], name="JSON"))
        kept.writeto(path, overwrite=True)
    survey = opened("lsst", tmp_path)
    with pytest.raises(DataError, match=r"_i_.*fits is not an LSST deep coadd: .*names the mask's planes"):
        survey.read(survey.tiles()[0], "i")


# --- sdss


def test_the_variance_of_a_frame_is_that_of_its_data_model(tmp_path: Path) -> None:
    written.sdss(tmp_path)
    survey = opened("sdss", tmp_path)
    image = survey.read(survey.tiles()[0], "r")
    with fits.open(tmp_path / "frame-r-002125-1-0018.fits.bz2") as hdus:
        table = hdus[2].data[0]
        x0, y0 = 1025 - 85, 745 - 75  # a whole frame has CRPIX 1025, 745
        calibration = hdus[1].data[x0 : x0 + written.SHAPE[1]]
        grid = np.meshgrid(
            table["YINTERP"][y0 : y0 + written.SHAPE[0]], table["XINTERP"][x0 : x0 + written.SHAPE[1]], indexing="ij"
        )
        sky = ndimage.map_coordinates(table["ALLSKY"].astype(float), grid, order=1)
        counts = hdus[0].data / calibration + sky
    variance = (counts / 4.71 + 1.8225) * calibration**2 * 3631.0**2  # r, column 1
    np.testing.assert_allclose(image.ivar, 1 / variance, rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "swapped", "packed"), [(True, False, False), (False, False, True), (True, True, False)]
)
def test_the_mask_of_a_frame_is_read_from_its_fpm(key: bool, swapped: bool, packed: bool, tmp_path: Path) -> None:
    written.sdss(tmp_path)
    plain = opened("sdss", tmp_path)
    before = plain.tiles()[0].identity
    path = written.sdss_mask(tmp_path / "masks", key=key, swapped=swapped)
    if packed:
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    survey = opened("sdss", tmp_path)
    (tile,) = survey.tiles()
    assert tile.identity != before
    mask = survey.read(tile, "r").mask
    planes = {"INTRP": Plane.INTERPOLATED, "SAT": Plane.SATURATED, "CR": Plane.COSMIC_RAY}
    expected = np.zeros(written.SHAPE, np.uint16)
    for name, plane in planes.items():
        expected[written.bad_pixels()[name]] = plane
    np.testing.assert_array_equal(mask, expected)
    assert survey.read(tile, "g").mask is None, "it has no such file"
    assert opened("sdss", tmp_path, mask="none").tiles()[0].identity == before
    told = recognise(str(tmp_path))
    assert any("mask: the survey's own" in text for text in told.known)
    assert not any("fpM" in text for text in told.unknown)


def test_an_fpm_of_another_form_is_refused_with_its_name(tmp_path: Path) -> None:
    written.sdss(tmp_path)
    columns = [fits.Column(name, "J", array=[3]) for name in ("refcntr", "nspan", "s")]
    written.write(tmp_path / "fpM-002125-r1-0018.fit", *(fits.BinTableHDU.from_columns(columns) for _ in range(10)))
    survey = opened("sdss", tmp_path)
    with pytest.raises(DataError, match=r"fpM-002125-r1-0018\.fit: table 1 is no mask of an SDSS frame"):
        survey.read(survey.tiles()[0], "r")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_bzipped_frame_is_refused(keep: float, tmp_path: Path) -> None:
    written.sdss(tmp_path)
    path = tmp_path / "frame-r-002125-1-0018.fits.bz2"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    survey = opened("sdss", tmp_path)
    with pytest.raises(DataError, match=r"frame-r-002125-1-0018.fits.bz2 is not an SDSS frame: .*cannot be read"):
        survey.read(survey.tiles()[0], "r")


def test_a_frame_without_its_calibration_and_sky_is_refused(tmp_path: Path) -> None:
    written.sdss(tmp_path)
    path = tmp_path / "frame-r-002125-1-0018.fits.bz2"
    with fits.open(path) as hdus:
        hdus[0].copy().writeto(tmp_path / "frame-r-002125-1-0018.fits")
    path.unlink()
    (tmp_path / "frame-g-002125-1-0018.fits.bz2").unlink()
    survey = opened("sdss", tmp_path)
    with pytest.raises(DataError, match=r"frame-r-002125-1-0018.fits has no extension 1"):
        survey.read(survey.tiles()[0], "r")
    assert opened("sdss", tmp_path, noise="sky").read(survey.tiles()[0], "r").ivar is None


@pytest.mark.parametrize(
    ("run", "column", "band", "gain", "dark"),
    [
        (94, 2, "u", 1.595, 12.6025),
        (2125, 2, "u", 1.825, 12.6025),
        (94, 4, "z", 4.775, 9.61),
        (6000, 5, "z", 3.48, 2.1025),
    ],
)
def test_gain_and_dark_variance_follow_the_run(run: int, column: int, band: str, gain: float, dark: float) -> None:
    header = fits.Header({"RUN": run, "CAMCOL": column, "FILTER": band})
    assert sdss_frame.noise_of_ccd(header, "f") == (gain, dark)
    with pytest.raises(DataError, match="f: its header gives CAMCOL = 7, FILTER = 'r'; expected a column 1-6"):
        sdss_frame.noise_of_ccd(fits.Header({"RUN": run, "CAMCOL": 7, "FILTER": "r"}), "f")
