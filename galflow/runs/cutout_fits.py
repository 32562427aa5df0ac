"""One object's cutout as a FITS file: an image a band and what belongs to it, each with the WCS of these pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits

from galflow.errors import StoreError
from galflow.logs import quiet
from galflow.surveys.base import Plane

if TYPE_CHECKING:
    from astropy.wcs import WCS

_ROW = ("object_id", "ra", "dec", "survey", "release", "tile", "run_id", "flags", "anomaly_rank")
"""Columns of the catalogue that the primary header repeats, as far as they are there."""


def _keyword(name: str) -> str:
    return name.upper() if len(name) <= 8 else f"HIERARCH {name.upper()}"


def write_cutout_fits(
    path: str | os.PathLike[str],
    planes: Mapping[str, np.ndarray],
    bands: Sequence[str],
    unit: str,
    wcs: WCS | None,
    row: Mapping[str, Any],
) -> None:
    """Write ``planes``, flux, ivar and mask of (band, y, x) each, as extensions FLUX_<band>, IVAR_<band>, MASK_<band>.

    StoreError if the file is there already.
    """
    primary = fits.PrimaryHDU()
    for name in _ROW:
        if (value := row.get(name)) is not None:
            primary.header[_keyword(name)] = value
    with quiet():
        cards = wcs.to_header(relax=True) if wcs is not None else fits.Header()
    found: list[fits.PrimaryHDU | fits.ImageHDU] = [primary]
    units = {"flux": unit, "ivar": f"{unit}-2"}
    for number, band in enumerate(bands):
        for name, values in planes.items():
            image = fits.ImageHDU(values[number], cards, name=f"{name}_{band}".upper())
            image.header["BAND"] = band
            if name in units:
                image.header["BUNIT"] = units[name]
            else:
                for plane in Plane:
                    image.header[_keyword(f"MP_{plane.name}")] = (int(plane).bit_length() - 1, "bit of this plane")
            found.append(image)
    try:
        with quiet():
            fits.HDUList(found).writeto(path, checksum=True)
    except OSError as error:
        if not os.path.exists(path):
            raise
        raise StoreError(f"{os.fspath(path)} exists already; nothing is overwritten, give another name") from error
