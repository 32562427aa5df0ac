"""What a specification may say of a survey whose data model is known; descriptions are the help texts of the form."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from galflow.surveys.base import Options
from galflow.surveys.reading.detection import DetectionOptions
from galflow.surveys.reading.fits_options import CatalogOptions


class PresetOptions(Options):
    """What is left to say of a survey whose files are known."""

    locations: ClassVar[frozenset[str]] = frozenset({"root"})

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
    catalog: CatalogOptions | None = Field(
        default=None,
        description="The survey's catalogue; columns of its published one are known. Empty: galflow detects objects",
    )
    detection: DetectionOptions = Field(
        default_factory=DetectionOptions, description="How objects are detected without a catalogue"
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.bands is not None and len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands names one twice: {', '.join(self.bands)}")
        return self
