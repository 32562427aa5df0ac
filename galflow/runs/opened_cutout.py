"""One object's pixels with its row of the catalogue, as a published run gives them."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS


@dataclass(frozen=True, eq=False)
class Cutout:
    """One object's pixels, as they are stored, with its row of the catalogue."""

    flux: np.ndarray
    """(band, y, x) float32 in ``unit``; NaN where missing."""
    ivar: np.ndarray
    """(band, y, x) float32, inverse variance in 1 / ``unit`` squared; 0 where missing."""
    mask: np.ndarray
    """(band, y, x) uint16: bits of galflow.surveys.base.Plane."""
    bands: tuple[str, ...]
    unit: str
    """nJy, or declared counts."""
    wcs: WCS | None
    """Of these pixels (0-based pixel (0, 0) is ``flux[:, 0, 0]``); None where the survey has no WCS."""
    row: dict[str, Any]
    """Its row of the catalogue: column -> value."""
    sky_sigma: tuple[float, ...]
    """Standard deviation of the sky in a pixel of each band, in ``unit``; NaN where it is not known."""
    display_white: tuple[float | None, ...] = ()
    """White of each band, in ``unit``, of pixels stretched for display already; 0: flux, None: unknown."""

    def picture(self) -> np.ndarray:
        """(y, x, 3) uint8: the object in colour, an asinh of flux or as it was stretched, as the report draws it."""
        from galflow.report.pictures import Display, colour_picture

        if any(self.display_white):
            white = [w or 1.0 for w in self.display_white]
            return Display.as_given(self.bands, white, self.unit).picture(self.flux)
        sigma = tuple(s if math.isfinite(s) and s > 0 else 1.0 for s in self.sky_sigma)
        return colour_picture(self.flux, sigma, self.bands)

    def __repr__(self) -> str:
        bands, (_, height, width) = ", ".join(self.bands), self.flux.shape
        return f"<Cutout of object {self.row['object_id']}: {height} x {width} pixels in {bands}, {self.unit}>"

    def _repr_html_(self) -> str:
        from galflow.report.pictures import data_uri, picture_png

        source = data_uri(picture_png(self.picture()))
        said = f"object {self.row['object_id']}, ra {self.row['ra']:.5f}, dec {self.row['dec']:.5f}"
        return (
            f'<figure><img src="{source}" alt="{html.escape(said)}" '
            'style="width: 192px; image-rendering: pixelated"/>'
            f"<figcaption>{html.escape(said)}</figcaption></figure>"
        )
