from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from galflow.errors import DataError, SpecError
from galflow.surveys.base import Image, Psf, Tile, TileFile
from galflow.surveys.drawing import galaxies
from galflow.surveys.reading.common_grid import on_grid
from galflow.surveys.reading.detection import DetectionOptions, detect
from galflow.surveys.sersic_mock import SersicMock
from galflow.surveys.sersic_mock_options import SersicMockOptions
from galflow.surveys.synthetic import Synthetic
from galflow.surveys.synthetic_options import SyntheticOptions

BASE: dict[str, object] = {
    "tiles": 1,
    "tile_size": 256,
    "overlap_pixels": 0,
    "objects_per_tile": 12,
    "anomaly_fraction": 0.0,
    "bands": ["g", "i"],
    "sky_sigma_njy": [8.0],
}


def survey(base: dict[str, object] | None = None, **options: object) -> SersicMock:
    like = {"kind": "synthetic", "options": BASE | (base or {})}
    return SersicMock(
        "mock", "1", SersicMockOptions.model_validate({"like": like, "count": 12, "stamp_size": 48} | options)
    )


def real(band: str) -> Image:
    made = Synthetic("synthetic", "1", SyntheticOptions.model_validate(BASE))
    return made.read(made.tiles()[0], band)


def squares(image: np.ndarray, y: pa.ChunkedArray, x: pa.ChunkedArray, side: int = 48) -> np.ndarray:
    """(n, side, side) squares around pixels."""
    corners = [(int(a) - side // 2, int(b) - side // 2) for a, b in zip(y.to_pylist(), x.to_pylist(), strict=True)]
    return np.stack([image[a : a + side, b : b + side] for a, b in corners])


def test_a_mock_is_a_real_patch_of_sky_plus_a_galaxy_of_the_catalogued_flux() -> None:
    made = survey()
    (tile,) = made.tiles()
    rows = made.catalog(tile)
    assert len(rows) == 12
    for band in ("g", "i"):
        image, sky = made.read(tile, band), real(band)
        added = squares(image.flux, rows["y"], rows["x"]) - squares(sky.flux, rows["patch_y"], rows["patch_x"])
        assert added.min() > -0.01 * added.max()
        flux = rows[f"flux_{band}"].to_numpy()
        share = added.sum(axis=(1, 2)) / flux
        # What is missing is the wings of extended profiles of high index, beyond the stamp.
        assert share.max() < 1.02
        assert np.median(share) > 0.93
        y, x = np.mgrid[:48, :48]
        centre = [(added * axis).sum(axis=(1, 2)) / added.sum(axis=(1, 2)) for axis in (y, x)]
        np.testing.assert_allclose(centre, 24.0, atol=0.1)
        assert image.ivar is not None
        assert sky.ivar is not None
        np.testing.assert_array_equal(
            squares(image.ivar, rows["y"], rows["x"]), squares(sky.ivar, rows["patch_y"], rows["patch_x"])
        )
        assert image.psf is not None
        assert image.unit == "nJy"
    blank = ~np.isfinite(image.flux)
    assert blank.sum() == blank.size - 12 * 48 * 48
    assert (image.ivar[blank] == 0).all()


def test_the_fluxes_are_those_of_real_objects_and_the_places_are_empty() -> None:
    made = survey(count=40, min_separation=4.0)
    (tile,) = made.tiles()
    rows = made.catalog(tile)
    found = detect({band: real(band) for band in ("g", "i")}, DetectionOptions(), 0)
    pairs = set(zip(found["flux_g"].to_pylist(), found["flux_i"].to_pylist(), strict=True))
    drawn = set(zip(rows["flux_g"].to_pylist(), rows["flux_i"].to_pylist(), strict=True))
    assert drawn <= pairs
    assert len(drawn) > 5
    distance = np.hypot(
        np.subtract.outer(rows["patch_x"].to_numpy(), found["x"].to_numpy()),
        np.subtract.outer(rows["patch_y"].to_numpy(), found["y"].to_numpy()),
    )
    assert (distance > 4.0 + 2.5 * found["half_light_radius_pix"].to_numpy()).all()


def test_sizes_seen_through_the_psf_are_those_that_were_measured() -> None:
    bright: dict[str, object] = {"magnitude_range": [19.0, 21.0]}
    made = survey(base=bright, count=60, sersic_range=(0.8, 1.5))
    (tile,) = made.tiles()
    rows = made.catalog(tile)
    seen = detect({band: made.read(tile, band) for band in made.bands}, DetectionOptions(), 0)
    base = Synthetic("s", "1", SyntheticOptions.model_validate(BASE | bright))
    (tile,) = base.tiles()
    real_objects = detect({band: base.read(tile, band) for band in made.bands}, DetectionOptions(), 0)
    measured = dict(
        zip(real_objects["flux_i"].to_pylist(), real_objects["half_light_radius_pix"].to_pylist(), strict=True)
    )
    distance = np.hypot(
        np.subtract.outer(rows["x"].to_numpy(), seen["x"].to_numpy()),
        np.subtract.outer(rows["y"].to_numpy(), seen["y"].to_numpy()),
    )
    found = distance.min(axis=1) < 1.5
    assert found.mean() > 0.9
    nearest = distance.argmin(axis=1)[found]
    flux = rows["flux_i"].to_numpy()[found]
    radius = np.array([measured[value] for value in flux])
    assert np.median(seen["flux_i"].to_numpy()[nearest] / flux) == pytest.approx(1.0, abs=0.1)
    assert np.median(seen["half_light_radius_pix"].to_numpy()[nearest] / radius) == pytest.approx(1.0, abs=0.1)


def test_it_is_repeatable_and_follows_what_it_imitates() -> None:
    one, two = survey(), survey()
    assert one.tiles() == two.tiles()
    (tile,) = one.tiles()
    np.testing.assert_array_equal(one.read(tile, "g").flux, two.read(tile, "g").flux)
    assert one.catalog(tile).equals(two.catalog(tile))
    ids = one.catalog(tile)["object_id"].to_pylist()
    assert len(set(ids)) == 12
    identities = {
        survey(**change).tiles()[0].identity
        for change in (
            {},
            {"seed": 1},
            {"base": {"revision": {"t00000": 1}}},
            {"base": {"catalog": "detect"}},
            {"count": 13},
        )
    }
    assert len(identities) == 5
    changed = survey(base={"revision": {"t00000": 1}})
    with pytest.raises(DataError, match="tile t00000 of synthetic, which mock imitates, has changed or gone"):
        changed.read(tile, "g")


def test_a_survey_without_a_psf_lends_its_estimate() -> None:
    like = {"kind": "hubble", "options": {}}
    made = SersicMock(
        "mock", "1", SersicMockOptions.model_validate({"like": like, "count": 5, "stamp_size": 32, "min_separation": 2})
    )
    (tile,) = made.tiles()
    psf = made.read(tile, "green").psf
    assert psf is not None
    assert psf.fwhm_arcsec is not None
    # Hubble's own 0.08 to 0.1 arcsec, blurred by the shrinking to 0.143 arcsec a pixel.
    assert 0.2 < psf.fwhm_arcsec < 0.4
    assert made.unit == "count"
    assert made.largest_cutout == 64


def test_a_catalogue_that_is_no_detection_only_chooses_the_objects() -> None:
    chosen = survey(base={"catalog": "tile_truth"})
    everything = survey(base={"catalog": "detect"})
    tile, other = chosen.tiles()[0], everything.tiles()[0]
    assert set(chosen.catalog(tile).column_names) == set(everything.catalog(other).column_names)
    # Truth without any object in reach of a detection leaves nothing to imitate.
    far = survey(base={"magnitude_range": [29.0, 30.0]})
    with pytest.raises(DataError, match=r"none of the tile's 0 catalogued objects has a positive flux and size"):
        far.catalog(far.tiles()[0])


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"sersic_range is \(0.1, 4.0\); give \(low, high\) within 0.3 to 6.2"):
        survey(sersic_range=(0.1, 4.0))
    with pytest.raises(ValidationError, match="axis_ratio_range is"):
        survey(axis_ratio_range=(0.5, 0.2))
    nested = {"kind": "sersic_mock", "options": {"like": {"kind": "synthetic", "options": BASE}}}
    mocks = SersicMock("mock", "1", SersicMockOptions.model_validate({"like": nested}))
    with pytest.raises(SpecError, match="itself simulated; give the real survey"):
        mocks.tiles()
    made = survey()
    with pytest.raises(DataError, match="has no band 'z'; it has g, i"):
        made.read(made.tiles()[0], "z")
    with pytest.raises(DataError, match="plan the run again"):
        made.read(Tile("t00009", (TileFile("base", "", "x"),), ("g",)), "g")


class _Regridded(Synthetic):
    """The same sky, its second band in pixels of 0.15 arcsec and an image of another shape."""

    def read(self, tile: Tile, band: str) -> Image:
        image = super().read(tile, band)
        if band == "g":
            return image
        assert image.wcs is not None
        frame = image.wcs.deepcopy()
        frame.wcs.cdelt = frame.wcs.cdelt * 0.75
        frame.wcs.crpix = (frame.wcs.crpix - 0.5) / 0.75 + 0.5
        frame.wcs.set()
        finer = Image(np.zeros((330, 341), np.float32), image.unit, 0.15, wcs=frame)
        made = on_grid(image, finer)
        assert image.psf is not None
        picture = galaxies.psf_image(galaxies.psf_profile(image.psf, 0.2), 0.15, 41)
        return replace(made, psf=Psf(picture, image.psf.fwhm_arcsec))


def test_bands_on_grids_of_their_own_give_mocks_on_one() -> None:
    made, plain = survey(count=6), survey(count=6)
    made.__dict__["_base"] = _Regridded("synthetic", "1", SyntheticOptions.model_validate(BASE))
    (tile,) = made.tiles()
    images = {band: made.read(tile, band) for band in ("g", "i")}
    assert images["g"].flux.shape == images["i"].flux.shape
    assert {image.pixel_scale_arcsec for image in images.values()} == {0.2}
    rows, same = made.catalog(tile), plain.catalog(plain.tiles()[0])
    for band in ("g", "i"):
        np.testing.assert_allclose(rows[f"flux_{band}"].to_numpy(), same[f"flux_{band}"].to_numpy(), rtol=0.2)
    psf = [images[band].psf for band in ("g", "i")]
    sizes = [galaxies.psf_profile(p, 0.2).calculateFWHM() for p in psf if p is not None]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    assert not made.joins_tiles


def test_mocks_imitate_the_objects_that_the_imitated_surveys_selection_takes() -> None:
    def bright(select: dict[str, object]) -> SersicMock:
        like = {"kind": "synthetic", "options": BASE | {"catalog": "detect"}, "select": select}
        return SersicMock("mock", "1", SersicMockOptions.model_validate({"like": like, "count": 12, "stamp_size": 48}))

    plain, made = bright({}), bright({"where": ["flux_i > 5000"]})
    assert made.tiles()[0].identity != plain.tiles()[0].identity
    assert survey(base={"catalog": "detect"}).tiles()[0].identity == plain.tiles()[0].identity
    everything, chosen = (m.catalog(m.tiles()[0])["flux_i"].to_numpy() for m in (plain, made))
    assert chosen.min() > 5000 > everything.min()
    with pytest.raises(DataError, match="there is no column 'flux_x'; did you mean flux_"):
        (odd := bright({"where": ["flux_x > 1"]})).catalog(odd.tiles()[0])
    with pytest.raises(ValidationError, match="mocks imitate what regions and rules take; leave stars out here"):
        bright({"stars": "drop"})


def test_detected_shapes_come_with_the_fluxes_of_the_same_objects() -> None:
    """Axis ratios of the sources themselves, less round than seen through the PSF; without the option as before."""
    like = {"kind": "synthetic", "options": BASE | {"catalog": "detect"}}
    options = {"like": like, "count": 40, "stamp_size": 32, "shapes": "detected"}
    made = SersicMock("mock", "1", SersicMockOptions.model_validate(options))
    rows = made.catalog(made.tiles()[0])
    base = Synthetic("synthetic", "1", SyntheticOptions.model_validate(like["options"]))
    seen = base.catalog(base.tiles()[0])
    ratio_of = dict(zip(seen["flux_g"].to_pylist(), (seen["b_pix"].to_numpy() / seen["a_pix"].to_numpy()), strict=True))
    found = rows["axis_ratio"].to_numpy()
    through_psf = np.array([ratio_of[flux] for flux in rows["flux_g"].to_pylist()])
    assert (found <= through_psf + 1e-9).mean() > 0.9
    assert np.corrcoef(found, through_psf)[0, 1] > 0.7
    assert "shapes" not in made.options.model_copy(update={"shapes": "drawn"}).content(), "fingerprints stay"
