"""The pixels of a FITS image as its header means them: scaled, undefined ones NaN, asinh-scaled ones linear.

FITS standard 4.0, section 4.4.2.5: value = BZERO + BSCALE * stored; a stored integer that equals BLANK is undefined,
also where unsigned integers are stored by an offset. Pan-STARRS stacks: value = BOFFSET + BSOFTEN * 2 sinh(v / a).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from astropy.io import fits

from galflow.errors import DataError

_ASINH = 2.5 * math.log10(math.e)
"""a of Pan-STARRS' asinh pixels (Waters+20, ApJS 251, 4)."""


def physical(stored: np.ndarray, header: fits.Header, uri: str) -> np.ndarray:
    """(y, x) pixels of a ``stored`` image; whole numbers stay whole where none is undefined and none is scaled."""
    scale, zero = _number(header, "BSCALE", 1.0, uri), _number(header, "BZERO", 0.0, uri)
    if not math.isfinite(scale) or scale == 0 or not math.isfinite(zero):
        raise DataError(f"{uri}: its header gives BSCALE = {scale}, BZERO = {zero}; expected numbers, BSCALE not 0")
    if stored.dtype.kind not in "iu":
        return stored if scale == 1 and zero == 0 else stored * stored.dtype.type(scale) + stored.dtype.type(zero)
    blank = header.get("BLANK", header.get("ZBLANK"))
    undefined = stored == int(blank) if isinstance(blank, int | float) and not isinstance(blank, bool) else None
    if undefined is not None and not undefined.any():
        undefined = None
    bits = stored.dtype.itemsize * 8
    if undefined is None and scale == 1 and zero == 0:
        return stored
    if undefined is None and scale == 1 and zero == 2.0 ** (bits - 1) and stored.dtype.kind == "i":
        native = stored.astype(stored.dtype.newbyteorder("="))
        return native.view(f"u{bits // 8}") ^ np.array(1 << (bits - 1), f"u{bits // 8}")
    # Whole numbers of 16 bits are exact in float32.
    kind = np.float32 if bits <= 16 and scale == 1 else np.float64
    values: np.ndarray[Any, np.dtype[Any]] = stored.astype(kind)
    values = values * scale + zero
    if undefined is not None:
        values[undefined] = np.nan
    return values


def linear(pixels: np.ndarray, header: fits.Header, uri: str) -> np.ndarray:
    """The pixels of a flux image whose header has BSOFTEN and BOFFSET, made linear; others as they are."""
    if "BSOFTEN" not in header and "BOFFSET" not in header:
        return pixels
    softening, offset = _number(header, "BSOFTEN", math.nan, uri), _number(header, "BOFFSET", 0.0, uri)
    if not (math.isfinite(softening) and softening > 0 and math.isfinite(offset)):
        raise DataError(
            f"{uri}: its header gives BSOFTEN = {header.get('BSOFTEN')!r}, BOFFSET = {header.get('BOFFSET')!r} for "
            "asinh-scaled pixels; expected finite numbers, BSOFTEN positive"
        )
    with np.errstate(over="ignore"):
        return np.asarray(offset + 2 * softening * np.sinh(pixels.astype(np.float64) / _ASINH), dtype=np.float32)


def _number(header: fits.Header, keyword: str, default: float, uri: str) -> float:
    value: Any = header.get(keyword, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{uri}: its header gives {keyword} = {value!r}; expected a number")
    return float(value)


def missing(stored: np.ndarray, blank_value: float | None, weight: np.ndarray | None) -> np.ndarray | None:
    """(y, x) bool of stored pixels that are declared missing, or zero without any weight; None where there are none."""
    blank = None if blank_value is None else np.asarray(stored == blank_value)
    if weight is None or (weight > 0).all():
        return blank
    unexposed = np.asarray((stored == 0) & (weight == 0))
    return unexposed if blank is None else blank | unexposed
