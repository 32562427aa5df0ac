"""What lies beside a survey's FITS images: which files of which roles, and weights, masks and PSFs out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.io import fits

from galflow.surveys.base import Psf, TileFile
from galflow.surveys.reading.files import unchanged
from galflow.surveys.reading.fits_io import read_image
from galflow.surveys.reading.fits_masks import mask_planes
from galflow.surveys.reading.fits_options import (
    FitsTilesOptions,
    MaskOptions,
    PsfOptions,
    WeightOptions,
    extension_of,
)
from galflow.surveys.reading.fits_planes import header_number, make_psf, psf_image, read_companion, relative_ivar
from galflow.surveys.reading.fits_psf import varying_psf
from galflow.surveys.reading.parts import Part


@dataclass(frozen=True)
class ImageAsStored:
    """The image that a companion goes with."""

    uri: str
    header: fits.Header
    shape: tuple[int, int]
    """(y, x) of all of it, also where a part of it is read."""


def companion_roles(options: FitsTilesOptions, bands: Sequence[str]) -> dict[str, str]:
    """Role ("weight/r", "mask/r", "psf/r", "catalog") -> pattern of all declared companions of the images."""
    sources = {"weight": options.weight, "mask": options.mask}
    roles = {
        f"{role}/{band}": pattern
        for role, source in sources.items()
        for band in bands
        if source is not None and (pattern := source.pattern_for(band)) is not None
    }
    if options.psf is not None and options.psf.pattern is not None:
        patterns = options.psf.pattern
        per_band = dict.fromkeys(bands, patterns) if isinstance(patterns, str) else patterns
        roles |= {f"psf/{band}": pattern for band, pattern in per_band.items()}
    if options.catalog is not None and options.catalog.per_tile:
        roles["catalog"] = options.catalog.path
    return roles


def read_psf(
    options: PsfOptions, band: str, file: TileFile | None, image: ImageAsStored, scale_arcsec: float
) -> Psf | None:
    """The PSF of a band: as ``file`` has it, its FWHM declared or of the image's header; None without either."""
    stored, varying = None, None
    if file is not None:
        pattern = options.pattern.get(band) if isinstance(options.pattern, dict) else options.pattern
        extension = extension_of(options.extension, band, pattern)
        with unchanged(file) as uri:
            if options.varies == "no":
                stored = psf_image(read_image(uri, extension)[0], uri)
            else:
                varying = varying_psf(options, uri, extension, image.shape, scale_arcsec)
    fwhm: Any = options.fwhm_arcsec
    if isinstance(fwhm, dict):
        fwhm = fwhm.get(band)
    elif options.fwhm_keyword is not None:
        fwhm = header_number(image.header, options.fwhm_keyword, image.uri)
        fwhm *= scale_arcsec if options.fwhm_unit == "pixel" else 1.0
    known = None if stored is None and fwhm is None else make_psf(stored, fwhm, image.uri)
    if varying is None or known is None:
        return varying or known
    return replace(varying, fwhm_arcsec=known.fwhm_arcsec)


def read_weight(
    options: WeightOptions | None, band: str, file: TileFile | None, shape: tuple[int, int], part: Part | None
) -> np.ndarray | None:
    """(y, x) inverse variance of a band's stored pixels up to a factor, of a part (1, M); None without a file."""
    if file is None or options is None:
        return None
    with unchanged(file) as uri:
        pixels, _ = read_companion(uri, options.extension_for(band), shape, part)
    return relative_ivar(pixels, options.kind)


def read_mask(
    options: MaskOptions | None, band: str, file: TileFile | None, shape: tuple[int, int], part: Part | None
) -> np.ndarray | None:
    """(y, x) mask of a band as planes, of a part (1, M); None without a file."""
    if file is None or options is None:
        return None
    with unchanged(file) as uri:
        pixels, header = read_companion(uri, options.extension_for(band), shape, part)
    return mask_planes(pixels, header, options, uri)
