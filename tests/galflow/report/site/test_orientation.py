from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS

from galflow.report.orientation import Orientation, orientations
from galflow.surveys.reading.fits_wcs import wcs_cards


def tile(cd: np.ndarray) -> dict[str, object]:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = [150.0, 60.0], [21.0, 21.0], cd * 0.2 / 3600
    return {"wcs": wcs_cards(wcs), "bands": ["r"]}


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 170.0, -100.0])
@pytest.mark.parametrize("parity", [1, -1])
def test_a_source_to_the_north_is_drawn_above_and_one_to_the_east_to_the_left(angle: float, parity: int):
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    said = tile(rotation @ np.diag([-1.0 * parity, 1.0]))
    (found,) = orientations(said, np.array([20.0]), np.array([20.0]))
    wcs = WCS(said["wcs"])
    assert found.to_north_deg is not None
    assert abs(found.to_north_deg) <= 45
    for east, north in ((0, 2.4), (2.4, 0)):
        image = np.zeros((41, 41))
        place = (150 + east / 3600 / np.cos(np.radians(60)), 60 + north / 3600)
        x, y = wcs.all_world2pix(*place, 0)
        image[round(float(y)), round(float(x))] = 1
        row, column = np.argwhere(found.turned(image))[0] - 20
        clockwise = np.degrees(np.arctan2(column, -row))  # from up
        wanted = found.to_north_deg - (90 if east else 0)
        assert abs((clockwise - wanted + 180) % 360 - 180) < 4


def test_without_a_wcs_flux_has_y_upwards_and_a_picture_its_first_row_on_top():
    image = np.array([[1, 2], [3, 4]])
    place = np.zeros(1)
    (flux,) = orientations({"wcs": None, "bands": ["r"]}, place, place)
    np.testing.assert_array_equal(flux.turned(image), [[3, 4], [1, 2]])
    (jpeg,) = orientations({"bands": ["r"], "display_white": [255.0]}, place, place)
    np.testing.assert_array_equal(jpeg.turned(image), image)
    assert (flux.to_north_deg, jpeg.to_north_deg) == (None, None)


def test_colours_are_turned_with_their_picture():
    colours = np.arange(12).reshape(2, 2, 3)
    np.testing.assert_array_equal(Orientation(quarters=1).picture(colours)[..., 0], np.rot90(colours[::-1, :, 0]))
