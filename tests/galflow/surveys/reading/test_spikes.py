"""Spikes of bright stars: found where they run, and not seen in galaxies, neighbours and noise."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from galflow.surveys.base import Image
from galflow.surveys.fits_tiles import FitsTiles, FitsTilesOptions
from galflow.surveys.reading.sky import complete_image
from galflow.surveys.reading.spikes import find_spikes
from galflow.surveys.reading.trails import Trail

DATA = Path(os.environ.get("GALFLOW_DATA", Path(__file__).parents[4].parent / "shared" / "data"))
SHAPE, SIGMA, FWHM = (500, 600), 2.0, 3.0
STAR = (301.0, 252.0)


def _field(seed: int, *, star: bool = True) -> np.ndarray:
    """Noise, 150 sources, and a bright star with a halo."""
    rng = np.random.default_rng(seed)
    flux = rng.normal(0, SIGMA, SHAPE)
    y, x = np.mgrid[-12:13, -12:13]
    for _ in range(150):
        row, column = rng.integers(12, SHAPE[0] - 12), rng.integers(12, SHAPE[1] - 12)
        light = SIGMA * 10 ** rng.uniform(0.5, 2) * np.exp(-0.5 * (x**2 + y**2) / rng.uniform(1.5, 3.0) ** 2)
        flux[row - 12 : row + 13, column - 12 : column + 13] += light
    if star:
        distance = np.hypot(*_from_star())
        flux += SIGMA * 5000 * (1 + (distance / 3.0) ** 2) ** -2
    return flux.astype(np.float32)


def _from_star() -> tuple[np.ndarray, np.ndarray]:
    return np.arange(SHAPE[0])[:, None] - STAR[1], np.arange(SHAPE[1])[None, :] - STAR[0]


def _arm(degrees: float, length: float = 90.0, height: float = 12.0) -> np.ndarray:
    """Light in both directions of an angle, that fades."""
    y, x = _from_star()
    angle = math.radians(degrees)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    fade = np.clip(1 - np.abs(along) / length, 0, None) ** 0.5
    return np.asarray(height * SIGMA * fade * np.exp(-0.5 * (across / 1.3) ** 2))


def _found(flux: np.ndarray) -> tuple[Trail, ...]:
    return find_spikes(Image(flux.astype(np.float32), "count", 0.2), 0.0, SIGMA, FWHM)


@pytest.mark.parametrize("turn", [0.0, 33.0, 45.0])
def test_a_cross_is_found_with_its_four_arms(turn: float) -> None:
    found = _found(_field(1) + _arm(turn) + _arm(turn + 90))
    assert len(found) == 4
    for arm in found:
        assert np.hypot(arm.x0 - STAR[0], arm.y0 - STAR[1]) < 2
        angle = math.degrees(math.atan2(arm.y1 - arm.y0, arm.x1 - arm.x0))
        assert min((angle - turn) % 90, -(angle - turn) % 90) < 4
        assert 40 < math.hypot(arm.x1 - arm.x0, arm.y1 - arm.y0) < 110


@pytest.mark.parametrize("seed", range(4))
def test_stars_sources_and_noise_have_none(seed: int) -> None:
    assert _found(_field(seed)) == ()
    assert _found(_field(seed, star=False)) == ()


def test_one_pair_is_a_galaxy_seen_from_its_edge() -> None:
    assert _found(_field(2) + _arm(20.0)) == ()
    assert _found(_field(2) + _arm(90.0)) == ()


def test_one_pair_along_columns_of_a_saturated_star_is_a_bleed() -> None:
    flux = _field(2) + _arm(90.0, length=120.0, height=60.0)
    found = _found(np.minimum(flux, 0.2 * flux.max()))
    assert len(found) == 2
    assert all(abs(arm.x1 - arm.x0) < 4 for arm in found)


def test_without_noise_or_in_a_small_image_nothing_is_looked_for() -> None:
    flux = _field(1) + _arm(0.0) + _arm(90.0)
    assert find_spikes(Image(flux.astype(np.float32), "count", 0.2), 0.0, float("nan"), FWHM) == ()
    assert _found(flux[:50, :50]) == ()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are not at {DATA}")
def test_the_brightest_star_of_the_real_kids_tile_has_spikes_and_hsc_has_none() -> None:
    for folder, file, stars in (
        ("kids_viking_tile", "r.fits", 1),
        ("hsc_cosmos_patch", "I-10054-0,2-c1_scarlet_img.fits", 0),
    ):
        options = FitsTilesOptions(
            root=str(DATA / folder), tile="t", bands={"b": file}, pixel_scale_arcsec=0.2, zero_point=27.0
        )
        survey = FitsTiles("real", "1", options)
        complete = complete_image(survey.read(survey.tiles()[0], "b"))
        found = find_spikes(complete.image, complete.level, complete.sigma, FWHM)
        assert len({(arm.x0, arm.y0) for arm in found}) == stars
