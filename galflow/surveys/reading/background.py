"""An image without its background: less the level of its empty sky, or less a smooth mesh of levels."""

from __future__ import annotations

from typing import Literal

import numpy as np
import sep

from galflow.errors import SpecError
from galflow.surveys.reading.observed import usable_pixels
from galflow.surveys.reading.parts import Part
from galflow.surveys.reading.sky import holes_of, look_at_sky
from galflow.surveys.reading.unexposed import equal_areas

Background = Literal["none", "constant", "mesh"]


def subtract_background(
    flux: np.ndarray,
    mask: np.ndarray | None,
    method: Background,
    mesh_pixels: int = 128,
    ivar: np.ndarray | None = None,
) -> np.ndarray:
    """``flux``, (y, x) float32, without its background, measured on observed pixels as ``measure_sky`` does.

    "none": unchanged. "constant": less the sky level of the image. "mesh": less a bicubic spline through the clipped
    backgrounds of cells of ``mesh_pixels`` (Bertin & Arnouts 96, A&AS 117, 393; as sep computes it); areas without
    exposure come back NaN, for they cannot be told any more by the one value they had. An image with no usable pixel
    at all comes back unchanged: it has no background to speak of.
    """
    if method == "none":
        return flux
    if method == "constant":
        return flux - np.float32(sky_level(flux, mask, ivar))
    if method == "mesh":
        if mesh_pixels < 8:
            raise SpecError(f"background mesh is {mesh_pixels} pixels; it must be 8 or more, larger than any galaxy")
        look = look_at_sky(flux, mask, ivar)
        usable = usable_pixels(flux, mask, ivar)
        if look.unexposed:
            usable &= ~np.isin(flux, np.array(look.unexposed, dtype=np.float32))
        if not usable.any():
            return flux
        filled = np.ascontiguousarray(np.where(usable, flux, 0), dtype=np.float32)
        background = sep.Background(filled, mask=~usable, bw=mesh_pixels, bh=mesh_pixels)
        subtracted = flux - background.back(dtype=np.float32)
        if look.unexposed and ivar is None:
            subtracted[equal_areas(flux, holes_of(look))] = np.nan
        return subtracted
    raise SpecError(f"background method {method!r} is unknown; expected none, constant or mesh")


def sky_level(
    flux: np.ndarray, mask: np.ndarray | None, ivar: np.ndarray | None = None, part: Part | None = None
) -> float:
    """The sky level; the median of the usable pixels where they are too few or too equal for a noise; 0 without any.

    ``part``: as for ``galflow.surveys.reading.sky.look_at_sky``.
    """
    return look_at_sky(flux, mask, ivar, part=part).level
