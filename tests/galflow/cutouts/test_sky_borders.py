"""A sky whose level changes at a row or column: found where it does so all along, and in no galaxy's light."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from galflow.cutouts.flags import KNOWN_DEFECT, Flag, has_flag
from galflow.cutouts.pixel_defects import PixelDefects
from galflow.cutouts.sky_borders import find_borders
from galflow.surveys.reading.sky import Sky

COUNT, SIDE = 200, 48


def noise(seed: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(COUNT, side, side)).astype(np.float32)


def level_steps(light: np.ndarray) -> np.ndarray:
    return find_borders(light.astype(np.float32)).level


def galaxy(height: float, length: float) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return (height * np.exp(-np.hypot(x, y / 0.6) / length)).astype(np.float32)


@pytest.mark.parametrize("beyond", [(slice(None), slice(30, None)), (slice(0, 16), slice(None))])
def test_a_step_is_found_beside_a_galaxy_too(beyond: tuple[slice, slice]) -> None:
    for light in (noise(1), noise(2) + galaxy(100, 2.0)):
        assert not level_steps(light).any()
        light[(slice(None), *beyond)] += 1.0
        assert level_steps(light).mean() > 0.9
        light[(slice(None), *beyond)] -= 2.0
        assert level_steps(light).mean() > 0.9


@pytest.mark.parametrize("step", [2.0, 3.0, -3.0])
def test_a_large_step_is_no_light(step: float) -> None:
    light = noise(9)
    light[:, :, 18:] += step
    assert level_steps(light).mean() > 0.97


@pytest.mark.parametrize("beyond", [(slice(None), slice(30, None)), (slice(0, 16), slice(None))])
def test_noise_that_changes_at_a_border_is_found_beside_a_galaxy_too(beyond: tuple[slice, slice]) -> None:
    light = noise(10)
    light[(slice(None), *beyond)] *= 2.2
    for found in (find_borders(light), find_borders(light + galaxy(100, 2.0))):
        assert found.noise.mean() > 0.9
        assert found.level.mean() <= 0.01
    slight = noise(11)
    slight[(slice(None), *beyond)] *= 1.2
    assert find_borders(slight).noise.mean() <= 0.01


def test_a_step_of_correlated_noise_must_be_larger() -> None:
    together = ndimage.zoom(noise(3, 32), (1, 1.6, 1.6), order=1, mode="nearest")[:, :SIDE, :SIDE]
    together /= together.std()
    assert not level_steps(together).any()
    together[:, :, 20:] += 3.0
    assert level_steps(together).mean() > 0.9


def test_a_part_of_a_line_is_no_border() -> None:
    light = noise(4)
    light[:, :16, 24:] += 1.0
    assert level_steps(light).mean() < 0.05


@pytest.mark.parametrize(("height", "length"), [(30.0, 6.0), (300.0, 8.0), (3000.0, 5.0), (3.0, 15.0)])
def test_a_galaxy_is_no_border(height: float, length: float) -> None:
    found = find_borders(noise(5) + galaxy(height, length))
    assert found.level.mean() <= 0.01
    assert not found.noise.any()


def test_what_is_not_known_is_no_step() -> None:
    light = noise(6)
    light[:50, :, 30:] = np.nan
    light[50:100, 10:14] = np.nan
    light[100:150] = np.nan
    assert not level_steps(light).any()
    assert not level_steps(light[:0]).any()
    assert not level_steps(noise(7, 32) + np.where(np.arange(32) > 16, 3, 0)).any()
    light[:, :, 20:] += 1.5
    assert level_steps(light[50:100]).mean() > 0.9


def test_it_is_a_flag_and_a_known_defect() -> None:
    sky = Sky(level=100.0, sigma=5.0)
    flux = 100 + 5 * noise(8)[:, None].repeat(2, axis=1)
    flux[:20, 1, :, 25:] += 5
    found = has_flag(PixelDefects([sky, sky], [3.0, 3.0], [False, False]).flags(flux), Flag.LEVEL_STEP)
    assert found[:20].mean() > 0.9
    assert not found[20:].any()
    assert KNOWN_DEFECT & Flag.LEVEL_STEP
