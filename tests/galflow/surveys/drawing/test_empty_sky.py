from __future__ import annotations

import numpy as np
import pytest

from galflow.errors import DataError
from galflow.surveys.base import Image, Plane
from galflow.surveys.drawing.empty_sky import empty_places


def blank(height: int = 90, width: int = 120) -> Image:
    return Image(np.zeros((height, width), np.float32), "count", 0.2, mask=np.zeros((height, width), np.uint16))


def test_places_are_empty_whole_and_inside() -> None:
    image, rng = blank(), np.random.default_rng(0)
    assert image.mask is not None
    image.flux[:, 70:75] = np.nan
    image.mask[40:44] = int(Plane.BAD)
    x, y = rng.uniform(0, 120, 30), rng.uniform(0, 90, 30)
    reach = rng.uniform(2, 9, 30)
    rows, columns = empty_places({"r": image}, x, y, reach, count=500, size=21, rng=rng)
    assert len(rows) == len(columns) == 500
    distance = np.hypot(rows[:, None] - y, columns[:, None] - x)
    assert (distance > reach).all()
    assert rows.min() >= 10
    assert rows.max() + 11 <= 90
    assert columns.max() + 11 <= 120
    assert not ((columns > 67) & (columns < 77)).any()
    assert not ((rows > 37) & (rows < 46)).any()
    assert len(np.unique(rows * 120 + columns)) > 300


def test_a_tile_without_room_is_an_error_that_says_what_to_change() -> None:
    rng, nothing = np.random.default_rng(0), np.empty(0)
    with pytest.raises(DataError, match="holds no square of 91; lower the stamp size to at most 90"):
        empty_places({"r": blank()}, nothing, nothing, nothing, count=1, size=91, rng=rng)
    with pytest.raises(DataError, match=r"only 0 of 3 empty places .* lower min_separation or count"):
        empty_places({"r": blank()}, np.array([60.0]), np.array([45.0]), np.array([500.0]), count=3, size=9, rng=rng)
    rows, _ = empty_places({"r": blank()}, nothing, nothing, nothing, count=3, size=9, rng=rng)
    assert len(rows) == 3


def test_pixels_without_weight_are_no_empty_sky_and_bands_must_share_a_grid() -> None:
    rng, nothing = np.random.default_rng(0), np.empty(0)
    ivar = np.ones((90, 120), np.float32)
    ivar[:, :60] = 0
    image = Image(np.zeros((90, 120), np.float32), "count", 0.2, ivar=ivar)
    _, columns = empty_places({"r": image}, nothing, nothing, nothing, count=50, size=21, rng=rng)
    assert columns.min() >= 62
    with pytest.raises(DataError, match=r"one grid; got shapes r \(90, 120\), i \(90, 60\), \(y, x\); align them"):
        empty_places({"r": blank(), "i": blank(90, 60)}, nothing, nothing, nothing, count=1, size=21, rng=rng)
