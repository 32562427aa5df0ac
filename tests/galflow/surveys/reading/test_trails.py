"""Trails across an image: found where they run, and not seen in what is no trail."""

from __future__ import annotations

import math
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galflow.surveys.base import Image, Plane
from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.reading.sky import complete_image
from galflow.surveys.reading.trails import Trail, find_trails

DATA = Path(os.environ.get("GALFLOW_DATA", Path(__file__).parents[4].parent / "shared" / "data"))
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are not at {DATA}")
SHAPE = (640, 800)
SIGMA = 2.0


def _field(seed: int, sources: int = 300, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Noise, and round sources of all brightnesses on a level of 5."""
    rng = np.random.default_rng(seed)
    flux = rng.normal(5, SIGMA, shape)
    y, x = np.mgrid[-12:13, -12:13]
    for _ in range(sources):
        row, column = rng.integers(12, shape[0] - 12), rng.integers(12, shape[1] - 12)
        width = rng.uniform(1.5, 3.5)
        light = SIGMA * 10 ** rng.uniform(0.5, 3) * np.exp(-0.5 * (x**2 + y**2) / width**2)
        flux[row - 12 : row + 13, column - 12 : column + 13] += light
    return flux.astype(np.float32)


def _away(shape: tuple[int, int], x: float, y: float, degrees: float) -> np.ndarray:
    """Distance of each pixel from the line through (x, y), signed."""
    angle = math.radians(degrees)
    rows, columns = np.arange(shape[0])[:, None] - y, np.arange(shape[1]) - x
    return rows * math.cos(angle) - columns * math.sin(angle)


def _painted(flux: np.ndarray, x: float, y: float, degrees: float, width: float, height: float) -> np.ndarray:
    line = np.exp(-0.5 * (_away(flux.shape, x, y, degrees) * 2.3548 / width) ** 2)
    return (flux + height * SIGMA * line).astype(np.float32)


def _found(flux: np.ndarray, **planes: Any) -> tuple[Trail, ...]:
    complete = complete_image(Image(flux, "count", 0.2, **planes))
    return find_trails(complete.image, complete.level, complete.sigma)


def _distance(trail: Trail, x: float, y: float, degrees: float) -> float:
    """Of the trail's ends from the line through (x, y)."""
    angle = math.radians(degrees)
    ends = ((trail.x0, trail.y0), (trail.x1, trail.y1))
    return max(abs((b - y) * math.cos(angle) - (a - x) * math.sin(angle)) for a, b in ends)


@pytest.mark.parametrize("degrees", [3.0, 27.0, 45.0, 61.0, 88.0, 95.0, 118.0, 135.0, 177.0])
@pytest.mark.parametrize(("width", "height"), [(4.0, 3.0), (16.0, 1.0)])
def test_a_trail_is_found_where_it_runs_with_its_width(degrees: float, width: float, height: float) -> None:
    trails = _found(_painted(_field(1), 420, 330, degrees, width, height))
    assert len(trails) == 1
    assert _distance(trails[0], 420, 330, degrees) < 6
    length = math.hypot(trails[0].x1 - trails[0].x0, trails[0].y1 - trails[0].y0)
    assert length > 0.8 * min(800 / max(1e-9, abs(math.cos(math.radians(degrees)))),
                              640 / max(1e-9, abs(math.sin(math.radians(degrees)))))  # fmt: skip
    assert width / 2 < trails[0].width_pixels < width + 10
    assert min(trails[0].x0, trails[0].x1) > -5
    assert max(trails[0].x0, trails[0].x1) < 805


def test_two_trails_are_two_the_more_significant_first() -> None:
    flux = _painted(_painted(_field(2), 420, 330, 20, 6, 5), 300, 200, 130, 6, 2)
    strong, weak = _found(flux)
    assert _distance(strong, 420, 330, 20) < 6
    assert _distance(weak, 300, 200, 130) < 6
    assert strong.significance > weak.significance > 6


@pytest.mark.parametrize("seed", range(6))
def test_sources_and_noise_are_no_trails(seed: int) -> None:
    assert _found(_field(seed, sources=100 + 200 * seed)) == ()


def _edge(flux: np.ndarray) -> np.ndarray:
    return flux + SIGMA * (_away(flux.shape, 400, 300, 33) > 0)


def _column(flux: np.ndarray) -> np.ndarray:
    flux[:, 300:306] += 8 * SIGMA
    flux[200:203] -= 5 * SIGMA
    return flux


def _spikes(flux: np.ndarray) -> np.ndarray:
    along = np.hypot(np.arange(flux.shape[0])[:, None] - 330, np.arange(flux.shape[1]) - 420)
    for degrees in (40, 130):
        flux += 3000 * SIGMA / (10 + along) ** 2 * np.exp(-0.5 * (_away(flux.shape, 420, 330, degrees) / 2) ** 2)
    return flux + 5000 * SIGMA / (1 + (along / 3) ** 2) ** 2.5


def _galaxy(flux: np.ndarray) -> np.ndarray:
    along = _away(flux.shape, 420, 330, 50 + 90)
    across = _away(flux.shape, 420, 330, 50)
    return flux + 30 * SIGMA * np.exp(-np.hypot(along / 40, across / 5))


@pytest.mark.parametrize("draw", [_edge, _column, _spikes, _galaxy])
def test_what_looks_like_a_line_and_is_no_trail(draw: Any) -> None:
    flux = np.asarray(draw(_field(7)), np.float32)
    assert _found(flux) == ()
    with_trail = _painted(flux, 250, 330, 72, 5, 6)
    assert len(_found(with_trail)) == 1, "it hides a trail beside it"


def test_where_a_mask_tells_of_it_or_nothing_was_observed_nothing_is_looked_for() -> None:
    flux = _painted(_field(3), 420, 330, 25, 5, 8)
    on_trail = np.abs(_away(flux.shape, 420, 330, 25)) < 12
    assert len(_found(flux)) == 1
    assert _found(flux, mask=np.where(on_trail, np.uint16(Plane.TRAIL), np.uint16(0))) == ()
    assert _found(flux, ivar=np.where(on_trail, np.float32(0), np.float32(SIGMA**-2))) == ()
    holes = np.where(np.random.default_rng(0).random(flux.shape) < 0.2, np.nan, flux).astype(np.float32)
    assert len(_found(holes)) == 1


def test_small_empty_and_noise_free_images_have_none() -> None:
    for flux in (np.zeros((0, 0)), np.zeros((300, 300)), np.ones((100, 300)), np.full((300, 300), np.nan)):
        assert _found(flux.astype(np.float32)) == ()


def test_memory_is_that_of_the_map_and_not_of_the_image() -> None:
    flux = np.random.default_rng(0).normal(0, 1, (4000, 4000)).astype(np.float32)
    image = Image(flux, "count", 0.2, np.broadcast_to(np.float32(1), flux.shape))
    tracemalloc.start()
    find_trails(image, 0.0, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert flux.nbytes > 60e6


@real
def test_real_frames_only_the_one_that_a_satellite_crossed() -> None:
    """Where it runs was measured apart from this code: the brightest rows of medians over 100 columns."""
    options = {
        "bands": {"H": "image_{tile}.fits"},
        "zero_point_keyword": "MAGZPT",
        "root": str(DATA / "viking_H_frames"),
    }
    frames = FitsTiles("viking", "1", FitsTiles.Options.model_validate(options))
    found = {}
    for tile in frames.tiles():
        complete = complete_image(frames.read(tile, "H"))
        found[tile.name] = find_trails(complete.image, complete.level, complete.sigma)
    assert found["1"] == found["2"] == ()
    (trail,) = found["6"]
    assert _distance(trail, 0, 1347.1, math.degrees(math.atan(0.0737))) < 4
    assert trail.x1 - trail.x0 > 1830
    assert 18 < trail.width_pixels < 26


@real
@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("kids_viking_tile", {band: f"{band}.fits" for band in "griZJ"}),
        ("hsc_cosmos_patch", {band: f"{band}-10054-0,2-c1_scarlet_img.fits" for band in "GRI"}),
        ("sdss_frame", {"r": "SDSS_r.fits"}),
        ("jwst_i2d_stamp", {"f200w": "jw01324001001-01324-o001_t001_nircam_clear-f200w_i2d_stamp.fits"}),
    ],
)
def test_real_images_without_a_trail_have_none(folder: str, files: dict[str, str]) -> None:
    """Chip gaps and dead columns (KiDS), crowding (HSC), spikes (JWST)."""
    from astropy.io import fits

    for file in files.values():
        with fits.open(DATA / folder / file) as content:
            plane = next(hdu.data for hdu in content if hdu.data is not None and hdu.data.ndim == 2)
        assert _found(np.ascontiguousarray(plane, np.float32)) == (), file
