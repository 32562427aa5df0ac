"""Cutouts of a band on another band's pixels, with flux, inverse variance and mask carried over.

Every pixel of the band is shared out by the area it has in each of the reference's pixels, so that no flux is lost or
counted twice: exact on parallel grids, by a table of overlaps on turned ones (galflow.surveys.reading.overlap). Between
grids of one scale that differ by a shift this is bilinear interpolation. Where the band's pixels are a third larger
than the reference's, or more, they are interpolated instead (bilinear surface brightness times the pixel's area), which
does not show their outlines. Noise is carried over pixel by pixel; that resampling correlates it is not modelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import UNUSABLE, Plane
from galflow.surveys.reading.bilinear import interpolate
from galflow.surveys.reading.grids import SAME_GRID_PIXELS, Grid
from galflow.surveys.reading.overlap import OVERLAP_STEP, interval_overlaps, overlap_table
from galflow.surveys.reading.windows import BEYOND, gather, leaves_image

SHARED_FROM = 0.7
"""From this many band pixels in a reference pixel's side on, pixels are shared out by area. Interpolation on turned
grids counts some of them more than others: by 1 % of a star's flux at a ratio of 1, and by ever more above."""
LARGEST_RATIO = 32
"""No survey's bands differ more; a cutout that needs more is one of a wrong WCS."""
MISSING_WEIGHT = 0.01
"""A pixel of which more than this share of the area is missing is missing; below, the rest stands for it."""
_PIXELS_AT_ONCE = 1 << 16
"""What the temporaries of a sum over neighbours hold: they stay in the processor's cache."""
_PATCH_PIXELS_AT_ONCE = 1 << 20


_Method = Callable[
    [np.ndarray, np.ndarray, np.ndarray, Grid, int],
    tuple[np.ndarray, np.ndarray, np.ndarray],
]


@dataclass(frozen=True, eq=False)
class Planes:
    """One band of a tile, or cutouts of it, as three planes of one shape."""

    flux: np.ndarray
    ivar: np.ndarray
    """0 where a pixel is missing."""
    mask: np.ndarray


