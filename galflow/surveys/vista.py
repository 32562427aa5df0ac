"""Single VISTA frames (VIRCAM; VIKING and the other surveys), one detector a file, whatever the files are called.

Data model: CASU's FITS headers (casu.ast.cam.ac.uk/surveys-projects/vista) and ESO's Science Data Products Standard.
The WCS is ZPN with its reference point far off the frame; SEEING is in pixels. A band is what FILTER says. Zero points:

- PHOTZP with PHOTSYS (ESO products): of one count, in Vega or AB magnitudes;
- MAGZPT near NIGHTZPT (CASU's frames): Vega, of one count a second, at unit airmass; made AB by EXPTIME and by CASU's
  offsets (Gonzalez-Fernandez+18, MNRAS 474, 5459);
- MAGZPT far from NIGHTZPT, or without it (frames rescaled to a common zero point, as GAMA's): AB, of one count.

The noise is measured from the sky, or made of confidence maps where the option says how they are called: weights of
inverse variance up to a factor, of median 100, 0 where a pixel is bad (VISTA Data Reduction Library Design,
VIS-SPE-IOA-20000-0010), which are scaled to the sky. A file of several detectors is refused.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from astropy.io import fits
from pydantic import Field

from galflow.errors import DataError, SpecError
from galflow.surveys.base import Tile
from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import DataModel, Header
from galflow.surveys.reading.fits_inspect import stored_header
from galflow.surveys.reading.fits_io import read_header
from galflow.surveys.reading.fits_names import path_pattern
from galflow.surveys.reading.fits_options import FitsTilesOptions, WeightOptions
from galflow.surveys.reading.fits_planes import header_number

AB_MINUS_VEGA = {"Z": 0.502, "Y": 0.600, "J": 0.916, "H": 1.366, "Ks": 1.827}
_CONFIDENCE = re.compile(r"_conf\.fits?(?:\.fz|\.gz)?$")
_NIGHT_AGREES = 1.0
"""Magnitudes by which a frame's own zero point may differ from that of its night."""


class VistaOptions(PresetOptions):
    """Where the frames lie, and how they are called."""

    pattern: str = Field(
        default="{tile:path}.fits",
        description="Path of the frames below root, with {tile}, or {tile:path} across folders; with {band} where one "
        "tile has frames of several filters, else all frames are of one band",
    )
    confidence: str | None = Field(
        default=None,
        description="Path of the confidence maps below root, with the {tile} of their frames, such as "
        "{tile:path}_conf.fits; empty: the noise is measured from the sky",
    )


