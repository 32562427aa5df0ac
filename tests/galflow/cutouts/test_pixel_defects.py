"""Defects that no mask tells of: found where they were painted, in real cutouts and made ones, and not elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galflow.cutouts.cut import cut_tile, cutouts_fingerprint
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_NORMAL, NOT_SCORED, Flag, has_flag
from galflow.cutouts.pixel_defects import PixelDefects, is_coarse
from galflow.spec.run import CutoutSpec, PlantSpec, load_spec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.base import Image, Survey
from galflow.surveys.drawing.anomalies import plant
from galflow.surveys.reading.sky import Sky
from galflow.surveys.resolve import open_survey

Make = Callable[..., Any]
PROJECT = Path(__file__).parents[3]
DATA = Path(os.environ.get("GALFLOW_DATA", PROJECT.parent / "shared" / "data"))
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data are not at {DATA}")
SIGMA = np.array([2.0, 3.0, 1.0])
FWHM = 3.0
OF_KIND = {
    "dead_columns": Flag.CONSTANT,
    "edge": Flag.CONSTANT,
    "cosmic_ray": Flag.COSMIC_RAY,
    "saturated_star": Flag.SATURATED,
    "doubled_image": Flag.DOUBLED,
}
"""Kind of a painted defect -> the flag that should tell of it."""
DEFECTS = Flag.CONSTANT | Flag.COSMIC_RAY | Flag.SATURATED | Flag.DOUBLED


def _galaxies(n: int, seed: int = 0, size: int = 48) -> np.ndarray:
    """(n, 3, size, size): galaxies and stars of all brightnesses, as a PSF of 3 pixels shows them, in noise."""
    rng = np.random.default_rng(seed)
    flux = rng.normal(0, SIGMA[:, None, None], (n, 3, size, size))
    y, x = np.mgrid[:size, :size] - size // 2
    for cutout in flux:
        for k in range(4):
            at = rng.uniform(-0.4, 0.4, 2) * size * (k > 0)
            width = FWHM / 2.3548 * np.hypot(1, rng.choice([0, 0, 1, 2]) * rng.random())
            height = 10 ** rng.uniform(0.5, 3) * rng.uniform(0.5, 2, 3) * SIGMA
            cutout += height[:, None, None] * np.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / width**2)
    return flux.astype(np.float32)


def _finder(fwhm: float = FWHM, level: float = 0.0, coarse: bool = False) -> PixelDefects:
    return PixelDefects([Sky(level, sigma) for sigma in SIGMA], [fwhm] * 3, [coarse] * 3)


@pytest.fixture(scope="module")
def galaxies() -> np.ndarray:
    return _galaxies(300)


def _painted(kind: str, galaxies: np.ndarray, number: int = 60) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([plant(kind, g, None, sky_sigma=SIGMA, psf_fwhm_pix=FWHM, rng=rng) for g in galaxies[:number]])


@pytest.mark.parametrize("kind", OF_KIND)
def test_what_was_painted_is_found_and_named(kind: str, galaxies: np.ndarray) -> None:
    flags = _finder().flags(_painted(kind, galaxies))
    assert has_flag(flags, OF_KIND[kind]).mean() >= 0.8
    assert has_flag(flags, DEFECTS & ~OF_KIND[kind]).mean() < 0.02


@pytest.mark.parametrize("fwhm", [FWHM, float("nan")])
def test_galaxies_stars_and_noise_have_none(fwhm: float, galaxies: np.ndarray) -> None:
    assert not _finder(fwhm).flags(galaxies).any()


@pytest.mark.parametrize("kind", ["merger_pair", "tidal_tail", "ring"])
def test_what_belongs_to_the_sky_is_no_defect(kind: str, galaxies: np.ndarray) -> None:
    assert not _finder().flags(_painted(kind, galaxies)).any()


def test_the_level_of_the_sky_and_the_place_in_a_chunk_change_nothing(galaxies: np.ndarray) -> None:
    some = np.concatenate([_painted(kind, galaxies, 20) for kind in OF_KIND] + [galaxies[:20]])
    flags = _finder().flags(some)
    assert has_flag(flags, DEFECTS).sum() > 80
    np.testing.assert_array_equal(_finder(level=500.0).flags(some + np.float32(500)), flags)
    each = np.concatenate([_finder().flags(one[None]) for one in some])
    np.testing.assert_array_equal(each, flags)
    assert _finder().flags(some[:0]).shape == (0,)


def test_missing_pixels_are_no_defect(galaxies: np.ndarray) -> None:
    """A lost area that the inverse variance knows of is missing, not constant."""
    lost = galaxies[:50].copy()
    observed = np.ones(lost.shape, bool)
    lost[..., 20:24], observed[..., 20:24] = 0.0, False
    lost[:25, ..., 30:], observed[:25, ..., 30:] = np.nan, False
    assert has_flag(_finder().flags(lost), Flag.CONSTANT).all()
    assert not _finder().flags(lost, observed).any()
    assert not _finder().flags(np.full_like(lost, np.nan), np.zeros(lost.shape, bool)).any()


def test_a_dead_row_or_column_and_a_lost_corner_are_constant(galaxies: np.ndarray) -> None:
    for window in ((slice(None), 30), (17, slice(None)), (slice(36, None), slice(36, None)), (slice(2, 44), 5)):
        spoilt = galaxies[:20].copy()
        spoilt[(slice(None), 1, *window)] = -1.25
        assert has_flag(_finder().flags(spoilt), Flag.CONSTANT).all(), window
    few = galaxies[:20].copy()
    few[:, 1, 10:14, 10:14] = 0.0
    assert not has_flag(_finder().flags(few), Flag.CONSTANT).any()


def test_a_ray_is_seen_in_one_band_alone_and_through_no_psf() -> None:
    rng = np.random.default_rng(0)
    empty = rng.normal(0, SIGMA[:, None, None], (1, 3, 32, 32)).astype(np.float32)
    ray = empty.copy()
    ray[0, 1, 12, 10:14] += 40 * SIGMA[1]
    assert _finder().flags(ray)[0] == Flag.COSMIC_RAY
    lone = empty.copy()
    lone[0, 1, 12, 12] += 40 * SIGMA[1]
    assert _finder().flags(lone)[0] == Flag.COSMIC_RAY
    in_all = empty.copy()
    in_all[0, :, 12, 10:14] += (40 * SIGMA)[:, None]
    assert not _finder().flags(in_all).any()
    y, x = np.mgrid[:32, :32] - 12
    star = empty + (np.array([0, 300, 0])[:, None, None] * SIGMA[1] * np.exp(-0.5 * (y**2 + x**2) / 1.27**2))
    assert not _finder().flags(star.astype(np.float32)).any()


def test_light_from_beyond_the_cutout_is_a_neighbours_and_a_galaxys_own_is_not() -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:48, :48] - 24
    noise = rng.normal(0, SIGMA[:, None, None], (40, 3, 48, 48))

    def seen(away: np.ndarray, scale: float) -> np.ndarray:
        return (noise + (300 * SIGMA)[:, None, None] * np.exp(-away / scale)).astype(np.float32)

    assert has_flag(_finder().flags(seen(np.hypot(y, x + 34), 5.0)), Flag.BRIGHT_NEIGHBOUR).all()
    assert has_flag(_finder().flags(seen(np.hypot(y - 30, x), 5.0)), Flag.BRIGHT_NEIGHBOUR).all()
    own = [np.hypot(y, x), np.hypot(y, x + 6), np.hypot(y + x, 4 * (y - x)), np.hypot(y, 5 * x)]
    assert not any(_finder().flags(seen(away, scale)).any() for away in own for scale in (4.0, 12.0))
    missing = seen(np.hypot(y, x + 34), 5.0)
    assert not _finder().flags(missing, np.broadcast_to(x > -22, missing.shape)).any()


def test_two_galaxies_alike_are_no_doubled_image() -> None:
    """Their light is the same twice, the noise is not."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48] - 24
    light = sum(np.exp(-0.5 * (y**2 + (x - at) ** 2) / 4) for at in (-4, 5))
    flux = 30 * SIGMA[:, None, None] * light + rng.normal(0, SIGMA[:, None, None], (200, 3, 48, 48))
    assert not _finder().flags(flux.astype(np.float32)).any()