def resample(band: Planes, grid: Grid, size: int) -> Planes:
    """Cutouts (N, size, size) float32, float32, uint16 on a ``grid`` with a matrix; missing where the band ends.

    Raises DataError where the band's pixels are more than 32 times finer than the reference's.
    """
    if grid.matrix is None:
        raise DataError("resampling needs a grid with a matrix")
    n = len(grid.x)
    shape = (n, size, size)
    out = Planes(np.full(shape, np.nan, np.float32), np.zeros(shape, np.float32), np.full(shape, BEYOND, np.uint16))
    placed = np.isfinite(grid.x) & np.isfinite(grid.y) & np.isfinite(grid.matrix).all(axis=(1, 2))
    scale = np.zeros(n)
    scale[placed] = np.linalg.svd(grid.matrix[placed], compute_uv=False)[:, 0]
    if (scale > LARGEST_RATIO).any():
        raise DataError(
            f"its pixels are {scale.max():.3g} times finer than the reference band's, more than {LARGEST_RATIO}; "
            "check the WCS of both, or choose a reference band with finer pixels"
        )
    shared = scale >= SHARED_FROM
    tilt = np.minimum(
        np.abs(grid.matrix[:, [0, 1], [1, 0]]).max(axis=1), np.abs(grid.matrix[:, [0, 1], [0, 1]]).max(axis=1)
    )
    parallel = tilt * size / 2 < SAME_GRID_PIXELS
    patch = int(scale.max(initial=1.0) * size + 3) ** 2
    methods: tuple[tuple[np.ndarray, _Method, int], ...] = (
        (placed & ~shared, interpolate, _PIXELS_AT_ONCE // size**2),
        (placed & shared & parallel, _share_parallel, _PATCH_PIXELS_AT_ONCE // patch),
        (placed & shared & ~parallel, _share_turned, _PIXELS_AT_ONCE // size**2),
    )
    for rows, method, most in methods:
        chosen = np.flatnonzero(rows)
        step = max(1, most)
        for start in range(0, len(chosen), step):
            some = chosen[start : start + step]
            part = Grid(grid.x[some], grid.y[some], grid.matrix[some])
            out.flux[some], out.ivar[some], out.mask[some] = method(band.flux, band.ivar, band.mask, part, size)
    return out


def _share_parallel(
    flux: np.ndarray, ivar: np.ndarray, mask: np.ndarray, grid: Grid, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over exact overlaps, which are products of overlaps along y and along x, for parallel grids."""
    matrix = _matrix(grid)
    swapped = bool(np.abs(matrix[0, 0, 0]) < np.abs(matrix[0, 0, 1]))
    if swapped:  # turned by 90 degrees: the band's x runs along the reference's y
        matrix = matrix[:, :, ::-1]
    steps = np.arange(size) - size // 2
    x_first, x_weight = interval_overlaps(grid.x, matrix[:, 0, 0], steps)
    y_first, y_weight = interval_overlaps(grid.y, matrix[:, 1, 1], steps)
    side = max(x_weight.shape[2], y_weight.shape[2])
    x_weight, y_weight = (np.pad(w, ((0, 0), (0, 0), (0, side - w.shape[2]))) for w in (x_weight, y_weight))

    def shared(pixels: np.ndarray, power: int = 1) -> np.ndarray:
        summed = np.matmul(np.matmul(y_weight**power, pixels), (x_weight**power).transpose(0, 2, 1))
        return summed.transpose(0, 2, 1) if swapped else summed

    weights = gather(ivar, x_first, y_first, side, 0.0)
    light = gather(flux, x_first, y_first, side, 0.0)
    missing = ~(weights > 0)
    light[missing] = 0
    typical = float(weights.max(initial=0.0)) or 1.0
    weights[missing] = np.inf
    variance = shared(np.float32(typical) / weights, 2)
    lost = shared(missing.astype(np.float32)) if missing.any() else np.zeros(variance.shape, np.float32)
    planes = np.zeros(variance.shape, np.uint16)
    bits = gather(mask, x_first, y_first, side, 0)
    for bit in _bits(bits):
        touched = shared(((bits & bit) != 0).astype(np.float32)) > 1e-6
        planes[touched] |= bit
    area = np.abs(np.linalg.det(matrix))[:, None, None]
    if leaves_image(x_first, y_first, side, flux.shape).any():
        within = gather(np.broadcast_to(np.float32(1), flux.shape), x_first, y_first, side, 0.0)
        planes[area - shared(within) > MISSING_WEIGHT * area] |= np.uint16(BEYOND)
    return _finished(shared(light), variance / typical, lost, planes, area)


def _share_turned(
    flux: np.ndarray, ivar: np.ndarray, mask: np.ndarray, grid: Grid, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over overlaps from tables, one for each group of cutouts whose grids are turned alike."""
    matrix = _matrix(grid)
    shape = (len(grid.x), size, size)
    out: tuple[np.ndarray, np.ndarray, np.ndarray] = (
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
        np.empty(shape, np.uint16),
    )
    kinds, kind = np.unique(
        np.round(matrix / OVERLAP_STEP).astype(np.int64).reshape(-1, 4), axis=0, return_inverse=True
    )
    for number, key in enumerate(kinds.tolist()):
        rows = kind.reshape(-1) == number
        part = Grid(grid.x[rows], grid.y[rows], matrix[rows])
        out[0][rows], out[1][rows], out[2][rows] = _share_alike(flux, ivar, mask, part, size, tuple(key))
    return out


def _share_alike(
    flux: np.ndarray, ivar: np.ndarray, mask: np.ndarray, grid: Grid, size: int, key: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``_share_turned`` with one table of overlaps: a sum over the neighbours that a reference pixel may touch."""
    table = overlap_table(key)
    height, width = flux.shape
    xs, ys = grid.pixels(size)
    column, row = np.floor(xs + 0.5).astype(np.int64), np.floor(ys + 0.5).astype(np.int64)
    phase = table.phase(xs - column, ys - row)
    reach = table.reach
    inside = bool(
        column.min() >= reach and row.min() >= reach and column.max() < width - reach and row.max() < height - reach
    )
    plain = inside and ivar.strides == mask.strides == (0, 0) and bool(ivar[0, 0] > 0 and mask[0, 0] == 0)
    typical = float(ivar[0, 0]) if plain else 1.0
    light, variance, lost, beyond = (np.zeros(xs.shape, np.float32) for _ in range(4))
    planes = np.zeros(xs.shape, np.uint16)
    flat = row * width + column
    there: np.ndarray | bool = True
    for dy, dx, weights in table.neighbours:
        weight = weights.take(phase)
        index = flat + (dy * width + dx)
        if not inside:
            x, y = column + dx, row + dy
            there = (x >= 0) & (y >= 0) & (x < width) & (y < height)
            index = np.where(there, index, 0)
            beyond += np.where(there, 0, weight)
        if plain:
            light += weight * flux.reshape(-1).take(index)
            weight *= weight
            variance += weight
            continue
        iv = _taken(ivar, index)
        seen = (iv > 0) & there
        if seen.all():
            light += weight * flux.reshape(-1).take(index)
            variance += weight * weight / iv
        else:
            light += np.where(seen, weight * flux.reshape(-1).take(index), 0)
            variance += np.where(seen, weight * weight / np.where(seen, iv, 1), 0)
            lost += np.where(seen, 0, weight)
        if mask.strides != (0, 0) or mask[0, 0]:
            planes |= np.where(there & (weight > 1e-6), _taken(mask, index), 0).astype(np.uint16)
    planes[beyond > MISSING_WEIGHT * table.area] |= np.uint16(BEYOND)
    area = np.abs(np.linalg.det(_matrix(grid)))[:, None, None]
    factor = area / table.area
    return _finished(light * factor, variance * factor**2 / typical, lost * factor, planes, area)


def _taken(plane: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Pixels by their flat index; a plane of one value (strides 0) is not copied for that."""
    return plane[:1, :1].reshape(-1).take(np.zeros_like(index)) if plane.strides == (0, 0) else plane.take(index)


def _finished(
    light: np.ndarray, variance: np.ndarray, lost: np.ndarray, planes: np.ndarray, area: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flux, inverse variance and mask from sums over pixels of which the area ``lost`` is missing."""
    share = lost / area
    missing = (share > MISSING_WEIGHT) | ~(variance > 0)
    rest = 1.0 / np.where(missing, 1.0, 1.0 - share)
    flux = np.where(missing, np.nan, light * rest).astype(np.float32)
    ivar = np.where(missing, 0.0, 1.0 / (np.where(missing, 1.0, variance) * rest**2)).astype(np.float32)
    # What a sliver of a missing pixel says of itself does not make the reference's pixel missing.
    planes = np.where(missing, planes, planes & ~np.uint16(UNUSABLE)).astype(np.uint16)
    planes[missing & ((planes & np.uint16(UNUSABLE)) == 0)] |= np.uint16(Plane.NO_DATA)
    return flux, ivar, planes


def _matrix(grid: Grid) -> np.ndarray:
    return np.zeros((len(grid.x), 2, 2)) if grid.matrix is None else grid.matrix


def _bits(planes: np.ndarray) -> list[np.uint16]:
    """The mask bits that occur."""
    present = int(np.bitwise_or.reduce(planes, axis=None)) if planes.size else 0
    return [np.uint16(1 << bit) for bit in range(16) if present >> bit & 1]
