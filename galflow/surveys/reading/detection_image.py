"""One image to detect in, from all bands of a tile that lie on one grid: their mean in units of their sky noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from galflow.surveys.base import UNUSABLE, Image
from galflow.surveys.reading.observed import usable_pixels
from galflow.surveys.reading.sky import look_at_sky


@dataclass(frozen=True, eq=False)
class DetectionImage:
    """The detection image, all planes (y, x)."""

    light: np.ndarray
    """The bands' mean in units of sky sigma; 0 where no band has data."""
    missing: np.ndarray
    noise: np.ndarray | None
    """The relative noise if inverse variances vary."""
    noisy: bool
    """False: no band has noise, and the unit is a nominal one."""

    @property
    def absent(self) -> np.ndarray:
        """``missing`` as a mask."""
        return np.where(self.missing, np.uint16(UNUSABLE), np.uint16(0))


def combine(bands: Sequence[Image]) -> DetectionImage | None:
    """The bands' mean; None where no band has light or a measurable sky."""
    shape = bands[0].flux.shape
    light = np.zeros(shape, dtype=np.float32)
    covered = np.zeros(shape, dtype=bool)
    variance = np.zeros(shape, dtype=np.float32)
    looks = [look_at_sky(image.flux, image.mask, image.ivar) for image in bands]
    noisy = any(look.sigma > 0 for look in looks)
    varies, used = False, 0
    for image, look in zip(bands, looks, strict=True):
        sigma = look.sigma if noisy else look.nominal_sigma
        if not sigma > 0:
            continue  # a band that is empty here, or alone without noise, takes no part; the others do
        usable = usable_pixels(image.flux, image.mask, image.ivar)
        light += np.where(usable, (image.flux - np.float32(look.level)) / np.float32(sigma), np.float32(0))
        covered |= usable
        used += 1
        if image.ivar is None or image.ivar.strides == (0, 0):
            variance += usable
        else:
            typical = np.float32(np.median(image.ivar[usable][:: max(1, usable.sum() // 100_000)]))
            variance[usable] += typical / image.ivar[usable]
            varies = varies or bool(np.ptp(image.ivar[usable]) > 0)
    if used == 0:
        return None
    light /= np.float32(used)
    noise = np.sqrt(variance / np.float32(used)) if varies else None
    return DetectionImage(light, ~covered, noise, noisy)
