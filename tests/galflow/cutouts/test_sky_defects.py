"""Pixels far below the sky and steps of its noise: found where they are drawn, and in nothing that the sky can do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_NORMAL, Flag, has_flag
from galflow.cutouts.sky_borders import find_borders
from galflow.cutouts.sky_defects import has_noise_step, is_below_sky, square_grid
from galflow.spec.run import load_spec
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey

PROJECT = Path(__file__).parents[3]
DATA = Path(os.environ.get("GALFLOW_DATA", PROJECT.parent / "shared" / "data"))
COUNT, SIDE = 200, 48


def _noise(seed: int = 0, side: int = SIDE, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, side, side)).astype(np.float32)


def _ellipse(length: float, axis_ratio: float, angle: float, power: float = 1.0) -> np.ndarray:
    """(y, x) an exponential profile around the middle."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (y * np.cos(angle) - x * np.sin(angle)) / axis_ratio
    return np.exp(-((np.hypot(along, across) / length) ** power))


def _sky_alone() -> dict[str, np.ndarray]:
    """Names of what must not be flagged -> cutouts with noise of sigma 1."""
    rng = np.random.default_rng(1)
    height = 10 ** rng.uniform(0.5, 3.5, (COUNT, 1, 1))
    turned = rng.uniform(0, np.pi, COUNT)
    y, x = np.mgrid[:SIDE, :SIDE]
    field = _noise(2)
    for cutout in field:
        for _ in range(12):
            at, width = rng.uniform(0, SIDE, 2), rng.uniform(1.2, 2.5)
            cutout += 10 ** rng.uniform(0, 2) * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 2 / width**2)
    disc = height * _ellipse(8.0, 0.8, 0.3)
    # Resampled to pixels 1.7 times finer, noise hangs together.
    together = ndimage.zoom(_noise(3, 30), (1, 1.7, 1.7), order=1, mode="nearest")[:, 1:-2, 1:-2]
    return {
        "noise": _noise(),
        "a bright galaxy, with photon noise": disc + _noise(4) * np.sqrt(1 + disc / 100),
        "a galaxy larger than the cutout": height * _ellipse(40.0, 0.7, 1.0) + _noise(5),
        "edge-on galaxies": height * np.stack([_ellipse(9.0, 0.1, angle, 1.5) for angle in turned]) + _noise(6),
        "a rich field": field,
        "a star": height * _ellipse(1.8, 1.0, 0.0, 2.0) + _noise(7),
        "correlated noise": together / together.std(),
        "a level that rises": _noise(8) + np.linspace(-1, 1, SIDE, dtype=np.float32),
        "a region of less depth": 2.5 * _noise(9),
    }


@pytest.mark.parametrize("name", _sky_alone())
def test_nothing_of_the_sky_is_flagged(name: str) -> None:
    light = _sky_alone()[name].astype(np.float32)
    assert not is_below_sky(light).any()
    assert not has_noise_step(light).any()
    assert not np.any(find_borders(light))


def test_noise_resampled_to_a_third_as_euclids_near_infrared_is_not_below_the_sky() -> None:
    noise = ndimage.zoom(_noise(19, 20), (1, 3, 3), order=3, mode="nearest")[:, 6:-6, 6:-6]
    assert not is_below_sky(noise / noise.std()).any()


@pytest.mark.parametrize(
    "where",
    [
        (slice(5, 25), 30),  # a short dead column that holds noise
        (11, slice(None)),
        (slice(30, 46), slice(20, 36)),
    ],
)
def test_a_line_or_a_hollow_below_the_sky_is_found(where: tuple[slice | int, slice | int]) -> None:
    low = _noise(10)
    low[(slice(None), *where)] -= 15 if isinstance(where[0], int) or isinstance(where[1], int) else 3
    assert is_below_sky(low).all()
    assert not is_below_sky(_noise(10)).any()


def test_a_dead_pixel_is_found_and_the_ringing_beside_a_star_is_not() -> None:
    dead = _noise(18)
    dead[:, 20, 33] = -12
    assert is_below_sky(dead).all()
    star = dead.copy()
    star[:, 20, 34] = 400
    assert not is_below_sky(star).any()


def test_a_faint_whole_column_is_found_and_a_gap_between_galaxies_is_not() -> None:
    column = _noise(11)
    column[:, :, 20] -= 2.5
    assert is_below_sky(column).mean() > 0.95
    y, x = np.mgrid[:SIDE, :SIDE] - 24
    both = sum(80 * np.exp(-((x - at) ** 2 + (y / 4) ** 2) / 18) for at in (-6, 6))
    assert not is_below_sky((_noise(12) + both).astype(np.float32)).any()


def test_a_hollow_beside_a_bright_source_is_found() -> None:
    """Too much was subtracted around it."""
    y, x = np.mgrid[:SIDE, :SIDE] - 24
    away = np.hypot(y, x)
    light = 2000 * np.exp(-((away / 3) ** 2)) - 4.0 * ((away > 9) & (away < 19))
    assert is_below_sky((_noise(13) + light).astype(np.float32)).all()


@pytest.mark.parametrize("factor", [4.0, 8.0])
@pytest.mark.parametrize("border", [(slice(None), slice(30, None)), (slice(0, 16), slice(None))])
def test_noise_that_changes_is_found_beside_a_galaxy_too(border: tuple[slice, slice], factor: float) -> None:
    light = _noise(14)
    light[(slice(None), *border)] *= factor
    assert has_noise_step(light).mean() > 0.98
    assert has_noise_step(light + (200 * _ellipse(3.0, 0.6, 0.5)).astype(np.float32)).mean() > 0.95
    slight = _noise(15)
    slight[(slice(None), *border)] *= 1.4
    assert not has_noise_step(slight).any()


def test_what_is_not_known_is_neither_low_nor_quiet() -> None:
    light = _noise(16) + (300 * _ellipse(4.0, 0.5, 1.0)).astype(np.float32)
    light[:50, :, 30:] = np.nan
    light[50:100, 10:14] = np.nan
    light[100:] = np.nan
    assert not is_below_sky(light).any()
    assert not has_noise_step(light).any()
    assert not is_below_sky(light[:0]).any()
    assert not has_noise_step(light[:0]).any()


@pytest.mark.parametrize("side", [10, 23, 24, 31, 33, 64])
def test_any_size_is_looked_at_or_left_alone(side: int) -> None:
    light = _noise(17, side, 300)
    assert not is_below_sky(light).any()
    assert not has_noise_step(light).any()
    count, length = square_grid(side)
    assert count * length <= side
    light[:, :, : side // 3] -= 4
    assert is_below_sky(light).all() == (side >= 24)


def test_ordinary_cutouts_of_real_frames_have_none(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if not DATA.is_dir():
        pytest.skip(f"real data are not at {DATA}")
    monkeypatch.setenv("GALFLOW_DATA", str(DATA))
    new = Flag.BELOW_SKY | Flag.NOISE_STEP | Flag.SHIFTED
    assert new & NOT_NORMAL == new
    spec = load_spec(PROJECT / "examples" / "viking_h.yaml", root="memory://unused")
    survey, flags = open_survey(spec.survey), []
    for tile in survey.tiles():
        receipt = cut_tile(local_store, survey, tile, spec.cutouts, tile.identity[:16])
        flags.append(CutoutSet(local_store, receipt.product).read("flags"))
    every = np.concatenate(flags)
    ordinary = every[~has_flag(every, Flag.EDGE)]
    assert len(ordinary) > 1900
    assert has_flag(ordinary, new).mean() < 0.01
