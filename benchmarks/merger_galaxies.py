"""Isolated galaxies and galaxies before, in and after a merger, one band, as one survey sees them. GalSim draws them.

Light is a rule of thumb and no dynamics: bulges and discs, bridges and tails as curves of light, shells as arcs. What
is drawn was fixed before anything was scored, and two things are kept from deciding: a merging system has the total
magnitude of an isolated galaxy, each of its galaxies the size that belongs to its own magnitude, and one that a
catalogue would hold for a single object (in coalescence, or after it) the half-light radius of an isolated one.
Each system is seen once in each stage, so that the images of a sample do not depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from scipy.ndimage import shift
from scipy.signal import fftconvolve

from galflow.photometry import AB_ZERO_NJY
from galflow.surveys.base import Psf
from galflow.surveys.drawing import galaxies

SIDE = 64
"""Pixels of an image; runs cut the central 32."""
SCALE_ARCSEC = 0.2
PSF_FWHM_ARCSEC = 0.6
SKY_SIGMA_NJY = 12.0
SKY_NJY = 480.0
"""Of a pixel, 21.2 AB mag/arcsec^2: an object's own photons add to the variance as its flux to this."""
MAGNITUDES = (18.5, 20.5)
"""AB; numbers grow as 10^(0.3 m). Such galaxies are what people classify by eye."""
BIN = 4
"""Pixels of a SKIRT image that are joined before it is drawn."""

Image = np.ndarray
"""(SIDE, SIDE) float64, nJy a pixel; the object at pixel (SIDE // 2, SIDE // 2)."""
Draw = np.random.Generator
_CENTRE = SIDE // 2
_Y, _X = np.mgrid[:SIDE, :SIDE] - _CENTRE
_PSF = galaxies.psf_profile(Psf(None, PSF_FWHM_ARCSEC), SCALE_ARCSEC)
_PSF_IMAGE = galaxies.psf_image(_PSF, SCALE_ARCSEC, 2 * math.ceil(4.0 * PSF_FWHM_ARCSEC / SCALE_ARCSEC) + 1)
_RADII = np.arange(0.0, SIDE / 2, 0.1)
_APERTURES = np.clip(_RADII[:, None] - np.hypot(_Y, _X).ravel() + 0.5, 0.0, 1.0)
"""(radii, pixels): which part of a pixel lies within a circle."""


@dataclass(frozen=True)
class Galaxy:
    """A bulge and a disc."""

    flux: float
    """nJy."""
    radius: float
    """Half-light radius of the disc in arcsec."""
    bulge_fraction: float
    bulge_index: float
    """Sersic."""
    axis_ratio: float
    angle_deg: float

    def light(self, y: float = 0.0, x: float = 0.0) -> Image:
        """Noise-free, through the PSF, centred (y, x) pixels off the centre."""
        disc = galaxies.sersic(1.0, self.radius, self.axis_ratio, self.angle_deg)
        ratio = 0.5 + 0.5 * self.axis_ratio
        bulge = galaxies.sersic(self.bulge_index, 0.35 * self.radius, ratio, self.angle_deg)
        whole = (1.0 - self.bulge_fraction) * disc + self.bulge_fraction * bulge
        return self.flux * galaxies.draw(whole, _PSF, size=SIDE, pixel_scale_arcsec=SCALE_ARCSEC, dy=y, dx=x)


def draw_flux(rng: Draw) -> float:
    """nJy: counts of galaxies by magnitude."""
    bright, faint = (10.0 ** (0.3 * m) for m in MAGNITUDES)
    return float(AB_ZERO_NJY * 10 ** (-0.4 * math.log10(rng.uniform(bright, faint)) / 0.3))


