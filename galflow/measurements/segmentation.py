"""Which pixels of a cutout are the object's own, and which a neighbour's: SExtractor's detection and deblending (sep).

So that neighbours are left out of every measurement, in a survey and in a simulation alike. Objects are not found
here: each cutout has one, near where its catalogue says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sep
from scipy import ndimage

from galflow.surveys.reading.detection import SEP_LOCK

THRESHOLD_SIGMA = 3.0
"""Standard deviations of the noise of a picture that is smoothed a little, above which pixels are somebody's. Lower,
and peaks of the noise would be taken out, which leaves the rest too dark."""
_LEAST_PIXELS = 5
_NOISELESS = 1e-3
"""Where the stated noise is less than this share of the brightest pixel, this share is taken."""
_NEAREST = 3
"""Pixels between the object's catalogue position and pixels that are its own, at the most."""
_SKY_SHARE = 0.05
"""With a smaller share of pixels that are nobody's, the sky is not known and is taken to be 0."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Of N cutouts."""

    own: npt.NDArray[np.bool_]
    """(N, y, x): the object's own pixels; none where it does not stand out."""
    neighbour: npt.NDArray[np.bool_]
    """(N, y, x): pixels of others, and those next to them that are not the object's own."""
    sky: npt.NDArray[np.float64]
    """(N,): median of the observed pixels that are nobody's."""


def segment(flux: np.ndarray, ivar: np.ndarray, centre: np.ndarray) -> Segments:
    """Segments of cutouts ``flux`` (N, y, x) with ``ivar``, 0 where missing; ``centre`` (N, 2): x, y of the object."""
    own, neighbour = np.zeros(flux.shape, bool), np.zeros(flux.shape, bool)
    sky = np.zeros(len(flux))
    for number in range(len(flux)):
        seen = ivar[number] > 0
        if not seen.any():
            continue
        labels = _labels(flux[number], ivar[number], seen)
        own[number] = labels == _label_at(labels, centre[number]) if labels.any() else False
        others = (labels > 0) & ~own[number]
        neighbour[number] = ndimage.binary_dilation(others) & ~own[number] if others.any() else others
        nobodys = seen & (labels == 0) & ~neighbour[number]
        if nobodys.sum() >= _SKY_SHARE * seen.size:
            sky[number] = np.median(flux[number][nobodys])
    return Segments(own, neighbour, sky)


def _labels(flux: np.ndarray, ivar: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(y, x) number of the segment of each pixel, 0: nobody's."""
    light = np.where(seen, flux, 0).astype(np.float64)
    level = np.median(light[seen])
    noise = np.sqrt(1 / np.where(seen, ivar, 1).astype(np.float64))
    floor = _NOISELESS * max(float((light - level).max(initial=0, where=seen)), 0.0)
    error = np.maximum(noise, floor)
    error[~seen] = error[seen].max()
    if not error.min() > 0:
        return np.zeros(flux.shape, np.int32)
    with SEP_LOCK:
        found = sep.extract(
            np.where(seen, light - level, 0), THRESHOLD_SIGMA, err=error, mask=~seen, minarea=_LEAST_PIXELS,
            segmentation_map=True,
        )  # fmt: skip
    return np.where(seen, found[1], 0)


def _label_at(labels: np.ndarray, centre: np.ndarray) -> int:
    """The segment at a place, or the one nearest to it within a few pixels; -1 if there is none."""
    rows, columns = np.nonzero(labels)
    distance = np.hypot(columns - centre[0], rows - centre[1])
    nearest = int(np.argmin(distance))
    return int(labels[rows[nearest], columns[nearest]]) if distance[nearest] <= _NEAREST else -1
