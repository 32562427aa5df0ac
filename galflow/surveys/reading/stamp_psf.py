"""PSF images of ready-made stamps: of one side, and on the pixels that their images have after resizing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from galflow.errors import DataError
from galflow.surveys.reading.grids import Grid
from galflow.surveys.reading.resample import Planes, resample


def framed(image: np.ndarray, side: int) -> np.ndarray:
    """A PSF of odd sides (y, x) in the middle of ``side`` x ``side`` pixels, odd and at least as many."""
    around = [((side - n) // 2, (side - n) // 2) for n in image.shape]
    return np.pad(image, around)


def resized_psf(images: Sequence[np.ndarray], ratio: float) -> np.ndarray:
    """(B, side, side) float32 of sum 1, on pixels ``ratio`` times as large as those of the ``images``, odd sides each.

    DataError where a PSF is smaller than one such pixel.
    """
    side = max(max(image.shape) for image in images)
    if ratio == 1:
        return np.stack([framed(image, side) for image in images]).astype(np.float32)
    made = int((side - 1) / 2 / ratio + 0.5) * 2 + 1
    # A rim of zeros: a pixel that reaches over the edge of the image is not missing.
    around = int(np.ceil(ratio)) + 1
    grid = Grid(np.array([side // 2 + around], float), np.array([side // 2 + around], float), np.eye(2)[None] * ratio)
    sized = []
    for image in images:
        plane = np.pad(framed(image, side), around).astype(np.float32)
        known = np.ones(plane.shape, np.float32)
        sized.append(resample(Planes(plane, known, np.zeros(plane.shape, np.uint16)), grid, made).flux[0])
    whole = np.nan_to_num(np.stack(sized))
    total = whole.sum(axis=(1, 2), keepdims=True)
    if not (total > 0).all():
        raise DataError("its PSF is smaller than one resized pixel; lower bin or resample_arcsec")
    return np.asarray(whole / total, np.float32)
