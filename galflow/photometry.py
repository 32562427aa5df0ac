"""Flux units, the width of a Gaussian, and the stretches in which models see pixels.

Inside galflow flux is in nanojansky (nJy) on the AB system, or in declared counts where a survey has no zero point.
This file refuses to guess a zero point.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
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


def arcsinh(values: Any, torch: ModuleType, out: Any = None) -> Any:
    """arcsinh of a tensor, in ``out`` if that is given; finite for any finite values.

    arcsinh x = log1p(a + a^2 / (1 + sqrt(1 + a^2))) with the sign of x, a = |x|, to one rounding more: torch's own is
    not vectorised on a CPU, and three times as slow.
    """
    if values.device.type != "cpu" or values.requires_grad or torch.compiler.is_exporting():
        return torch.asinh(values, out=out)
    size = values.abs()
    square = size * size
    square.div_((square + 1).sqrt_().add_(1)).add_(size)
    found = torch.log1p(square, out=out)
    if size.numel() and not float(size.amax()) <= _LARGE:
        torch.where(size > _LARGE, size.log() + math.log(2.0), found, out=found)
    return found.copysign_(values)


def _stretched(flux: Any, softening: Any, gain: float, torch: ModuleType) -> Any:
    """gain * arcsinh(flux / softening) of a tensor (..., band, y, x), some images at a time."""
    if flux.device.type != "cpu" or flux.requires_grad or torch.compiler.is_exporting():
        return gain * arcsinh(flux / softening, torch)
    found = torch.empty_like(flux, memory_format=torch.contiguous_format)
    given, out = flux.reshape(-1, *flux.shape[-3:]), found.view(-1, *flux.shape[-3:])
    images = max(1, _BLOCK // max(1, given[:1].numel()))
    for start in range(0, len(given), images):
        arcsinh(given[start : start + images] / softening, torch, out[start : start + images]).mul_(gain)
    return found


class Stretch(ABC):
    """A monotone map of each pixel's flux, band by band, to numbers of order 1.

    Pixels have the shape (..., band, y, x). ``xp`` is numpy or torch, whichever the pixels are of. Two likelihoods are
    comparable only if their stretches are equal.
    """

    sky_sigma: tuple[float, ...]
    """One number a band, in the unit of the flux."""

    @abstractmethod
    def forward(self, flux: Any, xp: ModuleType = np) -> Any:
        """Stretched pixels of ``flux``."""

    @abstractmethod
    def inverse(self, stretched: Any, xp: ModuleType = np) -> Any:
        """The flux of stretched pixels; finite for finite pixels alone."""

    @abstractmethod
    def derivative(self, flux: Any, xp: ModuleType = np) -> Any:
        """dy/dx for each pixel, in stretched units per flux unit."""

    def log_abs_det(self, flux: Any, observed: Any, xp: ModuleType = np) -> Any:
        """log|det J| of the stretch in nats, summed over observed pixels: log p(flux) = log p(y) + log|det J|.

        ``observed`` is boolean with the shape of ``flux``; the result has the leading shape (...).
        """
        log_slope = xp.where(observed, xp.log(self.derivative(flux, xp)), xp.zeros_like(flux))
        return log_slope.sum((-3, -2, -1))

    def _by_band(self, values: tuple[float, ...], pixels: Any, xp: ModuleType) -> Any:
        """One value a band, shaped to broadcast over ``pixels``."""
        if pixels.ndim < 3 or pixels.shape[-3] != len(values):
            raise SpecError(
                f"pixels of shape {tuple(pixels.shape)} do not fit a stretch of {len(values)} band(s); "
                "give (..., band, y, x)"
            )
        if xp is np:
            return np.asarray(values, dtype=pixels.dtype)[:, None, None]
        return xp.tensor(values, dtype=pixels.dtype, device=pixels.device)[:, None, None]


def _require_bands(name: str, values: tuple[float, ...]) -> None:
    if not values or any(not (math.isfinite(v) and v > 0) for v in values):
        raise SpecError(f"stretch {name} is {values!r}; it needs one positive finite number per band")


@dataclass(frozen=True)
class AsinhStretch(Stretch):
    """y = asinh(x / (a s)) / asinh(w / a): linear in the noise, logarithmic in bright galaxies.

    After Lupton+99, AJ 118, 1406. ``x`` is a flux, ``s`` the band's sky sigma in the same unit; ``a = softening_sigma``
    and ``w = white_sigma`` are in units of ``s``. y(0) = 0 and y(w s) = 1.
    """

    softening_sigma: float
    white_sigma: float
    sky_sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("softening_sigma", "white_sigma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SpecError(f"stretch {name} is {value!r}; it must be a positive number of sky sigmas")
        _require_bands("sky_sigma", self.sky_sigma)

    @property
    def gain(self) -> float:
        """Stretched units per asinh unit."""
        return 1.0 / math.asinh(self.white_sigma / self.softening_sigma)

    def _softening(self, flux: Any, xp: ModuleType) -> Any:
        """The softening a*s shaped to broadcast over ``(..., band, y, x)``."""
        return self._by_band(tuple(self.softening_sigma * s for s in self.sky_sigma), flux, xp)

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


@dataclass(frozen=True)
class LinearStretch(Stretch):
    """y = x / w: of pictures that whoever made them has stretched for display already, 0 is black and 1 is white.

    ``w = white`` is in the unit of the flux. log|det J| is the same for every image: -log w summed over its pixels.
    """

    white: tuple[float, ...]
    """One number a band: 255 of pictures of 8 bits."""
    sky_sigma: tuple[float, ...]

    def __post_init__(self) -> None:
        _require_bands("white", self.white)
        _require_bands("sky_sigma", self.sky_sigma)
        if len(self.white) != len(self.sky_sigma):
            raise SpecError(
                f"stretch white is {self.white!r} and sky_sigma {self.sky_sigma!r}; give both for each band"
            )

    def forward(self, flux: Any, xp: ModuleType = np) -> Any:
        """``flux`` in units of white."""
        return flux / self._by_band(self.white, flux, xp)

    def inverse(self, stretched: Any, xp: ModuleType = np) -> Any:
        """The flux of stretched pixels."""
        return stretched * self._by_band(self.white, stretched, xp)

    def derivative(self, flux: Any, xp: ModuleType = np) -> Any:
        """1 / white for each pixel."""
        return xp.ones_like(flux) / self._by_band(self.white, flux, xp)
