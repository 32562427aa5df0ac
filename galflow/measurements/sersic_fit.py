"""Single Sersic profiles fitted to many cutouts at once, each through its PSF: Levenberg-Marquardt on chi squared.

Parameters are flux, centre, half-light radius, Sersic index, ellipticity and a level of the sky, all free. Pixels of
inverse variance 0 take no part: missing ones, and neighbours if the caller takes them out. Errors are those of the
curvature of chi squared, so they hold for noise that is independent from pixel to pixel and as large as stated, and for
galaxies that are Sersic profiles. Nothing random. This file knows no survey and finds no neighbours.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from galflow.measurements.sersic_parameters import described, first_parameters, seen_inside
from galflow.measurements.sersic_profile import INDEX_RANGE, SersicModel

LEAST_SNR = 5.0
"""Below this signal-to-noise ratio (of the flux, were the shape known) no structure is given."""
MOST_ITERATIONS = 60
_LEAST_PIXELS = 32
_LARGEST_G = 0.9
_SMALLEST_RADIUS = 0.1
_FARTHEST = 4.0
"""Pixels, or an eighth of the side if that is more, that a centre may lie from where it is looked for."""
_EDM = 1e-3
"""A fit has converged if chi squared is estimated to lie so little above its minimum (in units of its value per
degree of freedom where that is above 1): a thirtieth of a standard deviation."""
_STALLED = 10.0
"""Where rounding lets no step lower chi squared any more, or the iterations end, so many times that is near enough."""
_MOST_DAMPING = 1e5
_STEPS = (math.inf, 2.0, 2.0, 0.7, 0.7, 0.3, 0.3, math.inf)
_BATCH = 32
"""Fits at a time on a CPU: more than its caches hold is slower."""


class FitFlag(enum.IntFlag):
    """What is to be said of a fit; several may hold."""

    NOT_CONVERGED = 1
    """The iterations ended before the minimum of chi squared."""
    AT_BOUND = 2
    """A parameter ended at the bound of its range; it has no error, and others may be wrong."""
    TOO_FEW_PIXELS = 4
    """Too few pixels are observed, or too few near the centre."""
    TOO_FAINT = 8
    """The signal-to-noise ratio is below LEAST_SNR."""


NO_FIT = FitFlag.NOT_CONVERGED | FitFlag.TOO_FEW_PIXELS | FitFlag.TOO_FAINT
"""A fit with one of these is not to be used."""


@dataclass(frozen=True, eq=False)
class SersicFits:
    """Fits of B objects. NaN where ``flags`` say why there is no value."""

    values: Tensor
    """(B, 8) float64, as PARAMETERS."""
    errors: Tensor
    """(B, 8) float64 standard deviations; NaN also of a parameter at its bound."""
    shape: Tensor
    """(B, 6) float64, as galflow.measurements.sersic_profile.SHAPE_PARAMETERS; the start where there is no fit."""
    chi2: Tensor
    """(B,) float64: chi squared per degree of freedom."""
    snr: Tensor
    """(B,) float64: flux over its error, were the shape known."""
    flags: Tensor
    """(B,) int64 bits of FitFlag."""


def fit_sersic(
    images: Tensor, ivar: Tensor, psf: Tensor, centre: Tensor | None = None, sky_sigma: float = math.inf
) -> SersicFits:
    """Fit each of ``images`` (B, size, size), in any unit, with ``ivar`` in one over that unit squared.

    ``psf`` (h, h), odd side, is that of all. ``centre`` (B, 2): x, y in pixels where each object is looked for; the
    middle by default. ``sky_sigma``, in the images' unit: how well the sky is known to be 0 (a Gaussian prior); by
    default not at all. Without it whatever in a galaxy is no Sersic profile can be mended by a negative sky, under
    wings that are not there.
    """
    size = images.shape[-1]
    model = SersicModel(psf, size)
    if centre is None:
        centre = torch.full((len(images), 2), (size - 1) / 2, device=images.device)
    batch = _BATCH if images.device.type == "cpu" else 64 * _BATCH
    parts = [
        _Fitting(model, images[i : i + batch], ivar[i : i + batch], centre[i : i + batch], sky_sigma).run()
        for i in range(0, len(images), batch)
    ] or [_Fitting(model, images, ivar, centre, sky_sigma).run()]
    return SersicFits(**{name: torch.cat([getattr(p, name) for p in parts]) for name in SersicFits.__annotations__})


def fit_fluxes(
    images: Tensor, ivar: Tensor, psf: Tensor, shape: Tensor, sky_sigma: float = math.inf
) -> tuple[Tensor, Tensor]:
    """(B,) flux and its error of profiles of a known ``shape`` (B, 6) in another band, with a sky of its own.

    ``sky_sigma``: see ``fit_sersic``. NaN where the pixels do not tell.
    """
    if not len(images):
        return shape.new_zeros(0), shape.new_zeros(0)
    model = SersicModel(psf, images.shape[-1])
    found = []
    for i in range(0, len(images), 4 * _BATCH):
        part = slice(i, i + 4 * _BATCH)
        drawn = model.pictures(shape[part]).flatten(1).double()
        weight, light = ivar[part].flatten(1).double(), images[part].flatten(1).double()
        light = torch.where(weight > 0, light, 0)
        basis = torch.stack([drawn, torch.ones_like(drawn)], 1)
        curvature = (basis * weight[:, None]) @ basis.mT
        curvature[:, 1, 1] += sky_sigma**-2
        known = torch.linalg.det(curvature) > 0
        safe = torch.where(known[:, None, None], curvature, torch.eye(2).to(curvature))
        inverse = torch.linalg.inv(safe)
        value = (inverse @ (basis @ (weight * light)[..., None]))[:, 0, 0]
        pair = torch.stack([value, inverse[:, 0, 0].clamp_min(0).sqrt()], 1)
        found.append(torch.where(known[:, None], pair, torch.nan))
    together = torch.cat(found)
    return together[:, 0], together[:, 1]


class _Fitting:
    """The fits of one batch: parameters (B, 8) are flux and sky in units of ``scale``, and between them the shape."""

    def __init__(self, model: SersicModel, images: Tensor, ivar: Tensor, centre: Tensor, sky_sigma: float) -> None:
        self.model = model
        seen = (ivar > 0) & torch.isfinite(images) & torch.isfinite(ivar)
        self.light = torch.where(seen, images, 0).float()
        self.root = torch.where(seen, ivar, 0).float().sqrt()
        self.pixels = seen.sum((1, 2))
        self.scale, self.values = first_parameters(self.light, seen, centre.float(), model.psf_sigma)
        self.sky_weight = (self.scale.double() / sky_sigma) ** 2
        self.few = (self.pixels < _LEAST_PIXELS) | ~seen_inside(seen, self.values)
        size = images.shape[-1]
        reach = max(_FARTHEST, size / 8)
        low = torch.tensor([-math.inf, 0, 0, math.log(_SMALLEST_RADIUS), math.log(INDEX_RANGE[0]), -1, -1, -math.inf])
        high = torch.tensor([math.inf, 0, 0, math.log(size), math.log(INDEX_RANGE[1]), 1, 1, math.inf])
        self.low, self.high = (b.double().to(images.device).repeat(len(images), 1) for b in (low, high))
        self.low[:, 1:3], self.high[:, 1:3] = centre.double() - reach, centre.double() + reach
        self.values = self._within(self.values, torch.arange(len(images), device=images.device))

    def _within(self, values: Tensor, rows: Tensor) -> Tensor:
        values = torch.minimum(torch.maximum(values, self.low[rows]), self.high[rows])
        g = torch.hypot(values[:, 5], values[:, 6])
        values[:, 5:7] *= (_LARGEST_G / g.clamp_min(_LARGEST_G))[:, None]
        return values

    def _evaluated(self, values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Curvature (b, 8, 8), downhill gradient (b, 8) and chi squared (b,), float64, of some of the objects."""
        drawn = self.model.with_derivatives(values[:, 1:7])
        flux, sky = values[:, 0].float(), values[:, 7].float()
        scale, root = self.scale[rows, None, None], self.root[rows]
        residual = (self.light[rows] - scale * (flux[:, None, None] * drawn[:, 0] + sky[:, None, None])) * root
        weighted = torch.cat([drawn, drawn.new_ones(1, 1, 1, 1).expand_as(drawn[:, :1])], 1)
        weighted[:, 1:7] *= flux[:, None, None, None]
        weighted *= (scale * root)[:, None]
        slopes, rest = weighted.flatten(2), residual.flatten(1)
        chi2 = rest.double().square().sum(1)
        curvature, gradient = (slopes @ slopes.mT).double(), (slopes @ rest[..., None])[..., 0].double()
        known = self.sky_weight[rows]
        curvature[:, 7, 7] += known
        gradient[:, 7] -= known * values[:, 7]
        return curvature, gradient, chi2 + known * values[:, 7] ** 2

    def run(self) -> SersicFits:
        """All fits to their ends."""
        count = len(self.values)
        rows = torch.arange(count, device=self.values.device)[~self.few]
        converged = torch.zeros(count, dtype=torch.bool, device=self.values.device)
        damping = torch.full((count,), 1e-2, dtype=torch.float64, device=self.values.device)
        curvature = torch.eye(8, dtype=torch.float64, device=self.values.device).repeat(count, 1, 1)
        gradient = curvature.new_zeros(count, 8)
        chi2 = curvature.new_full((count,), math.nan)
        if len(rows):
            curvature[rows], gradient[rows], chi2[rows] = self._evaluated(self.values[rows], rows)
        for _ in range(MOST_ITERATIONS):
            near = self._distance(curvature[rows], gradient[rows], rows) < self._tolerance(chi2[rows], rows)
            converged[rows[near]] = True
            rows = rows[~near & (damping[rows] < _MOST_DAMPING)]
            if not len(rows):
                break
            step = self._step(curvature[rows], gradient[rows], damping[rows], rows)
            tried = self._within(self.values[rows] + step, rows)
            found = self._evaluated(tried, rows)
            better = found[2] < chi2[rows]
            taken = rows[better]
            self.values[taken] = tried[better]
            for kept, new in zip((curvature, gradient, chi2), found, strict=True):
                kept[taken] = new[better]
            damping[rows] = torch.where(better, (damping[rows] / 8).clamp_min(1e-9), damping[rows] * 6)
        every = torch.arange(count, device=self.values.device)
        distance = self._distance(curvature, gradient, every)
        return self._result(curvature, gradient, chi2, converged | (distance < _STALLED * self._tolerance(chi2, every)))

    def _tolerance(self, chi2: Tensor, rows: Tensor) -> Tensor:
        return _EDM * (chi2 / (self.pixels[rows] - 8).clamp_min(1)).clamp_min(1)

    def _held(self, gradient: Tensor, rows: Tensor) -> Tensor:
        """(b, 8) bool: at a bound that the gradient leads beyond."""
        values = self.values[rows]
        return ((values <= self.low[rows]) & (gradient < 0)) | ((values >= self.high[rows]) & (gradient > 0))

    def _free(self, curvature: Tensor, gradient: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Curvature scaled to a diagonal of ones, gradient likewise, and the scale (b, 8); 0 of what is held."""
        held = self._held(gradient, rows)
        size = curvature.diagonal(dim1=1, dim2=2).clamp_min(1e-30).rsqrt().masked_fill(held, 0)
        scaled = curvature * size[:, :, None] * size[:, None, :]
        scaled = scaled + torch.diag_embed(held.double())
        return scaled, gradient * size, size

    def _distance(self, curvature: Tensor, gradient: Tensor, rows: Tensor) -> Tensor:
        """(b,) how far chi squared lies above its minimum, if it were a parabola."""
        scaled, downhill, _ = self._free(curvature, gradient, rows)
        scaled = scaled + 1e-9 * torch.eye(8).to(scaled)
        return (downhill * torch.linalg.solve_ex(scaled, downhill)[0]).sum(1)

    def _step(self, curvature: Tensor, gradient: Tensor, damping: Tensor, rows: Tensor) -> Tensor:
        scaled, downhill, size = self._free(curvature, gradient, rows)
        damped = scaled + torch.diag_embed(damping[:, None].expand(-1, 8))
        step = torch.linalg.solve_ex(damped, downhill)[0] * size
        most = torch.tensor(_STEPS, dtype=step.dtype, device=step.device)
        # All of a step is shortened by the same factor, so that it keeps its direction.
        return step / (step.abs() / most).amax(1, keepdim=True).clamp_min(1)

    def _result(self, curvature: Tensor, gradient: Tensor, chi2: Tensor, converged: Tensor) -> SersicFits:
        values, rows = self.values, torch.arange(len(self.values), device=self.values.device)
        scale = self.scale.double()
        scaled, _, size = self._free(curvature, gradient, rows)
        inverse, failed = torch.linalg.inv_ex(scaled)
        covariance = inverse * size[:, :, None] * size[:, None, :]
        edge = self._held(gradient, rows)
        g = torch.hypot(values[:, 5], values[:, 6])
        edge[:, 5:7] |= (g >= _LARGEST_G * (1 - 1e-6))[:, None]
        snr = values[:, 0] * curvature[:, 0, 0].sqrt()
        singular = (failed > 0) | (covariance.diagonal(dim1=1, dim2=2) < 0).any(1)
        flags = FitFlag.AT_BOUND * edge.any(1) + FitFlag.NOT_CONVERGED * (~converged | singular)
        flags |= FitFlag.TOO_FAINT * ~(snr >= LEAST_SNR)
        flags = torch.where(self.few, int(FitFlag.TOO_FEW_PIXELS), flags)
        found, errors = described(values, covariance, edge)
        for table in (found, errors):
            table[:, 0] *= scale
            table[:, 7] *= scale
            table[(flags & int(NO_FIT)) > 0] = math.nan
        reduced = chi2 / (self.pixels - 8).clamp_min(1)
        return SersicFits(found, errors, values[:, 1:7], reduced, torch.where(self.few, math.nan, snr), flags)
