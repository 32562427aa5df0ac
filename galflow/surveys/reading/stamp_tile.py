"""The ready-made images of one tile laid out as a mosaic: its bands as images, and what was done to the sizes.

Between the images, and in place of those that cannot be read, pixels are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from galflow.surveys.base import Image, Plane, Psf, PsfField
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.reading.stamp_psf import framed
from galflow.surveys.reading.stamp_reading import Stamp

_SIDE_OF_NOTHING = 32
"""Side of the cells of a tile in which no image can be read."""
_DONE = ("resampled", "cropped", "padded", "binned")


@dataclass(frozen=True, eq=False)
class StampTile:
    """The images of one tile, in the order of their names."""

    stamps: tuple[Stamp, ...]
    bands: tuple[str, ...]
    expected_side: int | None = None
    """Where it is known without an image."""

    @cached_property
    def _readable(self) -> list[Stamp]:
        return [stamp for stamp in self.stamps if stamp.pixels is not None]

    @cached_property
    def mosaic(self) -> Mosaic:
        """Where each lies."""
        sides = [max(stamp.pixels.shape[1:]) for stamp in self.stamps if stamp.pixels is not None]
        return Mosaic(len(self.stamps), max(sides, default=self.expected_side or _SIDE_OF_NOTHING))

    @cached_property
    def errors(self) -> list[str | None]:
        """Why an image cannot be read."""
        return [stamp.error for stamp in self.stamps]

    @cached_property
    def reasons(self) -> list[str]:
        """What is wrong with images that can be read all the same."""
        return [stamp.reason for stamp in self.stamps if stamp.reason is not None]

    @cached_property
    def sky(self) -> np.ndarray:
        """(n, 2) ICRS degrees of each centre pixel, NaN where no WCS tells."""
        return np.array([stamp.sky for stamp in self.stamps], dtype=np.float64).reshape(-1, 2)

    def image(self, band: str, unit: str, pixel_scale_arcsec: float) -> Image:
        """The mosaic of one band, with inverse variance, mask and the mean PSF as far as the images have them."""
        number, mosaic = self.bands.index(band), self.mosaic

        def plane(stamp: Stamp, name: str) -> np.ndarray | None:
            values = getattr(stamp, name)
            return None if stamp.pixels is None or values is None else values[number]

        def laid_out(name: str, fill: float, dtype: type[np.generic]) -> np.ndarray | None:
            planes = [plane(stamp, name) for stamp in self.stamps]
            return None if all(p is None for p in planes) else mosaic.assemble(planes, fill, dtype)

        flux = mosaic.assemble([plane(stamp, "pixels") for stamp in self.stamps], np.nan, np.float32)
        white = self._readable[0].white[number] if self._readable else np.nan
        mask = laid_out("mask", int(Plane.NO_DATA), np.uint16)
        if mask is not None:  # an image of which nothing is flagged
            mask[(mask == int(Plane.NO_DATA)) & np.isfinite(flux)] = 0
        return Image(
            flux, unit, pixel_scale_arcsec, laid_out("ivar", 0.0, np.float32), mask,
            psf=self._psf(number), display_white=white,
        )  # fmt: skip

    def _psf(self, band: int) -> Psf | None:
        """Each image's own, and their mean."""
        places = zip(self.stamps, *self.mosaic.centres, strict=True)
        known = [
            (stamp.psf[band], x, y) for stamp, y, x in places if stamp.pixels is not None and stamp.psf is not None
        ]
        if not known:
            return None
        side = max(max(image.shape) for image, _, _ in known)
        images = np.stack([framed(image, side) for image, _, _ in known])
        x, y = (np.array([place[axis] for place in known], np.float64) for axis in (1, 2))
        field = PsfField(x, y, images)
        return Psf(image=field.mean, field=field)

    @cached_property
    def sizes_told(self) -> dict[str, Any]:
        """How many images were resampled, cropped, padded, binned, and their sides before and after."""
        changes = [stamp.change for stamp in self._readable if stamp.change is not None]
        made = [stamp.pixels.shape[1:] for stamp in self.stamps if stamp.pixels is not None]
        told: dict[str, Any] = {"images": len(self.stamps), "unreadable": len(self.stamps) - len(self._readable)}
        told |= {done: sum(getattr(change, done) for change in changes) for done in _DONE}
        return told | {"native_yx": _range([c.native for c in changes]), "made_yx": _range(made)}


def _range(shapes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """[least, most] of (y, x) sides; empty without any."""
    if not shapes:
        return []
    sides = np.array(shapes)
    return [sides.min(axis=0).tolist(), sides.max(axis=0).tolist()]


def with_fwhm(image: Image, fwhm_arcsec: float) -> Image:
    """The image with a PSF of this FWHM, beside the image of it that it may have."""
    psf = Psf(fwhm_arcsec=fwhm_arcsec) if image.psf is None else replace(image.psf, fwhm_arcsec=fwhm_arcsec)
    return replace(image, psf=psf)
