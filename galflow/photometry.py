"""Flux units, the width of a Gaussian, and the stretch in which models see pixels.

Inside galflow flux is in nanojansky (nJy) on the AB system, or in declared counts where a survey has no zero point.
This file refuses to guess a zero point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from galflow.errors import SpecError

AB_ZERO_NJY = 3631.0e9
"""Flux of AB magnitude 0: 3631 Jy (Oke & Gunn 1983, ApJ 266, 713), in nJy."""

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian, in standard deviations; astropy's, without importing astropy."""
LARGEST_ASINH = 40.0
"""sinh of more would overflow when squared in 32 bits; no flux is 1e17 sigmas of the sky."""

NJY = "nJy"
COUNT = "count"


def njy_per_count(zero_point_ab: float) -> float:
    """nJy in one count of an image whose AB zero point (the magnitude of one count) is ``zero_point_ab``."""
    if not math.isfinite(zero_point_ab):
        raise SpecError(
            f"zero point {zero_point_ab!r} is not a finite AB magnitude; give the magnitude of one count, such as 27.0"
        )
    return float(AB_ZERO_NJY * 10.0 ** (-0.4 * zero_point_ab))


def flux_from_ab_magnitude(magnitude: np.ndarray) -> np.ndarray:
    """Fluxes in nJy of AB magnitudes."""
    return AB_ZERO_NJY * 10.0 ** (-0.4 * np.asarray(magnitude, dtype=np.float64))


_BLOCK = 1 << 16
"""Numbers that are worked on together, so that what is between two steps stays in the processor's cache."""


_LARGE = 1e15
"""Beyond it a square may not be a float32, and arcsinh a = log 2a."""


def _stretched(flux: Any, softening: Any, gain: float, torch: ModuleType) -> Any:
    """gain * arcsinh(flux / softening) of a tensor (..., band, y, x), some images at a time.

    arcsinh x = log1p(a + a^2 / (1 + sqrt(1 + a^2))) with the sign of x, a = |x|, to one rounding more: torch's own is
    not vectorised on a CPU, and three times as slow.
    """
    if flux.device.type != "cpu" or flux.requires_grad:
        return gain * torch.asinh(flux / softening)
    found = torch.empty_like(flux, memory_format=torch.contiguous_format)
    given, out = flux.reshape(-1, *flux.shape[-3:]), found.view(-1, *flux.shape[-3:])
    images = max(1, _BLOCK // max(1, given[:1].numel()))
    for start in range(0, len(given), images):
        x, y = given[start : start + images] / softening, out[start : start + images]
        size = x.abs()
        square = size * size
        square.div_((square + 1).sqrt_().add_(1)).add_(size)
        torch.log1p(square, out=y)
        if not float(size.amax()) <= _LARGE:
            torch.where(size > _LARGE, size.log() + math.log(2.0), y, out=y)
        y.copysign_(x).mul_(gain)
    return found


@dataclass(frozen=True)
class AsinhStretch:
    """y = asinh(x / (a s)) / asinh(w / a): linear in the noise, logarithmic in bright galaxies.

    After Lupton+99, AJ 118, 1406. ``x`` is a flux, ``s`` the band's sky sigma in the same unit; ``a = softening_sigma``
    and ``w = white_sigma`` are in units of ``s``. y(0) = 0 and y(w s) = 1. Two likelihoods are comparable only if their
    stretches are equal.
    """

    softening_sigma: float
    white_sigma: float
    sky_sigma: tuple[float, ...]
    """One number a band, in the unit of the flux."""

    def __post_init__(self) -> None:
        for name in ("softening_sigma", "white_sigma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SpecError(f"stretch {name} is {value!r}; it must be a positive number of sky sigmas")
        if not self.sky_sigma or any(not (math.isfinite(s) and s > 0) for s in self.sky_sigma):
            raise SpecError(f"stretch sky_sigma is {self.sky_sigma!r}; it needs one positive finite number per band")

    @property
    def gain(self) -> float:
        """Stretched units per asinh unit."""
        return 1.0 / math.asinh(self.white_sigma / self.softening_sigma)

    def _softening(self, flux: Any, xp: ModuleType) -> Any:
        """The softening a*s shaped to broadcast over ``(..., band, y, x)``."""
        if flux.ndim < 3 or flux.shape[-3] != len(self.sky_sigma):
            raise SpecError(
                f"pixels of shape {tuple(flux.shape)} do not fit a stretch of {len(self.sky_sigma)} band(s); "
                "give (..., band, y, x)"
            )
        values = [self.softening_sigma * s for s in self.sky_sigma]
        if xp is np:
            return np.asarray(values, dtype=flux.dtype)[:, None, None]
        return xp.tensor(values, dtype=flux.dtype, device=flux.device)[:, None, None]

    def forward(self, flux: Any, xp: ModuleType = np) -> Any:
        """Stretched pixels of ``flux``, shape (..., band, y, x). ``xp`` is numpy or torch, whichever ``flux`` is of.

        Torch's takes a third of the time on a CPU.
        """
        softening = self._softening(flux, xp)
        if xp is np:
            return self.gain * np.arcsinh(flux / softening)
        return _stretched(flux, softening, self.gain, xp)

    def inverse(self, stretched: Any, xp: ModuleType = np) -> Any:
        """The flux of stretched pixels, shape (..., band, y, x); finite for finite pixels alone."""
        scaled = stretched / self.gain
        # What is not finite stays so, for whoever looks for it.
        scaled = xp.where(xp.isfinite(scaled), scaled.clip(-LARGEST_ASINH, LARGEST_ASINH), scaled)
        return self._softening(stretched, xp) * xp.sinh(scaled)

    def derivative(self, flux: Any, xp: ModuleType = np) -> Any:
        """dy/dx for each pixel, in stretched units per flux unit."""
        softening = self._softening(flux, xp)
        return self.gain / xp.sqrt(flux * flux + softening * softening)

    def log_abs_det(self, flux: Any, observed: Any, xp: ModuleType = np) -> Any:
        """log|det J| of the stretch in nats, summed over observed pixels: log p(flux) = log p(y) + log|det J|.

        ``observed`` is boolean with the shape of ``flux``; the result has the leading shape (...).
        """
        log_slope = xp.where(observed, xp.log(self.derivative(flux, xp)), xp.zeros_like(flux))
        return log_slope.sum((-3, -2, -1))