def draw_galaxy(flux: float, rng: Draw) -> Galaxy:
    """A galaxy as isolated ones of that flux are: the population of galflow's synthetic survey, with bulges of many
    Sersic indices.
    """
    magnitude = -2.5 * math.log10(flux / AB_ZERO_NJY)
    radius = 0.7 * 10 ** (-0.12 * (magnitude - 21.0) + rng.normal(0.0, 0.12))
    return Galaxy(
        flux=flux,
        radius=float(np.clip(radius, 0.2, 3.0)),
        bulge_fraction=float(rng.beta(0.8, 1.6)),
        bulge_index=float(rng.uniform(2.0, 5.0)),
        axis_ratio=float(rng.uniform(0.25, 1.0)),
        angle_deg=float(rng.uniform(0.0, 180.0)),
    )


def isolated(rng: Draw) -> Image:
    """One galaxy by itself."""
    return draw_galaxy(draw_flux(rng), rng).light()


def curve(points: np.ndarray, width: np.ndarray, weight: np.ndarray) -> Image:
    """Light of sum 1 along points (n, 2), pixels (y, x) off the centre: Gaussians of such widths, through the PSF."""
    dy, dx = _Y - points[:, 0, None, None], _X - points[:, 1, None, None]
    spread = np.maximum(width, 0.5)[:, None, None]
    light = (weight[:, None, None] * np.exp(-0.5 * (dy**2 + dx**2) / spread**2) / spread**2).sum(0)
    seen = fftconvolve(light, _PSF_IMAGE, mode="same")
    return np.asarray(seen / seen.sum())


def tail(place: tuple[float, float], angle: float, radius: float, reach: float, turn: float) -> Image:
    """A tidal tail of flux 1: leaves a galaxy at ``angle`` (radians from x to y), bends by ``turn`` radians and fades.

    ``radius`` (pixels) is where it begins and sets its width, ``reach`` its length.
    """
    along = np.linspace(0.0, 1.0, 48)
    bent = angle + turn * along
    distance = 0.8 * radius + reach * along
    points = np.stack([place[0] + distance * np.sin(bent), place[1] + distance * np.cos(bent)], axis=1)
    return curve(points, 0.3 * radius * (1.0 + along), (1.0 - along) ** 0.7 + 0.05)


def bridge(one: tuple[float, float], other: tuple[float, float], bow: float, width: float) -> Image:
    """A bridge of flux 1 between two galaxies, bowed sideways by that part of their distance."""
    along = np.linspace(0.0, 1.0, 32)[:, None]
    start, end = np.array(one), np.array(other)
    across = np.array([start[1] - end[1], end[0] - start[0]])
    points = (1 - along) * start + along * end + 4 * bow * along * (1 - along) * across
    return curve(points, np.full(32, width), np.full(32, 1.0))


def shells(angle: float, radius: float, count: int, rng: Draw) -> Image:
    """Arcs of flux 1 on alternating sides of an axis, farther out each time."""
    light = np.zeros((SIDE, SIDE))
    for number in range(count):
        half = math.radians(rng.uniform(20.0, 50.0))
        directions = angle + math.pi * number + np.linspace(-half, half, 32)
        distance = radius * (1.3 + 0.5 * number) * rng.uniform(0.9, 1.1)
        points = distance * np.stack([np.sin(directions), np.cos(directions)], axis=1)
        light += curve(points, np.full(32, 0.15 * radius), np.cos(np.linspace(-1.3, 1.3, 32)))
    return light / count


@dataclass(frozen=True)
class System:
    """Two galaxies that will be one."""

    primary: Galaxy
    secondary: Galaxy
    spin: tuple[float, float]
    """Which way each one's tail bends, +1 or -1."""

    @classmethod
    def draw(cls, rng: Draw) -> System:
        """Of the total flux of an isolated galaxy and a flux ratio of 1:4 to 1:1."""
        total, ratio = draw_flux(rng), rng.uniform(0.25, 1.0)
        fluxes = total / (1 + ratio), total * ratio / (1 + ratio)
        spins = rng.choice([-1.0, 1.0], size=2)
        return cls(draw_galaxy(fluxes[0], rng), draw_galaxy(fluxes[1], rng), (float(spins[0]), float(spins[1])))

    @property
    def flux(self) -> float:
        """Of both, nJy."""
        return self.primary.flux + self.secondary.flux

    @property
    def radii(self) -> tuple[float, float]:
        """Of the discs, pixels."""
        return self.primary.radius / SCALE_ARCSEC, self.secondary.radius / SCALE_ARCSEC


