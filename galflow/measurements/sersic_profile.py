"""Sersic profiles through a PSF, for many objects at once, with their derivatives.

A profile is drawn in Fourier space, where its convolution with the PSF is a product and its cusp needs no
subpixels (as GalSim does, Rowe+15, A&C 10, 121). Its transform, a Hankel transform of exp(-b r^(1/n)), is tabulated
once over log k and log n. What the periodic transform carries into the picture of light from beyond its period is
taken off in real space. This file fits nothing.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy.fft import fht, fhtoffset
from scipy.interpolate import CubicSpline
from scipy.special import gammaincinv, gammaln
from torch import Tensor

from galflow.layers.images.observe import framed, transfer

INDEX_RANGE = (0.3, 8.0)
"""Sersic indices that can be drawn."""
SHAPE_PARAMETERS = ("x", "y", "log_r50", "log_n", "g1", "g2")
"""What a profile of flux 1 is drawn from, in this order.

Centre in pixels of the picture, (0, 0) that of its first pixel; natural logarithm of the circularised half-light
radius sqrt(a b) in pixels, and of the index; ellipticity (1 - q) / (1 + q) times cosine and sine of twice the angle of
the major axis, from x towards y."""
_LOWEST, _HIGHEST, _STEPS = math.log(1e-4), math.log(2e3), 336
"""Of log(k r50): range and number of steps of the table."""
_INDICES = 56
_MARGIN = 16
"""The period of the transform is so many pixels wider than the picture, at the least."""
_RINGS = 2
"""Rings of copies around the picture whose light is taken off."""
_NODES = 5


@functools.lru_cache(maxsize=4)
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """(6, indices, steps): cubic coefficients of F(log k), value and rise of dF/dlog n; and (indices, 4): b,
    log of the central surface brightness of flux 1 and r50 1, and the derivatives of both by log n.
    """
    log_n = np.linspace(math.log(INDEX_RANGE[0]) - 0.2, math.log(INDEX_RANGE[1]) + 0.2, _INDICES)
    step = log_n[1] - log_n[0]
    values = np.stack([profile_transform(math.exp(value))[1] for value in log_n])  # (indices, steps + 1)
    slope = np.gradient(values, axis=1, edge_order=2)
    by_n = np.gradient(values, step, axis=0, edge_order=2)
    low, high, start, end = values[:, :-1], values[:, 1:], slope[:, :-1], slope[:, 1:]
    cubic = [low, start, 3 * (high - low) - 2 * start - end, 2 * (low - high) + start + end]
    curves = np.stack([*cubic, by_n[:, :-1], by_n[:, 1:] - by_n[:, :-1]])
    n = np.exp(log_n)
    b = gammaincinv(2 * n, 0.5)
    central = 2 * n * np.log(b) - np.log(2 * math.pi * n) - gammaln(2 * n)
    constants = np.stack([b, central, np.gradient(b, step, edge_order=2), np.gradient(central, step, edge_order=2)], 1)
    on_device = (torch.tensor(table, dtype=torch.float32, device=device) for table in (curves, constants))
    return next(on_device), next(on_device)


def profile_transform(n: float) -> tuple[np.ndarray, np.ndarray]:
    """(steps + 1,) log k, and the Hankel transform there of the profile of flux 1, index ``n`` and r50 1."""
    spacing = (_HIGHEST - _LOWEST) / _STEPS
    finer = 2  # FFTLog (Hamilton 00, MNRAS 312, 257) on a grid twice as fine, and far beyond both of its ends
    count, bias = 4096, -0.5
    ln = spacing / finer
    b = float(gammaincinv(2 * n, 0.5))
    offset = fhtoffset(ln, mu=0.0, bias=bias)
    centre = -(_LOWEST + _HIGHEST) / 2  # so that the grid of k is about the middle of the table's
    log_r = centre + (np.arange(count) - (count - 1) / 2) * ln
    log_k = -centre + offset + (np.arange(count) - (count - 1) / 2) * ln
    with np.errstate(under="ignore", over="ignore"):
        profile = np.exp(-b * np.exp(log_r / n)) / (2 * math.pi * n * math.exp(gammaln(2 * n) - 2 * n * math.log(b)))
    found = 2 * math.pi * fht(profile * np.exp(log_r), ln, mu=0.0, offset=offset, bias=bias) / np.exp(log_k)
    wanted = _LOWEST + np.arange(_STEPS + 1) * spacing
    return wanted, np.asarray(CubicSpline(log_k, found)(wanted))


class SersicModel:
    """Draws Sersic profiles on square pictures of one size through one PSF, the pixels' own response included."""

    def __init__(self, psf: Tensor, size: int) -> None:
        """``psf`` (h, h), odd side, the peak in the middle; made to sum to 1. ``size``: side of the pictures."""
        self.size = size
        self.period = 8 * math.ceil((size + _MARGIN) / 8)
        psf = psf.float()
        side = min(psf.shape[-1], self.period - 1 + self.period % 2)
        kept = framed(psf, side)
        spectrum = transfer(kept / kept.sum(), self.period)
        self.psf_sigma = _width(kept)
        # A wave at the Nyquist frequency of an even period cannot be shifted.
        spectrum[self.period // 2] = 0
        spectrum[:, -1] = 0
        self._transfer = spectrum
        self._curves, self._constants = _tables(psf.device)
        ky = 2 * math.pi * torch.fft.fftfreq(self.period, device=psf.device)
        kx = 2 * math.pi * torch.fft.rfftfreq(self.period, device=psf.device)
        self._kx, self._ky = kx, ky
        waves = torch.stack([kx**2 + ky[:, None] ** 2, kx**2 - ky[:, None] ** 2, 2 * kx * ky[:, None]])
        waves[0, 0, 0] = 1e-12
        self._waves = waves
        angle = (torch.arange(_NODES, dtype=torch.float64) + 0.5) * math.pi / _NODES
        nodes = (size - 1) / 2 * (1 - torch.cos(angle))
        self._nodes = nodes.float().to(psf.device)
        basis = torch.linalg.inv(torch.stack([nodes**p for p in range(_NODES)], 1))
        powers = torch.stack([torch.arange(size, dtype=torch.float64) ** p for p in range(_NODES)], 1)
        self._spread = (powers @ basis).float().to(psf.device)
        rings = range(-_RINGS, _RINGS + 1)
        copies = [(i * self.period, j * self.period) for i in rings for j in rings if (i, j) != (0, 0)]
        self._copies = torch.tensor(copies, dtype=torch.float32, device=psf.device)

    def pictures(self, shape: Tensor) -> Tensor:
        """(B, size, size) profiles of flux 1, of ``shape`` (B, 6): see SHAPE_PARAMETERS."""
        return self._drawn(shape, derivatives=False)[:, 0]

    def with_derivatives(self, shape: Tensor) -> Tensor:
        """(B, 7, size, size): the profiles of flux 1, then their derivatives by each of SHAPE_PARAMETERS."""
        return self._drawn(shape, derivatives=True)

    def _drawn(self, shape: Tensor, derivatives: bool) -> Tensor:
        shape = shape.float()
        mixed, tail = self._at_index(shape[:, 3])
        phase_x = torch.polar(torch.ones_like(self._kx), -self._kx * shape[:, 0, None])
        phase_y = torch.polar(torch.ones_like(self._ky), -self._ky * shape[:, 1, None])
        carrier = (phase_y[:, :, None] * self._transfer) * phase_x[:, None, :]
        spectra = self._spectra(shape, mixed, carrier, derivatives)
        # The rows beyond the picture are left out between the two transforms.
        columns = torch.fft.ifft(spectra, dim=-2)[..., : self.size, :]
        drawn = torch.fft.irfft(columns, n=self.period, dim=-1)[..., : self.size]
        beyond = self._beyond(shape, tail, derivatives)
        drawn[:, 0] -= beyond[:, 0]
        if derivatives:
            drawn[:, 3:] -= beyond[:, 1:]
        return drawn

    def _at_index(self, log_n: Tensor) -> tuple[Tensor, Tensor]:
        """The tables at each object's index: (6, B, steps), (B, 4). Cubic in log n (Lagrange, four indices)."""
        low, high = math.log(INDEX_RANGE[0]) - 0.2, math.log(INDEX_RANGE[1]) + 0.2
        place = ((log_n - low) * ((_INDICES - 1) / (high - low))).clamp(1, _INDICES - 2.001)
        first = place.floor().long()
        t = place - first
        weights = torch.stack([
            -t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2, (t + 1) * t * (t - 1) / 6,
        ], 1)  # fmt: skip
        spread = torch.zeros(len(log_n), _INDICES, device=log_n.device)
        spread.scatter_(1, first[:, None] + torch.arange(-1, 3, device=log_n.device), weights)
        return spread @ self._curves, spread @ self._constants

    def _spectra(self, shape: Tensor, mixed: Tensor, carrier: Tensor, derivatives: bool) -> Tensor:
        """(B, 1 or 7, period, half) complex."""
        count, g1, g2 = len(shape), shape[:, 4, None, None], shape[:, 5, None, None]
        square = g1**2 + g2**2
        waves, difference, product = self._waves
        scaled = (1 + square) * waves + 2 * (g1 * difference + g2 * product)
        log_k = 0.5 * (scaled / (1 - square)).clamp_min(1e-12).log() + shape[:, 2, None, None]
        per_step = _STEPS / (_HIGHEST - _LOWEST)
        place = ((log_k - _LOWEST) * per_step).clamp(0, _STEPS - 0.001)
        cell = place.floor()
        t = place - cell
        rows = torch.arange(count, device=shape.device)[:, None, None] * _STEPS
        at = (cell.long() + rows).view(-1)
        curves = mixed.reshape(6, -1)
        a, b, c, d = (curves[i].take(at).view_as(t) for i in range(4))
        value = ((d * t + c) * t + b) * t + a
        if not derivatives:
            return (carrier * value)[:, None]
        rise = ((3 * d * t + 2 * c) * t + b) * per_step
        by_n = curves[4].take(at).view_as(t) + t * curves[5].take(at).view_as(t)
        by_g1 = rise * ((g1 * waves + difference) / scaled + g1 / (1 - square))
        by_g2 = rise * ((g2 * waves + product) / scaled + g2 / (1 - square))
        spectra = torch.empty(count, 7, *carrier.shape[1:], dtype=carrier.dtype, device=carrier.device)
        for place_of, real in ((0, value), (3, rise), (4, by_n), (5, by_g1), (6, by_g2)):
            torch.mul(carrier, real, out=spectra[:, place_of])
        torch.mul(spectra[:, 0], -1j * self._kx, out=spectra[:, 1])
        torch.mul(spectra[:, 0], -1j * self._ky[:, None], out=spectra[:, 2])
        return spectra

    def _beyond(self, shape: Tensor, tail: Tensor, derivatives: bool) -> Tensor:
        """(B, 1 or 5, size, size) what copies of each object, a period and more away, add to the picture: the light,
        and its derivatives by log r50, log n, g1, g2. A smooth surface: drawn at few nodes, without the PSF.
        """
        x, y, log_r, log_n, g1, g2 = (shape[:, i, None, None, None] for i in range(6))
        dx = self._nodes + self._copies[:, 0, None, None] - x
        dy = self._nodes[:, None] + self._copies[:, 1, None, None] - y
        left, square = 1 - (g1**2 + g2**2), dx**2 + dy**2
        difference, product = dx**2 - dy**2, 2 * dx * dy
        # The radius in which the ellipse is a circle of the same area.
        scaled = (2 - left) * square - 2 * (g1 * difference + g2 * product)
        log_rho = 0.5 * (scaled / left).log() - log_r
        b, central, b_by_n, central_by_n = (tail[:, i, None, None, None] for i in range(4))
        inverse_n = torch.exp(-log_n)
        power = torch.exp(log_rho * inverse_n)
        light = torch.exp(central - b * power - 2 * log_r)
        farther = self._farther(tail[:, 0], shape)[:, None, None]
        if not derivatives:
            return (self._spread @ light.sum(1) @ self._spread.T + farther)[:, None]
        by_log_rho = -light * b * power * inverse_n
        surfaces = [
            light,
            -by_log_rho - 2 * light,
            light * (central_by_n - b_by_n * power) - by_log_rho * log_rho,
            by_log_rho * ((g1 * square - difference) / scaled + g1 / left),
            by_log_rho * ((g2 * square - product) / scaled + g2 / left),
        ]
        found = self._spread @ torch.stack(surfaces, 1).sum(2) @ self._spread.T
        found[:, 0] += farther
        return found

    def _farther(self, b: Tensor, shape: Tensor) -> Tensor:
        """(B,) what copies beyond the rings add, as if their light were spread evenly."""
        n = torch.exp(shape[:, 3])
        radius = (2 * _RINGS + 1) * self.period / math.sqrt(math.pi)
        return torch.special.gammaincc(2 * n, b * (radius / torch.exp(shape[:, 2])) ** (1 / n)) / self.period**2


def _width(psf: Tensor) -> float:
    """Standard deviation of the Gaussian with as sharp a peak: by the flux over the peak."""
    return math.sqrt(float(psf.sum() / psf.max().clamp_min(1e-30)) / (2 * math.pi))
