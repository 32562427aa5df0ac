from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from PIL import Image as Picture

from galflow.errors import DataError
from galflow.surveys import hubble
from galflow.surveys.base import Tile, TileFile
from galflow.surveys.hubble import Hubble, HubbleOptions


def survey(**options: object) -> Hubble:
    return Hubble("hubble", "1", HubbleOptions.model_validate(options))


def test_the_pixels_are_the_pictures_less_their_sky() -> None:
    made = survey()
    (tile,) = made.tiles()
    with Picture.open(str(resources.files("skimage") / "data" / "hubble_deep_field.jpg")) as picture:
        pixels = np.asarray(picture, dtype=float)
    for channel, band in enumerate(made.bands):
        image = made.read(tile, band)
        assert image.unit == made.unit == "count"
        difference = pixels[..., channel] - image.flux
        assert np.ptp(difference) < 1e-4
        # The sky is the picture's most frequent level, within its noise of about five counts.
        assert difference.mean() == pytest.approx(np.bincount(pixels[..., channel].astype(int).ravel()).argmax(), abs=5)
    raw = survey(background="none")
    np.testing.assert_array_equal(raw.read(raw.tiles()[0], "green").flux, pixels[..., 1])


def test_five_sigma_gives_more_than_a_thousand_galaxies() -> None:
    made = survey()
    (tile,) = made.tiles()
    assert made.options.detection.threshold_sigma == 5.0
    found = made.catalog(tile)
    assert 1000 <= len(found) <= 1300
    ids = found["object_id"].to_numpy()
    assert len(np.unique(ids)) == len(ids)
    assert min(found["area_pixels"].to_pylist()) >= 20
    # The large spiral at (x, y) = (123, 400) and the bright elliptical at (728, 473) are there for all to see.
    for x, y in ((123, 400), (728, 473)):
        assert np.hypot(found["x"].to_numpy() - x, found["y"].to_numpy() - y).min() < 4


def test_the_nominal_field_is_that_of_the_release() -> None:
    made = survey()
    footprint = made.footprint(made.tiles()[0])
    assert footprint.wcs is not None
    height, width = footprint.shape
    corners = footprint.wcs.pixel_to_world([-0.5, width - 0.5, -0.5], [-0.5, -0.5, height - 0.5])
    assert corners[0].separation(corners[1]).arcmin == pytest.approx(2.38, abs=0.01)
    assert corners[0].separation(corners[2]).arcmin == pytest.approx(2.08, abs=0.01)
    assert corners[0].dec > corners[2].dec  # the first row is the top
    assert corners[0].ra > corners[1].ra


def test_another_picture_is_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    other = f"{tmp_path}/other.png"
    Picture.fromarray(np.zeros((5, 6, 3), np.uint8)).save(other)
    made = survey()
    with pytest.raises(DataError, match="has 5 x 6 pixels, expected 872 x 1000"):
        made.read(Tile("xdf", (TileFile("flux/*", "file://" + other, "x"),), made.bands), "red")
    with pytest.raises(DataError, match="hubble has no band 'F814W'; its bands are red, green, blue"):
        made.read(made.tiles()[0], "F814W")
    monkeypatch.setattr(hubble.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"hubble_deep_field.jpg is not in scikit-image's package .* install"):
        made.tiles()


def test_options_change_the_identity() -> None:
    assert survey().tiles()[0].identity == survey().tiles()[0].identity
    assert survey(detection={"threshold_sigma": 6}).tiles()[0].identity != survey().tiles()[0].identity


def test_objects_are_galflow_s_own() -> None:
    assert Hubble("h", "1", HubbleOptions()).detects
