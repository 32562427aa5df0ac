"""What a specification may say of a survey whose data model is known; descriptions are the help texts of the form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from galflow.surveys.base import Options
from galflow.surveys.reading.detection import DetectionOptions
from galflow.surveys.reading.fits_options import CatalogOptions, PsfOptions


class PresetOptions(Options):
    """What is left to say of a survey whose files are known."""

    locations: ClassVar[frozenset[str]] = frozenset({"root"})
    later: ClassVar[frozenset[str]] = frozenset({"psf"})

    root: str = Field(
        description="Folder or s3:// prefix that holds the survey's files, in sub-folders or not; ${NAME} is taken "
        "from the environment"
    )
    bands: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Bands, the reference first; empty: all of which there are files"
    )
    noise: Literal["survey", "sky"] = Field(
        default="survey", description="Noise from the survey's own planes, or measured from the sky where they lack"
    )
    mask: Literal["survey", "none"] = Field(default="survey", description="The survey's own mask, or none")
    background: Literal["none", "constant", "mesh"] | None = Field(
        default=None, description="Background to subtract; empty: what the survey's images still need"
    )
    psf: PsfOptions | None = Field(
        default=None,
        description="PSF files that lie beside the images, below root; {band} is the band's name in file names. Empty: "
        "what the survey's own files say",
    )
    catalog: CatalogOptions | None = Field(
        default=None,
        description="The survey's catalogue; columns of its published one are known. Empty: galflow detects objects",
    )
    detection: DetectionOptions = Field(
        default_factory=DetectionOptions, description="How objects are detected without a catalogue"
    )

    def named_psf(self, names: Mapping[str, str]) -> PsfOptions | None:
        """``psf`` with a pattern for each band; ``names``: band -> its name in file names."""
        if self.psf is None or not isinstance(self.psf.pattern, str):
            return self.psf
        patterns = {band: self.psf.pattern.replace("{band}", name) for band, name in names.items()}
        return self.psf.model_copy(update={"pattern": patterns})

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.bands is not None and len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands names one twice: {', '.join(self.bands)}")
        return self
