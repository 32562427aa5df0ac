"""Pixels as the pages' scripts read them: a byte each, so that the reader may choose the stretch."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.report.pictures import LARGEST_SIDE, block_mean

_LEVELS = 254
_MISSING = np.uint8(0)


def shown(pixels: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(..., y, x) averaged over blocks where a side is longer than LARGEST_SIDE."""
    return block_mean(pixels, -(-pixels.shape[-1] // LARGEST_SIDE))


def packed(sigmas: npt.NDArray[np.floating]) -> dict[str, Any]:
    """(band, y, x) in sky sigmas as bytes, deflated, in base64; NaN is 0, else 1 to 255 from ``low`` to ``high``.

    The bytes are linear in asinh of the sky sigmas: a step is a twenty-fifth of the sky's noise, or some percent.
    """
    flat = np.arcsinh(np.asarray(sigmas, np.float64)).reshape(len(sigmas), -1)
    known = np.isfinite(flat)
    low = np.where(known, flat, np.inf).min(axis=1)
    high = np.where(known, flat, -np.inf).max(axis=1)
    low, high = (np.where(np.isfinite(edge), edge, 0.0) for edge in (low, high))
    step = np.where(high > low, high - low, 1.0)[:, None] / _LEVELS
    codes = np.where(known, 1 + np.round((np.where(known, flat, low[:, None]) - low[:, None]) / step), _MISSING)
    data = base64.b64encode(zlib.compress(codes.astype(np.uint8).tobytes(), 6)).decode("ascii")
    height, width = sigmas.shape[-2:]
    ends = {"low": low.round(4).tolist(), "high": (low + step[:, 0] * _LEVELS).round(4).tolist()}
    return {"width": int(width), "height": int(height), "data": data, **ends}
