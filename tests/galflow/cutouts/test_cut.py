"""One tile in, one cutout set and one receipt out, whatever is wrong with the tile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.wcs import WCS

from galflow.cutouts.assign import assign
from galflow.cutouts.cut import _rows_digest, chosen_bands, cut_tile, cutouts_fingerprint
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.extract import corners
from galflow.cutouts.flags import Flag
from galflow.errors import DataError, SpecError, StoreError
from galflow.spec.run import CutoutSpec
from galflow.storage.layout import cutouts_product
from galflow.storage.receipts import Outcome, Receipt, find_receipts, verify_store
from galflow.storage.store import Store
from galflow.surveys.base import OUTSIDE_TILE, Image, Plane, Psf, Survey, Tile

Make = Callable[..., Any]
Cut = Callable[..., tuple[CutoutSet, Receipt]]
SIZE = 16


@pytest.fixture
def sky(image: Make) -> Callable[..., Image]:
    """Noise of sigma 2 with a source wherever one is asked for."""

    def make(seed: int, x: Any = (), y: Any = (), shape: tuple[int, int] = (120, 140), **fields: Any) -> Image:
        flux = np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)
        for a, b in zip(x, y, strict=True):
            flux[int(b + 0.5), int(a + 0.5)] += 100
        return image(flux, **fields)

    return make


def _flags(cutouts: CutoutSet) -> list[int]:
    return [int(f) for f in cutouts.read("flags")]


def test_a_tile_becomes_cutouts_and_a_receipt(
    store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    x, y = np.array([40.2, 70.0, 99.6, 5.0]), np.array([30.0, 60.4, 80.0, 115.0])
    images = {"r": sky(1, x, y), "g": sky(2, x, y)}
    ids = np.array([2**60 + 1, 2**60 + 2, 3, 4])
    survey = array_survey(images, catalog(x, y, ids, mag_r=[20.0, 21.0, None, 23.0], flux=[1.0, 2.0, 3.0, 4.0]))
    cutouts, receipt = cut(store, survey, size=SIZE)
    flux = cutouts.read("flux")
    assert flux.shape == (4, 2, SIZE, SIZE)
    for i in range(3):
        left, low = corners(x, SIZE)[i], corners(y, SIZE)[i]
        for band, name in enumerate("rg"):
            expected = images[name].flux[low : low + SIZE, left : left + SIZE]
            np.testing.assert_array_equal(flux[i, band], expected)
    assert cutouts.read("object_id").tolist() == ids.tolist()
    sigma = cutouts.attributes["sky_sigma"]
    np.testing.assert_allclose(sigma, 2.0, rtol=0.05)
    ivar = cutouts.read("ivar")
    np.testing.assert_allclose(ivar[:3, 0], sigma[0] ** -2, rtol=1e-5)
    assert _flags(cutouts)[:3] == [0, 0, 0]
    assert _flags(cutouts)[3] & (Flag.EDGE | Flag.MISSING_PIXELS) == Flag.EDGE | Flag.MISSING_PIXELS
    rows = cutouts.rows()
    assert rows.column_names[:6] == ["object_id", "ra", "dec", "x_pixel", "y_pixel", "flags"]
    assert rows.column("x_pixel").to_pylist() == x.tolist()
    assert rows.column("mag_r").to_pylist() == [20.0, 21.0, None, 23.0]
    assert rows.column("catalog_flux").to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert rows.column("ra").null_count == 4
    assert (receipt.outcome, receipt.rows, receipt.reasons) == (Outcome.DONE, 4, ())
    assert receipt.inputs == {"tile": survey.tiles()[0].identity}
    assert receipt.product == cutouts_product("arrays", "1", "t", receipt.fingerprint)
    assert receipt.details["flags"] == {"EDGE": 1, "MISSING_PIXELS": 1}
    assert find_receipts(store, "cutouts/arrays") == {receipt.fingerprint: receipt}
    assert verify_store(store)[:2] == (1, [])


def test_the_same_tile_gives_the_same_bytes(
    local_store: Store, s3_root: str, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    survey = array_survey({"r": sky(1), "g": sky(2)}, catalog([40, 2], [50, 60], tag=["a", None]))
    first, again = cut(local_store, survey)[1], cut(Store.open(s3_root), survey)[1]
    assert first.files == again.files
    assert first.files


def test_every_kind_of_missing_pixel_has_no_weight(
    local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut, image: Make
) -> None:
    flux = np.array(sky(1).flux)
    mask = np.zeros(flux.shape, np.uint16)
    ivar = np.full(flux.shape, 0.25, np.float32)
    flux[50, 50], flux[50, 51] = np.nan, np.inf
    mask[50, 52], mask[50, 53], mask[50, 54] = int(Plane.BAD), int(Plane.COSMIC_RAY), int(Plane.NO_DATA)
    mask[50, 55], mask[50, 56] = int(Plane.SATURATED), int(Plane.TRAIL)
    ivar[50, 57], ivar[50, 58], ivar[50, 59] = 0, np.nan, -1
    picture = image(flux, mask=mask, ivar=ivar)
    cutouts, receipt = cut(local_store, array_survey({"r": picture}, catalog([54, 20], [50, 20])), size=16)
    found = cutouts.read("ivar")[0, 0][8]  # the row y = 50; its first pixel is x = 46
    assert (found == 0).tolist() == [46 + i in (50, 51, 52, 53, 54, 57, 58, 59) for i in range(16)]
    assert np.isnan(cutouts.read("flux")[0, 0][8]).tolist() == [46 + i in (50, 51) for i in range(16)]
    assert (cutouts.read("ivar")[1] == 0.25).all()
    expected = Flag.NON_FINITE | Flag.MISSING_PIXELS | Flag.SATURATED | Flag.TRAIL
    assert _flags(cutouts)[0] & ~Flag.BRIGHT_NEIGHBOUR == expected
    assert _flags(cutouts)[1] & ~Flag.BRIGHT_NEIGHBOUR == 0
    assert receipt.outcome is Outcome.DONE


def test_masked_pixels_alone_are_not_called_non_finite(
    local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut, tan_wcs: Make
) -> None:
    """Not in the reference band, nor in one that is resampled (where a missing pixel has no flux)."""
    mask = np.zeros((120, 140), np.uint16)
    mask[60, 70] = int(Plane.BAD)
    ivar = np.ones(mask.shape, np.float32)
    ivar[62, 70] = 0
    images = {
        "r": sky(1, mask=mask, ivar=ivar, wcs=tan_wcs(crpix=(70, 60))),
        "g": sky(2, mask=mask, ivar=ivar, wcs=tan_wcs(crpix=(70, 60), angle_deg=30)),
    }
    cutouts, _ = cut(local_store, array_survey(images, catalog([70], [60])), size=SIZE)
    assert np.isnan(cutouts.read("flux")[0, 1]).any()
    assert _flags(cutouts)[0] & Flag.MISSING_PIXELS
    assert not _flags(cutouts)[0] & Flag.NON_FINITE


def test_a_tile_of_nan_keeps_its_rows_without_pixels(
    store: Store, array_survey: Make, catalog: Make, cut: Cut, image: Make
) -> None:
    survey = array_survey({"r": image(np.full((60, 60), np.nan))}, catalog([30, 40], [30, 31]))
    cutouts, receipt = cut(store, survey, size=SIZE)
    assert np.isnan(cutouts.read("flux")).all()
    assert not cutouts.read("ivar").any()
    for flags in _flags(cutouts):
        assert flags == Flag.NO_DATA | Flag.MISSING_PIXELS | Flag.BAND_MISSING | Flag.NON_FINITE
    assert receipt.rows == 2
    json.dumps(receipt.model_dump(mode="json"), allow_nan=False)
    assert cutouts.attributes["sky_sigma"] == [None]


@pytest.mark.parametrize("how", ["absent", "unreadable", "other shape"])
def test_a_band_missing_in_one_tile_is_recorded(
    how: str, local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    images: dict[str, Any] = {"r": sky(1), "g": sky(2), "i": sky(3)}
    if how == "absent":
        del images["g"]
    else:
        images["g"] = DataError("mem/g: torn file") if how == "unreadable" else sky(2, shape=(50, 50))
    survey = array_survey(images, catalog([40, 80], [50, 60]), bands=("r", "g", "i"))
    cutouts, receipt = cut(local_store, survey, size=SIZE)
    flux, ivar, mask = (cutouts.read(n) for n in ("flux", "ivar", "mask"))
    assert np.isfinite(flux[:, [0, 2]]).all()
    assert np.isnan(flux[:, 1]).all()
    assert not ivar[:, 1].any()
    assert (mask[:, 1] == int(Plane.NO_DATA)).all()
    assert not mask[:, [0, 2]].any()
    assert receipt.outcome is Outcome.PARTIAL
    expected = {
        "absent": "band g: the tile has no such file",
        "unreadable": "band g: mem/g: torn file",
        "other shape": "band g: bands of shapes",
    }
    assert any(reason.startswith(expected[how]) for reason in receipt.reasons)
    for flags in _flags(cutouts):
        assert flags & ~Flag.BRIGHT_NEIGHBOUR == Flag.BAND_MISSING | Flag.MISSING_PIXELS


def test_without_its_reference_band_the_next_one_gives_the_grid(
    local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    images = {"g": sky(2)}
    cutouts, _ = cut(local_store, array_survey(images, catalog([40], [50]), bands=("r", "g")), size=SIZE)
    np.testing.assert_array_equal(cutouts.read("flux")[0, 1], images["g"].flux[42:58, 32:48])


def test_a_tile_that_cannot_be_read_at_all_keeps_its_rows(
    local_store: Store, array_survey: Make, catalog: Make, cut: Cut
) -> None:
    survey = array_survey({"r": DataError("gone")}, catalog([40], [50]))
    cutouts, receipt = cut(local_store, survey, size=SIZE)
    assert np.isnan(cutouts.read("flux")).all()
    assert _flags(cutouts) == [Flag.NO_DATA | Flag.MISSING_PIXELS | Flag.BAND_MISSING]
    assert receipt.outcome is Outcome.PARTIAL
    assert receipt.reasons == ("band r: gone",)


def test_an_empty_tile_and_one_without_catalogue_are_recorded_as_empty(
    store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    cutouts, receipt = cut(store, array_survey({"r": sky(1)}, catalog([], [], np.zeros(0, np.int64))), size=SIZE)
    assert (receipt.outcome, receipt.rows, len(cutouts)) == (Outcome.EMPTY, 0, 0)
    assert receipt.reasons == ("no object in this tile",)
    assert verify_store(store)[:2] == (1, [])
    cutouts, receipt = cut(store, array_survey({"r": sky(1)}, DataError("cat.fits: torn")), size=24)
    assert (receipt.outcome, len(cutouts)) == (Outcome.EMPTY, 0)
    assert receipt.reasons == ("catalogue: cat.fits: torn",)


def test_repeated_ids_are_kept_and_marked(
    local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    survey = array_survey({"r": sky(1)}, catalog([40, 60, 80, 90], [50] * 4, np.array([7, 8, 7, 7])))
    cutouts, receipt = cut(local_store, survey, size=SIZE)
    assert [bool(f & Flag.DUPLICATE_ID) for f in _flags(cutouts)] == [False, False, True, True]
    assert np.isfinite(cutouts.read("flux")).all()
    assert receipt.outcome is Outcome.PARTIAL
    assert receipt.reasons == ("2 rows repeat an earlier row's object id",)


def test_objects_without_position_or_off_the_image_are_kept(
    local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    x = np.array([40, np.nan, -500, 1e18, 60])
    survey = array_survey({"r": sky(1), "g": sky(2)}, catalog(x, [50, 50, 50, 50, np.inf]))
    cutouts, receipt = cut(local_store, survey, size=SIZE)
    flux = cutouts.read("flux")
    assert np.isfinite(flux[0]).all()
    assert np.isnan(flux[1:]).all()
    flags = _flags(cutouts)
    missing = Flag.NO_DATA | Flag.MISSING_PIXELS | Flag.BAND_MISSING
    assert flags[1] == flags[4] == missing | Flag.NO_POSITION
    assert flags[2] == flags[3] == missing | Flag.EDGE
    assert not flags[0] & (missing | Flag.NO_POSITION | Flag.EDGE)
    assert receipt.rows == 5


def test_columns_of_every_type_are_stored_under_names_that_zarr_takes(
    local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    rows = catalog([40], [50], boxes=[[1, 2]], n=pa.array([None], pa.int32())).append_column(
        pa.field("mag (r)", pa.float64(), metadata={"unit": "mag"}), pa.array([20.0])
    )
    cutouts, receipt = cut(local_store, array_survey({"r": sky(1)}, rows), size=SIZE)
    found = cutouts.rows()
    assert found.column_names[6:] == ["boxes", "n", "mag__r_"]
    assert found.column("boxes").to_pylist() == ["[1, 2]"]
    assert (found.column("n").type, found.column("n").to_pylist()) == (pa.int32(), [None])
    assert found.schema.field("mag__r_").metadata == {b"unit": b"mag", b"given_name": b"mag (r)"}
    assert (receipt.outcome, receipt.reasons) == (Outcome.DONE, ())


def test_a_survey_wide_catalogue_is_cut_once_and_the_rest_is_kept(
    local_store: Store, array_survey: Make, sky: Make, tan_wcs: Make, cut: Cut
) -> None:
    """Two overlapping tiles and rows outside both: every row in exactly one cutout set."""
    left: WCS = tan_wcs(crpix=(60, 60))
    right: WCS = tan_wcs(crpix=(-20, 60))  # 80 pixels further along x
    survey: Survey = array_survey(
        {"a": {"r": sky(1, wcs=left)}, "b": {"r": sky(2, wcs=right)}},
        {"a": DataError("not asked"), "b": DataError("not asked")},
        bands=("r",),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-40, 260, 80), rng.uniform(-40, 160, 80)
    ra, dec = left.all_pix2world(x, y, 0)
    table = pa.table({"object_id": np.arange(80), "ra_deg": ra, "dec_deg": dec})
    result = assign(table, {t.name: survey.footprint(t) for t in survey.tiles()})
    sets = [cut(local_store, survey, t, result.by_tile[t.name], size=SIZE)[0] for t in survey.tiles()]
    outside, receipt = cut(local_store, survey, Tile(OUTSIDE_TILE, (), ()), result.outside, size=SIZE)
    ids = np.concatenate([s.read("object_id") for s in [*sets, outside]])
    assert sorted(ids.tolist()) == list(range(80))
    assert all(_flags(s) == [f & ~Flag.OUTSIDE for f in _flags(s)] for s in sets)
    assert all(f & Flag.OUTSIDE and not f & Flag.NO_POSITION for f in _flags(outside))
    assert np.isnan(outside.read("flux")).all()
    assert receipt.outcome is Outcome.DONE
    for own, picture in zip(sets, (sky(1), sky(2)), strict=True):
        interior = [i for i, f in enumerate(_flags(own)) if not f & Flag.EDGE]
        assert interior
        px, py = own.read("x_pixel"), own.read("y_pixel")
        for i in interior:
            a, b = corners(px, SIZE)[i], corners(py, SIZE)[i]
            np.testing.assert_array_equal(own.read("flux")[i, 0], picture.flux[b : b + SIZE, a : a + SIZE])


def test_quantised_pixels_are_quantised_by_the_tiles_own_sigma(
    local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    survey = array_survey({"r": sky(1)}, catalog([40, 80], [50, 60]))
    exact, _ = cut(local_store, survey, size=SIZE)
    rounded, _ = cut(local_store, survey, size=SIZE, pixels="quantised", quantum_sigma=0.25)
    error = np.abs(rounded.read("flux") - exact.read("flux"))
    step = 2.0 ** np.floor(np.log2(0.25 * exact.attributes["sky_sigma"][0]))
    assert 0 < error.max() <= step / 2


def test_psfs_travel_with_the_pixels(
    local_store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    small, large = np.ones((3, 3)) / 9, np.zeros((5, 5))
    large[2, 2] = 1
    images = {"r": sky(1, psf=Psf(small, 0.7)), "g": sky(2, psf=Psf(large))}
    cutouts, _ = cut(local_store, array_survey(images, catalog([40], [50])), size=SIZE)
    psf = cutouts.read("psf")
    assert psf.shape == (2, 5, 5)
    np.testing.assert_allclose(psf[0], np.pad(small, 1))
    np.testing.assert_allclose(psf[1], large)
    assert cutouts.attributes["psf_fwhm_arcsec"] == [0.7, None]
    images["g"] = sky(2, psf=Psf(None, 0.8))
    cutouts, _ = cut(local_store, array_survey(images, catalog([40], [50])), size=24)
    assert not cutouts.has("psf")
    assert cutouts.attributes["psf_fwhm_arcsec"] == [0.7, 0.8]


def test_a_wrong_band_or_size_is_refused(
    array_survey: Make, sky: Make, catalog: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = array_survey({"r": sky(1), "g": sky(2)}, catalog([40], [50]))
    assert chosen_bands(survey, CutoutSpec(bands=("g", "r"))) == ("g", "r")
    assert chosen_bands(survey, CutoutSpec()) == ("r", "g")
    with pytest.raises(SpecError, match=r"cutouts\.bands: 'z' is not a band of survey arrays; it has r, g"):
        chosen_bands(survey, CutoutSpec(bands=("r", "z")))
    monkeypatch.setattr(type(survey), "largest_cutout", 12)
    with pytest.raises(SpecError, match=r"cutouts\.size: 16 pixels is more than the 12 that"):
        chosen_bands(survey, CutoutSpec(size=16))


def test_the_fingerprint_changes_with_what_matters_and_with_nothing_else(
    array_survey: Make, sky: Make, catalog: Make
) -> None:
    def found(checksum: str = "0", spec: CutoutSpec | None = None, rows: pa.Table | None = None, seed: int = 1) -> str:
        survey = array_survey({"t": {"r": sky(seed)}}, {"t": catalog([40], [50])}, ("r",), checksums={"t": checksum})
        return cutouts_fingerprint(survey, survey.tiles()[0], spec or CutoutSpec(), rows)

    rows = pa.table({"object_id": [1, 2], "ra_deg": [1.0, 2.0], "tag": ["a", None], "x": [1.0, 2.0]})
    changed = [
        found(),
        found(checksum="1"),
        found(spec=CutoutSpec(size=40)),
        found(rows=rows),
        found(rows=rows.slice(0, 1)),
        found(rows=rows.set_column(0, "object_id", pa.array([1, 3]))),
        found(rows=rows.set_column(2, "tag", pa.array(["a", "b"]))),
        found(rows=rows.append_column("b", pa.array([True, None]))),
        found(rows=rows.append_column("b", pa.array([None, True]))),
        found(rows=rows.append_column("b", pa.array([2**53 + 1, None]))),
        found(rows=rows.append_column("b", pa.array([2**53, None]))),
    ]
    assert len(set(changed)) == len(changed)
    assert found(rows=rows.set_column(3, "x", pa.array([7.0, 8.0]))) == found(rows=rows)  # positions follow
    assert found(rows=pa.table(rows.to_pydict())) == found(rows=rows)
    chunked = pa.concat_tables([rows.slice(0, 1), rows.slice(1)])
    assert found(rows=chunked) == found(rows=rows)


def test_the_fingerprint_of_rows_is_the_same_in_another_process() -> None:
    """Also of columns whose values numpy can only hold as pointers."""
    code = "import pyarrow as pa; from galflow.cutouts.cut import _rows_digest as d; print(d(TABLE))"
    tags = "pa.array(['x', None, 'y']).dictionary_encode()"
    table = f"pa.table({{'a': {tags}, 'b': [True, None, False], 'c': [[1], [], None]}})"
    result = subprocess.run(
        [sys.executable, "-c", code.replace("TABLE", table)], capture_output=True, text=True, check=True, timeout=60
    )
    coded = pa.array(["x", None, "y"]).dictionary_encode()
    here = _rows_digest(pa.table({"a": coded, "b": [True, None, False], "c": [[1], [], None]}))
    assert result.stdout.strip() == here


def test_a_fault_of_the_store_is_raised_and_leaves_no_receipt(
    tmp_path: Any, array_survey: Make, sky: Make, catalog: Make
) -> None:
    (tmp_path / "file").write_bytes(b"")
    survey = array_survey({"r": sky(1)}, catalog([40], [50]))
    with pytest.raises(StoreError, match="cannot write"):
        cut_tile(Store.open(tmp_path / "file"), survey, survey.tiles()[0], CutoutSpec(), "f" * 16)


@pytest.mark.parametrize(
    "store", ["local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.full])], indirect=True
)
def test_a_second_cut_over_a_half_written_one_heals_it(
    store: Store, array_survey: Make, sky: Make, catalog: Make, cut: Cut
) -> None:
    survey = array_survey({"r": sky(1)}, catalog([40, 80], [50, 60], tag=["a", "b"]))
    cutouts, receipt = cut(store, survey, size=SIZE)
    expected = cutouts.read("flux")
    store.delete(receipt.key)
    store.delete(f"{receipt.product}/flux/c")
    store.put(f"{receipt.product}/tag/c/0", b"garbage")
    store.put(f"{receipt.product}/old_column/zarr.json", b"{}")
    cutouts, receipt = cut(store, survey, size=SIZE)
    np.testing.assert_array_equal(cutouts.read("flux"), expected)
    assert cutouts.rows().column("tag").to_pylist() == ["a", "b"]
    assert verify_store(store)[:2] == (1, [])
    below = {k.removeprefix(receipt.product + "/") for k in store.list(receipt.product)}
    assert below == set(receipt.files)
