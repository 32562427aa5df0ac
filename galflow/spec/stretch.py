"""How models see pixels: a part of the specification. It measures nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from galflow.spec.part import Part

StretchKind = Literal["asinh", "linear"]


class StretchSpec(Part):
    """The stretch in which models see pixels."""

    kind: StretchKind | None = None
    """asinh for flux; linear for pictures that were stretched for display already. By default as the survey's pixels
    are, and asinh where softening_sigma, white_sigma or sky_sigma is given."""
    softening_sigma: Annotated[float, Field(gt=0)] = 3.0
    """Where linear turns into logarithmic, in units of the sky's sigma; of asinh."""
    white_sigma: Annotated[float, Field(gt=0)] = 1000.0
    """The flux, in units of the sky's sigma, that maps to 1; of linear by default the white of the pictures."""
    sky_sigma: dict[str, Annotated[float, Field(gt=0)]] | None = None
    """Sky sigma per band in the survey's flux unit; by default the median over the training set's tiles."""

    @model_validator(mode="before")
    @classmethod
    def _asinh_where_described(cls, given: Any) -> Any:
        # A document that was written out whole names the kind, even as null: only a person leaves it out.
        return {**given, "kind": "asinh"} if isinstance(given, dict) and given and "kind" not in given else given

    @property
    def _changed(self) -> bool:
        return self.model_dump(exclude={"kind"}) != type(self)().model_dump(exclude={"kind"})

    @property
    def chosen(self) -> StretchKind | None:
        """The kind that was chosen, if only by describing an asinh; None: it follows from the survey's pixels."""
        return self.kind or ("asinh" if self._changed else None)

    def kind_for(self, displayed: bool) -> StretchKind:
        """The kind for pixels that were, or were not, stretched for display already."""
        return self.chosen or ("linear" if displayed else "asinh")

    @property
    def white_is_given(self) -> bool:
        """Whether white is a number of sky sigmas and not the pictures' own."""
        return self.white_sigma != type(self).model_fields["white_sigma"].default

    def content(self) -> dict[str, Any]:
        """What a model's fingerprint depends on, as JSON.

        The kind came later, and is left out wherever the other fields say which it was: models from before keep their
        fingerprint.
        """
        implied = self.chosen is None or (self.chosen == "asinh" and self._changed)
        return self.model_dump(mode="json", exclude={"kind"} if implied else set())
