"""What a specification may say about a folder of FITS files; the descriptions are the help texts of the form."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from galflow.surveys.base import Options, Plane
from galflow.surveys.reading.detection import DetectionOptions
from galflow.surveys.reading.files import expand_root
from galflow.surveys.reading.fits_names import parted

Extension = int | str | None
Extensions = int | str | None | dict[str, int | str]
_EXTENSION = (
    "Extension by number or name, for all bands or per band, or at the end of a pattern as file.fits[NAME]; empty: the "
    "first 2-D image of the file"
)
LEAST_ZERO_POINT, MOST_ZERO_POINT = -50.0, 50.0
"""Of a declared AB zero point: -48.6 is that of erg/s/cm2/Hz, 31.4 of nJy; -99 and 99 stand for none."""
_PATTERN = (
    "Path below root. {tile} stands for a tile's name within one folder level, {tile:path} for one across levels, "
    "{band} for the band, {group:a,b} for one of these folders, with which the tile's name begins, * for anything"
)


class _Source(Options):
    """Companion images: one file per tile, or per tile and band."""

    pattern: str | dict[str, str] = Field(description=_PATTERN + "; or one pattern per band")
    extension: Extensions = Field(default=None, description=_EXTENSION)

    def pattern_for(self, band: str) -> str | None:
        """The pattern of a band; None where the bands are listed and this one is not."""
        return self.pattern if isinstance(self.pattern, str) else self.pattern.get(band)

    def extension_for(self, band: str) -> Extension:
        """The extension of a band's file."""
        return extension_of(self.extension, band, self.pattern_for(band))


def extension_of(extension: Extensions, band: str, pattern: str | None) -> Extension:
    """Which extension holds a band: as its pattern says at its end, as declared for it, or as declared for all."""
    if pattern is not None and (named := parted(pattern)[1]) is not None:
        return named
    return extension.get(band) if isinstance(extension, dict) else extension


class WeightOptions(_Source):
    """Images that say how well each pixel is known."""

    kind: Literal["ivar", "variance", "sigma", "weight"] = Field(
        default="ivar",
        description="What the pixels are: inverse variance, variance, standard deviation (all in the image's own "
        "unit), or a relative weight that is scaled to the measured sky noise",
    )


class MaskMeaning(Options):
    """What integer flags mean."""

    planes: dict[int | str, str] | None = Field(
        default=None,
        description="Bit number (0 = lowest), or the plane's name in the file's own header (MP_SAT: SAT), to mask "
        "plane (BAD, SATURATED, ...); empty: any non-zero pixel is BAD. Where a header names bits, it is right",
    )
    invert: bool = Field(default=False, description="Non-zero pixels are the good ones")

    @field_validator("planes", mode="before")
    @classmethod
    def _numbers(cls, planes: object) -> object:
        """Keys of JSON are texts: those of digits are bit numbers."""
        if not isinstance(planes, dict):
            return planes
        return {int(k) if isinstance(k, str) and k.strip().isdigit() else k: v for k, v in planes.items()}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for bit, name in (self.planes or {}).items():
            if (isinstance(bit, int) and not 0 <= bit < 64) or name not in Plane.__members__:
                raise ValueError(
                    f"planes maps {bit!r} to {name!r}; expected bits 0-63, or names of the file's header, to "
                    f"{', '.join(Plane.__members__)}"
                )
        if self.planes and self.invert:
            raise ValueError("invert goes with masks of one meaning; leave out planes or invert")
        return self


class MaskOptions(_Source, MaskMeaning):
    """Images of integer flags."""


