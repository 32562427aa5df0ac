"""A band of which only what cutouts need is read gives the very cutouts and flags of one that is read whole."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from galflow.cutouts import opened_tile
from galflow.cutouts.object_psfs import NODES, STAMPS, WEIGHTS
from galflow.cutouts.sparse import sparse_reading
from galflow.spec.run import CutoutSpec
from galflow.spec.selection import SelectionSpec
from galflow.surveys.fits_tiles import FitsTiles, FitsTilesOptions
from galflow.surveys.reading.parts import WholeNeeded

SHAPE = (700, 800)
STARS = 12
SIDE = 21


@pytest.fixture(scope="module")
def sky():
    """Noise with stars, galaxies, a lost corner, a cosmic ray and a flat top; positions of the objects."""
    rng = np.random.default_rng(4)
    flux = rng.normal(3.0, 1.0, SHAPE)
    x, y = rng.uniform(30, SHAPE[1] - 30, 20), rng.uniform(30, SHAPE[0] - 30, 20)
    x[:3], y[:3] = (2.3, SHAPE[1] - 1.2, 400.0), (300.0, 3.0, SHAPE[0] - 4.0)  # cutouts that leave the tile
    ys, xs = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        sigma = 1.5 if i < STARS else 3.0
        flux += 400 * (1 + i) * np.exp(-((xs - a) ** 2 + (ys - b) ** 2) / (2 * sigma**2))
    flux[int(y[7]) - 2 : int(y[7]) + 3, int(x[7]) - 2 : int(x[7]) + 3] = 5000.0
    flux[int(y[8]) - 7, int(x[8]) - 6] = np.nan
    return flux.astype(np.float32), x, y


def written(path, pixels, kind):
    header = fits.Header({"CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 500.0, "CRPIX2": 400.0, "CTYPE1": "RA---TAN",
                          "CTYPE2": "DEC--TAN", "CDELT1": -5e-5, "CDELT2": 5e-5})  # fmt: skip
    if kind in ("rice", "tiles"):
        shape = (1, SHAPE[1]) if kind == "rice" else (100, 128)
        hdu = fits.CompImageHDU(pixels, header, compression_type="RICE_1", tile_shape=shape, quantize_level=16)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    elif kind == "gzip":
        fits.PrimaryHDU(pixels, header).writeto(path.with_suffix(""))
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes(), 1))
    elif kind == "extension":
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels * 0), fits.ImageHDU(pixels, header)]).writeto(path)
    else:
        fits.PrimaryHDU(pixels, header).writeto(path)


def make_survey(folder, sky, kind, companions, **options):
    """A tile of two bands."""
    folder.mkdir(exist_ok=True)
    flux, x, y = sky
    end = ".fits.gz" if kind == "gzip" else ".fits"
    rng = np.random.default_rng(5)
    for i, band in enumerate("gr"):
        pixels = np.nan_to_num(flux * 3).astype(np.int16) if kind == "integers" else flux * (1 + i)
        if band == "g":  # a cosmic ray
            row, column = int(y[6]) + 6, int(x[6]) + 5
            pixels[row, column : column + 3] += 9000
        written(folder / f"{band}{end}", pixels, kind)
        if companions:
            mask = (rng.random(SHAPE) < 1e-3).astype(np.int16) * 2 ** rng.integers(0, 3, SHAPE).astype(np.int16)
            written(folder / f"{band}.mask{end}", mask, kind)
            sigma = 1 + 0.2 * rng.random(SHAPE).astype(np.float32)
            sigma[:, -200:-100] = 1e16
            written(folder / f"{band}.rms{end}", sigma, kind)
    rows = pa.table({"object_id": np.arange(1, len(x) + 1), "x": x, "y": y, "mag": rng.random(len(x))})
    pq.write_table(rows, folder / "catalog.parquet")
    given = {
        "root": str(folder), "bands": {b: f"{b}{end}" for b in "gr"}, "tile": "t", "zero_point": 27.0,
        "catalog": {"path": "catalog.parquet"}, **options,
    }  # fmt: skip
    if companions:
        given["mask"] = {"pattern": "{band}.mask" + end, "planes": {0: "BAD", 1: "SATURATED", 2: "BRIGHT_STAR"}}
        given["weight"] = {"pattern": "{band}.rms" + end, "kind": "sigma"}
    if kind == "extension":
        given["extension"] = 2
        for name in ("mask", "weight"):
            if name in given:
                given[name]["extension"] = 2
    return FitsTiles("sparse", "1", FitsTilesOptions(**given))


@pytest.mark.parametrize(
    ("kind", "companions", "defects", "options"),
    [
        ("plain", False, False, {"background": "none"}),
        ("plain", True, "cutouts", {"background": "constant", "saturation_level": 6000.0}),
        ("rice", True, "cutouts", {"background": "constant"}),
        ("tiles", True, "cutouts", {}),
        ("gzip", True, False, {}),
        ("extension", True, "cutouts", {"background": "constant"}),
        ("integers", False, "cutouts", {"background": "constant"}),
    ],
)
def test_same_as_whole(tmp_path, local_store, sky, cut, monkeypatch, kind, companions, defects, options):
    survey = make_survey(tmp_path / "data", sky, kind, companions, **options)
    monkeypatch.setattr(survey, "read", lambda *_: pytest.fail("a band was read whole"))
    found, receipt = cut(local_store, survey, size=SIDE, defects=defects)
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opened_tile, "sparse_reading", lambda *_: (None, "asked for"))
        patch.setattr(survey, "read_part", lambda *_: pytest.fail("a part was read"))
        whole, expected = cut(local_store, survey, size=SIDE, defects=defects, chunk_megabytes=4.0)
    assert receipt.outcome == expected.outcome
    assert receipt.reasons == expected.reasons
    assert receipt.details == expected.details
    for name in ("flux", "ivar", "mask"):
        np.testing.assert_array_equal(found.read(name), whole.read(name))
    assert found.rows().equals(whole.rows())
    assert found.attributes == whole.attributes
    if defects:
        star = set() if companions else {"STAR"}  # masked pixels hide too many
        assert star | {"COSMIC_RAY", "EDGE", "SATURATED"} <= set(receipt.details["flags"])
    assert np.isfinite(found.read("flux")).mean() > 0.8


def test_what_a_few_pixels_do_not_tell_is_read_whole(tmp_path, local_store, sky, cut):
    flux, x, y = sky
    holes = flux.copy()
    holes[:, 300:] = 0.0  # areas without exposure, of which no weight tells
    survey = make_survey(tmp_path / "holes", (holes, x, y), "plain", False)
    seen = []
    survey.read = lambda tile, band: seen.append(band) or FitsTiles.read(survey, tile, band)
    _, receipt = cut(local_store, survey, size=SIDE, defects="cutouts")
    assert sorted(seen) == ["g", "r"]
    assert receipt.details["flags"]["MISSING_PIXELS"] > 5


@pytest.mark.parametrize(
    ("stars", "defects"), [(None, False), ("drop", False), ("drop", "cutouts"), ("keep", "cutouts")]
)
def test_of_a_selection_only_what_it_takes_is_read(tmp_path, local_store, sky, cut, stars, defects):
    """Stars are found among all rows, as where the tile is read whole."""
    survey = make_survey(tmp_path, sky, "plain", False, background="constant")
    survey.selection = SelectionSpec(where=["mag < 0.7"], stars=stars)
    parts, read_part = [], survey.read_part
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "read", lambda *_: pytest.fail("a band was read whole"))
        patch.setattr(survey, "read_part", lambda t, b, part: parts.append(len(part.index)) or read_part(t, b, part))
        found, receipt = cut(local_store, survey, size=SIDE, defects=defects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opened_tile, "sparse_reading", lambda *_: (None, "asked for"))
        whole, expected = cut(local_store, survey, size=SIDE, defects=defects, chunk_megabytes=4.0)
    assert 0 < receipt.rows < len(sky[1])
    assert receipt.details == expected.details
    assert receipt.details["selection"]
    for name in ("flux", "ivar", "mask"):
        np.testing.assert_array_equal(found.read(name), whole.read(name))
    assert found.rows().equals(whole.rows())
    assert found.attributes == whole.attributes
    survey.selection = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "read_part", lambda t, b, part: parts.append(len(part.index)) or read_part(t, b, part))
        cut(local_store, survey, size=SIDE, defects=defects, chunk_megabytes=2.0)
    assert min(parts[:2]) < min(parts[2:])


def test_where_a_rule_does_not_fit_no_row_is_taken(tmp_path, local_store, sky, cut):
    survey = make_survey(tmp_path, sky, "plain", False)
    survey.selection = SelectionSpec(where=["redshift < 0.7"])
    _, receipt = cut(local_store, survey, size=SIDE, defects="cutouts")
    assert receipt.rows == 0
    assert any(reason.startswith("selection: ") for reason in receipt.reasons)


@pytest.mark.parametrize(("varies", "defects"), [("map", False), ("cells", "cutouts")])
def test_a_psf_that_differs_is_that_of_the_whole_image(tmp_path, local_store, sky, cut, varies, defects):
    rng = np.random.default_rng(6)
    for band in "gr":
        stored = rng.uniform(0.5, 0.9, (7, 8)) if varies == "map" else rng.uniform(0.1, 1, (2, 2, 9, 9))
        fits.PrimaryHDU(stored.astype(np.float32)).writeto(tmp_path / f"{band}.psf.fits")
    psf = {"pattern": "{band}.psf.fits", "varies": varies, "extension": 0}
    survey = make_survey(tmp_path, sky, "plain", False, psf=psf, background="constant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "read", lambda *_: pytest.fail("a band was read whole"))
        found, _ = cut(local_store, survey, size=SIDE, defects=defects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opened_tile, "sparse_reading", lambda *_: (None, "asked for"))
        whole, _ = cut(local_store, survey, size=SIDE, defects=defects, chunk_megabytes=4.0)
    assert found.rows().equals(whole.rows())
    if varies == "map":
        assert np.isfinite(found.rows()["psf_fwhm_r"].to_numpy()).all()
    else:
        for name in (STAMPS, NODES, WEIGHTS):
            np.testing.assert_array_equal(found.read(name), whole.read(name))
        assert len(np.unique(found.read(NODES)[:, 0])) > 1


@pytest.mark.parametrize(
    ("defects", "options", "why"),
    [
        (True, {}, "trails and spikes are looked for over the tile"),
        (False, {"background": "mesh"}, "its background, its noise or its format needs all pixels"),
        (False, {"catalog": None}, "objects are detected in its pixels"),
    ],
)
def test_why_a_tile_is_read_whole(tmp_path, sky, defects, options, why):
    survey = make_survey(tmp_path, sky, "plain", False, **options)
    spec = CutoutSpec(size=SIDE, defects=defects)
    sparse, found = sparse_reading(survey, survey.tiles()[0], survey.bands, spec)
    assert sparse is None
    assert found.startswith(why)


def test_bands_on_other_grids_and_many_objects_are_read_whole(tmp_path, sky):
    survey = make_survey(tmp_path, sky, "plain", False)
    with fits.open(tmp_path / "r.fits", mode="update") as hdus:
        hdus[0].header["CDELT1"] *= 1.5
    [tile] = survey.tiles()
    sparse, _ = sparse_reading(survey, tile, survey.bands, CutoutSpec(size=SIDE, defects=False))
    sparse.place(rows := survey.catalog(tile, sparse.reference), np.ones(len(rows), bool), stars=False)
    assert sparse.image("g").image.flux.shape == SHAPE
    with pytest.raises(WholeNeeded, match="another pixel grid than the reference band"):
        sparse.image("r")
    large, _ = sparse_reading(survey, tile, survey.bands, CutoutSpec(size=64, defects=False))
    large.place(rows, np.ones(len(rows), bool), stars=False)
    with pytest.raises(WholeNeeded, match=r"its cutouts have 14.6 % of the tile's pixels"):
        large.image("g")
