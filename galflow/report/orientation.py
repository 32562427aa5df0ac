"""How the picture of an object is turned so that north is up and east left, as far as whole pixels allow.

Pixels are never resampled: a picture is mirrored and turned by right angles, and what is left is stated as an angle.
Without a WCS an image of flux is drawn with y upwards, as FITS viewers do; a picture that was stretched for display
(JPEG, PNG) with its first row on top, as its file has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from galflow.cutouts.displayed import white_of
from galflow.errors import DataError
from galflow.surveys.reading.fits_wcs import wcs_of_cutout
from galflow.surveys.reading.grids import WCS_FAULTS
from galflow.surveys.reading.positions import pixel_to_icrs

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Orientation:
    """What is done to an image (y, x) whose first row is its lowest to draw it with its first row on top."""

    rows_up: bool = True
    """Whether its first row is drawn at the bottom."""
    mirrored: bool = False
    """Whether columns are reversed then."""
    quarters: int = 0
    """By how many right angles it is turned anticlockwise at last."""
    to_north_deg: float | None = None
    """Where north is in what is drawn: degrees clockwise from up, within 45; None: nobody knows."""

    def turned(self, image: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
        """(..., y, x) as it is drawn: the first row on top."""
        drawn = image[..., ::-1, :] if self.rows_up else image
        drawn = drawn[..., ::-1] if self.mirrored else drawn
        return np.rot90(drawn, self.quarters, axes=(-2, -1))

    def picture(self, colours: npt.NDArray[Kind]) -> npt.NDArray[Kind]:
        """(y, x, 3) as it is drawn."""
        return np.moveaxis(self.turned(np.moveaxis(colours, -1, 0)), 0, -1)

    @classmethod
    def at(cls, step_x: npt.NDArray[np.float64], step_y: npt.NDArray[np.float64]) -> Orientation:
        """From the (east, north) that a pixel to the right and one upwards lead, both (2,)."""
        matrix = np.stack([step_x, step_y], axis=1)
        if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) == 0:
            return cls()
        mirrored = bool(np.linalg.det(matrix) > 0)  # on the sky east is left of north
        right, up = np.linalg.solve(matrix, np.array([0.0, 1.0]))
        angle = math.degrees(math.atan2(-right if mirrored else right, up))
        quarters = round(angle / 90)
        return cls(True, mirrored, quarters % 4, angle - 90 * quarters)


AS_STORED = Orientation()
"""With y upwards, and north unknown."""


def orientations(
    attributes: Mapping[str, Any], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> list[Orientation]:
    """Of objects at these pixels (n,) of the tile whose cutout set has these attributes."""
    cards = attributes.get("wcs")
    if not cards:
        return [Orientation(rows_up=not any(white_of(attributes)))] * len(x)
    try:
        wcs = wcs_of_cutout(cards, 0, 0, 1)
        ra, dec = pixel_to_icrs(wcs, np.stack([x, x + 1, x]).ravel(), np.stack([y, y, y + 1]).ravel())
    except (*WCS_FAULTS, DataError):  # objects are shown as they lie, and the page says that north is not known
        return [AS_STORED] * len(x)
    ra, dec = ra.reshape(3, -1), dec.reshape(3, -1)
    east = ((ra[1:] - ra[0] + 180) % 360 - 180) * np.cos(np.radians(dec[0]))
    north = dec[1:] - dec[0]
    return [Orientation.at(*np.stack([east[:, i], north[:, i]], axis=1)) for i in range(len(x))]
