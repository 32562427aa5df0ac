"""Sums along lines, against a walk along each of them."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.surveys.reading.radon import line_sums


def _columns(rows: int, shift: int) -> list[int]:
    """How far right of its start a line lies in each row, by the rule that two halves make a whole."""
    if rows == 1:
        return [0]
    half = _columns(rows // 2, shift // 2)
    return half + [(shift + 1) // 2 + column for column in half]


@pytest.mark.parametrize(("rows", "columns"), [(1, 3), (2, 2), (8, 5), (16, 16)])
def test_every_sum_is_that_of_its_line(rows: int, columns: int) -> None:
    maps = np.random.default_rng(0).normal(size=(2, rows, columns))
    sums = line_sums(maps)
    assert sums.shape == (2, rows, columns + rows - 1)
    for shift in range(rows):
        line = _columns(rows, shift)
        assert line[0] == 0
        assert line[-1] == shift
        for start in range(1 - rows, columns):
            pixels = [(row, start + right) for row, right in enumerate(line) if 0 <= start + right < columns]
            expected = [sum(plane[pixel] for pixel in pixels) for plane in maps]
            np.testing.assert_allclose(sums[:, shift, start + rows - 1], expected, atol=1e-12)


def test_lines_stay_within_a_pixel_of_straight_ones() -> None:
    for shift in range(64):
        straight = np.arange(64) * shift / 63
        assert np.abs(np.array(_columns(64, shift)) - straight).max() < 1.6


def test_a_height_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match=r"power of two, got 6; pad the map with 0"):
        line_sums(np.zeros((1, 6, 4)))
