"""What the options of every kind of survey have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Options(BaseModel):
    """Base of the options a survey takes from the specification; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    locations: ClassVar[frozenset[str]] = frozenset()
    """Fields that only say where files lie: moving the data makes nothing stale, since tiles carry checksums."""

    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that came later: with their default they leave fingerprints as they were without them."""

    @model_serializer(mode="wrap")
    def _without_unsaid(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unsaid = {name for name in self.later if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in dump(self).items() if name not in unsaid}

    said: ClassVar[frozenset[str]] = frozenset()
    """Fields that mean more where they are given than their default does, even with the same value."""

    def declared_fwhm_arcsec(self, band: str) -> float | None:
        """The PSF's width in a band where the options say it; None: only images tell."""
        return None

    def content(self) -> dict[str, Any]:
        """What the pixels depend on, as JSON values: all fields but the locations."""
        return self.model_dump(mode="json", exclude=set(self.locations))
