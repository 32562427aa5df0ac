"""Reading of a band only what the cutouts of a tile need, where objects are few: they are those of a band read whole.

A band is read whole where trails and spikes are looked for over the tile (cutouts.defects: true), where objects are
detected in it, where cutouts cover much of it, where it is resampled, and where its few pixels leave a question open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from galflow.cutouts.cutting import positions
from galflow.cutouts.extract import central_pixel, corners, grid_in_band
from galflow.errors import DataError
from galflow.spec.run import CutoutSpec
from galflow.surveys.base import Image, Survey, Tile
from galflow.surveys.reading.parts import Part, WholeNeeded, part_of, row_pixels, square_pixels
from galflow.surveys.reading.sky import CompleteImage, complete_image
from galflow.surveys.reading.stellar import STAR_REACH

_MOST_SHARE = 0.02
"""Of a tile's pixels: to look for more of them one by one takes longer than to read all."""
_STAR_SIDE = 2 * STAR_REACH + 3
"""Pixels a side of what is read around a source to tell whether it is a star."""


def sparse_reading(
    survey: Survey, tile: Tile, bands: Sequence[str], spec: CutoutSpec
) -> tuple[SparseReading | None, str]:
    """How a tile is read by what its cutouts need; or None, and why all of it is needed whatever its objects are."""
    if spec.defects is True:
        return None, "trails and spikes are looked for over the tile (cutouts.defects: true)"
    if survey.detects:
        return None, "objects are detected in its pixels"
    if not survey.reads_parts:
        return None, "its background, its noise or its format needs all pixels"
    try:
        return SparseReading(survey, tile, bands, spec), ""
    except DataError as error:
        return None, str(error)


class SparseReading:
    """Which pixels of a tile's bands its cutouts need, and these alone. Threads may share it."""

    def __init__(self, survey: Survey, tile: Tile, bands: Sequence[str], spec: CutoutSpec) -> None:
        """DataError where no band has a readable header."""
        self._survey, self._tile, self._spec = survey, tile, spec
        self._blank: dict[str, Image] = {}
        problems: list[str] = []
        for band in bands:
            if band in tile.bands:
                try:
                    self._blank[band] = self._header_of(band)
                except DataError as error:
                    problems.append(str(error))
        if not self._blank:
            raise DataError(f"tile {tile.name} has no readable header: {'; '.join(problems) or 'no band is there'}")
        self._cut = self._sources = np.zeros((2, 0))
        """(2, n) x and y of the objects that are cut, and of the sources that are measured for which are stars."""

    def _header_of(self, band: str) -> Image:
        """An image of a band's shape and WCS, of which no pixel is read."""
        footprint = self._survey.footprint(replace(self._tile, bands=(band,)), band)
        if footprint is None:
            raise DataError(f"tile {self._tile.name} of {self._survey.name} tells no shape before it is read")
        nothing = np.broadcast_to(np.float32(np.nan), footprint.shape)
        return Image(nothing, self._survey.unit, math.nan, wcs=footprint.wcs)

    @property
    def reference(self) -> Mapping[str, Image]:
        """The reference band and a blank image of its shape and WCS."""
        band = next(iter(self._blank))
        return {band: self._blank[band]}

    def place(self, rows: pa.Table, taken: np.ndarray, *, stars: bool) -> None:
        """Say which objects are to be cut, (N,) bool; before any image is asked for.

        ``stars``: all rows are measured in the reference band for which of them are stars.
        """
        places = np.stack([positions(rows, "x"), positions(rows, "y")])
        placed = np.isfinite(places).all(axis=0)
        self._cut = places[:, placed & taken]
        self._sources = places[:, placed] if stars else np.zeros((2, 0))

    def image(self, band: str) -> CompleteImage:
        """A band of which nothing but what cutouts need may be looked at; WholeNeeded where that does not do."""
        if band not in self._blank:
            raise WholeNeeded("its header cannot be read")
        part = self._part(band)
        try:
            complete = complete_image(self._survey.read_part(self._tile, band, part), part)
        except DataError as error:
            raise WholeNeeded(str(error)) from error  # reading it whole says what is wrong with it
        image = complete.image
        ivar, mask = (None if plane is None else part.spread(plane) for plane in (image.ivar, image.mask))
        return replace(complete, image=replace(image, flux=part.spread(image.flux), ivar=ivar, mask=mask))

    def _part(self, band: str) -> Part:
        """The pixels of a band that are looked at."""
        size, (reference, blank) = self._spec.size, next(iter(self._blank.items()))
        shape, (x, y) = self._blank[band].flux.shape, self._cut
        sources = self._sources if band == reference else np.zeros((2, 0))
        share = max(len(x), sources.shape[1]) * size**2 / max(1, math.prod(shape))
        if share > _MOST_SHARE:
            what = "its cutouts have" if len(x) >= sources.shape[1] else "squares as large around all its sources have"
            raise WholeNeeded(f"{what} {100 * share:.3g} % of the tile's pixels")
        grid = grid_in_band(x, y, size, blank, self._blank[band])
        if grid.matrix is not None:
            raise WholeNeeded("it lies on another pixel grid than the reference band")
        more = [square_pixels(shape, corners(grid.x, size), corners(grid.y, size), size)]
        if self._spec.defects:
            more.append(row_pixels(shape))
        if sources.size:
            left, low = (central_pixel(v).astype(np.int64) - STAR_REACH - 1 for v in sources)
            more.append(square_pixels(shape, left, low, _STAR_SIDE))
        return part_of(shape, *more)
