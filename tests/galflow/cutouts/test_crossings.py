"""A trail against cutouts, beside a walk along the trail, and in the flags of a written cutout set."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galflow.cutouts.crossings import crossed
from galflow.cutouts.cut import cut_tile, cutouts_fingerprint
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.extract import Grid
from galflow.cutouts.flags import Flag, has_flag
from galflow.spec.run import load_spec
from galflow.storage.store import Store
from galflow.surveys.base import Image
from galflow.surveys.reading.trails import Trail
from galflow.surveys.resolve import open_survey

Make = Callable[..., Any]
PROJECT = Path(__file__).parents[3]
DATA = Path(os.environ.get("GALFLOW_DATA", PROJECT.parent / "shared" / "data"))
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are not at {DATA}")


def _trail(x0: float, y0: float, x1: float, y1: float, width: float = 3.0) -> Trail:
    return Trail(x0, y0, x1, y1, width, significance=10.0)


def _walked(trail: Trail, x: float, y: float, size: int) -> bool:
    """Whether any of many points along the trail lies within its half width of the cutout's square."""
    t = np.linspace(0, 1, 4001)
    left, low = np.floor(x + 0.5) - size // 2 - 0.5, np.floor(y + 0.5) - size // 2 - 0.5
    along_x, along_y = trail.x0 + t * (trail.x1 - trail.x0), trail.y0 + t * (trail.y1 - trail.y0)
    reach = trail.width_pixels / 2
    inside = (along_x >= left - reach) & (along_x <= left + size + reach)
    return bool((inside & (along_y >= low - reach) & (along_y <= low + size + reach)).any())


def test_the_cutouts_that_a_trail_touches_are_found() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 300, 400), rng.uniform(0, 200, 400)
    for k in range(20):
        trail = _trail(*rng.uniform(-20, 300, 4).tolist(), width=rng.uniform(1, 20))
        if k == 0:
            trail = replace(trail, y1=trail.y0)
        found = crossed([trail], Grid(x, y, None), 17)
        expected = [_walked(trail, a, b, 17) for a, b in zip(x, y, strict=True)]
        assert np.mean(found != expected) <= 0.005  # the walk's steps are finite
        assert 0 < found.sum() < 400
    both = crossed([trail, _trail(0, 0, 300, 200)], Grid(x, y, None), 17)
    np.testing.assert_array_equal(both, found | crossed([_trail(0, 0, 300, 200)], Grid(x, y, None), 17))
    assert not crossed([], Grid(x, y, None), 17).any()
    assert not crossed([trail], Grid(np.array([np.nan]), np.array([3.0]), None), 17).any()


def test_a_turned_and_scaled_band_has_its_own_pixels() -> None:
    """The trail lies on the cutout's lower edge of pixels, at half the scale and turned by 90 degrees."""
    matrix = np.array([[[0.0, -0.5], [0.5, 0.0]]])  # a step to the right in the reference is half a step up here
    grid = Grid(np.array([50.0]), np.array([40.0]), matrix)
    # Reference (i, j) lies at x = 50 - 0.5 (j - 8), y = 40 + 0.5 (i - 8): the row j = 0 is x = 54.
    for x, hits in ((54.0, True), (54.6, True), (55.0, False), (45.9, True), (45.0, False)):
        assert crossed([_trail(x, 0, x, 100, width=1.0)], grid, 16).tolist() == [hits], x
    assert crossed([_trail(0, 30, 100, 30)], Grid(grid.x, grid.y, np.zeros((1, 2, 2))), 16).shape == (1,)


def test_a_trail_that_no_mask_tells_of_is_in_the_flags(
    store: Store, array_survey: Make, catalog: Make, cut: Make
) -> None:
    rng = np.random.default_rng(0)
    sky = {band: rng.normal(0, 2, (400, 420)).astype(np.float32) for band in "rg"}
    rows, columns = np.mgrid[:400, :420]
    line = np.abs((rows - 100) * np.cos(0.4) - columns * np.sin(0.4)) < 3
    sky["g"][line] += 10
    x, y = rng.uniform(0, 420, 1000), rng.uniform(0, 400, 1000)
    images = {band: Image(flux, "nJy", 0.2) for band, flux in sky.items()}
    cutouts, receipt = cut(store, array_survey(images, catalog(x, y)), size=16)
    found = has_flag(cutouts.read("flags"), Flag.TRAIL)
    xs, ys = cutouts.read("x_pixel"), cutouts.read("y_pixel")
    truth = np.array(
        [
            line[max(0, int(b) - 8) : int(b) + 8, max(0, int(a) - 8) : int(a) + 8].any()
            for a, b in zip(xs, ys, strict=True)
        ]
    )
    assert 50 < truth.sum() < 120
    assert (found[truth]).mean() > 0.95
    assert (found[~truth]).mean() < 0.03
    assert receipt.details["flags"]["TRAIL"] == found.sum()


@real
def test_a_real_trail_is_in_the_flags_of_the_real_frame(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """image_6 of the VISTA frames: the trail runs along y = 1347.1 + 0.0737 x and is 24 pixels wide."""
    monkeypatch.setenv("GALFLOW_DATA", str(DATA))
    spec = load_spec(PROJECT / "examples" / "viking_h.yaml", root="memory://unused")
    survey = open_survey(spec.survey)
    for tile in survey.tiles():
        receipt = cut_tile(local_store, survey, tile, spec.cutouts, cutouts_fingerprint(survey, tile, spec.cutouts))
        cutouts = CutoutSet(local_store, receipt.product)
        found = has_flag(cutouts.read("flags"), Flag.TRAIL)
        if tile.name != "6":
            assert not found.any()
            continue
        steps = np.arange(32) - 16
        x, y = (np.floor(cutouts.read(name) + 0.5)[:, None] + steps for name in ("x_pixel", "y_pixel"))
        away = np.abs(y[:, :, None] - 1347.1 - 0.0737 * x[:, None, :]) * np.cos(np.arctan(0.0737))
        truth = (away < 12).any(axis=(1, 2))
        assert truth.sum() == 104
        assert found[truth].mean() >= 0.95
        assert found[~truth].mean() <= 0.01
