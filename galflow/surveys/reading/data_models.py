"""A survey's published data model as data: where its files lie, how one of them is known, what its header says.

A file of another survey is a DataError that names it and what was expected. Where a header contradicts what is
published, the header is right. How pixels are read is galflow.surveys.fits_tiles' matter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from astropy.io import fits

from galflow.errors import DataError
from galflow.surveys.base import TileFile
from galflow.surveys.reading.fits_inspect import stored_header
from galflow.surveys.reading.fits_io import Extension
from galflow.surveys.reading.fits_masks import named_bits
from galflow.surveys.reading.fits_planes import header_number
from galflow.surveys.reading.fits_units import flux_unit
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec

Header = tuple[tuple[int, int], fits.Header]
"""Shape (y, x) and cards."""
_SCALE_AGREES = 0.02
"""Images of one grid differ by less, by the distortion of their projection."""
ZERO_POINT_AGREES = 0.001
"""Magnitudes."""
_WHO = ("TELESCOP", "INSTRUME", "SURVEY", "ORIGIN", "OBJECT")
"""Cards that say whose file it is."""

PIPELINE_PLANES: Mapping[int | str, str] = {
    "BAD": "BAD",
    "SAT": "SATURATED",
    "NO_DATA": "NO_DATA",
    "CR": "INTERPOLATED",
    "INTRP": "INTERPOLATED",
    "EDGE": "EDGE",
    "BRIGHT_OBJECT": "BRIGHT_STAR",
    "SATURATED": "SATURATED",
    "COSMIC_RAY": "INTERPOLATED",
    "INTERPOLATED": "INTERPOLATED",
    "DETECTION_EDGE": "EDGE",
}
"""What the mask planes of the LSST pipelines mean, which process HSC too; the last four are the names of DP2."""


@dataclass(frozen=True)
class Companion:
    """What goes with an image: in the same file, or in one whose name differs."""

    extension: Extension = None
    swap: tuple[str, str] | None = None
    """(text of the image's pattern, what stands there instead); {band} in both is the band's name in file names. None:
    the same file."""

    def pattern(self, image: str, name: str) -> str:
        """The pattern that goes with the pattern of the images of a band of that name."""
        if self.swap is None:
            return image
        there, instead = (text.replace("{band}", name) for text in self.swap)
        return image.replace(there, instead)


@dataclass(frozen=True)
class DataModel:
    """What a survey has published about its files. Patterns are those of fits_tiles; {band} is ``bands``' value."""

    product: str
    """Such as "an HSC-SSP coadd (calexp)"."""
    expected: str
    """What such a file has, for an error's sentence."""
    example: str
    """A path as the survey names it."""
    bands: Mapping[str, str]
    """Band -> its name in file names; the first that is there is the reference."""
    images: tuple[str, ...]
    """Patterns of the images, one a release or compression; the first that matches a file is taken."""
    image: Extension = None
    """Extension of the pixels; None: the first 2-D image."""
    scale_arcsec: float | None = None
    """Of the survey's common grid; None: there is none."""
    signs: tuple[tuple[str, str], ...] = ()
    """(keyword, regular expression of its value): a header that has none of them is another survey's."""
    zero_point: float | None = None
    """AB magnitude of one stored count where the header does not say it; None: it must, or BUNIT."""
    zero_point_keywords: tuple[str, ...] = ()
    """Cards that say it, or FLUXMAG0, the counts of magnitude 0; the first that is there is right."""
    zero_points: Mapping[str, float] = field(default_factory=dict)
    """Band -> what is published of its header's zero point."""
    weight: Companion | None = None
    weight_kind: Literal["ivar", "variance", "sigma", "weight"] = "ivar"
    mask: Companion | None = None
    mask_names: str = ""
    """Regular expression of the paths of masks that are no images, which the kind reads itself."""
    planes: Mapping[int | str, str] | None = None
    """Bit, or name in the mask's own header -> galflow's plane; None: any non-zero pixel is BAD."""
    needed: frozenset[str] = frozenset()
    """Names that the header of every mask gives a bit; "A|B": one of them."""
    fwhm: tuple[tuple[str, Literal["arcsec", "pixel"]], ...] = ()
    """(keyword, unit) of the PSF's FWHM; the first that is there is taken, none is needed."""
    background: Literal["none", "constant", "mesh"] = "none"
    """What is left to subtract."""
    blank_value: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """galflow's names of a catalogue's columns -> the survey's."""
    ids_per_tile: bool = False
    """Whether the catalogue of each tile counts its own objects."""

    def recognised(self, file: TileFile) -> Header:
        """The header of an image of this survey; DataError, with the file's name and what was expected, for another."""
        try:
            shape, header = stored_header(file, self.image)
            wcs = celestial_wcs(header, file.uri)
        except DataError as error:
            raise self.foreign(file, str(error)) from error
        if wcs is None:
            raise self.foreign(file, "its header has no WCS")
        if self.signs and not any(re.search(text, str(header.get(card, ""))) for card, text in self.signs):
            raise self.foreign(file, f"{_signs(self.signs)}{_says(header)}")
        scale = local_pixel_scale_arcsec(wcs, shape)
        if self.scale_arcsec is not None and abs(scale / self.scale_arcsec - 1) > _SCALE_AGREES:
            raise self.foreign(file, f"its pixels are {scale:.4g} arcsec, not {self.scale_arcsec:g}{_says(header)}")
        return shape, header

    def named_planes(self, file: TileFile, planes: Mapping[int | str, str]) -> dict[int | str, str]:
        """Those of ``planes`` that the file's mask has. DataError where one of ``needed`` has no bit."""
        if not any(isinstance(plane, str) for plane in planes) or self.mask is None:
            return dict(planes)
        try:
            _, header = stored_header(file, self.mask.extension)
        except DataError as error:
            raise self.foreign(file, str(error)) from error
        bits = named_bits(header)
        lost = sorted(names for names in self.needed if not set(names.split("|")) & set(bits))
        if lost:
            lacks = ", ".join(lost).replace("|", " or ")
            names = ", ".join(sorted(bits)) or "none"
            raise self.foreign(file, f"its mask's header has no plane {lacks}; it names {names}")
        return {name: plane for name, plane in planes.items() if not isinstance(name, str) or name in bits}

    def header_zero_point(self, header: fits.Header, uri: str) -> float | None:
        """The AB magnitude of one count as the first of ``zero_point_keywords`` says it; None where none is there."""
        card = next((card for card in self.zero_point_keywords if card in header), None)
        if card is None:
            return None
        value = header_number(header, card, uri)
        if card != "FLUXMAG0":
            return value
        if value <= 0:
            raise DataError(f"{uri}: its header gives FLUXMAG0 = {value:g}; expected the counts of magnitude 0")
        return 2.5 * math.log10(value)

    def fwhm_arcsec(self, header: fits.Header, scale_arcsec: float) -> float | None:
        """The PSF's FWHM that a header gives; None where it gives none that is a positive number."""
        for card, unit in self.fwhm:
            value = header.get(card)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
                return float(value) * (scale_arcsec if unit == "pixel" else 1.0)
        return None

    def lacks_unit(self, header: fits.Header, file: TileFile) -> DataError:
        """Of an image without a zero point."""
        cards = " or ".join((*self.zero_point_keywords, "a BUNIT of flux"))
        return self.foreign(file, f"its header has no {cards} (BUNIT = {header.get('BUNIT')!r})")

    def foreign(self, file: TileFile, reason: str) -> DataError:
        """Of a file that is not this survey's."""
        return DataError(
            f"{file.uri} is not {self.product}: {reason.removeprefix(f'{file.uri}: ')}. Expected {self.expected}; "
            "take it out of root, or name its own survey.kind (fits_tiles reads any FITS images)"
        )


def has_flux_unit(header: fits.Header) -> bool:
    """Whether BUNIT gives the unit."""
    return flux_unit(str(header.get("BUNIT", "")))


def _signs(signs: tuple[tuple[str, str], ...]) -> str:
    return "its header has none of " + ", ".join(f"{card} = {text}" for card, text in signs)


def _says(header: fits.Header) -> str:
    said = [f"{card} = {header[card]!r}" for card in _WHO if card in header]
    return f" (it says {', '.join(said)})" if said else ""
