"""Each number answers to its defect, and all are finite whatever is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from galflow.batch import Batch
from galflow.cutouts.batches import make_batch
from galflow.layers.images.defects import DEFECTS, measure_defects
from galflow.photometry import AsinhStretch

SIDE, FWHM, COUNT = 32, 3.0, 40
STRETCH = AsinhStretch(3.0, 1000.0, (1.0, 1.0))


def _flux(seed: int = 0, width: float = 2.5) -> np.ndarray:
    """Noise of sigma 1 and a round source in the middle, (n, 2, y, x)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    light = np.exp(-0.5 * (y**2 + x**2) / width**2)
    flux = rng.normal(size=(COUNT, 2, SIDE, SIDE)) + rng.uniform(20, 100, (COUNT, 1, 1, 1)) * light
    return flux.astype(np.float32)


def _measured(flux: np.ndarray, ivar: np.ndarray | None = None) -> dict[str, np.ndarray]:
    batch = make_batch(flux, np.ones_like(flux) if ivar is None else ivar, STRETCH)
    found = measure_defects(batch, STRETCH.gain / 3.0, 3.0, FWHM)
    assert found.shape == (len(flux), len(DEFECTS))
    assert torch.isfinite(found).all()
    return dict(zip(DEFECTS, found.numpy().T, strict=True))


def _dead_columns(flux: np.ndarray) -> None:
    flux[:, :, :, 14:17] = 0.0


def _bleed(flux: np.ndarray) -> None:
    flux[:, :, :, 20:22] += 8.0


def _track(flux: np.ndarray) -> None:
    flux[:, 0, 8, 9:12] += 40.0


def _one_band(flux: np.ndarray) -> None:
    flux[:, 1, 3:8, 3:8] += 15.0


def _trail(flux: np.ndarray) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    flux += (15 * np.exp(-0.5 * ((y - x - 9) / 1.8) ** 2)).astype(np.float32)


def _double(flux: np.ndarray) -> None:
    flux[...] = (flux + np.roll(flux, (4, 3), (2, 3))) / np.sqrt(2)


def _neighbour(flux: np.ndarray) -> None:
    y, x = np.mgrid[:SIDE, :SIDE] - np.array([4, 5])[:, None, None]
    flux += (300 * np.exp(-0.5 * (y**2 + x**2) / 2.0**2)).astype(np.float32)


def _hole(flux: np.ndarray) -> None:
    flux[:, :, 20:26, 20:26] -= 30.0


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("equal neighbours", _dead_columns), ("column step", _bleed), ("sharp in one band", _track),
        ("light in one band", _one_band), ("line", _trail), ("doubling", _double), ("neighbour", _neighbour),
        ("second source", _neighbour), ("deepest hole", _hole),
    ],
)  # fmt: skip
def test_each_number_rises_with_its_defect(name: str, spoil) -> None:  # type: ignore[no-untyped-def]
    clean, spoilt = _flux(), _flux()
    spoil(spoilt)
    before, after = _measured(clean)[name], _measured(spoilt)[name]
    # The least of the spoilt ones stands above nearly all clean ones.
    assert np.quantile(after, 0.1) > np.quantile(before, 0.95)


def test_sizes_are_those_of_the_source_over_the_psf() -> None:
    for width in (1.274, 1.911):
        found = _measured(_flux(width=width))
        expected = np.log(width / 1.274)
        for name in ("narrow size over PSF", "wide size over PSF"):
            assert np.median(found[name]) == pytest.approx(expected, abs=0.06)


def test_missing_pixels_and_bands_leave_all_numbers_finite() -> None:
    flux, ivar = _flux(), np.ones((COUNT, 2, SIDE, SIDE), np.float32)
    ivar[:10, 0], ivar[10:20, :, :9], ivar[20:25] = 0, 0, 0
    flux[:10, 0] = np.nan
    _measured(flux, ivar)
    one = make_batch(flux[25:, :1], ivar[25:, :1], AsinhStretch(3.0, 1000.0, (1.0,)))
    assert torch.isfinite(measure_defects(one, STRETCH.gain / 3.0, 3.0, FWHM)).all()


def test_an_object_is_measured_alike_in_any_batch() -> None:
    flux = _flux()
    together = _measured(flux)
    alone = _measured(flux[7:8])
    for name in DEFECTS:
        assert alone[name][0] == pytest.approx(together[name][7], rel=1e-4, abs=1e-4)


def test_pixels_far_beyond_the_stretch_stay_finite() -> None:
    pixels = torch.full((2, 1, 16, 16), 0.5)
    pixels[0, 0, 8, 8] = 1e6
    found = measure_defects(Batch(pixels, torch.ones_like(pixels, dtype=torch.bool)), 0.05, 3.0, FWHM)
    assert torch.isfinite(found).all()