def _offset(rng: Draw, separation: float) -> tuple[tuple[float, float], float]:
    """A separation in space (pixels) seen from anywhere: where it ends (y, x), and its angle on the sky."""
    angle, cosine = rng.uniform(0.0, 2 * math.pi), rng.uniform(-1.0, 1.0)
    seen = separation * math.sqrt(1 - cosine**2)
    return (seen * math.sin(angle), seen * math.cos(angle)), angle


def before(system: System, rng: Draw) -> Image:
    """Two galaxies 1.5 to 3 times the sum of their radii apart, in space: a bridge of 2 to 6% of all light, and a tail
    of 3 to 10% of its light behind each. Centred on the brighter one.
    """
    first, second = system.radii
    other, angle = _offset(rng, min(rng.uniform(1.5, 3.0) * (first + second), 16.0))
    connecting, lost = rng.uniform(0.02, 0.06), rng.uniform(0.03, 0.10, size=2)
    light = (1 - lost[0] - connecting) * system.primary.light()
    light += (1 - lost[1] - connecting) * system.secondary.light(*other)
    width = 0.25 * min(first, second) + 0.5
    light += connecting * system.flux * bridge((0.0, 0.0), other, rng.uniform(-0.3, 0.3), width)
    for galaxy, place, radius, away, spin, share in (
        (system.primary, (0.0, 0.0), first, angle + math.pi, system.spin[0], lost[0]),
        (system.secondary, other, second, angle, system.spin[1], lost[1]),
    ):
        bend = spin * math.radians(rng.uniform(40.0, 120.0))
        light += share * galaxy.flux * tail(place, away, radius, rng.uniform(1.5, 3.5) * radius, bend)
    return light


def coalescing(system: System, rng: Draw, scale: float = 1.0) -> Image:
    """Two nuclei within 0.3 to 1 times the sum of the radii, in space: two or three shells of 4 to 10% of all light
    and two tails of 5 to 12% together. Centred between the nuclei by their light.
    """
    first, second = (scale * radius for radius in system.radii)
    other, angle = _offset(rng, rng.uniform(0.3, 1.0) * (first + second))
    weight = system.secondary.flux / system.flux
    places = [(-weight * other[0], -weight * other[1]), ((1 - weight) * other[0], (1 - weight) * other[1])]
    arcs, lost = rng.uniform(0.04, 0.10), rng.uniform(0.05, 0.12)
    members = [replace(g, radius=scale * g.radius) for g in (system.primary, system.secondary)]
    pairs = zip(members, places, strict=True)
    light = (1 - arcs - lost) * sum((g.light(*p) for g, p in pairs), np.zeros((SIDE, SIDE)))
    light += arcs * system.flux * shells(angle, first, int(rng.integers(2, 4)), rng)
    for place, away, spin in zip(places, (angle + math.pi, angle), system.spin, strict=True):
        bend = spin * math.radians(rng.uniform(60.0, 160.0))
        light += 0.5 * lost * system.flux * tail(place, away, first, rng.uniform(2.0, 4.0) * first, bend)
    return light


def after(system: System, rng: Draw, scale: float = 1.0) -> Image:
    """One nucleus with a larger bulge, 15 to 30% of all light in an envelope 0.3 to 0.8 radii off it, 2 to 6% in a tail
    and 1 to 4% in a shell.
    """
    radius = scale * math.hypot(system.primary.radius, system.secondary.radius)
    pixels = radius / SCALE_ARCSEC
    aside, faint, arc = rng.uniform(0.15, 0.30), rng.uniform(0.02, 0.06), rng.uniform(0.01, 0.04)
    centre = replace(
        system.primary,
        flux=system.flux * (1 - aside - faint - arc),
        radius=radius,
        bulge_fraction=float(rng.uniform(0.4, 0.9)),
        axis_ratio=float(rng.uniform(0.5, 1.0)),
    )
    envelope = replace(
        system.secondary, flux=system.flux * aside, radius=1.5 * radius, bulge_fraction=0.0,
        axis_ratio=float(rng.uniform(0.5, 1.0)),
    )  # fmt: skip
    angle, away = rng.uniform(0.0, 2 * math.pi, size=2)
    distance = rng.uniform(0.3, 0.8) * pixels
    light = centre.light() + envelope.light(distance * math.sin(away), distance * math.cos(away))
    bend = system.spin[0] * math.radians(rng.uniform(90.0, 200.0))
    light += faint * system.flux * tail((0.0, 0.0), angle, pixels, rng.uniform(2.5, 4.5) * pixels, bend)
    light += arc * system.flux * shells(angle, pixels, 1, rng)
    return light


