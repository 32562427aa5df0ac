"""The parameters of a fitted Sersic profile: where a fit begins, and what is said of where it ended."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PARAMETERS = ("flux", "x", "y", "r50", "n", "q", "theta", "sky")
"""What is fitted: total flux; centre in pixels of the cutout, (0, 0) that of its first pixel; half-light radius along
the major axis, in pixels; Sersic index; axis ratio; angle of the major axis in degrees, from x towards y, 0 to 180;
level of the sky in a pixel."""
_UNIFORM_ANGLE = 180 / math.sqrt(12)
"""Standard deviation of an angle of which nothing is known."""


def first_parameters(light: Tensor, seen: Tensor, centre: Tensor, psf_sigma: float) -> tuple[Tensor, Tensor]:
    """Scale of the flux (B,) float32 and first parameters (B, 8) float64, by the pixels well above the border's."""
    size = light.shape[-1]
    axis = torch.arange(size, device=light.device)
    dx, dy = axis - centre[:, 0, None, None], axis[:, None] - centre[:, 1, None, None]
    distance = torch.hypot(dx, dy)
    border = seen & (distance > 0.4 * size)
    values = torch.where(border, light, torch.nan).flatten(1)
    sky = values.nanmedian(1).values.nan_to_num(0.0)
    noise = 1.4826 * (values - sky[:, None]).abs().nanmedian(1).values.nan_to_num(0.0)
    above = torch.where(seen, light - sky[:, None, None], 0)
    smooth = F.avg_pool2d(above[:, None], 3, stride=1, padding=1)[:, 0]
    bright = torch.where(smooth > noise[:, None, None], above.clamp_min(0), 0) * torch.exp(
        -0.5 * (distance / (0.3 * size)) ** 2
    )
    total = bright.sum((1, 2))
    scale = torch.where(total > 0, total, above.abs().sum((1, 2)))
    scale = torch.where(scale > 0, scale, 1)
    share = bright / scale[:, None, None]
    xx, yy, xy = ((share * a * b).sum((1, 2)) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    trace = (xx + yy).clamp_min(0.1)
    intrinsic = (trace - 2 * psf_sigma**2).clamp_min(0.3)
    # sqrt(a b) of an exponential disc: its second moment is 2.13 half-light radii squared (of x and y together).
    log_r = 0.5 * (intrinsic / 2.13).log()
    shape = (0.5 * torch.stack([xx - yy, 2 * xy], 1) / trace[:, None]).clamp(-0.4, 0.4)
    one = torch.ones_like(total)
    columns = [one, centre[:, 0], centre[:, 1], log_r, math.log(1.5) * one, shape[:, 0], shape[:, 1], sky / scale]
    return scale, torch.stack(columns, 1).double()


def seen_inside(seen: Tensor, values: Tensor) -> Tensor:
    """(B,) bool: whether half of the pixels within a half-light radius, or two pixels, are observed."""
    axis = torch.arange(seen.shape[-1], device=seen.device)
    distance = torch.hypot(axis - values[:, 1, None, None], axis[:, None] - values[:, 2, None, None])
    inside = distance < torch.exp(values[:, 3]).clamp_min(2)[:, None, None]
    return (seen & inside).sum((1, 2)) >= 0.5 * inside.sum((1, 2)).clamp_min(1)


def described(values: Tensor, covariance: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
    """Values and errors (B, 8) as PARAMETERS, of fitted ones; errors NaN of what is at its bound."""
    g1, g2 = values[:, 5], values[:, 6]
    g = torch.hypot(g1, g2)
    q, n = (1 - g) / (1 + g), torch.exp(values[:, 4])
    major = torch.exp(values[:, 3]) / q.sqrt()
    along = torch.stack([torch.where(g > 0, g1 / g, 1), torch.where(g > 0, g2 / g, 0)], 1)
    across = torch.stack([-along[:, 1], along[:, 0]], 1)
    variance = covariance.diagonal(dim1=1, dim2=2)

    def spread(direction: Tensor) -> Tensor:
        return torch.einsum("bi,bij,bj->b", direction, covariance[:, 3:7, 3:7], direction).clamp_min(0).sqrt()

    nothing = torch.zeros_like(g)
    radial = along / (1 - g**2)[:, None]
    of_major = spread(torch.stack([torch.ones_like(g), nothing, radial[:, 0], radial[:, 1]], 1))
    of_q = spread(torch.stack([nothing, nothing, along[:, 0], along[:, 1]], 1)) * 2 / (1 + g) ** 2
    of_angle = spread(torch.stack([nothing, nothing, across[:, 0], across[:, 1]], 1)) / (2 * g.clamp_min(1e-9))
    theta = torch.rad2deg(0.5 * torch.atan2(g2, g1)) % 180
    root = variance.clamp_min(0).sqrt()
    angle = torch.rad2deg(of_angle).clamp_max(_UNIFORM_ANGLE)
    found = torch.stack([values[:, 0], values[:, 1], values[:, 2], major, n, q, theta, values[:, 7]], 1)
    errors = torch.stack(
        [root[:, 0], root[:, 1], root[:, 2], major * of_major, n * root[:, 4], of_q, angle, root[:, 7]], 1
    )
    return found, errors.masked_fill(edge, math.nan)