def test_coarse_values_and_a_sky_without_noise_are_not_looked_at(galaxies: np.ndarray) -> None:
    rounded = np.rint(galaxies[:50] / 8) * 8
    assert is_coarse(rounded[0, 0])
    assert not is_coarse(galaxies[0, 0])
    assert not is_coarse(np.full((20, 20), np.nan))
    spoilt = _painted("dead_columns", galaxies)
    assert not has_flag(_finder(coarse=True).flags(spoilt), Flag.CONSTANT | Flag.COSMIC_RAY | Flag.SATURATED).any()
    silent = PixelDefects([Sky(np.nan, np.nan)] * 3, [FWHM] * 3, [False] * 3)
    assert not silent.flags(spoilt).any()


def test_what_a_defect_is_excluded_from() -> None:
    assert not NOT_SCORED & DEFECTS
    assert Flag.CONSTANT | Flag.DOUBLED | Flag.SATURATED in NOT_NORMAL
    assert Flag.COSMIC_RAY not in NOT_NORMAL


def _planted(cutouts: CutoutSet) -> dict[str, np.ndarray]:
    """Kind -> flags of its copies."""
    kinds, flags = np.array(cutouts.rows().column("planted_kind").to_pylist(), dtype=object), cutouts.read("flags")
    return {kind: flags[kinds == kind] for kind in OF_KIND}


