"""What a person can say about files of many ready-made images each: which arrays they hold, and what these mean."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from galflow.surveys.reading.stamp_arrays import ONLY
from galflow.surveys.reading.stamp_pixel_options import StampPixelOptions


class CubeOptions(StampPixelOptions):
    """Options of a survey of cubes of stamps."""

    locations: ClassVar[frozenset[str]] = frozenset({"root", "pattern"})

    pattern: str = "**"
    """Which files below it: * within a folder, ** across; HDF5, NPZ, NPY, FITS and Parquet, by their endings."""
    bands: tuple[str, ...] = ()
    """Names of the bands, in the order of the arrays' channels."""
    flux: str | dict[str, str] = ONLY
    """Array of the pixels, (N, band, y, x), or (N, y, x) of one band; or band to its own array of (N, y, x). By default
    the only one of a NPY file, or the first image of a FITS file."""
    band_axis: Literal["first", "last"] = "first"
    """Where the axis of bands is: last for (N, y, x, band)."""
    weight: str | dict[str, str] | None = None
    """Array of how well each pixel is known, of the same shape; by default the noise is measured from the sky."""
    weight_kind: Literal["ivar", "variance", "sigma"] = "ivar"
    """What it holds, in the pixels' own unit."""
    mask: str | dict[str, str] | None = None
    """Array of flags of the same shape, or (N, y, x) for all bands."""
    mask_good: bool = False
    """Whether non-zero flags mark the good pixels; by default the bad ones."""
    psf: str | None = None
    """Array of PSF images (N, band, y, x), on the pixels' scale."""
    psf_fwhm: str | None = None
    """Array of the PSF's FWHM in arcsec, (N, band) or (N,)."""
    pixel_scale_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Arcseconds in a pixel of the files, before resampling and binning; where scale is not given."""
    scale: str | None = None
    """Array of pixel scales in arcsec, (N,) or (N, band)."""
    object_id: str | None = None
    """Array of ids, (N,): whole numbers, or texts; by default hashes of file and row."""
    ra_deg: str | None = None
    """Array of right ascensions, (N,), degrees."""
    dec_deg: str | None = None
    """Array of declinations, (N,), degrees."""
    columns: tuple[str, ...] | None = None
    """Further arrays of (N,) to keep in the catalogue; by default all numbers and texts."""

    images_per_tile: Annotated[int, Field(ge=1)] = 256
    """How many rows of a file make a tile: so many are in memory at once."""

    @model_validator(mode="after")
    def _consistent_arrays(self) -> Self:
        if len(set(self.bands)) != len(self.bands):
            raise ValueError(f"bands are {self.bands}; give each once")
        for name in ("flux", "weight", "mask"):
            given = getattr(self, name)
            if isinstance(given, dict) and set(given) != set(self.bands):
                raise ValueError(f"{name} names bands {sorted(given)}; the survey has {sorted(self.bands)}")
        if (self.ra_deg is None) != (self.dec_deg is None):
            raise ValueError("give both ra_deg and dec_deg, or neither")
        self._require_what_no_file_says()
        return self

    def _require_what_no_file_says(self) -> None:
        """Raise ValueError for what must be said."""
        if not self.bands:
            raise ValueError("name the bands, in the order of the arrays' channels, such as bands: [g, r, i]")
        if self.pixel_scale_arcsec is None and self.scale is None:
            raise ValueError("give pixel_scale_arcsec, or scale, the array that says it")
