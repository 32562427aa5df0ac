"""The WCS of an object's pixels, out of the cards of its tile and the place where they were cut out."""

from __future__ import annotations

from astropy.wcs import WCS

from galflow.cutouts.cutout_set import CutoutSet
from galflow.surveys.reading.fits_wcs import wcs_of_cutout
from galflow.surveys.reading.windows import corners


def stored_wcs(cutouts: CutoutSet, row: int) -> WCS | None:
    """The WCS of one row's pixels; None where the survey has none."""
    cards = cutouts.attributes.get("wcs")
    if cards is None:
        return None
    size, at = cutouts.pixel_shape[-1], slice(row, row + 1)
    x0, y0 = (int(corners(cutouts.read(name, at), size)[0]) for name in ("x_pixel", "y_pixel"))
    return wcs_of_cutout(cards, x0, y0, size)
