"""The margin of a HATS catalogue: for each pixel the rows that lie beyond its border, but near it.

Whoever joins two catalogues pixel by pixel finds there the partners across the border. A second HATS catalogue, of the
same pixels and columns (https://www.ivoa.net/documents/Notes/HATS).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MARGIN_ARCSEC = 10.0
"""Wider than catalogues are joined with each other."""

Indices = npt.NDArray[np.int64]
Neighbours = Callable[[Indices], Indices]
"""(n,) HEALPix pixels of order 29 -> (n, 8) pixels of order 29, one in each neighbour of the margin cell; -1: none."""


@dataclass(frozen=True)
class MarginRows:
    """Which rows belong to the margins of which files."""

    rows: Indices
    files: Indices

    @classmethod
    def find(
        cls, index: Indices, own: Indices, neighbours: Neighbours, file_of: Callable[[Indices], Indices]
    ) -> MarginRows:
        """Rows by their (n,) pixels of order 29 and own files; ``file_of`` gives -1 where no file is.

        Rows within a cell of the border are taken, cells being wider than the threshold: none within it is missed.
        """
        beside = neighbours(index)
        files = np.where(beside < 0, -1, file_of(np.maximum(beside, 0).ravel()).reshape(beside.shape))
        files[files == own[:, None]] = -1
        rows, _ = np.nonzero(files >= 0)
        pairs = np.unique(np.stack([files[files >= 0], rows]), axis=1)
        return cls(pairs[1], pairs[0])


def healpix_neighbours(margin_arcsec: float) -> Neighbours:
    """In HEALPix, by the package hats: cells of the finest order that is wider than ``margin_arcsec`` everywhere."""
    import cdshealpix
    from hats.pixel_math.healpix_shim import margin2order

    order = int(margin2order(np.array(margin_arcsec / 60)))
    shift = 2 * (29 - order)

    def beside(index: Indices) -> Indices:
        cells, which = np.unique(index >> shift, return_inverse=True)
        around = np.asarray(cdshealpix.neighbours(cells, order), np.int64)
        around = np.delete(around, 4, axis=1)  # the cell itself stands in the middle
        return np.where(around < 0, -1, around << shift)[which]

    return beside
