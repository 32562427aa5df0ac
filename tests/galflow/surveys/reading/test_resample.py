"""Resampling against exact sums over polygons, and against the noise that it gives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from galflow.errors import DataError
from galflow.surveys.base import Plane
from galflow.surveys.reading.grids import Grid
from galflow.surveys.reading.overlap import overlap_table
from galflow.surveys.reading.resample import MISSING_WEIGHT, Planes, resample
from galflow.surveys.reading.windows import BEYOND

RATIOS = (1.0, 1.05, 1.7, 2.0, 4.0, 0.8, 0.5)
ANGLES = (0.0, 30.0, 45.0, 90.0, 180.0)


def matrix(ratio: float, angle_deg: float, flip: bool = False) -> np.ndarray:
    a = math.radians(angle_deg)
    turn = ratio * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    turn[np.abs(turn) < 1e-12] = 0
    return turn @ np.diag([-1.0, 1.0]) if flip else turn


def grid(x: np.ndarray, y: np.ndarray, m: np.ndarray) -> Grid:
    return Grid(np.asarray(x, float), np.asarray(y, float), np.broadcast_to(m, (len(x), 2, 2)).copy())


def planes(flux: np.ndarray, ivar: np.ndarray | float = 1.0, mask: np.ndarray | int = 0) -> Planes:
    return Planes(
        flux.astype(np.float32),
        np.broadcast_to(np.asarray(ivar, np.float32), flux.shape),
        np.broadcast_to(np.asarray(mask, np.uint16), flux.shape),
    )


def star(shape: tuple[int, int], x: float, y: float, fwhm: float, total: float = 1000.0) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    width = fwhm / 2.3548
    return total / (2 * np.pi * width**2) * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 2 / width**2)


def clipped_area(polygon: np.ndarray, x: float, y: float) -> float:
    """The area that a convex polygon (n, 2) has in the unit pixel at (x, y): cut by one side after another."""
    for axis, bound, sign in ((0, x + 0.5, 1), (0, x - 0.5, -1), (1, y + 0.5, 1), (1, y - 0.5, -1)):
        kept = []
        for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            inside_a, inside_b = sign * (a[axis] - bound) <= 0, sign * (b[axis] - bound) <= 0
            if inside_a:
                kept.append(a)
            if inside_a != inside_b:
                kept.append(a + (b - a) * (bound - a[axis]) / (b[axis] - a[axis]))
        if len(kept) < 3:
            return 0.0
        polygon = np.array(kept)
    p, q = polygon, np.roll(polygon, -1, axis=0)
    return abs(float((p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1]).sum())) / 2


def shared_by_polygons(flux: np.ndarray, x: float, y: float, m: np.ndarray, size: int) -> np.ndarray:
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) @ m.T
    total = np.zeros((size, size))
    for j in range(size):
        for i in range(size):
            centre = np.array([x, y]) + m @ np.array([i - size // 2, j - size // 2])
            low, high = np.floor(centre + corners.min(0) + 0.5), np.ceil(centre + corners.max(0) - 0.5)
            for row in range(int(low[1]), int(high[1]) + 1):
                for column in range(int(low[0]), int(high[0]) + 1):
                    total[j, i] += flux[row, column] * clipped_area(corners + centre, column, row)
    return total


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("ratio", [0.8, 1.05, 1.7, 2.0, 4.0])
def test_finer_pixels_are_shared_out_by_area(ratio: float, angle: float, flip: bool) -> None:
    rng = np.random.default_rng(0)
    flux = rng.uniform(0, 1, (60, 64))
    m = matrix(ratio, angle, flip)
    x, y = np.array([31.0, 30.27]), np.array([29.5, 30.81])
    made = resample(planes(flux), grid(x, y, m), 6)
    for i in range(2):
        expected = shared_by_polygons(flux, x[i], y[i], m, 6)
        # Parallel grids: float32. Turned ones: the table's places, 1/64 of a pixel apart, on pixels that differ wildly.
        tolerance = 1e-5 if angle % 90 == 0 else 0.015
        np.testing.assert_allclose(made.flux[i], expected, atol=tolerance * max(1.0, ratio))
    assert (made.mask == 0).all()


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_flux_of_a_source_is_kept_wherever_in_its_pixel_it_lies(ratio: float, angle: float) -> None:
    side, size = 240, 2 * round(26 / max(ratio, 1)) if ratio >= 1 else 60
    for dx, dy in ((0.0, 0.0), (0.5, 0.0), (0.25, 0.4), (-0.37, 0.11)):
        flux = star((side, side), 120 + dx, 120 + dy, fwhm=2.5)
        made = resample(planes(flux), grid(np.array([120.3]), np.array([119.9]), matrix(ratio, angle)), size)
        assert made.flux[0].sum() == pytest.approx(1000.0, rel=5e-3)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_inverse_variance_is_that_of_resampled_noise(ratio: float, angle: float) -> None:
    rng = np.random.default_rng(1)
    sigma = np.where(np.arange(420) % 3 == 0, 2.0, 1.0)[None, :] * np.ones((420, 1))
    flux = rng.standard_normal((420, 420)) * sigma
    x, y = (rng.uniform(110, 310, 200) for _ in range(2))
    made = resample(planes(flux, sigma**-2), grid(x, y, matrix(ratio, angle)), 24)
    assert (made.ivar > 0).all()
    pull = made.flux * np.sqrt(made.ivar)
    assert np.std(pull) == pytest.approx(1.0, abs=0.03)
    flat = resample(planes(flux, 0.25), grid(x, y, matrix(ratio, angle)), 24)  # one value: the quick way
    plain = resample(planes(flux, np.full(flux.shape, 0.25)), grid(x, y, matrix(ratio, angle)), 24)
    np.testing.assert_allclose(flat.ivar, plain.ivar, rtol=1e-4)
    np.testing.assert_allclose(flat.flux, plain.flux, atol=1e-4)


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_a_constant_surface_brightness_stays_constant(angle: float) -> None:
    for ratio in RATIOS:
        m = matrix(ratio, angle)
        made = resample(planes(np.full((300, 300), 3.0)), grid(np.array([150.2]), np.array([149.7]), m), 32)
        np.testing.assert_allclose(made.flux, 3.0 * ratio**2, rtol=2e-4)


def test_anisotropic_pixels_and_slightly_different_matrices_keep_the_flux() -> None:
    rng = np.random.default_rng(2)
    flux = star((300, 300), 150.3, 149.8, fwhm=3.0)
    n = 40
    m = matrix(2.2, 25.0) @ np.diag([1.0, 0.7]) + rng.uniform(-0.02, 0.02, (n, 2, 2))
    made = resample(planes(flux), Grid(np.full(n, 150.0), np.full(n, 150.0), m), 30)
    np.testing.assert_allclose(made.flux.sum(axis=(1, 2)), 1000, rtol=0.015)


@pytest.mark.parametrize("angle", [0.0, 90.0, 30.0])
def test_what_is_missing_costs_the_pixels_that_it_is_a_part_of(angle: float) -> None:
    rng = np.random.default_rng(3)
    flux, ivar, mask = rng.uniform(1, 2, (120, 120)), np.ones((120, 120)), np.zeros((120, 120), np.uint16)
    flux[60, 60], ivar[60, 60], mask[60, 60] = np.nan, 0, Plane.COSMIC_RAY
    mask[40, 80] = Plane.SATURATED
    m = matrix(3.0, angle)
    made = resample(planes(flux, ivar, mask), grid(np.array([60.0]), np.array([60.5]), m), 20)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) @ m.T
    hole, burnt = np.zeros((20, 20)), np.zeros((20, 20))
    for j in range(20):
        for i in range(20):
            centre = np.array([60.0, 60.5]) + m @ np.array([i - 10, j - 10])
            hole[j, i] = clipped_area(corners + centre, 60, 60) / 9
            burnt[j, i] = clipped_area(corners + centre, 80, 40) / 9
    clear = np.abs(hole - MISSING_WEIGHT) > 2e-3
    np.testing.assert_array_equal((made.ivar[0] == 0)[clear], (hole > MISSING_WEIGHT)[clear])
    np.testing.assert_array_equal(np.isnan(made.flux[0]), made.ivar[0] == 0)
    np.testing.assert_array_equal((made.mask[0] & Plane.COSMIC_RAY) != 0, made.ivar[0] == 0)
    found = (made.mask[0] & Plane.SATURATED) != 0
    assert found[burnt > 2e-3].all()
    assert not found[burnt == 0].any()
    assert (made.ivar[0] == 0).any()


@pytest.mark.parametrize("angle", [0.0, 90.0, 30.0])
@pytest.mark.parametrize("ratio", [1.7, 4.0])
def test_beyond_the_band_everything_is_missing(ratio: float, angle: float) -> None:
    flux = np.ones((50, 40))
    x, y = np.array([2.0, 20.0, 1e7, np.nan]), np.array([25.0, 25.0, 3.0, 3.0])
    for ivar in (1.0, np.ones((50, 40))):
        made = resample(planes(flux, ivar), grid(x, y, matrix(ratio, angle)), 8)
        seen = np.isfinite(made.flux)
        assert 0 < seen[0].sum() < 64
        assert not seen[2:].any()
        np.testing.assert_allclose(made.flux[seen], ratio**2, rtol=0.02)
        np.testing.assert_array_equal(made.ivar > 0, seen)
        assert ((made.mask[~seen] & int(BEYOND)) == int(BEYOND)).all()
        assert (made.mask[seen] == 0).all()


def test_absurd_ratios_are_refused() -> None:
    with pytest.raises(DataError, match=r"40 times finer than the reference band's, more than 32; check the WCS"):
        resample(planes(np.ones((50, 50))), grid(np.array([25.0]), np.array([25.0]), matrix(40.0, 0)), 8)


def test_the_overlaps_of_a_table_fill_the_parallelogram() -> None:
    for ratio, angle in ((1.3, 20.0), (2.0, 0.0), (2.0, 45.0), (7.3, 60.0)):
        key = tuple(np.round(matrix(ratio, angle) * 256).astype(int).ravel().tolist())
        table = overlap_table(key)
        total = sum(weights for _, _, weights in table.neighbours)
        np.testing.assert_allclose(total, table.area, rtol=1e-5)
        assert max(weights.max() for _, _, weights in table.neighbours) <= 1.003