def half_light_radius(light: Image) -> float:
    """Pixels, of noise-free light, in circles around the centre."""
    growth = _APERTURES @ light.ravel()
    return float(np.interp(0.5 * growth[-1], growth, _RADII))


def of_usual_size(stage: Callable[[System, Draw, float], Image], system: System, rng: Draw) -> Image:
    """A stage with the half-light radius that an isolated galaxy of its flux has, within a few per cent."""
    wanted = half_light_radius(draw_galaxy(system.flux, rng).light())
    seed, scale = int(rng.integers(2**63)), 1.0
    for _ in range(2):
        found = half_light_radius(stage(system, np.random.default_rng(seed), scale))
        scale = float(np.clip(scale * wanted / found, 0.3, 3.0))
    return stage(system, np.random.default_rng(seed), scale)


def skirt_light(file: Path) -> np.ndarray:
    """(y, x) linear light of a SKIRT image in AB mag/arcsec^2 (NaN is empty), binned, sum 1, its peak in the middle."""
    magnitude = fits.getdata(file).astype(np.float64)
    light = np.where(np.isfinite(magnitude), 10 ** (-0.4 * magnitude), 0.0)
    side = len(light) // BIN
    binned = light[: side * BIN, : side * BIN].reshape(side, BIN, side, BIN).sum((1, 3))
    smooth = fftconvolve(binned, np.full((5, 5), 0.04), mode="same")
    row, column = np.unravel_index(int(smooth.argmax()), smooth.shape)
    half = min(row, column, side - 1 - row, side - 1 - column)
    centred = binned[row - half : row + half + 1, column - half : column + half + 1]
    return np.asarray(centred / centred.sum())


def observed_simulation(light: np.ndarray, rng: Draw) -> Image:
    """A simulated galaxy of ``skirt_light`` with flux and size of an isolated one, turned and mirrored at random."""
    galaxy = draw_galaxy(draw_flux(rng), rng)
    wanted = half_light_radius(galaxy.light())
    turned = np.ascontiguousarray(light[:, ::-1] if rng.random() < 0.5 else light)
    angle = rng.uniform(0.0, 360.0) * galsim.degrees
    scale = 4.0 * galaxy.radius / len(light)
    for _ in range(6):
        profile = galsim.InterpolatedImage(galsim.Image(turned, scale=scale), flux=galaxy.flux).rotate(angle)
        seen = galaxies.draw(profile, _PSF, size=SIDE, pixel_scale_arcsec=SCALE_ARCSEC, dy=0.0, dx=0.0)
        scale = float(scale * np.clip(wanted / half_light_radius(seen), 0.3, 3.0))
    return seen


def observed(light: Image, rng: Draw) -> np.ndarray:
    """(SIDE, SIDE) float32 nJy: moved by up to half a pixel, with noise of the sky and of the object's own photons."""
    return with_noise(shift(light, rng.uniform(-0.5, 0.5, size=2), mode="nearest"), rng)


def with_noise(light: Image, rng: Draw) -> np.ndarray:
    """(SIDE, SIDE) float32 nJy."""
    sigma = SKY_SIGMA_NJY * np.sqrt(1.0 + np.clip(light, 0.0, None) / SKY_NJY)
    return (light + sigma * rng.standard_normal(light.shape)).astype(np.float32)
