"""Whether cutout sets hold flux, or pictures that were stretched for display already and where their white is.

A run sees all its pixels in one stretch: sets of both kinds are refused. This file stretches nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import DataError
from galflow.surveys.base import Image

DISPLAY_WHITE = "display_white"
"""Attribute of a cutout set: white per band, 0 of a band of flux, null where no pixel tells. Without it all is flux."""


def display_attribute(bands: Sequence[str], images: Mapping[str, Image]) -> dict[str, list[float | None]]:
    """The attribute of a set that is cut from ``images``; nothing where they are flux, as nearly always."""
    whites = [images[band].display_white if band in images else math.nan for band in bands]
    known = [w for w in whites if w is None or math.isfinite(w)]
    if known and all(w is None for w in known):
        return {}
    return {DISPLAY_WHITE: [0.0 if w is None else w if math.isfinite(w) else None for w in whites]}


def white_of(attributes: Mapping[str, Any]) -> tuple[float | None, ...]:
    """Per band: white, 0 where it is flux, None where no pixel tells."""
    return tuple(attributes.get(DISPLAY_WHITE) or [0.0] * len(attributes["bands"]))


def common_white(sets: Sequence[CutoutSet]) -> tuple[float, ...] | None:
    """White per band of the pictures that the sets hold, None where they hold flux; DataError where some hold either.

    Empty sets, and bands without a pixel, tell nothing.
    """
    tiles: dict[tuple[str, float], str] = {}
    for cutouts in (c for c in sets if len(c)):
        said = cutouts.attributes
        for band, white in zip(said["bands"], white_of(said), strict=True):
            if white is not None:
                tiles.setdefault((band, white), str(said["tile"]))
    _require_one_kind(tiles)
    white_of_band = dict(tiles.keys())
    if not any(white_of_band.values()):
        return None
    bands = sets[0].attributes["bands"]
    if lost := [band for band in bands if band not in white_of_band]:
        raise DataError(f"no tile observed band {lost[0]!r}, so its white is unknown; leave it out of cutouts.bands")
    return tuple(white_of_band[band] for band in bands)


def _require_one_kind(tiles: Mapping[tuple[str, float], str]) -> None:
    """DataError, with both sides named, where some pixels are flux and others not, or a band has two whites.

    ``tiles``: (band, white) -> a tile that has it.
    """
    whites_of = {band: sorted({w for b, w in tiles if b == band}) for band, _ in tiles}
    sides = next(([(band, w) for w in whites[:2]] for band, whites in whites_of.items() if len(whites) > 1), None)
    if sides is None and len({white > 0 for _, white in tiles}) > 1:
        sides = [next(key for key in tiles if (key[1] > 0) is displayed) for displayed in (False, True)]
    if sides is None:
        return
    told = [
        f"band {band} of tile {tiles[band, white]} "
        + (f"was stretched for display (white {white:g})" if white else "is flux")
        for band, white in sides
    ]
    raise DataError(
        f"{told[0]}, but {told[1]}, and models see all pixels in one stretch; give one kind to a run, or declare the "
        "survey's options display_stretched and display_white"
    )