class PsfOptions(Options):
    """The point-spread function: an image, a number, a header keyword, a map, or stamps over the image."""

    later: ClassVar[frozenset[str]] = frozenset(
        {"varies", "interpolation", "stamp_pixels", "positions", "position_columns", "pixel_origin"}
    )

    pattern: str | dict[str, str] | None = Field(default=None, description="PSF image. " + _PATTERN)
    extension: Extensions = Field(default=None, description=_EXTENSION)
    fwhm_arcsec: float | dict[str, float] | None = Field(
        default=None, description="FWHM in arcsec, for all bands or per band"
    )
    fwhm_keyword: str | None = Field(default=None, description="Header keyword with the FWHM, such as SEEING")
    fwhm_unit: Literal["arcsec", "pixel"] = Field(default="arcsec", description="Unit of fwhm_keyword and of a map")
    varies: Literal["no", "map", "cells", "grid"] = Field(
        default="no",
        description="How the file of pattern tells a PSF that differs over the image. map: its pixels are the FWHM; "
        "cells: a PSF stamp for each cell of the image; grid: PSF stamps at positions. no: it is the PSF's image",
    )
    interpolation: Literal["linear", "nearest"] = Field(
        default="linear", description="Between the stamps of a grid; cells are constant"
    )
    stamp_pixels: int | None = Field(
        default=None, ge=1, description="Side of the stamps that lie side by side in one image; empty: they are a cube"
    )
    positions: Extension = Field(
        default=None, description="Table of the file with the stamps' positions; empty: they divide the image evenly"
    )
    position_columns: tuple[str, str] = Field(default=("x", "y"), description="Its columns of x and y, in pixels")
    pixel_origin: Literal[0, 1] = Field(default=0, description="Number of the first pixel in them (1: FITS)")

    @model_validator(mode="after")
    def _check(self) -> PsfOptions:
        if self.pattern is None and self.fwhm_arcsec is None and self.fwhm_keyword is None:
            raise ValueError("psf needs a pattern, fwhm_arcsec or fwhm_keyword; leave psf out where it is unknown")
        if self.fwhm_arcsec is not None and self.fwhm_keyword is not None:
            raise ValueError("psf takes fwhm_arcsec or fwhm_keyword, not both")
        if self.varies != "no" and self.pattern is None:
            raise ValueError(f"psf.varies is {self.varies}, but no file says how; give psf.pattern")
        if self.varies == "no" and (self.stamp_pixels is not None or self.positions is not None):
            raise ValueError("psf.stamp_pixels and psf.positions go with varies: cells or grid")
        if self.varies == "map" and (self.fwhm_arcsec is not None or self.fwhm_keyword is not None):
            raise ValueError("psf.varies: map gives the FWHM; leave out fwhm_arcsec and fwhm_keyword")
        return self


class NominalWcs(Options):
    """A position for files without a WCS: a declaration, not a measurement."""

    ra_deg: float = Field(ge=0, lt=360, description="Right ascension of the image centre, degrees")
    dec_deg: float = Field(ge=-90, le=90, description="Declination of the image centre, degrees")
    pixel_scale_arcsec: float = Field(gt=0, description="Pixel scale, arcsec; north is up, east is left")


class CatalogOptions(Options):
    """A catalogue that the survey brings."""

    path: str = Field(
        description="FITS, CSV, ECSV, Parquet, VOTable or HDF5 file, or the folder of a HATS catalogue: below root or "
        "a URI; with {tile}: one per tile, else one for the survey"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Names in the file of object_id, ra_deg, dec_deg, x, y, and of is_primary where the survey flags "
        "one row of each object; those left out are taken as they are",
    )
    pixel_origin: Literal[0, 1] = Field(
        default=0, description="Number of the first pixel for x and y (1: FITS and SExtractor)"
    )
    extension: Extension = Field(
        default=None, description="FITS extension, path in an HDF5 file, or table of a VOTable; empty: the first"
    )
    ids_per_tile: bool = Field(
        default=False,
        description="Each tile counts its own objects (1, 2, 3 ...): the id is then made of the tile and the number",
    )

    @property
    def per_tile(self) -> bool:
        """Whether each tile has a file of its own."""
        return "{tile" in self.path

    def uri_below(self, root_uri: str) -> str:
        """Where the one catalogue of a survey lies."""
        absolute = "://" in self.path or self.path.startswith("/") or "${" in self.path
        return expand_root(self.path) if absolute else f"{root_uri}/{self.path}"


