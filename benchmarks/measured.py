"""Sersic profiles and shapes measured in batches, against GalSim's truth and fitters of one galaxy at a time.

The other fitter is scipy's least_squares on astropy's Sersic2D, drawn on pixels split 5 x 5, and convolved with the
same PSF. It is told the same pixels, begins at the same place and is given the true size and index rounded, which
galflow is not. The shapes are compared with statmorph's, as benchmarks/measured_galaxies.py once measured them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from astropy.modeling.models import Sersic2D
from scipy.optimize import least_squares
from scipy.signal import fftconvolve
from scipy.special import gamma, gammaincinv

from benchmarks.measured_galaxies import SIZE, Galaxy, draw, noisy, own_pixels, population, psf_image, read_golden
from benchmarks.tables import Figures
from galflow.measurements.nonparametric import STATISTICS, measure_statistics
from galflow.measurements.sersic_fit import fit_sersic
from galflow.measurements.sersic_parameters import PARAMETERS

COUNT, SNRS, FIT_SIZE = 100, (1000.0, 100.0), 48
BATCHED = 2000
_FINE = 5


def run() -> Iterator[Figures]:
    """Accuracy and rate of both fitters, and galflow's shapes beside statmorph's."""
    galaxies = population(COUNT, 3, clumpy=False)
    clean = [draw(galaxy, FIT_SIZE) for galaxy in galaxies]
    rates: dict[str, tuple[float | str, ...]] = {}
    for snr in SNRS:
        seen = [noisy(image, snr, number) for number, image in enumerate(clean)]
        images, sigma = np.stack([image for image, _ in seen]), np.array([s for _, s in seen])
        ours, our_rate = _batched(images, sigma)
        theirs, their_rate = _one_by_one(images, sigma, galaxies)
        rows = {"galflow": _accuracy(ours, galaxies), "scipy and astropy": _accuracy(theirs, galaxies)}
        yield Figures(f"{COUNT} galaxies of S/N {snr:g}: median (fitted - true), and its scatter", _COLUMNS, rows)
        rates[f"S/N {snr:g}"] = (our_rate, their_rate, our_rate / their_rate)
    columns = ("galflow fits/s", "scipy fits/s", "ratio")
    yield Figures(f"fits in a second, {FIT_SIZE} x {FIT_SIZE} pixels, of processor time on one core", columns, rates)
    yield _shapes()


_COLUMNS = ("flux %", "scatter", "r50 %", "scatter ", "n %", "scatter  ", "q", "scatter   ")


def _accuracy(found: np.ndarray, galaxies: list[Galaxy]) -> tuple[float | str, ...]:
    """``found`` (N, 4): flux, half-light radius along the major axis, index, axis ratio."""
    truth = np.array([(1.0, g.r50 / math.sqrt(g.q), g.n, g.q) for g in galaxies])
    off = 100 * (found / truth - 1)
    off[:, 3] = found[:, 3] - truth[:, 3]
    middle = np.nanmedian(off, axis=0)
    scatter = 1.4826 * np.nanmedian(np.abs(off - middle), axis=0)
    return tuple(float(v) for pair in zip(middle, scatter, strict=True) for v in pair)


def _batched(images: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, float]:
    """Values (N, 4), and fits in a second of processor time, measured on many."""
    flux, ivar = torch.from_numpy(images), torch.from_numpy(np.ones_like(images) / sigma[:, None, None] ** 2)
    psf = torch.from_numpy(psf_image())
    fits = fit_sersic(flux, ivar, psf)
    times = -(-BATCHED // len(images))
    started = time.process_time()
    fit_sersic(flux.repeat(times, 1, 1), ivar.repeat(times, 1, 1), psf)
    rate = times * len(images) / (time.process_time() - started)
    chosen = [PARAMETERS.index(name) for name in ("flux", "r50", "n", "q")]
    return fits.values[:, chosen].numpy(), rate


def _one_by_one(images: np.ndarray, sigma: np.ndarray, galaxies: list[Galaxy]) -> tuple[np.ndarray, float]:
    psf = psf_image()
    started = time.process_time()
    found = [_fitted(image, s, g, psf) for image, s, g in zip(images, sigma, galaxies, strict=True)]
    return np.array(found), len(found) / (time.process_time() - started)


def _fitted(image: np.ndarray, sigma: float, near: Galaxy, psf: np.ndarray) -> tuple[float, float, float, float]:
    size = len(image)
    axis = (np.arange(size * _FINE) + 0.5) / _FINE - 0.5
    x, y = np.meshgrid(axis, axis)
    middle = (size - 1) / 2

    def residual(p: np.ndarray) -> np.ndarray:
        n, r50 = math.exp(p[4]), math.exp(p[3])
        b = gammaincinv(2 * n, 0.5)
        level = b ** (2 * n) / (2 * math.pi * n * gamma(2 * n) * math.exp(b) * r50**2 * p[5])
        profile = Sersic2D(p[0] * level, r50, n, p[1], p[2], 1 - p[5], p[6])
        pixels = profile(x, y).reshape(size, _FINE, size, _FINE).mean((1, 3))
        drawn = fftconvolve(pixels, psf, mode="same") + p[7] / size**2
        return ((image - drawn) / sigma).ravel()

    start = [1.0, middle, middle, math.log(round(near.r50)), math.log(max(round(near.n), 0.7)), 0.7, 0.0, 0.0]
    low = [0, 0, 0, math.log(0.1), math.log(0.3), 0.05, -10, -np.inf]
    high = [np.inf, size, size, math.log(size), math.log(8), 1, 10, np.inf]
    p = least_squares(residual, start, bounds=(low, high), x_scale=[0.1, 1, 1, 0.3, 0.3, 0.2, 0.5, 1]).x
    return p[0], math.exp(p[3]), math.exp(p[4]), p[5]


def _shapes() -> Figures:
    golden = read_golden()
    rows = [row for row in golden["galaxies"] if row["statmorph"]["flag"] < 2]
    seen = [noisy(draw(row["galaxy"]), golden["snr"], row["noise_seed"]) for row in rows]
    images, sigma = np.stack([image for image, _ in seen]), np.array([s for _, s in seen])
    own = np.stack([own_pixels(image, s) for image, s in seen])
    ivar = np.ones_like(images) / sigma[:, None, None] ** 2
    tensors = (torch.from_numpy(a) for a in (images, ivar, own))
    started = time.process_time()
    found = measure_statistics(*tensors)
    rate = len(rows) / (time.process_time() - started)
    theirs = np.array([[row["statmorph"][name] for name in STATISTICS] for row in rows])
    off = found.values.numpy() - theirs
    table: dict[str, tuple[float | str, ...]] = {
        name: (float(np.nanmedian(off[:, i])), float(1.4826 * np.nanmedian(np.abs(off[:, i]))),
               float(np.nanstd(theirs[:, i])), float(np.nanmedian(found.errors[:, i].numpy())))
        for i, name in enumerate(STATISTICS)
    }  # fmt: skip
    title = (
        f"{len(rows)} galaxies of S/N {golden['snr']:g} against statmorph {golden['statmorph']}; {rate:.0f} objects/s "
        f"of processor time with their errors, {SIZE} x {SIZE} pixels"
    )
    return Figures(title, ("difference", "its scatter", "galaxies' own", "our error"), table)
