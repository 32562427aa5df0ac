"""A stretch as a card or an attribute says it, in JSON, and back."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from galflow.errors import ModelError
from galflow.photometry import AsinhStretch, LinearStretch, Stretch
from galflow.spec.stretch import StretchKind


class StretchCard(BaseModel):
    """A Stretch in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: StretchKind = "asinh"
    softening_sigma: float | None = None
    """Of asinh, as white_sigma."""
    white_sigma: float | None = None
    white: tuple[float, ...] | None = None
    """Of linear, per band in the unit of the flux."""
    sky_sigma: tuple[float, ...]

    @classmethod
    def of(cls, stretch: Stretch) -> Self:
        """The card of a stretch."""
        if isinstance(stretch, LinearStretch):
            return cls(kind="linear", white=stretch.white, sky_sigma=stretch.sky_sigma)
        if not isinstance(stretch, AsinhStretch):
            raise ModelError(f"no card can be written of {stretch!r}; expected an AsinhStretch or a LinearStretch")
        return cls(
            softening_sigma=stretch.softening_sigma, white_sigma=stretch.white_sigma, sky_sigma=stretch.sky_sigma
        )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = {"asinh": (self.softening_sigma, self.white_sigma), "linear": (self.white,)}
        if None in given[self.kind]:
            raise ValueError(f"the card of a stretch of kind {self.kind} lacks numbers of it: {self.model_dump()}")
        return self

    def stretch(self) -> Stretch:
        """The stretch itself."""
        if self.white is not None and self.kind == "linear":
            return LinearStretch(self.white, self.sky_sigma)
        return AsinhStretch(float(self.softening_sigma or 0), float(self.white_sigma or 0), self.sky_sigma)
