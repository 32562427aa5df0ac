"""A cutout set as it is measured: some rows at a time, each chunk read once, with whose pixels are whose.

Bad pixels, missing ones and neighbours have inverse variance 0. This file measures nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from galflow.cutouts.batches import psf_of
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import white_of
from galflow.measurements.segmentation import Segments, segment
from galflow.surveys.reading.windows import corners

_ROWS = 512
"""Rows at a time, so that memory is bounded whatever a chunk holds."""


@dataclass(frozen=True, eq=False)
class MeasuredTile:
    """What is one for all rows of a set."""

    bands: tuple[str, ...]
    """The first is the reference."""
    pixel_scale_arcsec: float
    psfs: tuple[np.ndarray | None, ...]
    """(y, x) of each band; None where the survey tells nothing of it."""
    sky_sigma: tuple[float, ...]
    """Of a pixel of each band, in the unit of the flux; infinite where it is not known."""
    is_flux: bool
    """Whether pixels are flux, and not stretched for display."""
    device: str = "cpu"

    @classmethod
    def of(cls, cutouts: CutoutSet, device: str = "cpu") -> MeasuredTile:
        """As the set's attributes say."""
        said = cutouts.attributes
        sigma = tuple(float(s) if s and math.isfinite(s) else math.inf for s in said["sky_sigma"])
        scale, flux = float(said["pixel_scale_arcsec"]), not any(white_of(said))
        return cls(tuple(said["bands"]), scale, _psfs(cutouts), sigma, flux, device)

    def psf(self, band: int) -> Tensor:
        """(y, x) float32 of a band that has one."""
        return torch.from_numpy(np.asarray(self.psfs[band], np.float32)).to(self.device)


def _psfs(cutouts: CutoutSet) -> tuple[np.ndarray | None, ...]:
    known = [cutouts.has("psf") or bool(f) for f in cutouts.attributes["psf_fwhm_arcsec"]]
    if not any(known):
        return (None,) * len(known)
    with np.errstate(invalid="ignore", divide="ignore"):  # of a band without a width, whose image is not used
        images = psf_of(cutouts)
    return tuple(
        image if told and np.isfinite(image).all() else None for image, told in zip(images, known, strict=True)
    )


@dataclass(frozen=True, eq=False)
class Portion:
    """Some rows of one chunk."""

    rows: np.ndarray
    """(b,) their numbers."""
    flux: np.ndarray
    """(b, band, y, x), 0 where missing."""
    ivar: np.ndarray
    corner: np.ndarray
    """(b, 2): x, y of the cutout's first pixel in its tile."""
    centre: np.ndarray
    """(b, 2): x, y of the catalogue's position, in pixels of the cutout."""
    segments: Segments
    """Of the reference band."""

    def tensors(self, band: int, device: str) -> tuple[Tensor, Tensor]:
        """Flux and inverse variance (b, y, x) of a band, the latter 0 also where a neighbour is."""
        ivar = np.where(self.segments.neighbour, 0, self.ivar[:, band])
        return torch.from_numpy(self.flux[:, band].copy()).to(device), torch.from_numpy(ivar).to(device)


def portions(cutouts: CutoutSet, wanted: np.ndarray) -> Iterator[Portion]:
    """The ``wanted`` rows, (N,) bool, in their order."""
    size = cutouts.pixel_shape[-1]
    place = np.stack([cutouts.read(name) for name in ("x_pixel", "y_pixel")], axis=1).astype(np.float64)
    for chunk in cutouts.chunks():
        inside = np.flatnonzero(wanted[chunk])
        if not len(inside):
            continue
        flux, ivar = cutouts.read("flux", chunk), cutouts.read("ivar", chunk)
        for start in range(0, len(inside), _ROWS):
            some = inside[start : start + _ROWS]
            weight = np.where(np.isfinite(flux[some]), ivar[some], 0).astype(np.float32)
            light = np.where(weight > 0, flux[some], 0).astype(np.float32)
            rows = some + chunk.start
            corner = corners(place[rows], size)
            centre = place[rows] - corner
            yield Portion(rows, light, weight, corner, centre, segment(light[:, 0], weight[:, 0], centre))
