"""Paints named anomalies into cutouts, so that a run can say which kinds its scores find and which they miss.

Every kind is either something of the sky (a merger, a tidal tail, a ring) or something of the pipeline (a trail, a
cosmic ray, a saturated star, dead columns, a lost edge, a misregistered frame). Amplitudes are stated in sigmas of the
sky and in parts of the object's own flux, so that each is visible; none is recorded in the mask, because an unrecorded
defect is what a score has to find. This file paints pixels and nothing else: it refuses to choose objects or to label.

The object is at the centre, pixel ``(y // 2, x // 2)`` of the array. Missing pixels (NaN) stay missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from galflow.errors import DataError, SpecError
from galflow.photometry import FWHM_PER_SIGMA
from galflow.surveys.base import UNUSABLE

SMALLEST_SIDE = 8


@dataclass(frozen=True, eq=False)
class _Scene:
    """One cutout as the painters see it."""

    flux: np.ndarray
    """(B, y, x) float32."""
    sigma: np.ndarray
    """(B,) sky sigma."""
    fwhm: float
    """PSF FWHM in pixels."""
    dy: np.ndarray
    dx: np.ndarray
    """(y, x) offsets from the central pixel."""
    total: np.ndarray
    """(B,) flux of the object itself, at least that of a source seen at 10 sigma."""
    peak: np.ndarray
    """(B,) its highest pixel, at least 5 sigma."""
    radius: float
    """Its half-light radius in pixels, PSF included."""

    @property
    def side(self) -> int:
        return min(self.flux.shape[1:])

    @property
    def colour(self) -> np.ndarray:
        """(B,) the object's peak per sky sigma relative to its best band, not below 0.4."""
        relative = self.peak / self.sigma
        return np.clip(relative / relative.max(), 0.4, 1.0)

    def blur(self, pattern: np.ndarray) -> np.ndarray:
        """``pattern`` (y, x) as the PSF would show it."""
        from scipy.ndimage import gaussian_filter

        return gaussian_filter(pattern, self.fwhm / FWHM_PER_SIGMA, mode="nearest")

    def bands(self, rng: np.random.Generator, all_bands: float = 0.5) -> np.ndarray:
        """(B,) which bands a defect strikes: all of them with that probability, else one."""
        count = len(self.sigma)
        if rng.random() < all_bands:
            return np.ones(count)
        return (np.arange(count) == rng.integers(count)).astype(float)


def _look(flux: np.ndarray, mask: np.ndarray | None, sigma: np.ndarray, fwhm: float) -> _Scene:
    """Measure the central object: flux in an aperture, highest pixel, half-light radius."""
    height, width = flux.shape[1:]
    dy, dx = np.mgrid[:height, :width].astype(float)
    dy, dx = dy - height // 2, dx - width // 2
    usable = np.isfinite(flux)
    if mask is not None:
        usable &= (mask & np.uint16(UNUSABLE)) == 0
    clean = np.where(usable, flux, 0.0)
    distance = np.hypot(dy, dx)
    aperture = distance <= max(3.0, min(3.0 * fwhm, min(height, width) / 4))
    core = distance <= max(1.5, 0.7 * fwhm)
    total = np.maximum(clean[:, aperture].sum(axis=1), 10.0 * sigma * math.sqrt(math.pi) * fwhm)
    peak = np.maximum(clean[:, core].max(axis=1), 5.0 * sigma)
    weight = np.clip((clean / sigma[:, None, None]).sum(axis=0), 0.0, None) * aperture
    order = np.argsort(distance, axis=None)
    growth = np.cumsum(weight.ravel()[order])
    half = float(distance.ravel()[order][np.searchsorted(growth, 0.5 * growth[-1])]) if growth[-1] > 0 else 0.0
    return _Scene(flux, sigma, fwhm, dy, dx, total, peak, float(np.clip(half, 0.6 * fwhm, min(height, width) / 6)))


def _ellipse(scene: _Scene, y: float, x: float, axis_ratio: float, angle: float) -> np.ndarray:
    """(y, x) elliptical radius around the offset (y, x) from the centre."""
    along = (scene.dx - x) * math.cos(angle) + (scene.dy - y) * math.sin(angle)
    across = (scene.dy - y) * math.cos(angle) - (scene.dx - x) * math.sin(angle)
    return np.hypot(along, across / axis_ratio)


