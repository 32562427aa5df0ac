from __future__ import annotations

import numpy as np
import pytest

from galflow.errors import DataError, SpecError
from galflow.surveys.base import Plane
from galflow.surveys.drawing.anomalies import ALL_KINDS, check_kinds, plant

SIGMA = np.array([1.0, 2.0, 0.5])
FWHM = 3.5
SIDE = 48


def cutout(seed: int = 0, total: float = 900.0) -> np.ndarray:
    """A Gaussian galaxy of sigma 3 pixels in three bands, with noise."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    galaxy = total * np.exp(-0.5 * (y**2 + x**2) / 9.0) / (2 * np.pi * 9.0)
    noise = np.random.default_rng(seed).standard_normal((3, SIDE, SIDE))
    return ((galaxy + noise) * SIGMA[:, None, None]).astype(np.float32)


def planted(kind: str, seed: int, flux: np.ndarray | None = None, mask: np.ndarray | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    flux = cutout(seed) if flux is None else flux
    return plant(kind, flux, mask, sky_sigma=SIGMA, psf_fwhm_pix=FWHM, rng=rng)


def changes(kind: str, seed: int) -> np.ndarray:
    """(3, y, x) what planting adds, in sky sigmas."""
    return (planted(kind, seed) - cutout(seed)) / SIGMA[:, None, None]


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_is_visible_repeatable_and_leaves_its_input_alone(kind: str) -> None:
    for seed in range(12):
        before = cutout(seed)
        kept = before.copy()
        after = planted(kind, seed, before)
        np.testing.assert_array_equal(before, kept)
        np.testing.assert_array_equal(after, planted(kind, seed))
        assert after.dtype == np.float32
        assert after.shape == before.shape
        assert np.isfinite(after).all()
        # Seen against the sky: either single pixels, or many together, stand out by far more than the noise could.
        change = np.abs(changes(kind, seed))
        assert change.max() > (1.0 if kind == "level_step" else 3.0), (kind, seed)
        assert np.sqrt((change**2).sum()) > 20.0, (kind, seed)
    assert not np.array_equal(planted(kind, 1, cutout(0)), planted(kind, 2, cutout(0)))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_missing_pixels_stay_missing_and_no_other_goes_missing(kind: str) -> None:
    flux = cutout()
    flux[:, :, :9] = np.nan
    flux[1, 20:25, 24] = np.nan
    np.testing.assert_array_equal(np.isnan(planted(kind, 3, flux)), np.isnan(flux))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_an_image_of_sky_alone_takes_every_kind(kind: str) -> None:
    sky = np.random.default_rng(5).standard_normal((1, 32, 32)).astype(np.float32)
    after = plant(kind, sky, None, sky_sigma=np.ones(1), psf_fwhm_pix=2.0, rng=np.random.default_rng(0))
    assert np.abs(after - sky).max() > 1.0


def test_a_trail_is_a_straight_line_as_wide_as_the_psf() -> None:
    for seed in range(8):
        change = changes("trail", seed)
        band = int(change.max(axis=(1, 2)).argmax())
        y, x = np.mgrid[:SIDE, :SIDE].astype(float)
        weight = change[band]
        middle = np.array([(weight * y).sum(), (weight * x).sum()]) / weight.sum()
        moments = np.cov(np.stack([y.ravel() - middle[0], x.ravel() - middle[1]]), aweights=weight.ravel().clip(0))
        across, along = np.sqrt(np.linalg.eigvalsh(moments))
        assert along > 3 * across
        assert 0.9 * FWHM < 2.355 * across < 1.55 * FWHM
        assert 9.5 < weight.max() < 30.5
        struck = (np.abs(change).max(axis=(1, 2)) > 0.1).sum()
        assert struck in (1, 3)


def test_a_cosmic_ray_is_a_few_sharp_pixels_in_one_band() -> None:
    for seed in range(8):
        change = changes("cosmic_ray", seed)
        hit = np.abs(change) > 1.0
        assert (hit.any(axis=(1, 2))).sum() == 1
        assert 2 <= hit.sum() <= 24
        assert change[hit].min() > 19.0
        assert np.abs(change[~hit]).max() < 1e-3


def test_dead_columns_are_exactly_zero_from_top_to_bottom() -> None:
    after = planted("dead_columns", 4)
    dead = (after == 0).all(axis=1)
    assert 2 <= dead.any(axis=0).sum() <= 5
    assert (np.diff(np.flatnonzero(dead.any(axis=0))) == 1).all()


def test_a_lost_edge_keeps_the_centre_and_loses_a_third_or_more() -> None:
    for seed in range(8):
        after = planted("edge", seed)
        lost = (after == 0).all(axis=0)
        assert 0.3 < lost.mean() < 0.5
        assert not lost[SIDE // 2, SIDE // 2]
        assert lost.all(axis=0).any() or lost.all(axis=1).any()


def test_a_companion_has_about_the_flux_of_the_galaxy() -> None:
    for seed in range(8):
        total = (changes("merger_pair", seed)).sum(axis=(1, 2))
        # Measured in an aperture that misses part of the galaxy's 900 sigma, and part of the disc falls off the frame.
        assert (total > 0.3 * 900).all(), (seed, total)
        assert (total < 1.25 * 900).all(), (seed, total)


def test_a_doubled_image_keeps_the_noise_of_the_sky() -> None:
    sky = np.random.default_rng(1).standard_normal((1, 128, 128)).astype(np.float32)
    doubled = plant("doubled_image", sky, None, sky_sigma=np.ones(1), psf_fwhm_pix=3.0, rng=np.random.default_rng(2))
    assert doubled.std() == pytest.approx(1.0, abs=0.03)
    assert not np.array_equal(doubled, sky)


def test_a_saturated_star_has_a_flat_top_and_a_bleeding_column() -> None:
    after = planted("saturated_star", 6)[0]
    flat = after == after.max()
    assert flat.sum() > 20
    assert flat.sum(axis=0).max() > 0.3 * SIDE
    assert flat.sum(axis=1).max() < 0.5 * SIDE


def test_masked_pixels_do_not_measure_the_object() -> None:
    flux = cutout()
    hot = flux.copy()
    hot[:, SIDE // 2, SIDE // 2 + 1] = 1e5
    mask = np.zeros(flux.shape, np.uint16)
    mask[:, SIDE // 2, SIDE // 2 + 1] = int(Plane.COSMIC_RAY)
    clean = planted("merger_pair", 7, flux, mask) - flux
    elsewhere = mask == 0
    np.testing.assert_allclose((planted("merger_pair", 7, hot, mask) - hot)[elsewhere], clean[elsewhere], atol=1e-3)
    assert np.abs((planted("merger_pair", 7, hot) - hot)[elsewhere] - clean[elsewhere]).max() > 10.0


def test_what_cannot_be_meant_is_refused() -> None:
    flux = cutout()
    rng = np.random.default_rng(0)
    with pytest.raises(SpecError, match=r"anomaly kind 'merger' is unknown; expected one of merger_pair, tidal_tail"):
        check_kinds(("ring", "merger"))
    with pytest.raises(DataError, match=r"shape \(48, 48\); give \(band, y, x\)"):
        plant("ring", flux[0], None, sky_sigma=SIGMA, psf_fwhm_pix=3.0, rng=rng)
    with pytest.raises(DataError, match="one positive number for each of the 3 band"):
        plant("ring", flux, None, sky_sigma=np.array([1.0, 0.0, 1.0]), psf_fwhm_pix=3.0, rng=rng)
    with pytest.raises(DataError, match="psf_fwhm_pix is nan; give a positive number"):
        plant("ring", flux, None, sky_sigma=SIGMA, psf_fwhm_pix=float("nan"), rng=rng)
    with pytest.raises(DataError, match=r"mask has shape \(3, 2, 2\)"):
        plant("ring", flux, np.zeros((3, 2, 2), np.uint16), sky_sigma=SIGMA, psf_fwhm_pix=3.0, rng=rng)