class FitsTilesOptions(Options):
    """Any folder or prefix of FITS images, read as it lies."""

    locations: ClassVar[frozenset[str]] = frozenset({"root"})
    said: ClassVar[frozenset[str]] = frozenset({"unit"})

    root: str = Field(description="Folder or s3:// prefix; ${NAME} is taken from the environment")
    bands: dict[str, str] = Field(min_length=1, description="Band to file. " + _PATTERN)
    tile: str | None = Field(
        default=None, description="Name of the only tile, where no pattern has {tile}; empty: root's last part"
    )
    extension: Extensions = Field(default=None, description=_EXTENSION)
    weight: WeightOptions | None = Field(
        default=None, description="Noise images; empty: the noise is measured from the sky"
    )
    mask: MaskOptions | None = Field(default=None, description="Mask images")
    psf: PsfOptions | None = Field(default=None, description="Point-spread function; empty: unknown")
    nominal: NominalWcs | None = Field(
        default=None, description="Position and scale of files without a WCS (one tile only)"
    )
    pixel_scale_arcsec: float | None = Field(default=None, gt=0, description="Pixel scale; empty: from the WCS")
    zero_point: float | dict[str, float] | None = Field(
        default=None,
        description="AB magnitude of one count, for all bands or per band; empty: from zero_point_keyword, or counts",
    )
    zero_point_keyword: str | None = Field(
        default=None,
        description="Header keyword with the AB magnitude of one count of the image as stored, such as MAGZPT",
    )
    unit: Literal["count", "bunit"] = Field(
        default="count",
        description="Unit of the pixels without a zero point: counts, or the flux density that BUNIT names (nJy, ...)",
    )
    background: Literal["none", "constant", "mesh"] = Field(
        default="constant", description="Background to subtract: none, the image's sky level, or a smooth mesh"
    )
    background_mesh_pixels: int = Field(
        default=128, ge=8, description="Cell of the mesh; larger than the largest galaxy"
    )
    blank_value: float | None = Field(
        default=None, description="Pixels of exactly this value are missing (0 in many coadds)"
    )
    saturation_level: float | dict[str, float] | None = Field(
        default=None, description="Stored value from which pixels are SATURATED"
    )
    saturation_keyword: str | None = Field(
        default=None, description="Header keyword with the saturation level, such as SATURATE"
    )
    header_keywords: tuple[str, ...] = Field(
        default=("EXPTIME", "SEEING", "SKYLEVEL", "SKYNOISE", "GAIN", "MJD-OBS", "DATE-OBS", "FILTER", "AIRMASS"),
        description="Header cards to keep beside the cutouts",
    )
    catalog: CatalogOptions | None = Field(
        default=None, description="The survey's catalogue; empty: galflow detects objects"
    )
    detection: DetectionOptions = Field(
        default_factory=DetectionOptions, description="How objects are detected without a catalogue"
    )

    @model_validator(mode="after")
    def _check(self) -> FitsTilesOptions:
        with_tile = ["{tile" in pattern for pattern in self.bands.values()]
        if any(with_tile) and not all(with_tile):
            raise ValueError("some bands' patterns have {tile} and others have not; either all or none")
        if all(with_tile) and self.tile is not None:
            raise ValueError("tile names the only tile of patterns without {tile}; leave it out here")
        if all(with_tile) and self.nominal is not None:
            raise ValueError("nominal gives all tiles one position; use patterns without {tile}, or files with a WCS")
        if self.zero_point is not None and self.zero_point_keyword is not None:
            raise ValueError("give zero_point or zero_point_keyword, not both")
        if self.unit == "bunit" and (self.zero_point is not None or self.zero_point_keyword is not None):
            raise ValueError(
                "unit: bunit takes the unit from BUNIT; leave it out beside zero_point or zero_point_keyword"
            )
        points = self.zero_point.values() if isinstance(self.zero_point, dict) else [self.zero_point]
        for point in points:
            if point is not None and not LEAST_ZERO_POINT <= point <= MOST_ZERO_POINT:
                raise ValueError(
                    f"zero_point {point} is no AB magnitude of one count; expected {LEAST_ZERO_POINT:g} to "
                    f"{MOST_ZERO_POINT:g}, such as 27.0"
                )
        for source in (self, self.weight, self.mask, self.psf):
            if source is not None and isinstance(source.extension, dict) and set(source.extension) - set(self.bands):
                raise ValueError(
                    f"extension names bands {sorted(source.extension)}; the survey has {sorted(self.bands)}"
                )
        self._check_images()
        for name in ("zero_point", "saturation_level"):
            value = getattr(self, name)
            if isinstance(value, dict) and set(value) != set(self.bands):
                raise ValueError(f"{name} names bands {sorted(value)}, but the survey has {sorted(self.bands)}")
        if self.catalog and self.catalog.ids_per_tile and not self.catalog.per_tile:
            raise ValueError("catalog.ids_per_tile goes with a catalogue for each tile; give catalog.path a {tile}")
        if self.catalog and self.catalog.per_tile and not all(with_tile):
            raise ValueError("catalog.path has {tile}, but the bands' patterns have not")
        return self

    def _check_images(self) -> None:
        """Raise ValueError where two bands are one and the same image."""
        band_of: dict[tuple[str, Extension], str] = {}
        for band, pattern in self.bands.items():
            image = parted(pattern.replace("{band}", band))[0], extension_of(self.extension, band, pattern)
            other = band_of.setdefault(image, band)
            if other != band:
                raise ValueError(
                    f"bands {other} and {band} are the same image of {pattern}; say which extension each is, as "
                    f'{band}: "{image[0]}[NAME]" or extension: {{{other}: NAME, {band}: NAME}}'
                )
