"""How many points lie in each cell of a map, and the mean of a third number there, added up piece by piece."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class CellCounts:
    """Counts of a map's cells, and the rows themselves as long as they are few."""

    def __init__(
        self, bounds: tuple[float, float, float, float], cells: tuple[int, int], few: int, coloured: bool
    ) -> None:
        """``bounds``: lowest and highest x, then y; ``cells``: across and down; ``few``: rows that are kept."""
        self._bounds, self._cells, self._few = bounds, cells, few
        self._outside = np.int32(cells[0] * cells[1])
        """Number of the cell of all that lies outside."""
        self._counts = np.zeros(self._outside + 1, np.int64)
        self._sums = np.zeros(len(self._counts)) if coloured else None
        self._missing = np.zeros(len(self._counts), np.int64)
        """Points without the third number."""
        self._rows: list[npt.NDArray[np.integer]] | None = []
        self.total = 0
        """Rows within the bounds."""

    def add(
        self, rows: npt.NDArray[np.integer], x: FloatArray, y: FloatArray, colour: npt.NDArray[np.floating] | None
    ) -> None:
        """More points; ``rows``: their numbers."""
        x0, x1, y0, y1 = self._bounds
        across, down = self._cells
        inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        count = int(np.count_nonzero(inside))
        self.total += count
        if count < len(inside) / 2:
            there = np.flatnonzero(inside)
            rows, x, y, inside = rows[there], x[there], y[there], inside[there]
            colour = None if colour is None else colour[there]
        with np.errstate(invalid="ignore"):  # what lies outside needs no place
            column = np.minimum(((x - x0) * (across / (x1 - x0))).astype(np.int32), across - 1)
            line = np.minimum(((y - y0) * (down / (y1 - y0))).astype(np.int32), down - 1)
        cells = np.where(inside, line * np.int32(across) + column, self._outside)
        self._counts += np.bincount(cells, minlength=len(self._counts))
        if colour is not None and self._sums is not None:
            missing = np.flatnonzero(~np.isfinite(colour))
            if len(missing):
                colour = colour.copy()
                colour[missing] = 0
                np.add.at(self._missing, cells[missing], 1)
            self._sums += np.bincount(cells, weights=colour, minlength=len(self._sums))
        if self.total > self._few:
            self._rows = None
        elif self._rows is not None:
            self._rows.append(rows[inside])

    @property
    def rows(self) -> npt.NDArray[np.integer] | None:
        """Numbers of the rows within the bounds; None: they are too many."""
        if self._rows is None:
            return None
        return np.concatenate(self._rows) if self._rows else np.zeros(0, np.int64)

    @property
    def counts(self) -> npt.NDArray[np.uint32]:
        """(y, x) rows in each cell, y upwards."""
        return self._counts[:-1].astype(np.uint32).reshape(self._cells[::-1])

    @property
    def means(self) -> npt.NDArray[np.float32] | None:
        """(y, x) mean colour of those that have one; NaN where none has."""
        if self._sums is None:
            return None
        with np.errstate(invalid="ignore"):
            found = (self._sums / (self._counts - self._missing))[:-1]
        return found.astype(np.float32).reshape(self._cells[::-1])
