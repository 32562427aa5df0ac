"""What defects, blends and stars leave in a cutout, as numbers, for many cutouts at once.

Beside morphology (galflow.layers.images.morphology), which describes a galaxy, these ask for what no galaxy shows:
equal neighbours in spite of noise, steps between whole columns, pixels sharper than the PSF in one band, lines across
the frame, noise that repeats itself. Every number is finite for any finite pixels and any mask. They decide nothing.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.batch import Batch
from galflow.layers.images.blocks import observed_pixels, smoothed
from galflow.layers.images.morphology import centre_distance
from galflow.layers.images.ordering import highest_around, median_of_known
from galflow.layers.images.surroundings import SURROUNDINGS, measure_surroundings
from galflow.photometry import FWHM_PER_SIGMA

DEFECTS = (
    "equal neighbours", "column step", "sharp in one band", "light in one band", "line", "doubling", "neighbour",
    "second source", "deepest hole", "narrow size over PSF", "wide size over PSF", "signal", *SURROUNDINGS,
)  # fmt: skip
"""Columns of ``measure_defects``, in this order."""
_SINH_LIMIT, _TINY = 12.0, 1e-6
_LINE_GRID, _LINE_LENGTH, _LINE_ANGLES = 16, 9, 8
"""Lines are looked for in images averaged to about so many pixels a side, by segments of that length and so many
directions."""
_CLIPPED = 4.0
"""Light above so many sigmas counts as that much where lines are looked for: many pixels in a row, not bright ones."""
_FAINT = 3.0
_EVERY = 7
"""Of so many pixels one tells the level of the sky."""
_NEAREST_DOUBLE = 2.5
"""Pixels from a second image at the least."""
_FINE = 0.2
"""Cycles per pixel above which structure is the noise's."""


def measure_defects(batch: Batch, noise: float, softening_sigma: float, fwhm_pixels: float) -> Tensor:
    """(B, len(DEFECTS)) float32.

    ``batch``: in an asinh stretch of ``softening_sigma``, with ``noise`` stretched units to a sigma of the sky at its
    level. ``fwhm_pixels``: of the PSF.
    """
    with torch.autocast(batch.pixels.device.type, enabled=False):
        raw, observed = observed_pixels(batch).float(), batch.observed
        values = torch.where(observed, raw, torch.nan).flatten(2)[..., ::_EVERY]
        light = raw / noise
        sky = median_of_known(values).nan_to_num(0.0)[..., None, None] / noise
        light = torch.where(observed, light - sky, 0.0)
        linear = softening_sigma * torch.sinh((light / softening_sigma).clamp(-_SINH_LIMIT, _SINH_LIMIT))
        smooth = smoothed(light)
        columns = [
            _equal(raw, observed),
            _column_step(light, observed),
            _sharp(linear),
            _one_band(smooth),
            _line(light),
            _doubling(light, observed),
            *_sources(smooth, fwhm_pixels),
            torch.log1p((-smooth).flatten(1).amax(1).clamp_min(0)),
            *_against_psf(linear, fwhm_pixels),
        ]
        return torch.cat([torch.stack(columns, dim=1), measure_surroundings(light, observed)], dim=1)


def _equal(raw: Tensor, observed: Tensor) -> Tensor:
    """Logarithm of the largest band's share of observed pixels that equal their neighbours in row and column."""
    same = (raw[..., 1:, 1:] == raw[..., :-1, 1:]) & (raw[..., 1:, 1:] == raw[..., 1:, :-1])
    known = observed[..., 1:, 1:] & observed[..., :-1, 1:] & observed[..., 1:, :-1]
    share = (same & known).sum((2, 3)) / known.sum((2, 3)).clamp_min(1)
    return (share.amax(1) + 1e-3).log10()


