from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.visualization import make_lupton_rgb
from PIL import Image

from galflow.errors import SpecError
from galflow.report.pictures import (
    LARGEST_SIDE,
    LEAST_WHITE_SIGMA,
    MISSING_RGB,
    Display,
    block_mean,
    blue_to_red,
    brightness_sigma,
    colour_picture,
    data_uri,
    grid_picture,
    lupton_rgb,
    picture_png,
)

GRI = Display(("g", "r", "i"), (1.0, 1.0, 1.0), "nJy", 3.0, 100.0)


def test_lupton_colours_equal_astropys():
    rng = np.random.default_rng(0)
    red, green, blue = rng.normal(2.0, 20.0, (3, 24, 24)) ** 2 * np.array([1.0, 0.5, 2.0])[:, None, None] - 50
    q, stretch = 8.0, 40.0
    # astropy's curve 0.1 asinh(Q x / stretch) / asinh(0.1 Q) is ours with these two numbers.
    softening = stretch / q
    white = softening * np.sinh(np.arcsinh(0.1 * q) / 0.1)
    ours = 255 * lupton_rgb(red, green, blue, softening, white)
    theirs = make_lupton_rgb(red, green, blue, stretch=stretch, Q=q).astype(float)
    assert theirs.max() > 200
    assert (theirs == 0).any()
    assert np.abs(ours - theirs).max() <= 1.0


def test_lupton_keeps_the_hue_of_what_is_brighter_than_white():
    colour = lupton_rgb(np.array(4000.0), np.array(2000.0), np.array(1000.0), 3.0, 100.0)
    np.testing.assert_allclose(colour, [1.0, 0.5, 0.25], rtol=1e-12)


@pytest.mark.parametrize(
    ("bands", "order", "known"),
    [
        (("g", "r", "i"), (0, 1, 2), True),
        (("i", "g", "r"), (1, 2, 0), True),
        (("HSC-Z", "HSC-R2", "HSC-G"), (2, 1, 0), True),
        (("red", "green", "blue"), (2, 1, 0), True),
        (("Ks", "u", "Y"), (1, 2, 0), True),
        (("F606W", "F814W"), (0, 1), False),
    ],
)
def test_bands_are_ordered_by_wavelength(bands, order, known):
    assert blue_to_red(bands) == (order, known)


def test_the_reddest_band_is_red_however_bands_are_ordered():
    flux = np.zeros((3, 4, 4))
    flux[0] = 50.0  # i
    picture = replace(GRI, bands=("i", "g", "r")).picture(flux)
    assert picture.shape == (4, 4, 3)
    assert (picture[..., 0] > 100).all()
    assert (picture[..., 1:] == 0).all()


def test_two_bands_are_red_and_blue_with_their_mean_between():
    flux = np.stack([np.full((2, 2), 5.0), np.full((2, 2), 20.0)])
    picture = Display(("g", "i"), (1.0, 1.0), "nJy", 3.0, 100.0).picture(flux)
    brightness = np.arcsinh(12.5 / 3) / np.arcsinh(100 / 3) / 12.5
    np.testing.assert_array_equal(picture[0, 0], np.round(255 * brightness * np.array([20.0, 12.5, 5.0])))


def test_one_band_is_an_asinh_grey_in_units_of_the_sky():
    flux = np.array([[[-5.0, 0.0], [20.0, 1e6]]])
    picture = Display(("r",), (2.0,), "count", 3.0, 100.0).picture(flux)
    middle = round(255 * float(np.arcsinh(10.0 / 3.0) / np.arcsinh(100.0 / 3.0)))
    np.testing.assert_array_equal(picture, np.array([[0, 0], [middle, 255]])[..., None].repeat(3, axis=-1))


def test_of_five_bands_three_are_shown_and_named():
    display = Display(("g", "r", "i", "z", "y"), (1.0, 2.0, 3.0, 4.0, 5.0), "nJy", 3.0, 100.0)
    assert display.channels == (4, 2, 0)
    words = display.describe()
    assert "Red is y, green i, blue g" in words
    assert "three of the bands g, r, i, z, y" in words
    assert "y 5, i 3, g 1 nJy per pixel" in words
    assert "white at 100 sigma (Lupton+04)" in words


