"""What astronomers measure on a galaxy's image, for many at once: size, shape, concentration, asymmetry, colours.

Concentration and asymmetry after Conselice 03 (ApJS 147, 1), Gini and M20 after Lotz+04 (AJ 128, 163), shapes by second
moments. They are measured on the pixels as a model sees them, stretched or not, so that they compare objects of one run
and are not the catalogue values of those papers. Every number is finite for any finite pixels and any mask; of an
object without light it is that of a flat image. No random numbers, and no statistics over the batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.batch import Batch
from galflow.constants import SIGMA_PER_MAD
from galflow.layers.images.blocks import observed_pixels, smoothed
from galflow.layers.images.ordering import falling_order, median_of_known
from galflow.photometry import arcsinh

SHAPES = (
    "log light", "log size", "concentration", "central light", "asymmetry", "roughness", "Gini", "M20", "ellipticity",
    "offset", "light outside",
)  # fmt: skip
"""Of all bands together, in this order."""
COLOURS = ("colour", "colour gradient", "colour scatter")
"""Of each two neighbouring bands: within half a side, within a quarter less that, and from pixel to pixel."""
LIT_SIGMA = 2.0
"""A pixel is lit where it is so many standard deviations of the border's pixels above their median."""
_TINY = 1e-6
_LARGEST_LOG = 20.0


def feature_names(channels: int) -> list[str]:
    """What the columns of ``measure`` are, for so many bands."""
    pairs = [f"{i}-{i + 1}" for i in range(channels - 1)]
    return [*SHAPES, *(f"{what} {pair}" for what in COLOURS for pair in pairs)]


def measure(batch: Batch) -> Tensor:
    """(B, F) features, float32, named by ``feature_names``.

    The sky is the median of the border's observed pixels, band by band; light is what lies above it. The object's
    centre is the cutout's. Missing pixels take what the band has at the same distance from the centre.
    """
    with torch.autocast(batch.pixels.device.type, enabled=False):
        pixels, observed = observed_pixels(batch).float(), batch.observed
        distance = centre_distance(batch.pixels.shape[-1], pixels.device)
        sky, sigma = _border(pixels, observed, distance)
        light = _filled(pixels - sky, observed, distance)
        together = light.mean(1)
        noise = sigma.square().mean((1, 2, 3)).sqrt().clamp_min(_TINY)
        return torch.cat(
            [_shapes(together, noise / math.sqrt(light.shape[1]), distance), _colours(light, noise, distance)], dim=1
        )


def centre_distance(size: int, device: torch.device) -> Tensor:
    """(P,) of each pixel from the centre, in units of half a side."""
    axis = (torch.arange(size, device=device) - (size - 1) / 2) / (size / 2)
    return torch.hypot(axis[:, None], axis[None, :]).flatten()