def _column_step(light: Tensor, observed: Tensor) -> Tensor:
    """Largest difference between the clipped mean of a column or row and those beside it, over all bands."""
    found = []
    known = light.clamp(-_CLIPPED, _CLIPPED)
    apart = max(2, min(4, light.shape[-1] // 6))
    for axis in (2, 3):
        means = known.sum(axis) / observed.sum(axis).clamp_min(1)
        step = (2 * means[..., apart:-apart] - means[..., : -2 * apart] - means[..., 2 * apart :]).abs() / 2
        found.append(step.flatten(1).amax(1))
    return torch.log1p(torch.maximum(*found))


def _sharp(linear: Tensor) -> Tensor:
    """How far a pixel stands above its eight neighbours in one band and in no other, relative to their light."""
    around = (smoothed(linear) * 9 - linear) / 8
    contrast = (linear - around) / (around.abs() + 5.0)
    if contrast.shape[1] > 1:
        first, second = _two_highest(contrast)
        contrast = first - second.clamp_min(0)
    return torch.log1p(contrast.flatten(1).amax(1).clamp_min(0))


def _one_band(smooth: Tensor) -> Tensor:
    """Logarithm of the share of pixels that are lit in one band and in no other."""
    if smooth.shape[1] == 1:
        return smooth.new_full((len(smooth),), -3.0)
    first, second = _two_highest(smooth)
    share = ((first > 3.0) & (second < 1.0)).float().mean((1, 2))
    return (share + 1e-3).log10()


def _two_highest(values: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, W) highest and second highest of the bands, pixel by pixel."""
    first, second = torch.maximum(values[:, 0], values[:, 1]), torch.minimum(values[:, 0], values[:, 1])
    for band in values.unbind(1)[2:]:
        second = torch.maximum(second, torch.minimum(first, band))
        first = torch.maximum(first, band)
    return first, second


def _line(light: Tensor) -> Tensor:
    """Highest mean along a straight segment above that of its two sides, outside the centre, over all bands."""
    step = max(1, light.shape[-1] // _LINE_GRID)
    small = F.avg_pool2d(light.clamp(-_CLIPPED, _CLIPPED), step)
    kernels = _line_kernels(light.device)
    found = F.conv2d(small.flatten(0, 1)[:, None], kernels[:, None], padding=_LINE_LENGTH // 2).amax(1)
    side = found.shape[-1]
    axis = (torch.arange(side, device=light.device) - (side - 1) / 2) / (side / 2)
    outside = torch.hypot(axis[:, None], axis[None, :]) > 0.45
    return found[:, outside].amax(1).view(len(light), -1).amax(1) * step


@functools.lru_cache(maxsize=4)
def _line_kernels(device: torch.device) -> Tensor:
    """(angle, side, side): a segment through the middle, less half of each of its parallels three pixels away."""
    reach = _LINE_LENGTH // 2
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    y, x = axis[:, None], axis[None, :]
    kernels = []
    for number in range(_LINE_ANGLES):
        angle = math.pi * number / _LINE_ANGLES
        across = (y * math.cos(angle) - x * math.sin(angle)).abs()
        on = (1 - across).clamp_min(0)
        beside = (1 - (across - 2.5).abs()).clamp_min(0)
        kernels.append(on / on.sum() - beside / beside.sum())
    return torch.stack(kernels).to(device)


def _doubling(light: Tensor, observed: Tensor) -> Tensor:
    """Highest autocorrelation of the faint pixels' fine structure some pixels on, in units of white noise's scatter."""
    height, width = light.shape[2:]
    faint = torch.where(observed & (light.abs() < _FAINT), light, 0.0)
    power = torch.fft.rfft2(faint).abs().square()
    across, along = torch.fft.rfftfreq(width, device=light.device), torch.fft.fftfreq(height, device=light.device)
    fine = torch.hypot(along[:, None], across[None, :]) > _FINE
    lags = torch.fft.irfft2(torch.where(fine, power, 0.0), s=(height, width))
    total = lags[..., :1, :1].clamp_min(0.1)
    y, x = (torch.arange(n, device=light.device) for n in (height, width))
    apart = torch.hypot(torch.minimum(y, height - y)[:, None].float(), torch.minimum(x, width - x)[None, :].float())
    highest = torch.where(apart >= _NEAREST_DOUBLE, lags / total, 0.0).flatten(1).amax(1)
    return torch.log1p(highest.clamp_min(0) * math.sqrt(height * width))


def _sources(smooth: Tensor, fwhm_pixels: float) -> tuple[Tensor, Tensor]:
    """Light of the brightest pixel outside the central third over the centre's, and of the brightest second maximum.

    In stretched sigmas, of all bands' mean. A second maximum stands above all within a PSF of it.
    """
    mean = smooth.mean(1)
    side = mean.shape[-1]
    low, high = side // 3, side - side // 3
    centre = mean[:, low:high, low:high].flatten(1).amax(1)
    ring = mean.clone()
    ring[:, low:high, low:high] = -_CLIPPED
    outside = ring.flatten(1).amax(1)
    reach = max(1, min(round(fwhm_pixels), side // 8))
    peak = mean == highest_around(mean, reach)
    distance = centre_distance(side, mean.device).view(side, side) * (side / 2)
    apart = peak & (distance > max(2.5, 0.8 * fwhm_pixels))
    second = torch.where(apart, mean, 0.0).flatten(1).amax(1)
    return outside - centre, second - centre.clamp_min(0)


def _against_psf(linear: Tensor, fwhm_pixels: float) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes over the PSF's by Gaussian weights of its width and of twice that, as logarithms; and that of the signal.

    As galflow.surveys.reading.stellar measures them, on the bands' mean and in few rounds.
    """
    side = linear.shape[-1]
    light = linear.mean(1)
    weight = max(fwhm_pixels / FWHM_PER_SIGMA, 0.6)
    axis = torch.arange(side, device=linear.device, dtype=torch.float32) - side // 2
    cx = cy = light.new_zeros(len(light))
    found: list[Tensor] = []
    signal = light.new_zeros(len(light))
    for last, width in ((False, weight), (False, weight), (True, weight), (True, 2 * weight)):
        dx, dy = axis - cx[:, None], axis - cy[:, None]
        wx, wy = (torch.exp(-0.5 * (d / width).square()) for d in (dx, dy))
        rows = torch.einsum("nyx,nxk->nyk", light, torch.stack([wx, wx * dx, wx * dx.square()], dim=2))
        total = (rows[..., 0] * wy).sum(1).clamp_min(_TINY)
        if last:
            second = (rows[..., 2] * wy).sum(1) + (rows[..., 0] * wy * dy.square()).sum(1)
            inverse = 2 * total / second.clamp_min(_TINY) - 1 / width**2
            # A flat image has no size of its own; it counts as four times the weight's.
            size = inverse.clamp(1 / (4 * width) ** 2, (4 / width) ** 2).rsqrt()
            found.append((size / weight).log())
            if width == weight:
                signal = total / (wx.square().sum(1) * wy.square().sum(1)).sqrt()
        else:
            cx = (cx + (2 * (rows[..., 1] * wy).sum(1) / total).clamp(-1, 1)).clamp(-2, 2)
            cy = (cy + (2 * (rows[..., 0] * wy * dy).sum(1) / total).clamp(-1, 1)).clamp(-2, 2)
    return found[0], found[1], signal.clamp_min(0).log1p()
