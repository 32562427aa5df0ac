"""How a telescope sees light: through a PSF, on pixels of a given scale, with noise.

Everything is a tensor operation that gradients pass through. A PSF is an effective one: the pixel's own response is
part of it, so that an image is the light convolved with the PSF, read off at the centres of the pixels; nothing
integrates over a pixel a second time. Positions count from the centre of the square, which light and images share.
This file knows no model and no survey, and draws nothing but noise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.errors import ModelError
from galflow.layers.images.blocks import standard_normal
from galflow.photometry import FWHM_PER_SIGMA

RIPPLE = 0.05
"""Points of light that a PSF shows as single dots, and not as a smooth surface, are refused beyond this amplitude."""
_PSF_REACH_SIGMA = 5.0


def fast_odd(least: int) -> int:
    """The smallest odd number without a prime factor above 11 that is not below ``least``.

    Odd, because an even transform has a Nyquist frequency that belongs to no shift; small factors, for speed.
    """
    size = max(least, 1) | 1
    while _rest(size) > 1:
        size += 2
    return size


def _rest(size: int) -> int:
    for prime in (3, 5, 7, 11):
        while size % prime == 0:
            size //= prime
    return size


def check_psf(psf: Tensor) -> None:
    """ModelError unless ``psf`` (..., h, h) is square with an odd side."""
    if psf.ndim < 2 or psf.shape[-1] != psf.shape[-2] or psf.shape[-1] % 2 == 0:
        raise ModelError(
            f"a PSF of {' x '.join(map(str, psf.shape[-2:]))} pixels has no central pixel; "
            "expected (..., side, side) with an odd side, the peak in the middle"
        )


def framed(psf: Tensor, side: int) -> Tensor:
    """(..., side, side): a PSF cut or padded with zeros so that its peak lies on pixel ``side // 2``."""
    before = side // 2 - psf.shape[-1] // 2
    after = side - psf.shape[-1] - before
    return F.pad(psf, (before, after, before, after))