class Vista(Preset):
    """VISTA's frames; see the module's docstring."""

    Options = VistaOptions
    options: VistaOptions
    model = DataModel(
        product="a VISTA frame",
        expected="one VIRCAM detector with FILTER, and PHOTZP with PHOTSYS, or MAGZPT",
        example="image_1.fits, with FILTER = H in its header",
        bands={band: band for band in ("H", "Ks", "J", "Y", "Z")},
        images=(),
        signs=(
            ("INSTRUME", "VIRCAM"),
            ("TELESCOP", "VISTA"),
            ("ORIGFILE", "VIRCAM"),
            ("ESO DET CHIP NAME", "(?i)virgo"),
        ),
        zero_point_keywords=("PHOTZP", "MAGZPT"),
        fwhm=(("PSF_FWHM", "arcsec"), ("SEEING", "pixel")),
        background="constant",
    )

    @property
    def images(self) -> tuple[str, ...]:
        """The option pattern."""
        return (self.options.pattern,)

    @functools.cached_property
    def _translated(self) -> FitsTilesOptions:
        """With the confidence maps as weights."""
        found, pattern = super()._translated, self.options.confidence
        if pattern is None or self.options.noise == "sky":
            return found
        patterns = {band: pattern.replace("{band}", self.model.bands[band]) for band in found.bands}
        return found.model_copy(update={"weight": WeightOptions(pattern=patterns, kind="weight")})

    def tiles(self) -> list[Tile]:
        """Every frame; a confidence map, whose name fits the pattern of the frames too, is none."""
        tiles = super().tiles()
        maps = {file.uri for tile in tiles for file in tile.files if file.role.startswith("weight/")}
        return [tile for tile in tiles if not any(f.role.startswith("flux/") and f.uri in maps for f in tile.files)]

    def bands_there(self, patterns: Mapping[str, str], paths: Sequence[str]) -> set[str]:
        """Those of {band}; without it the one that the first frame's FILTER names."""
        if "{band}" in self.options.pattern:
            return super().bands_there(patterns, paths)
        band, pattern = next(iter(patterns.items()))
        first = next((path for path in paths if path_pattern(pattern, band).match(path)), None)
        if first is None:
            return set()
        if self.options.bands is not None:
            if len(patterns) > 1:
                raise SpecError(
                    f"survey.options.bands names {', '.join(patterns)}, but pattern has no {{band}}: all its frames "
                    "are of one band. Name one, or give pattern a {band}"
                )
            return {band}
        try:
            said = _filter(read_header(f"{self.root_uri}/{first}")[1])
        except DataError as error:
            raise SpecError(
                f"{error}. It would say which band the frames are of; or give survey.options.bands"
            ) from error
        if said not in patterns:
            raise SpecError(
                f"{self.root_uri}/{first} gives FILTER = {said!r}; expected one of {', '.join(patterns)} of a VISTA "
                "frame. Check survey.options.root"
            )
        return {said}

    def refusal(self, band: str, found: Header, tile: Tile) -> str | None:
        """Another filter than the band, or several detectors."""
        said = _filter(found[1])
        if said != band:
            return f"its FILTER is {said!r}, not {band}"
        file = tile.file(f"flux/{band}")
        if file is not None and _CONFIDENCE.search(file.uri):
            return 'its name is that of a confidence map; declare confidence: "{tile:path}_conf.fits"'
        try:
            several = file is not None and bool(stored_header(file, 2))
        except DataError:
            several = False  # there is no second image
        return "it holds several detectors; split it into one file each" if several else None

    def zero_point(self, header: fits.Header, uri: str) -> float | None:
        """The AB magnitude of one count; see the module's docstring."""
        band = _filter(header)
        if "PHOTZP" in header:
            system = str(header.get("PHOTSYS", "")).strip().upper()
            if system not in ("VEGA", "AB"):
                raise DataError(f"{uri}: its header gives PHOTZP, but PHOTSYS = {system!r}; expected VEGA or AB")
            point = header_number(header, "PHOTZP", uri)
            return point + (AB_MINUS_VEGA[band] if system == "VEGA" else 0.0)
        if "MAGZPT" not in header:
            return None
        point = header_number(header, "MAGZPT", uri)
        if not _of_its_night(header, point):
            return point
        seconds = header_number(header, "EXPTIME", uri)
        if not seconds > 0:
            raise DataError(f"{uri}: its header gives EXPTIME = {seconds:g}; expected the seconds of one exposure")
        return point + 2.5 * math.log10(seconds) + AB_MINUS_VEGA[band]

    def remarks(self, band: str, found: Header, uri: str) -> Iterator[tuple[str, str]]:
        """What a zero point was taken for."""
        header, point = found[1], self.zero_point(found[1], uri)
        if "PHOTZP" not in header and point is not None and point != header.get("MAGZPT"):
            yield (
                f"MAGZPT of band {band} is near NIGHTZPT: Vega, of one count a second",
                f"zero points such as AB {point:.3f} of one count are taken",
            )


def _filter(header: fits.Header) -> str:
    """The band that FILTER names."""
    return str(header.get("FILTER", "")).strip()


def _of_its_night(header: fits.Header, point: float) -> bool:
    night = header.get("NIGHTZPT")
    return isinstance(night, int | float) and abs(point - night) < _NIGHT_AGREES
