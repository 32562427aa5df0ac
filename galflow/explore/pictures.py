"""Pixels and pictures of objects, out of a run's cutout sets, each chunk read once for all rows that lie in it.

All pictures have one display, so that equal flux looks equal everywhere, and are turned north up, as the report's are.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import white_of
from galflow.explore.recent import Recent
from galflow.report.orientation import Orientation, orientations
from galflow.report.pictures import LEAST_WHITE_SIGMA, SOFTENING_SIGMA, Display, Pixels, brightness_sigma
from galflow.report.site.packing import packed, shown
from galflow.storage.store import Store

Place = tuple[str, int]
"""Key of a cutout set and number of a row in it."""
SPRITE_SIDE, SPRITE_COLUMNS, MOST_PICTURES = 96, 10, 200
_KEPT_SETS, _KEPT_PICTURES = 64, 4000
_WHITE_QUANTILE = 0.95
"""Of the peaks of some objects: what is brighter is white."""


@dataclass(frozen=True, eq=False)
class _Opened:
    """A cutout set, opened once."""

    cutouts: CutoutSet
    attributes: Mapping[str, Any]
    lock: Lock = field(default_factory=Lock)
    """Its reader remembers the shard that it read last."""

    def read(self, name: str, rows: slice) -> npt.NDArray[Any]:
        with self.lock:
            return self.cutouts.read(name, rows)

    def turned(self, rows: Sequence[int]) -> list[Orientation]:
        """How the pictures of these rows are turned."""
        x, y = (
            np.array([self.read(name, slice(row, row + 1))[0] for row in rows], dtype=np.float64)
            if self.cutouts.has(name)
            else np.full(len(rows), np.nan)
            for name in ("x_pixel", "y_pixel")
        )
        return orientations(self.attributes, x, y)


class Pictures:
    """The pictures of a store's cutouts. Threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sets: Recent[_Opened] = Recent(_KEPT_SETS)
        self._pictures: Recent[Pixels] = Recent(_KEPT_PICTURES)
        self._display: Display | None = None

    def _opened(self, key: str) -> _Opened:
        def opened() -> _Opened:
            cutouts = CutoutSet(self._store, key)
            return _Opened(cutouts, cutouts.attributes)

        return self._sets.get(key, opened)

    def cutouts(self, key: str) -> CutoutSet:
        """A cutout set."""
        return self._opened(key).cutouts

    def read(self, name: str, places: Sequence[Place]) -> dict[Place, npt.NDArray[Any]]:
        """(band, y, x) of flux, ivar or mask at each place."""
        found: dict[Place, npt.NDArray[Any]] = {}
        for key, rows in _by_set(places).items():
            opened = self._opened(key)
            for part, inside in _by_chunk(rows, opened.cutouts.chunk_objects):
                pixels = opened.read(name, part)
                found |= {(key, row): np.array(pixels[row - part.start]) for row in inside}
        return found

    def display(self, place: Place) -> Display:
        """The display of all pictures, made from the objects beside the first place that is drawn."""
        if self._display is None:
            self._display = _display_of(self._opened(place[0]), place[1])
        return self._display

    def draw(self, places: Sequence[Place]) -> list[Pixels]:
        """(y, x, 3) uint8 pictures in colour at these places, in their order, as they are seen: first row on top."""
        kept = {place: picture for place in places if (picture := self._pictures.peek(place)) is not None}
        todo = [place for place in dict.fromkeys(places) if place not in kept]
        flux = self.read("flux", todo)
        for key, rows in _by_set(todo).items():
            for row, turn in zip(rows, self._opened(key).turned(rows), strict=True):
                drawn = self.display((key, row)).picture(flux[key, row])
                kept[key, row] = self._pictures.keep((key, row), np.ascontiguousarray(turn.picture(drawn)))
        return [kept[place] for place in places]

    def pixels(self, place: Place) -> dict[str, Any]:
        """One object's pixels in sky sigmas as the pages' scripts read them."""
        display = self.display(place)
        (turn,) = self._opened(place[0]).turned([place[1]])
        angle = turn.to_north_deg
        said: dict[str, Any] = {"bands": list(display.bands), "to_north": None if angle is None else round(angle, 1)}
        said["sigma"] = [float(f"{value:.4g}") for value in display.sigma]
        return self.packed(place, self.read("flux", [place])[place]) | said

    def packed(self, place: Place, flux: npt.NDArray[np.floating]) -> dict[str, Any]:
        """(band, y, x) flux of the object at a place, its own or a model's, in sky sigmas, turned as it is shown."""
        (turn,) = self._opened(place[0]).turned([place[1]])
        return packed(turn.turned(shown(flux / np.array(self.display(place).sigma)[:, None, None])))


def sprite_png(pictures: Pictures, places: Sequence[Place | None], side: int) -> bytes:
    """Pictures in lines of ``SPRITE_COLUMNS``, each ``side`` pixels wide; transparent where there is none."""
    down = -(-len(places) // SPRITE_COLUMNS)
    sheet = Image.new("RGBA", (side * SPRITE_COLUMNS, side * down))
    drawn = iter(pictures.draw([place for place in places if place is not None]))
    for i, place in enumerate(places):
        if place is not None:
            image = Image.fromarray(next(drawn))
            if image.width != side:
                image = image.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(image, (side * (i % SPRITE_COLUMNS), side * (i // SPRITE_COLUMNS)))
    return image_png(sheet)


def image_png(image: Image.Image | Pixels) -> bytes:
    """The picture as a PNG file, packed fast."""
    sink = io.BytesIO()
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    made.save(sink, "PNG", compress_level=1)
    return sink.getvalue()


def _display_of(opened: _Opened, row: int) -> Display:
    said, step = opened.attributes, opened.cutouts.chunk_objects
    bands, unit = tuple(said["bands"]), str(said["unit"])
    white = white_of(said)
    if any(white):
        return Display.as_given(bands, [w or 1.0 for w in white], unit)
    sigma = tuple(1.0 if s is None or not math.isfinite(s) or s <= 0 else float(s) for s in said["sky_sigma"])
    first = Display(bands, sigma, unit, SOFTENING_SIGMA, LEAST_WHITE_SIGMA)
    start = row // step * step
    peaks = brightness_sigma(opened.read("flux", slice(start, start + step)), first)
    peaks = peaks[np.isfinite(peaks)]
    most = float(np.quantile(peaks, _WHITE_QUANTILE)) if len(peaks) else LEAST_WHITE_SIGMA
    return Display(bands, sigma, unit, SOFTENING_SIGMA, max(LEAST_WHITE_SIGMA, most))


def _by_set(places: Sequence[Place]) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for key, row in places:
        found.setdefault(key, []).append(row)
    return found


def _by_chunk(rows: Sequence[int], chunk: int) -> list[tuple[slice, list[int]]]:
    """The parts of an array that hold these rows, each no larger than a chunk, and the rows in each."""
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row // chunk, []).append(row)
    return [(slice(min(inside), max(inside) + 1), inside) for inside in found.values()]
