"""What a person can say about the pixels of ready-made images, in whatever files they lie: unit, display, sizes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from galflow.errors import DataError
from galflow.photometry import NJY
from galflow.surveys.base import Options
from galflow.surveys.reading.display import MOST_OF_8_BITS
from galflow.surveys.reading.stamp_sizing import Sizing


class StampPixelOptions(Options):
    """Options that all surveys of ready-made images share."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)
    later: ClassVar[frozenset[str]] = frozenset({"pad", "resample_arcsec"})

    root: str
    """Folder or URI; ${NAME} is replaced from the environment."""
    unit: Literal["count", "nJy"] = "count"
    """Unit of the files' pixels; display-stretched pictures are counts."""
    display_stretched: bool | None = None
    """Whether the pictures were stretched for display already, so that models see them in a linear stretch; by default
    PNG, JPEG, TIFF and arrays of 8 bits were, unless they are declared nJy or have a zero point."""
    display_white: Annotated[float, Field(gt=0)] | None = None
    """White of such pictures; by default the largest value of their integers: 255 of 8 bits."""
    zero_point_ab: float | None = None
    """AB magnitude of one count: pixels are then converted to nJy."""
    psf_fwhm_arcsec: Annotated[float, Field(gt=0)] | None = None
    """FWHM of the PSF where it is known."""
    blank_value: float | None = None
    """Pixels of exactly this value are missing; by default only NaN and BLANK are, and zero is a number."""
    background: Literal["none", "constant"] = "none"
    """constant: take off the median of each image's rim, band by band."""
    crop: Annotated[int, Field(ge=1)] | None = None
    """Keep a central square of so many pixels, after resampling."""
    pad: bool = False
    """Images smaller than crop get missing pixels around them; by default they are not read, and say so."""
    bin: Annotated[int, Field(ge=1)] = 1
    """Join blocks of so many pixels a side, after cropping."""
    resample_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Pixel scale to bring all images to, before cropping: from that which an image's file gives (a
    FITS WCS, an array of scales), else from pixel_scale_arcsec."""
    bin_mode: Literal["sum", "mean"] = "sum"
    """What binning and resampling do: sum conserves flux, mean keeps the level (of stretched pictures)."""

    @model_validator(mode="after")
    def _consistent_pixels(self) -> Self:
        if self.zero_point_ab is not None and self.unit == "nJy":
            raise ValueError("zero_point_ab converts counts, but unit is nJy already; give one or the other")
        if self.is_flux and (self.display_stretched or self.display_white is not None):
            raise ValueError(
                "pixels with a zero point or in nJy are flux, but display_stretched or display_white is given; give "
                "one or the other"
            )
        if self.display_stretched is False and self.display_white is not None:
            raise ValueError(f"display_white is {self.display_white:g}, but display_stretched is false; leave one out")
        if self.crop is not None and self.crop < self.bin:
            raise ValueError(f"crop = {self.crop} is smaller than bin = {self.bin}")
        if self.pad and self.crop is None:
            raise ValueError("pad fills images up to crop; give crop, the side in pixels")
        return self

    @property
    def sizing(self) -> Sizing:
        """What is done to each image's size."""
        return Sizing(self.resample_arcsec, self.crop, self.pad, self.bin, self.bin_mode)

    @property
    def is_flux(self) -> bool:
        """Whether it is said that pixels are flux."""
        return self.unit == NJY or self.zero_point_ab is not None

    @property
    def declares_display(self) -> bool | None:
        """Whether pixels were stretched for display already, as declared; None: as their files are."""
        if self.is_flux:
            return False
        return True if self.display_white is not None else self.display_stretched

    def white_of(self, largest: float | None, name: str, scale_arcsec: float) -> float | None:
        """White of the resized pixels of a file whose integers hold ``largest`` at most; None where they are flux.

        ``scale_arcsec``: of the file's pixels. DataError where it is not known.
        """
        declared = self.declares_display
        if declared is False or (declared is None and (largest is None or largest > MOST_OF_8_BITS)):
            return None
        white = self.display_white or largest
        if white is None:
            raise DataError(
                f"{name} is declared display_stretched, but its pixels do not say how large they may be; declare "
                "display_white"
            )
        return white * self.sizing.gain(scale_arcsec)

    def declared_fwhm_arcsec(self, band: str) -> float | None:
        """The option, of every band."""
        return self.psf_fwhm_arcsec