def _border(pixels: Tensor, observed: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Median and robust scatter (B, C, 1, 1) of observed pixels beyond 0.85 half sides; 0 where there are none."""
    border = distance >= distance.max().clamp_max(0.85)
    values = torch.where(observed, pixels, torch.nan).flatten(2)[:, :, border]
    median = median_of_known(values)[..., None]
    scatter = SIGMA_PER_MAD * median_of_known((values - median).abs())[..., None]
    return median.nan_to_num(0.0)[..., None], scatter.nan_to_num(0.0)[..., None]


def _filled(light: Tensor, observed: Tensor, distance: Tensor) -> Tensor:
    """(B, C, P) ``light`` (B, C, H, W) with the mean of observed pixels of the same ring where one is missing."""
    seen = observed.flatten(2)
    flat = light.flatten(2) * seen
    if seen.all():
        return flat
    ring = (distance * (light.shape[-1] / 2)).round().long()  # a pixel wide
    member = F.one_hot(ring).to(flat.dtype)
    means = (flat @ member) / (seen.to(flat.dtype) @ member).clamp_min(1)
    return torch.where(seen, flat, means[:, :, ring])


def _shapes(light: Tensor, noise: Tensor, distance: Tensor) -> Tensor:
    """(B, len(SHAPES)) of light (B, P) with noise (B,)."""
    size = math.isqrt(light.shape[1])
    image = light.view(-1, 1, size, size)
    smooth = smoothed(image).flatten(1)
    lit = smooth > LIT_SIGMA * noise[:, None] / 3 + _TINY
    bright = torch.where(lit, light.clamp_min(0), 0)
    total = bright.sum(1) + _TINY
    weights = bright / total[:, None]
    r20, r50, r80 = _radii(bright, distance, (0.2, 0.5, 0.8))
    absolute = light.abs().sum(1) + _TINY
    # Noise differs from its own mirror image, too: that much is taken off (Conselice 03), as a rotated pair's scatter.
    floor = noise * light.shape[1] * (2 / math.sqrt(math.pi)) / absolute
    asymmetry = (light - light.flip(1)).abs().sum(1) / absolute - floor
    roughness = (light - smooth).abs().sum(1) / absolute
    along = (torch.arange(size, device=light.device) - (size - 1) / 2) / (size / 2)
    y, x = along.repeat_interleave(size), along.repeat(size)
    cy, cx = weights @ y, weights @ x
    dy, dx = y - cy[:, None], x - cx[:, None]
    yy, xx, xy = ((weights * a * b).sum(1) for a, b in ((dy, dy), (dx, dx), (dx, dy)))
    ellipticity = torch.hypot(xx - yy, 2 * xy) / (xx + yy + _TINY)
    order = falling_order(bright)
    ranked = bright.gather(1, order)
    outside = torch.where(distance > 2.0 * r50[:, None] + 0.1, bright, 0).sum(1) / total
    return torch.stack(
        [
            (total / light.shape[1]).log(),
            (r50 + _TINY).log(),
            5 * torch.log10((r80 + 1 / size) / (r20 + 1 / size)),
            torch.where(distance < 0.25, bright, 0).sum(1) / total,
            asymmetry,
            roughness,
            _gini(ranked, lit.sum(1)),
            _m20(ranked, (dy.square() + dx.square()).gather(1, order)),
            ellipticity,
            torch.hypot(cy, cx),
            outside,
        ],
        dim=1,
    )  # fmt: skip


def _radii(bright: Tensor, distance: Tensor, shares: tuple[float, ...]) -> tuple[Tensor, ...]:
    """(B,) radii that hold so large a share of the light (B, P): the pixel at which the growing sum passes it."""
    order = distance.argsort(stable=True)
    growth = bright[:, order].cumsum(1)
    wanted = growth[:, -1:] * torch.tensor(shares, device=bright.device)
    place = torch.searchsorted(growth, wanted).clamp_max(bright.shape[1] - 1)
    return distance[order][place].unbind(1)


def _gini(ranked: Tensor, members: Tensor) -> Tensor:
    """(B,) Gini coefficient of the first ``members`` of each row of ``ranked`` (B, P), which falls; the rest is 0."""
    place = torch.arange(1, ranked.shape[1] + 1, device=ranked.device)
    n = members.clamp_min(2)[:, None]
    terms = (n + 1 - 2 * place) * ranked
    return terms.sum(1) / (ranked.sum(1) + _TINY) / (n[:, 0] - 1)


def _m20(ranked: Tensor, squares: Tensor) -> Tensor:
    """(B,) log10 of the share that the brightest fifth of the light has in its second moment (squared distances)."""
    before = ranked.cumsum(1) - ranked
    brightest = before < 0.2 * ranked.sum(1, keepdim=True)
    moment = (ranked * squares).sum(1) + _TINY
    return torch.log10((torch.where(brightest, ranked * squares, 0).sum(1) + 1e-3 * moment) / moment)


def _colours(light: Tensor, noise: Tensor, distance: Tensor) -> Tensor:
    """(B, 3 (C - 1)) colours of ``light`` (B, C, P) with noise (B,), see ``feature_names``.

    A colour is a difference of asinh magnitudes of neighbouring bands (Lupton+99): a log ratio where there is light,
    and 0 where there is but noise.
    """
    if light.shape[1] == 1:
        return light.new_zeros(len(light), 0)
    parts = []
    for limit in (0.25, 0.5):
        inside = distance < limit
        softening = 2 * noise[:, None] / inside.sum().clamp_min(1).sqrt() + _TINY
        parts.append(torch.asinh(light[:, :, inside].mean(2) / softening).diff(dim=1).neg())
    core, whole = parts
    grain = arcsinh(light / (2 * noise[:, None, None] + _TINY), torch).diff(dim=1).std(2, correction=0)
    return torch.cat([whole, core - whole, grain], dim=1)