def test_unknown_bands_are_said_to_be_taken_as_given():
    display = Display(("F606W", "F814W"), (1.0, 1.0), "nJy", 3.0, 100.0)
    assert "taking the bands as given from blue to red" in display.describe()
    assert "taking the bands" not in GRI.describe()


def test_pictures_that_were_stretched_for_display_are_shown_as_they_are():
    given = np.random.default_rng(0).integers(0, 256, (3, 8, 8)).astype(np.float32)
    display = Display.as_given(("r", "g", "b"), (255.0, 255.0, 255.0), "count")
    np.testing.assert_array_equal(display.picture(given), np.moveaxis(given, 0, 2).astype(np.uint8))
    grey = Display.as_given(("r",), (510.0,), "count").picture(given[:1] * 2)
    np.testing.assert_array_equal(grey[..., 0], given[0].astype(np.uint8))
    for words in (display.describe(), display.short()):
        assert "linear from black at 0 to white at 255, as the pictures were stretched for display" in words
        assert "sigma" not in words


def test_missing_pixels_have_their_own_colour():
    flux = np.full((3, 3, 3), 10.0)
    flux[1, 0, 0] = np.nan
    observed = np.ones(flux.shape, bool)
    observed[2, 2, 2] = False
    picture = GRI.picture(flux, observed)
    missing = (picture == MISSING_RGB).all(axis=-1)
    np.testing.assert_array_equal(np.argwhere(missing), [[0, 0], [2, 2]])


def test_a_band_without_any_pixel_hides_nothing_of_the_others():
    flux = np.full((3, 3, 3), 10.0)
    flux[2] = np.nan
    picture = GRI.picture(flux)
    assert (picture[..., 0] == 0).all()
    assert (picture[..., 1:] > 0).all()
    assert (GRI.picture(np.full((3, 2, 2), np.nan)) == MISSING_RGB).all()


def test_large_cutouts_are_averaged_over_blocks():
    pixels = np.arange(30.0).reshape(1, 5, 6)
    np.testing.assert_allclose(block_mean(pixels, 2), [[[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]])
    picture = GRI.picture(np.ones((3, 2 * LARGEST_SIDE + 2, 2 * LARGEST_SIDE + 2)))
    assert picture.shape == (86, 86, 3)


def test_brightness_is_the_peak_of_the_bands_mean_in_sigmas():
    flux = np.zeros((2, 3, 4, 4))
    flux[0, :, 1, 2] = [2.0, 6.0, 12.0]
    flux[1] = np.nan
    display = replace(GRI, sigma=(1.0, 2.0, 3.0))
    np.testing.assert_allclose(brightness_sigma(flux, display), [3.0, np.nan])


def test_a_display_needs_a_sigma_for_each_band():
    with pytest.raises(SpecError, match="needs one sky sigma each"):
        Display(("g", "r"), (1.0,), "nJy", 3.0, 100.0)


def test_a_picture_of_its_own_is_white_at_its_peak_and_of_noise_stays_dark():
    flux = np.zeros((1, 9, 9))
    flux[0, 4, 4] = 500.0
    assert colour_picture(flux, (1.0,), ("r",))[4, 4].tolist() == [255, 255, 255]
    noise = np.random.default_rng(1).normal(size=(3, 16, 16))
    dark = colour_picture(noise, (1.0, 1.0, 1.0))
    expected = replace(GRI, white_sigma=LEAST_WHITE_SIGMA).picture(noise)
    np.testing.assert_array_equal(dark, expected)
    assert dark.mean() < 60


def test_a_grid_holds_all_pictures_with_the_first_row_of_pixels_at_the_bottom():
    pictures = [np.full((3, 4, 3), 10 * i, np.uint8) for i in range(5)]
    pictures[0][0] = 200
    sheet = np.asarray(grid_picture(pictures))
    assert sheet.shape == (2 * 5 - 2, 3 * 6 - 2, 3)
    assert (sheet[2, :4] == 200).all()
    assert (sheet[0, :4] == 0).all()
    assert (sheet[5:8, 6:10] == 40).all()
    with pytest.raises(SpecError, match="no pictures"):
        grid_picture([])


def test_a_png_shows_y_upwards_and_fits_into_a_uri():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 1] = (1, 2, 3)
    uri = data_uri(picture_png(picture))
    assert uri.startswith("data:image/png;base64,")
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
    np.testing.assert_array_equal(decoded, picture[::-1])
