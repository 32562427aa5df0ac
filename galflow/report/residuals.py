"""What a model leaves unexplained: residuals in sky sigmas, drawn on a diverging map with fixed ends.

The ends are the same in every picture, so that a strong colour always means many sigmas; nothing is rescaled to look
interesting.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image

from galflow.report.pictures import LARGEST_SIDE, MISSING_RGB, FloatArray, Pixels, block_mean, png

RESIDUAL_LIMIT = 10.0
"""Residual maps run from minus to plus so many sky sigmas."""
_STEPS = 254
_MISSING_INDEX = 255


def strongest_residual(
    flux: npt.NDArray[np.floating], model: npt.NDArray[np.floating], sigma: Sequence[float]
) -> FloatArray:
    """(y, x) of flux - model, both (band, y, x), in sky sigmas of the band in which it is largest; NaN where unknown.

    Not the mean over bands, in which an excess in one band and a deficit in another would cancel.
    """
    residual = (flux - model) / np.asarray(sigma, dtype=np.float64)[:, None, None]
    residual = block_mean(residual, -(-flux.shape[-1] // LARGEST_SIDE))
    size = np.where(np.isfinite(residual), np.abs(residual), -1.0)
    band = size.argmax(axis=0)[None]
    return np.take_along_axis(residual, band, axis=0)[0]


def _residual_palette() -> Pixels:
    """(256, 3): blue (too faint) over white to red (too bright), then the colour of missing pixels."""
    colours = matplotlib.colormaps["RdBu_r"](np.linspace(0.0, 1.0, _STEPS))[:, :3]
    palette = np.full((256, 3), MISSING_RGB, np.uint8)
    palette[:_STEPS] = np.round(255 * colours)
    return palette


def residual_png(residual: FloatArray) -> bytes:
    """PNG of residuals (y, x) in sky sigmas, first row on top, from -RESIDUAL_LIMIT (blue) to +RESIDUAL_LIMIT (red)."""
    place = (np.where(np.isfinite(residual), residual, 0.0) / RESIDUAL_LIMIT + 1) / 2
    index = np.round(np.clip(place, 0, 1) * (_STEPS - 1)).astype(np.uint8)
    index[~np.isfinite(residual)] = _MISSING_INDEX
    image = Image.fromarray(index)
    image.putpalette(_residual_palette().tobytes())
    return png(image)


def residual_legend_png() -> bytes:
    """The residual colours from -RESIDUAL_LIMIT to +RESIDUAL_LIMIT as a strip."""
    return residual_png(np.repeat(np.linspace(-RESIDUAL_LIMIT, RESIDUAL_LIMIT, _STEPS)[None], 2, axis=0))