def test_planted_copies_carry_the_flags_of_what_was_painted(
    store: Store, array_survey: Make, catalog: Make, cut: Make
) -> None:
    rng = np.random.default_rng(0)
    shape, x, y = (420, 430), rng.uniform(40, 390, 90), rng.uniform(40, 380, 90)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    light = sum(60 * np.exp(-0.5 * ((rows - b) ** 2 + (columns - a) ** 2) / 4) for a, b in zip(x, y, strict=True))
    images = {band: Image((light + rng.normal(0, 2, shape)).astype(np.float32), "nJy", 0.2, wcs=None) for band in "rgi"}
    settings = CutoutSpec(size=32, plant=PlantSpec(per_tile=50, kinds=tuple(OF_KIND)))
    survey = array_survey(images, catalog(x, y))
    cutouts, receipt = cut(store, survey, **settings.model_dump(exclude={"version"}, exclude_unset=True))
    for kind, flags in _planted(cutouts).items():
        assert has_flag(flags, Flag.PLANTED).all()
        assert has_flag(flags, OF_KIND[kind]).mean() >= 0.7, kind
    ours = cutouts.read("flags")[:90]
    assert not has_flag(ours, DEFECTS | Flag.PLANTED).any()
    assert receipt.details["flags"]["PLANTED"] == 50


def _real(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Survey, CutoutSpec]:
    monkeypatch.setenv("GALFLOW_DATA", str(DATA))
    spec = load_spec(PROJECT / "examples" / f"{name}.yaml", root="memory://unused")
    plants = PlantSpec(per_tile=100, kinds=tuple(OF_KIND))
    return open_survey(spec.survey), spec.cutouts.model_copy(update={"plant": plants})


def _cut(store: Store, survey: Survey, spec: CutoutSpec) -> tuple[CutoutSet, Receipt]:
    (tile,) = survey.tiles()
    receipt = cut_tile(store, survey, tile, spec, cutouts_fingerprint(survey, tile, spec))
    return CutoutSet(store, receipt.product), receipt


@real
def test_a_real_patch_has_its_planted_defects_flagged_and_no_others(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutouts, receipt = _cut(local_store, *_real("hsc_patch", monkeypatch))
    flags = cutouts.read("flags")
    ours = flags[~has_flag(flags, Flag.PLANTED)]
    assert len(ours) > 900
    for flag in DEFECTS:
        assert has_flag(ours, flag).mean() < 0.01, flag
    least = dict.fromkeys(OF_KIND, 0.9) | {"doubled_image": 0.6}
    for kind, of_kind in _planted(cutouts).items():
        assert has_flag(of_kind, Flag.PLANTED).all()
        assert has_flag(of_kind, OF_KIND[kind]).mean() >= least[kind], kind
    assert receipt.details["flags"]["CONSTANT"] == has_flag(flags, Flag.CONSTANT).sum()


@real
def test_nothing_is_looked_for_where_that_is_not_wanted(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    survey, spec = _real("hsc_patch", monkeypatch)
    cutouts, _ = _cut(local_store, survey, spec.model_copy(update={"defects": False}))
    flags = cutouts.read("flags")
    assert has_flag(flags, Flag.PLANTED).any()
    for flag in (Flag.CONSTANT, Flag.COSMIC_RAY, Flag.DOUBLED):
        assert not has_flag(flags, flag).any()


@pytest.mark.parametrize("size", [10, 12, 16, 24, 33, 64])
def test_noise_alone_is_no_defect_at_any_size(size: int) -> None:
    noise = np.random.default_rng(size).normal(0, SIGMA[:, None, None], (1500, 3, size, size)).astype(np.float32)
    assert not _finder().flags(noise).any()