def transfer(psf: Tensor, period: int) -> Tensor:
    """(..., period, period // 2 + 1): what each frequency of a wave on ``period`` pixels keeps under ``psf``."""
    check_psf(psf)
    side = psf.shape[-1]
    padded = F.pad(psf, (0, period - side, 0, period - side))
    return torch.fft.rfft2(torch.roll(padded, (-(side // 2), -(side // 2)), (-2, -1)))


def convolve(images: Tensor, psf: Tensor) -> Tensor:
    """``images`` (..., n, n) convolved with ``psf`` (..., h, h) on the same pixels; nothing shines in from outside."""
    size = images.shape[-1]
    period = fast_odd(size + psf.shape[-1] // 2 + 1)
    period = max(period, fast_odd(psf.shape[-1]))
    spectrum = torch.fft.rfft2(images, s=(period, period)) * transfer(psf, period)
    return torch.fft.irfft2(spectrum, s=(period, period))[..., :size, :size]


def render(light: Tensor, psf: Tensor, *, size: int, step: float = 1.0) -> Tensor:
    """(..., size, size): points of light (..., n, n), ``step`` pixels apart, through ``psf`` (..., h, h).

    ``psf`` is sampled on the pixels of the result. Both squares share their centre. Between its samples the PSF is
    interpolated exactly for a PSF that its pixels sample well enough (Fourier series); with ``step`` = 1 and sides that
    differ by an even number no interpolation occurs, and the result is the plain convolution.
    """
    check_psf(psf)
    nodes, reach = light.shape[-1], psf.shape[-1] // 2
    farthest = (nodes - 1) / 2 * step + (size - 1) / 2
    period = fast_odd(max(math.ceil(farthest) + reach + 1, psf.shape[-1]))
    with torch.autocast(light.device.type, enabled=False):
        light, psf = _at_least_float32(light), _at_least_float32(psf)
        position = (torch.arange(nodes, device=light.device, dtype=torch.float64) - (nodes - 1) / 2) * step
        waves = _waves(position + (size - 1) / 2, period).to(torch.promote_types(light.dtype, torch.complex64))
        half = period // 2 + 1
        across = torch.view_as_real(waves[:half].T.contiguous()).flatten(
            1
        )  # (n, 2 half): a real product is half the work
        rows = torch.view_as_complex((light @ across).unflatten(-1, (half, 2)))
        spectrum = (waves @ rows) * transfer(psf, period)
        if spectrum.numel() == 0:  # no image, which FFT libraries refuse
            return light.new_zeros(*spectrum.shape[:-2], size, size)
        return torch.fft.irfft2(spectrum, s=(period, period))[..., :size, :size]


def _waves(position: Tensor, period: int) -> Tensor:
    """(period, n) complex: exp(-2 pi i f x) for each frequency of the transform, in its order, and each position."""
    frequency = torch.fft.fftfreq(period, device=position.device, dtype=torch.float64)
    return torch.exp(-2j * math.pi * frequency[:, None] * position)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def check_resolved(psf: Tensor, step: float) -> None:
    """ModelError if ``psf`` shows points of light ``step`` of its pixels apart as single dots.

    Equal points show as a flat surface but for waves of frequency 1 / step, which the PSF damps to its transfer there.
    Where that lies beyond the PSF's own pixels, the transfer at their Nyquist frequency, 1/2, must be small instead.
    """
    check_psf(psf)
    frequency = min(1.0 / step, 0.5)
    side = psf.shape[-1]
    wave = torch.cos(2 * math.pi * frequency * (torch.arange(side, device=psf.device, dtype=psf.dtype) - side // 2))
    kept = float(
        torch.maximum((psf.sum(-2) @ wave).abs().max(), (psf.sum(-1) @ wave).abs().max()) / psf.sum((-2, -1)).max()
    )
    if kept > RIPPLE:
        raise ModelError(
            f"this PSF still shows {kept:.2f} of the pattern of points {step:g} of its pixels apart, expected at most "
            f"{RIPPLE:g}: it is too sharp for them. Train with a larger oversample"
            + ("" if 1.0 / step <= 0.5 else ", or give the PSF on finer pixels (psf_oversample)")
        )


def view(light: Tensor, psf: Tensor, *, size: int, step: float, psf_oversample: int = 1) -> Tensor:
    """``render`` for a PSF too sharp for the pixels: it is sampled ``psf_oversample`` times as finely, an odd number.

    ``step`` is the distance of the points in pixels. Raises ModelError for a PSF that would show them one by one.
    """
    if psf_oversample < 1 or psf_oversample % 2 == 0:
        raise ModelError(f"psf_oversample is {psf_oversample}; give an odd number, so that centres stay centres")
    check_resolved(psf, step * psf_oversample)
    fine = render(light, psf, size=size * psf_oversample, step=step * psf_oversample)
    centres = slice(psf_oversample // 2, None, psf_oversample)
    return fine[..., centres, centres] * psf_oversample**2


def resample(images: Tensor, *, step: float, size: int) -> Tensor:
    """(..., size, size) pixels ``step`` times as wide, of ``images`` (..., n, n) with the same centre.

    Each pixel's flux goes to the pixels it overlaps, in proportion to the area: the total is conserved exactly where
    the result covers the images, and outside them there is nothing.
    """
    if not step > 0:
        raise ModelError(f"step is {step}; it is the new pixel's width in old pixels and must be positive")
    given = torch.arange(images.shape[-1], device=images.device, dtype=torch.float64) - (images.shape[-1] - 1) / 2
    wanted = ((torch.arange(size, device=images.device, dtype=torch.float64) - (size - 1) / 2) * step)[:, None]
    overlap = torch.minimum(wanted + step / 2, given + 0.5) - torch.maximum(wanted - step / 2, given - 0.5)
    share = overlap.clamp_min(0).to(images.dtype)
    return share @ images @ share.T


def gaussian_psf(fwhm_pixels: float, *, like: Tensor | None = None) -> Tensor:
    """(side, side) a round Gaussian with sum 1, cut off where it is below 1e-5 of its peak."""
    if not (math.isfinite(fwhm_pixels) and fwhm_pixels > 0):
        raise ModelError(f"the PSF's FWHM is {fwhm_pixels} pixels; it must be positive")
    sigma = fwhm_pixels / FWHM_PER_SIGMA
    reach = math.ceil(_PSF_REACH_SIGMA * sigma)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float64)
    profile = torch.exp(-0.5 * (axis / sigma) ** 2)
    psf = torch.outer(profile, profile) / profile.sum() ** 2
    return psf.float() if like is None else psf.to(like)


def add_noise(images: Tensor, sigma: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """``images`` with white noise of ``sigma`` (a number, or one a band as (C, 1, 1)) in their unit."""
    return images + sigma * standard_normal(images.shape, generator, images)
