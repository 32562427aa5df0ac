"""Pixels and pictures of objects, out of a run's cutout sets, each chunk read once for all rows that lie in it."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import white_of
from galflow.explore.recent import Recent
from galflow.report.pictures import LEAST_WHITE_SIGMA, SOFTENING_SIGMA, Display, Pixels, brightness_sigma
from galflow.storage.store import Store

Place = tuple[str, int]
"""Key of a cutout set and number of a row in it."""
SPRITE_COLUMNS = 10
MOST_PICTURES = 200
_KEPT_SETS, _KEPT_PICTURES = 64, 4000


class Pictures:
    """The pictures of a store's cutouts. Threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, Lock()
        self._sets: Recent[CutoutSet] = Recent(_KEPT_SETS)
        self._pictures: Recent[Pixels] = Recent(_KEPT_PICTURES)

    def cutouts(self, key: str) -> CutoutSet:
        """A cutout set, opened."""
        return self._sets.get(key, lambda: CutoutSet(self._store, key))

    def read(self, name: str, places: Sequence[Place]) -> dict[Place, npt.NDArray[Any]]:
        """(band, y, x) of flux, ivar or mask at each place."""
        found: dict[Place, npt.NDArray[Any]] = {}
        for key, rows in _by_set(places).items():
            cutouts = self.cutouts(key)
            for chunk, inside in _by_chunk(rows, cutouts.chunk_objects):
                with self._lock:  # a set's reader remembers the shard that it read last
                    pixels = cutouts.read(name, chunk)
                found |= {(key, row): np.array(pixels[row - chunk.start]) for row in inside}
        return found

    def draw(self, places: Sequence[Place]) -> list[Pixels]:
        """(y, x, 3) uint8 pictures in colour at these places, in their order; y runs upwards."""
        kept = {place: picture for place in places if (picture := self._pictures.peek(place)) is not None}
        flux = self.read("flux", [place for place in dict.fromkeys(places) if place not in kept])
        for place, pixels in flux.items():
            kept[place] = self._pictures.keep(place, _picture(self.cutouts(place[0]), pixels))
        return [kept[place] for place in places]


def sprite_png(pictures: Pictures, places: Sequence[Place | None], side: int) -> bytes:
    """Pictures in lines of ``SPRITE_COLUMNS``, each ``side`` pixels wide; transparent where there is none."""
    down = -(-len(places) // SPRITE_COLUMNS)
    sheet = Image.new("RGBA", (side * min(SPRITE_COLUMNS, len(places)), side * down))
    drawn = iter(pictures.draw([place for place in places if place is not None]))
    for i, place in enumerate(places):
        if place is not None:
            image = Image.fromarray(np.ascontiguousarray(next(drawn)[::-1])).resize((side, side), Image.Resampling.BOX)
            sheet.paste(image, (side * (i % SPRITE_COLUMNS), side * (i // SPRITE_COLUMNS)))
    sink = io.BytesIO()
    sheet.save(sink, "PNG", compress_level=1)
    return sink.getvalue()


def _picture(cutouts: CutoutSet, flux: npt.NDArray[np.floating]) -> Pixels:
    said = cutouts.attributes
    bands, unit = tuple(said["bands"]), str(said["unit"])
    white = white_of(said)
    if any(white):
        return Display.as_given(bands, [w or 1.0 for w in white], unit).picture(flux)
    sigma = tuple(1.0 if s is None or not math.isfinite(s) or s <= 0 else float(s) for s in said["sky_sigma"])
    display = Display(bands, sigma, unit, SOFTENING_SIGMA, LEAST_WHITE_SIGMA)
    peak = float(np.nan_to_num(brightness_sigma(flux[None], display)[0]))
    return Display(bands, sigma, unit, SOFTENING_SIGMA, max(LEAST_WHITE_SIGMA, peak)).picture(flux)


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
