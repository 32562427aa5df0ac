"""The cutouts of a tile's objects, some at a time: pixels of every band, and the flags that they show.

What all objects need is found once (which bands are there, where they lie in each other); then any rows may be cut, in
any order and by several threads. This file writes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from galflow.cutouts.crossings import crossed
from galflow.cutouts.extract import (
    BandCutouts,
    Grid,
    corners,
    cut_band,
    gather,
    grid_in_band,
    is_flawless,
    leaves_image,
)
from galflow.cutouts.flags import Flag, pixel_flags
from galflow.cutouts.pixel_defects import PixelDefects
from galflow.cutouts.set_writing import Pixels
from galflow.errors import DataError
from galflow.surveys.base import OUTSIDE_TILE, Image, Plane
from galflow.surveys.reading.sky import all_finite
from galflow.surveys.reading.trails import Trail


@dataclass(frozen=True, eq=False)
class _Band:
    """One band of the tile, as far as it is there."""

    image: Image
    grid: Grid
    """Of the objects that have a position, in their order."""
    flawless: bool
    """No pixel of the image is missing or masked, and none is resampled."""
    non_finite: bool
    """The image holds NaN or infinite pixels."""


def positions(rows: pa.Table, name: str) -> np.ndarray:
    """(N,) float64 of a column, NaN where it is null."""
    return rows.column(name).to_pandas().to_numpy(dtype=np.float64)


def reading_order(x: np.ndarray, y: np.ndarray, size: int, shape: tuple[int, int]) -> np.ndarray:
    """(N,) objects in the order in which an image of ``shape`` (y, x) lies in memory; those that leave it are last.

    Neighbours in the order share lines of the image while these are in the processor's cache, and chunks of complete
    cutouts have nothing missing to be written down.
    """
    placed = np.isfinite(x) & np.isfinite(y)
    safe_x, safe_y = np.where(placed, x, -1.0), np.where(placed, y, -1.0)
    leaves = ~placed | leaves_image(corners(safe_x, size), corners(safe_y, size), size, shape)
    return np.lexsort((safe_x, safe_y, leaves))


class TileCutter:
    """Cuts any rows of one tile's table. Threads may share it."""

    def __init__(
        self,
        rows: pa.Table,
        tile: str,
        bands: Sequence[str],
        images: Mapping[str, Image],
        size: int,
        observed: float,
        trails: Mapping[str, Sequence[Trail]] | None = None,
        defects: PixelDefects | None = None,
    ) -> None:
        """``observed``: the least share of observed pixels (CutoutSpec.minimum_observed).

        ``trails``: those that cross each band, in its pixels. ``defects``: what looks for defects in the cutouts; None:
        nothing does.
        """
        self._defects = defects
        self._size, self._observed = size, observed
        self._count = len(rows)
        self._names = tuple(bands)
        self._x, self._y = positions(rows, "x"), positions(rows, "y")
        self._placed = np.isfinite(self._x) & np.isfinite(self._y)
        self._rank = np.cumsum(self._placed) - 1
        """Row -> number among those that have a position."""
        self._reference = next((images[band] for band in bands if band in images), None)
        self._reasons: dict[str, str] = {}
        """Band -> what is wrong with it."""
        self._saying = threading.Lock()
        self._bands = tuple(self._band(name, images) for name in bands)
        self._known = self._flags_of_rows(rows, tile)
        self.note_lines(trails or {}, Flag.TRAIL)

    @property
    def reasons(self) -> list[str]:
        """What was wrong with bands until now, in their order, one line each."""
        return [f"band {name}: {self._reasons[name]}" for name in self._names if name in self._reasons]

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """(band, y, x) of a cutout."""
        return len(self._bands), self._size, self._size

    def places(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(N,) x and y of the objects in the pixels of a band, by its number; NaN where they have no place in it."""
        band, x, y = self._bands[number], np.full(self._count, np.nan), np.full(self._count, np.nan)
        if band is not None:
            x[self._placed], y[self._placed] = band.grid.x, band.grid.y
        return x, y

    def _band(self, name: str, images: Mapping[str, Image]) -> _Band | None:
        image, reference = images.get(name), self._reference
        if image is None or reference is None:
            return None
        try:
            grid = grid_in_band(self._x[self._placed], self._y[self._placed], self._size, reference, image)
        except DataError as error:
            self._say(name, error)
            return None
        flawless = is_flawless(image)
        return _Band(image, grid, flawless and grid.matrix is None, not flawless and not all_finite(image.flux))

    def _say(self, band: str, error: DataError) -> None:
        with self._saying:
            self._reasons.setdefault(band, str(error))

    def _flags_of_rows(self, rows: pa.Table, tile: str) -> np.ndarray:
        """(N,) the flags that need no pixels."""
        flags = np.zeros(self._count, np.int64)
        outside = np.isfinite(positions(rows, "ra_deg")) & np.isfinite(positions(rows, "dec_deg"))
        outside &= tile == OUTSIDE_TILE
        flags[~self._placed & outside] |= Flag.OUTSIDE
        flags[~self._placed & ~outside] |= Flag.NO_POSITION
        if self._reference is not None:
            x, y = np.where(self._placed, self._x, 0.0), np.where(self._placed, self._y, 0.0)
            x0, y0 = corners(x, self._size), corners(y, self._size)
            flags[leaves_image(x0, y0, self._size, self._reference.flux.shape) & self._placed] |= Flag.EDGE
        flags[rows.column("repeated_id").to_numpy()] |= Flag.DUPLICATE_ID
        return flags

    def note_lines(self, lines: Mapping[str, Sequence[Trail]], flag: Flag) -> None:
        """Give the objects that one of a band's ``lines`` crosses this flag."""
        for name, band in zip(self._names, self._bands, strict=True):
            if band is not None and lines.get(name):
                self._known[self._placed] |= np.where(crossed(lines[name], band.grid, self._size), int(flag), 0)

    def note_stars(self, stars: np.ndarray) -> None:
        """Give these objects, (N,) bool, the flag of stars."""
        self._known[stars] |= int(Flag.STAR)

    def cut(self, rows: slice | np.ndarray) -> tuple[Pixels, np.ndarray]:
        """The cutouts of these rows, and their flags, (n,) int64."""
        chosen = np.arange(self._count)[rows]
        whole = np.ones(len(chosen), bool)
        for band in self._bands:
            whole &= self._is_whole(band, chosen)
        pixels = self._complete(chosen) if len(chosen) and whole.all() else self._room(len(chosen))
        non_finite = np.zeros(len(chosen), bool)
        for i, band in enumerate(self._bands):
            cut = BandCutouts(pixels.flux[:, i], pixels.ivar[:, i], pixels.mask[:, i])
            try:
                self._fill(cut, band, chosen, complete=bool(whole.all()))
            except DataError as error:
                self._say(self._names[i], error)
                cut.clear()
                whole[:] = False
                continue
            if band is not None and band.non_finite:
                non_finite |= _non_finite(cut)
        flags = self._known[chosen] | pixel_flags(pixels.flux, pixels.ivar, pixels.mask, self._observed, whole)
        flags[non_finite] |= Flag.NON_FINITE
        return pixels, flags | self.defect_flags(pixels, whole)

    def defect_flags(self, pixels: Pixels, whole: np.ndarray | None = None) -> np.ndarray:
        """The defects that cutouts show where no mask tells of them, (n,) int64.

        ``whole``, (n,) bool: cutouts known to have no missing pixel, whose inverse variance is not looked at.
        """
        flags = np.zeros(len(pixels), np.int64)
        if self._defects is None or not len(pixels):
            return flags
        whole = np.zeros(len(pixels), bool) if whole is None else whole
        if whole.all():
            return self._defects.flags(pixels.flux)
        flags[whole] = self._defects.flags(pixels.flux[whole])
        flags[~whole] = self._defects.flags(pixels.flux[~whole], pixels.ivar[~whole] > 0)
        return flags

    def _grid(self, band: _Band, chosen: np.ndarray) -> Grid:
        """Of the chosen rows, all of which have a position."""
        at = self._rank[chosen]
        grid = band.grid
        return Grid(grid.x[at], grid.y[at], None if grid.matrix is None else grid.matrix[at])

    def _is_whole(self, band: _Band | None, chosen: np.ndarray) -> np.ndarray:
        """(n,) which cutouts are known to miss nothing in a band, without a look at their pixels."""
        whole = np.zeros(len(chosen), bool)
        if band is not None and band.flawless:
            placed = self._placed[chosen]
            grid, shape = self._grid(band, chosen[placed]), band.image.flux.shape
            whole[placed] = ~leaves_image(corners(grid.x, self._size), corners(grid.y, self._size), self._size, shape)
        return whole

    def _room(self, count: int) -> Pixels:
        shape = (count, *self.pixel_shape)
        return Pixels(np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint16))

    def _complete(self, chosen: np.ndarray) -> Pixels:
        """Room for the flux of cutouts that miss nothing; inverse variance and mask are one value a band."""
        shape = (len(chosen), *self.pixel_shape)
        ivar = np.array([0.0 if b is None or b.image.ivar is None else b.image.ivar[0, 0] for b in self._bands], "f4")
        return Pixels(
            np.empty(shape, np.float32),
            np.broadcast_to(ivar[:, None, None], shape),
            np.broadcast_to(np.uint16(0), shape),
        )

    def _fill(self, cut: BandCutouts, band: _Band | None, chosen: np.ndarray, *, complete: bool) -> None:
        """Fill one band of the cutouts; pixels of objects without a position are missing."""
        placed = self._placed[chosen]
        if band is None or not placed.any():
            cut.clear()
            return
        grid = self._grid(band, chosen[placed])
        if complete:
            x0, y0 = corners(grid.x, self._size), corners(grid.y, self._size)
            gather(band.image.flux, x0, y0, self._size, np.nan, cut.flux)
        elif placed.all():
            cut_band(band.image, grid, self._size, cut)
        else:
            cut.clear()
            cut.put(placed, cut_band(band.image, grid, self._size))


def _non_finite(cut: BandCutouts) -> np.ndarray:
    """Which cutouts hold NaN or infinite pixels of the image itself, not pixels beyond it. (N,) bool."""
    partial = np.flatnonzero(cut.ivar.min(axis=(1, 2), initial=np.inf) == 0)
    within = (cut.mask[partial] & int(Plane.NO_DATA | Plane.EDGE)) == int(Plane.NO_DATA)
    found = np.zeros(len(cut.flux), bool)
    found[partial] = (within & ~np.isfinite(cut.flux[partial])).any(axis=(1, 2))
    return found