def _merger_pair(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """A second galaxy of 0.6 to 1.1 times the object's flux, an exponential disc 2 to 3.5 half-light radii away."""
    separation = max(rng.uniform(2.0, 3.5) * scene.radius, 1.6 * scene.fwhm)
    direction, angle = rng.uniform(0, 2 * math.pi, size=2)
    scale_length = rng.uniform(0.7, 1.2) * scene.radius / 1.678
    y, x = separation * math.sin(direction), separation * math.cos(direction)
    disc = scene.blur(np.exp(-_ellipse(scene, y, x, rng.uniform(0.4, 1.0), angle) / scale_length))
    flux = scene.total * rng.uniform(0.6, 1.1) * rng.uniform(0.9, 1.1, size=len(scene.sigma))
    companion = flux[:, None, None] * disc / disc.sum()
    # A companion that drowns in the sky would be a wrong label: lift it to 10 sigma in its best band.
    lift = max(1.0, 10.0 / float((companion.max(axis=(1, 2)) / scene.sigma).max()))
    return scene.flux + lift * companion


def _tidal_tail(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """A smooth arc that winds outwards over 110 to 200 degrees and fades, 4 to 8 sky sigmas at its brightest."""
    start, turn = rng.uniform(0, 2 * math.pi), rng.choice([-1.0, 1.0])
    span = math.radians(rng.uniform(110.0, 200.0))
    inner = 1.3 * scene.radius
    outer = min(max(rng.uniform(4.0, 6.0) * scene.radius, 3.0 * scene.fwhm), 0.45 * scene.side)
    along = np.mod(turn * (np.arctan2(scene.dy, scene.dx) - start), 2 * math.pi) / span
    middle = inner + (outer - inner) * np.clip(along, 0.0, 1.0)
    width = rng.uniform(0.35, 0.55) * scene.radius
    fade = np.where(along < 1.0, np.sin(math.pi * np.clip(along, 0.0, 1.0) ** 0.6) ** 0.7, 0.0)
    arc = scene.blur(fade * np.exp(-0.5 * ((np.hypot(scene.dy, scene.dx) - middle) / width) ** 2))
    level = np.maximum(rng.uniform(4.0, 8.0) * scene.sigma, 0.02 * scene.peak) * scene.colour
    return scene.flux + level[:, None, None] * arc / arc.max()


def _ring(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """A ring at 2.2 to 3.2 half-light radii, 6 to 12 sky sigmas or a tenth of the object's peak."""
    radius = min(max(rng.uniform(2.2, 3.2) * scene.radius, 1.5 * scene.fwhm), 0.38 * scene.side)
    away = _ellipse(scene, 0.0, 0.0, rng.uniform(0.6, 1.0), rng.uniform(0, math.pi)) - radius
    ring = scene.blur(np.exp(-0.5 * (away / (0.12 * radius)) ** 2))
    level = np.maximum(rng.uniform(6.0, 12.0) * scene.sigma, 0.1 * scene.peak) * scene.colour
    return scene.flux + level[:, None, None] * ring / ring.max()


def _trail(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """A straight line as wide as the PSF across the frame, near the object; 10 to 30 sky sigmas in one or all bands."""
    angle, offset = rng.uniform(0, math.pi), rng.uniform(-0.2, 0.2) * scene.side
    across = scene.dy * math.cos(angle) - scene.dx * math.sin(angle) - offset
    line = np.exp(-0.5 * (across * FWHM_PER_SIGMA / (rng.uniform(1.0, 1.4) * scene.fwhm)) ** 2)
    level = rng.uniform(10.0, 30.0) * scene.sigma * scene.bands(rng)
    return scene.flux + level[:, None, None] * line


def _cosmic_ray(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """One to three tracks of 2 to 8 sharp pixels that no PSF has seen, 20 to 60 sky sigmas each, in one band."""
    painted = scene.flux.copy()
    band = int(rng.integers(len(scene.sigma)))
    height, width = painted.shape[1:]
    for _ in range(int(rng.integers(1, 4))):
        angle, steps = rng.uniform(0, 2 * math.pi), np.arange(int(rng.integers(2, 9)))
        y0, x0 = rng.uniform(-0.25, 0.25, size=2) * scene.side
        y = np.clip(np.rint(height // 2 + y0 + steps * math.sin(angle)).astype(int), 0, height - 1)
        x = np.clip(np.rint(width // 2 + x0 + steps * math.cos(angle)).astype(int), 0, width - 1)
        painted[band, y, x] += scene.sigma[band] * rng.uniform(20.0, 60.0, size=len(steps))
    return painted


def _saturated_star(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """A star (Moffat, beta 2.5) clipped at full well, with a column that bleeds from it, off the object's centre."""
    direction, distance = rng.uniform(0, 2 * math.pi), rng.uniform(0.18, 0.32) * scene.side
    y, x = np.rint(distance * math.sin(direction)), np.rint(distance * math.cos(direction))
    beta = 2.5
    core = scene.fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / beta) - 1.0))
    star = (1.0 + ((scene.dy - y) ** 2 + (scene.dx - x) ** 2) / core**2) ** -beta
    full_well = np.maximum(rng.uniform(60.0, 120.0) * scene.sigma, 1.5 * scene.peak)[:, None, None]
    brightness = full_well * rng.uniform(8.0, 25.0)
    painted = np.minimum(scene.flux + brightness * star, full_well)
    length = rng.uniform(0.3, 0.6, size=2) * scene.side
    column = (
        (np.abs(scene.dx - x) <= max(0.5, 0.15 * scene.fwhm)) & (scene.dy - y < length[0]) & (y - scene.dy < length[1])
    )
    return np.where(column & np.isfinite(painted), full_well, painted)


def _dead_columns(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """Two to five neighbouring columns through the object read a constant 0, in one or all bands."""
    first = rng.uniform(-1.0, 1.0) * max(1.5 * scene.radius, 2.0) - 1.5
    dead = (scene.dx >= first) & (scene.dx < first + rng.integers(2, 6))
    struck = (scene.bands(rng, all_bands=0.7) > 0)[:, None, None]
    return np.where(dead & struck & np.isfinite(scene.flux), 0.0, scene.flux)


def _edge(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """From 2 to 15 % of the side beyond the centre, the frame on one of the four sides is a constant 0 in all bands."""
    side = [scene.dx, -scene.dx, scene.dy, -scene.dy][int(rng.integers(4))]
    lost = side > rng.uniform(0.02, 0.15) * scene.side
    return np.where(lost & np.isfinite(scene.flux), 0.0, scene.flux)


def _doubled_image(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """The sum of two frames registered 1.2 to 2.5 FWHM or half-light radii apart, 3 pixels or more.

    It is divided by sqrt 2, so that the sky's sigma stays what it was.
    """
    distance = max(3.0, rng.uniform(1.2, 2.5) * max(scene.fwhm, scene.radius))
    angle = rng.uniform(0, 2 * math.pi)
    down, right = round(distance * math.sin(angle)), round(distance * math.cos(angle))
    rows = np.clip(np.arange(scene.flux.shape[1]) - down, 0, scene.flux.shape[1] - 1)
    columns = np.clip(np.arange(scene.flux.shape[2]) - right, 0, scene.flux.shape[2] - 1)
    second = scene.flux[:, rows[:, None], columns[None, :]]
    doubled = (scene.flux + np.where(np.isfinite(second), second, 0.0)) / math.sqrt(2.0)
    return np.where((scene.bands(rng, all_bands=0.7) > 0)[:, None, None], doubled, scene.flux)


def _low_line(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """One to three neighbouring columns or rows, 0.3 to 1 side long, lie 5 to 25 sky sigmas too low in one band."""
    along, across = (scene.dy, scene.dx) if rng.random() < 0.7 else (scene.dx, scene.dy)
    first = np.floor(rng.uniform(-0.4, 0.4) * scene.side)
    middle, length = rng.uniform(-0.4, 0.4) * scene.side, rng.uniform(0.3, 1.0) * scene.side
    low = (across >= first) & (across < first + rng.integers(1, 4)) & (np.abs(along - middle) < length / 2)
    depth = rng.uniform(5.0, 25.0) * scene.sigma * scene.bands(rng, all_bands=0.0)
    return scene.flux - depth[:, None, None] * low


def _noise_step(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """Beyond a border along columns or rows, or in a strip, noise is 2.5 to 8 times the sky's, in one or all bands."""
    across = scene.dx if rng.random() < 0.5 else scene.dy
    border, width = rng.uniform(-0.3, 0.3) * scene.side, rng.choice([0.3, 2.0]) * scene.side
    noisy = (across > border) & (across < border + width)
    noise = math.sqrt(rng.uniform(2.5, 8.0) ** 2 - 1.0) * scene.sigma * scene.bands(rng, all_bands=0.3)
    return scene.flux + noise[:, None, None] * noisy * rng.normal(size=scene.flux.shape)


def _level_step(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """Beyond a border along columns or rows the sky lies 1.2 to 4 sigmas higher or lower, in one or all bands."""
    across = scene.dx if rng.random() < 0.5 else scene.dy
    beyond = across > rng.uniform(-0.3, 0.3) * scene.side
    step = rng.choice([-1.0, 1.0]) * rng.uniform(1.2, 4.0) * scene.sigma * scene.bands(rng, all_bands=0.3)
    return scene.flux + step[:, None, None] * beyond


def _shifted_band(scene: _Scene, rng: np.random.Generator) -> np.ndarray:
    """One band lies 0.5 to 1.5 FWHM, two pixels or more, beside the others."""
    distance, angle = max(2.0, rng.uniform(0.5, 1.5) * scene.fwhm), rng.uniform(0, 2 * math.pi)
    down, right = round(distance * math.sin(angle)), round(distance * math.cos(angle))
    rows = np.clip(np.arange(scene.flux.shape[1]) - down, 0, scene.flux.shape[1] - 1)
    columns = np.clip(np.arange(scene.flux.shape[2]) - right, 0, scene.flux.shape[2] - 1)
    moved = scene.flux[:, rows[:, None], columns[None, :]]
    return np.where((scene.bands(rng, all_bands=0.0) > 0)[:, None, None], moved, scene.flux)


_PAINTERS: dict[str, Callable[[_Scene, np.random.Generator], np.ndarray]] = {
    "merger_pair": _merger_pair,
    "tidal_tail": _tidal_tail,
    "ring": _ring,
    "trail": _trail,
    "cosmic_ray": _cosmic_ray,
    "saturated_star": _saturated_star,
    "dead_columns": _dead_columns,
    "edge": _edge,
    "doubled_image": _doubled_image,
}

KINDS: tuple[str, ...] = tuple(_PAINTERS)
"""Names of the anomalies that scores are judged by, and that are painted unless others are named."""

_PAINTERS |= {"low_line": _low_line, "noise_step": _noise_step, "level_step": _level_step}
_PAINTERS |= {"shifted_band": _shifted_band}
ALL_KINDS: tuple[str, ...] = tuple(_PAINTERS)
"""Names of all anomalies that ``plant`` can paint. Those beyond ``KINDS`` test no score: a triage learns them."""


def check_kinds(kinds: tuple[str, ...]) -> None:
    """SpecError if one of ``kinds`` is not in ``ALL_KINDS``."""
    for kind in kinds:
        if kind not in _PAINTERS:
            raise SpecError(f"anomaly kind {kind!r} is unknown; expected one of {', '.join(ALL_KINDS)}")


def plant(
    kind: str,
    flux: np.ndarray,
    mask: np.ndarray | None,
    *,
    sky_sigma: np.ndarray,
    psf_fwhm_pix: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A copy of one cutout with the anomaly ``kind`` painted in.

    ``flux`` (B, y, x) float with NaN where missing; ``mask`` (B, y, x) uint16 of ``Plane`` bits or None, used only to
    measure the object; ``sky_sigma`` (B,) in the unit of ``flux``; ``psf_fwhm_pix`` in pixels. The geometry is drawn
    from ``rng``: the same generator state gives the same pixels. Returns (B, y, x) float32.
    Raises SpecError for an unknown kind, DataError for pixels that cannot be painted.
    """
    check_kinds((kind,))
    if flux.ndim != 3 or min(flux.shape[1:]) < SMALLEST_SIDE:
        raise DataError(
            f"cannot plant {kind} in pixels of shape {flux.shape}; give (band, y, x), sides >= {SMALLEST_SIDE}"
        )
    if mask is not None and mask.shape != flux.shape:
        raise DataError(f"mask has shape {mask.shape}, its cutout {flux.shape}; they must be equal")
    sigma = np.asarray(sky_sigma, dtype=float)
    if sigma.shape != flux.shape[:1] or not (np.isfinite(sigma) & (sigma > 0)).all():
        raise DataError(f"sky_sigma is {sky_sigma!r}; give one positive number for each of the {len(flux)} band(s)")
    if not (math.isfinite(psf_fwhm_pix) and psf_fwhm_pix > 0):
        raise DataError(f"psf_fwhm_pix is {psf_fwhm_pix!r}; give a positive number of pixels")
    return _PAINTERS[kind](_look(flux, mask, sigma, psf_fwhm_pix), rng).astype(np.float32)
