"""Whether a ready-made image was stretched for display by whoever made it: told by how many bits its pixels have.

Nobody stores linear counts in 8 bits, and few pictures for the eye have more. This file refuses to undo a stretch, and
to guess where integers do not say how large they may be: floats and FITS are flux unless declared otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from galflow.errors import StoreError
from galflow.surveys.base import TileFile
from galflow.surveys.reading import files
from galflow.surveys.reading.stamp_reading import Stamp

MOST_OF_8_BITS = 255.0
_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = 26
"""Bytes of a PNG that tell its depth."""
_DISPLAYED = (".jpg", ".jpeg")
"""They have 8 bits, whatever is in them."""
_FLUX = (".fits", ".fit", ".fits.gz", ".fits.fz")


def largest_of(dtype: np.dtype) -> float | None:
    """The largest value that pixels of this type can have; None of floats."""
    if dtype.kind == "b":
        return 1.0
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else None


def displayed_files(tile_files: Iterable[TileFile]) -> dict[str, bool]:
    """A file of each kind of name -> whether it was stretched for display, from names and first bytes alone.

    What only its pixels tell (TIFF, arrays) and what cannot be read is left out.
    """
    found: dict[str, bool] = {}
    seen: set[str] = set()
    for file in tile_files:
        name = file.uri.lower()
        suffix = PurePosixPath(name).suffix
        if not file.role.startswith("flux/") or suffix in seen:
            continue
        seen.add(suffix)
        if name.endswith((*_DISPLAYED, *_FLUX)):
            found[file.uri] = name.endswith(_DISPLAYED)
        elif suffix == ".png" and (depth := _depth_of_png(file.uri)) is not None:
            found[file.uri] = depth <= 8
    return found


def _depth_of_png(uri: str) -> int | None:
    """Bits a channel; None for what is no PNG or cannot be read: that is told when it is decoded."""
    try:
        with files.open_bytes(uri) as file, files.reading_errors(uri):
            head = file.read(_HEAD)
    except StoreError:
        return None
    return head[24] if head.startswith(_PNG) and len(head) == _HEAD else None


def of_one_stretch(stamps: Sequence[Stamp]) -> list[Stamp]:
    """The stamps, but those unreadable whose pixels were stretched otherwise than those of most others."""
    readable = [stamp.white for stamp in stamps if stamp.pixels is not None]
    if len(set(readable)) < 2:
        return list(stamps)
    common = Counter(readable).most_common(1)[0][0]
    return [
        stamp
        if stamp.pixels is None or stamp.white == common
        else replace(
            stamp,
            pixels=None,
            error=f"its pixels are {told(stamp.white)}, those of most others in its tile {told(common)}; give one "
            "kind to a survey, or declare display_stretched and display_white",
        )
        for stamp in stamps
    ]


def told(white: Sequence[float | None]) -> str:
    """ "stretched for display (white 255)", or "flux"; of bands that differ each."""
    words = ["flux" if w is None else f"stretched for display (white {w:g})" for w in white]
    return words[0] if len(set(words)) == 1 else ", ".join(words)
