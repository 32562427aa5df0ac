"""What is known to be wrong with an object's cutout, as named bits of the catalogue's ``flags`` column."""

from __future__ import annotations

import enum

import numpy as np
import pyarrow as pa

from galflow.surveys.base import Plane


class Flag(enum.IntFlag):
    """Named bits; several may hold."""

    EDGE = 1
    """The cutout reaches beyond its tile."""
    NO_DATA = 2
    """Too few observed pixels to be scored."""
    SATURATED = 4
    """A saturated pixel lies in the cutout, by the survey's mask or by a flat top."""
    TRAIL = 8
    """A satellite trail crosses it, by the survey's mask or by the tile's pixels."""
    BRIGHT_NEIGHBOUR = 16
    """A bright star's mask, or something twice as bright as the object, lies in the outer part of the cutout, or light
    comes in from beyond it."""
    NON_FINITE = 32
    """The survey's image has NaN or infinite pixels here."""
    MISSING_PIXELS = 64
    """Some pixel is missing."""
    BAND_MISSING = 128
    """A band is missing altogether."""
    OUTSIDE = 256
    """The object's position lies in no tile."""
    DUPLICATE_ID = 512
    """An earlier row of the catalogue has the same object id; this one is kept, but not scored."""
    NO_POSITION = 1024
    """The catalogue gives no finite position."""
    PLANTED = 2048
    """A copy of a real cutout with a known anomaly painted in."""
    DUPLICATE = 4096
    """Another tile has the same object of the sky deeper inside; that row is its primary one."""
    CONSTANT = 8192
    """Columns, rows or an area have one value, though the inverse variance says that they were observed."""
    COSMIC_RAY = 16384
    """Pixels are sharper than the PSF, in one band alone."""
    DOUBLED = 32768
    """A band holds the same pixels twice, some pixels apart."""
    STAR = 65536
    """The object is as small as the PSF, or as the tile's stars are; a note, no defect."""
    SPIKE = 131072
    """A diffraction spike or a bleed of a bright star crosses it."""
    BELOW_SKY = 262144
    """A pixel, a line or an area lies far below the sky: dead pixels or columns, or too much was subtracted."""
    NOISE_STEP = 524288
    """The noise of its unlit parts changes more than twofold, or by half and more at a row or column, all along it: a
    border of chips, or a patch that was filled in."""
    SHIFTED = 1048576
    """A band shows the same light some pixels beside where the others show it."""
    LEVEL_STEP = 2097152
    """The sky's level changes at a row or column, all along it: a chip or a frame ends there."""


NOT_SCORED = Flag.NO_DATA | Flag.OUTSIDE | Flag.DUPLICATE_ID | Flag.NO_POSITION
"""An object with one of these is kept with null scores; its outcome says which."""
KNOWN_DEFECT = Flag.SATURATED | Flag.TRAIL | Flag.CONSTANT | Flag.COSMIC_RAY | Flag.DOUBLED | Flag.SPIKE
KNOWN_DEFECT |= Flag.BELOW_SKY | Flag.NOISE_STEP | Flag.SHIFTED | Flag.LEVEL_STEP
"""What detectors and pipelines do."""
NOT_NORMAL = NOT_SCORED | Flag.PLANTED | (KNOWN_DEFECT & ~Flag.COSMIC_RAY)
"""An object with one of these takes no part in training or calibration: a known defect is no normal object.

COSMIC_RAY is none of them: without a PSF of the survey, a sharply focused one could be taken for it, and training would
lose its stars and cores.
"""


def has_flag(flags: np.ndarray, which: Flag) -> np.ndarray:
    """(N,) bool: whether a row's flags, (N,) integers, hold any of ``which``."""
    return np.asarray((flags & int(which)) != 0)


def outcome_text(flags: np.ndarray) -> np.ndarray:
    """Each row's outcome, (N,) texts: "scored", or "not scored: " and the names of the flags that forbid it."""
    text = np.full(len(flags), "scored", dtype=object)
    for value in np.unique(flags):
        names = [f.name for f in Flag if f & NOT_SCORED and value & f]
        if names:
            text[flags == value] = "not scored: " + ", ".join(str(n) for n in names)
    return text


def flag_counts(flags: np.ndarray) -> dict[str, int]:
    """Name of a flag -> how many of the rows, (N,), have it; those that nobody has are left out."""
    counts = {str(f.name): int(has_flag(flags, f).sum()) for f in Flag}
    return {name: count for name, count in counts.items() if count}


def pixel_flags(
    flux: np.ndarray, ivar: np.ndarray, mask: np.ndarray, minimum_observed: float, whole: np.ndarray | None = None
) -> np.ndarray:
    """Flags that the pixels themselves show. Arrays are (N, band, y, x); the result is (N,) int64.

    ``whole``, (N,) bool: cutouts known to have no missing and no masked pixel, which are not searched for them.
    """
    n = len(flux)
    flags = np.zeros(n, np.int64)
    if not n:
        return flags
    pixels = flux[0].size
    searched = np.arange(n) if whole is None else np.flatnonzero(~whole)
    rows: slice | np.ndarray = slice(None) if len(searched) == n else searched
    planes = np.zeros(n, mask.dtype)
    planes[rows] = np.bitwise_or.reduce(mask[rows].reshape(len(searched), pixels), axis=1)
    # Most objects are complete: only the others are looked at pixel by pixel, in copies.
    partial = searched[~(ivar[rows].reshape(len(searched), pixels).min(axis=1, initial=np.inf) > 0)]
    observed = ivar[partial] > 0
    seen = np.count_nonzero(observed, axis=(1, 2, 3)) / max(1, pixels)
    flags[partial] |= Flag.MISSING_PIXELS
    flags[partial[seen < minimum_observed]] |= Flag.NO_DATA
    bands_seen: np.ndarray = np.any(observed, axis=(2, 3))
    flags[partial[~np.all(bands_seen, axis=1)]] |= Flag.BAND_MISSING
    for plane, flag in (
        (Plane.SATURATED, Flag.SATURATED),
        (Plane.TRAIL, Flag.TRAIL),
        (Plane.BRIGHT_STAR, Flag.BRIGHT_NEIGHBOUR),
    ):
        flags[(planes & plane) != 0] |= flag
    bright = _bright_neighbour(flux[:, 0])
    bright[partial] = _bright_neighbour(np.where(observed[:, 0], flux[partial, 0], -np.inf))
    flags[bright] |= Flag.BRIGHT_NEIGHBOUR
    return flags


def _bright_neighbour(flux: np.ndarray) -> np.ndarray:
    """Whether the brightest pixel of the outer part is positive and over twice the central third's.

    (N, y, x) with -inf where not observed -> (N,) bool. The brightest of all pixels decides: it is over twice the
    centre's only if it lies outside the centre.
    """
    size = flux.shape[-1]
    low, high = size // 3, size - size // 3
    centre = flux[:, low:high, low:high].max(axis=(1, 2), initial=-np.inf)
    return np.asarray(flux.max(axis=(1, 2), initial=-np.inf) > 2 * np.maximum(centre, 0))


def repeated(object_id: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Whether an earlier row has the same object id. (N,) bool."""
    values = object_id.to_numpy(zero_copy_only=False) if isinstance(object_id, pa.Array) else object_id.to_numpy()
    _, first = np.unique(values, return_index=True)
    again = np.ones(len(values), bool)
    again[first] = False
    return again
