"""FITS files with a band in each extension, known by the extensions' names: VIS_FLUX, VIS_RMS, VIS_PSF, NIR_Y_FLUX ...

The name of an extension is a band with or without a word for what it holds. The guess is told. As elsewhere a unit is
never guessed, and no pixels are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from galflow.surveys.name_patterns import band_patterns
from galflow.surveys.reading.data_models import has_flux_unit
from galflow.surveys.reading.files import StoredFile
from galflow.surveys.reading.fits_contents import Hdu, contents
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec
from galflow.surveys.recognise import Recognised, is_fits, stated_root
from galflow.surveys.recognise_plain import PLANES, ZERO_POINT_KEYWORDS, is_zero_point

_IMAGE = frozenset({"flux", "sci", "image", "img", "data", "coadd"})
_PSF = "psf"
_FEWEST_BANDS = 2


@dataclass
class ExtensionBand:
    """The extensions of one band."""

    image: Hdu | None = None
    beside: dict[str, tuple[str, str]] = field(default_factory=dict)
    """weight, mask or psf -> (name of its extension, kind of weight)."""


def bands_of_extensions(hdus: Sequence[Hdu]) -> dict[str, ExtensionBand] | None:
    """Band, in lower case -> its extensions; None unless at least two bands have an image of one shape."""
    found: dict[str, ExtensionBand] = {}
    for hdu in hdus:
        if not hdu.is_plane or not hdu.name:
            continue
        stem, _, word = hdu.name.lower().replace("-", "_").rpartition("_")
        role, kind = PLANES.get(word, (_PSF if word == _PSF else "", ""))
        if stem and role:
            found.setdefault(stem, ExtensionBand()).beside[role] = (hdu.name, kind)
        else:
            band = stem if stem and word in _IMAGE else hdu.name.lower().replace("-", "_")
            if band in _IMAGE or band in PLANES or band == _PSF:
                return None  # the name of a plane, and not of a band
            found.setdefault(band, ExtensionBand()).image = hdu
    images = {band: of for band, of in found.items() if of.image is not None}
    shapes = {of.image.shape[-2:] for of in images.values() if of.image is not None}
    return images if len(images) >= _FEWEST_BANDS and len(shapes) == 1 else None


def recognise_extensions(folder: str, root: str, entries: Sequence[StoredFile]) -> Recognised | None:
    """Tiles with all bands in extensions of one file; None for any other layout, and where headers say no unit."""
    paths = [entry.uri[len(root) + 1 :] for entry in entries if is_fits(entry.uri)]
    if not paths:
        return None
    uri = f"{root}/{paths[0]}"
    bands = bands_of_extensions(contents(uri))
    pattern = paths[0] if len(paths) == 1 else _pattern(paths)
    if bands is None or pattern is None:
        return None
    headers = [of.image.header for of in bands.values() if of.image is not None]
    options: dict[str, Any] = {"root": stated_root(folder)}
    names = {band: of.image.name for band, of in bands.items() if of.image is not None}
    options["bands"] = {band: f"{pattern}[{name}]" for band, name in names.items()}
    unit = _unit(headers, options)
    first = next(of.image for of in bands.values() if of.image is not None)
    wcs = celestial_wcs(first.header, uri)
    if unit is None or wcs is None:
        return None
    known = [
        f"unit: {unit}",
        f"bands, by the names of extensions: {', '.join(f'{b} is {n}' for b, n in names.items())}",
    ]
    unknown = []
    for role, without in (("weight", "the noise is measured from the sky"), ("mask", "only missing pixels are masked"),
                          ("psf", "models that need the PSF cannot be used")):  # fmt: skip
        beside = {band: of.beside[role] for band, of in bands.items() if role in of.beside}
        kinds = {kind for _, kind in beside.values()}
        if len(beside) < len(bands) or len(kinds) > 1:
            lacking = ", ".join(band for band in bands if band not in beside)
            problem = f"none was found for {lacking}" if lacking else f"bands have several kinds ({', '.join(kinds)})"
            unknown.append(f"{role}: {problem}; {without}")
            continue
        options[role] = {"pattern": pattern, "extension": {band: name for band, (name, _) in beside.items()}}
        known.append(f"{role}: {', '.join(name for name, _ in beside.values())}")
        if role == "weight":
            options[role]["kind"] = kinds.pop()
    shape = (first.shape[-2], first.shape[-1])
    return Recognised(
        "fits_tiles", "FITS images with a band in each extension", options, tuple(bands),
        local_pixel_scale_arcsec(wcs, shape), shape, None, uri, len(paths), tuple(known), tuple(unknown),
    )  # fmt: skip


def _pattern(paths: Sequence[str]) -> str | None:
    """One pattern of all files' paths, in which {tile} is what differs."""
    named = band_patterns(paths)
    patterns = set() if named is None else set(named.patterns.values())
    return patterns.pop() if len(patterns) == 1 else None


def _unit(headers: Sequence[Mapping[str, Any]], options: dict[str, Any]) -> str | None:
    """What the headers of the first file's bands say, put into ``options``; None where they say nothing."""
    for card in ZERO_POINT_KEYWORDS:
        if all(is_zero_point(header.get(card)) for header in headers):
            options["zero_point_keyword"] = card
            return f"zero point by the card {card}, taken for AB"
    if all(has_flux_unit(header) for header in headers):
        options["unit"] = "bunit"
        return f"BUNIT = {headers[0]['BUNIT']}"
    return None
