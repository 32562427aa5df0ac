"""Which survey or simulation is read, and which of its objects: a part of the specification. It opens no survey."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from galflow.spec.part import Name, Part
from galflow.spec.selection import SelectionSpec


class SurveySpec(Part):
    """Which survey, or which simulation."""

    kind: str
    """The file under galflow/surveys: hsc, legacy, kids, vista, jwst, euclid, des, lsst, sdss by their published files;
    fits_tiles, stamps, stamp_cubes, multimodal_universe, hubble, synthetic; illustris, skirt, sersic_mock of
    simulations; empty_sky; or a plug-in's path."""
    name: Name | None = None
    """The survey's name in URIs and in the catalogue; by default its kind."""
    release: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")] = "1"
    """The upstream pipeline's version of these data."""
    options: dict[str, JsonValue] = Field(default={})
    """Options of that kind; `galflow schema` lists them."""
    select: SelectionSpec | None = None
    """Which of its objects are cut out, by columns of the catalogue, place and size; by default all."""

    @model_serializer(mode="wrap")
    def _plain(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The selection came later: without one everything has the fingerprint that it had before.
        plain: dict[str, Any] = serialise(self)
        return plain if self.selection is not None else {k: v for k, v in plain.items() if k != "select"}

    @property
    def selection(self) -> SelectionSpec | None:
        """The selection, if it can leave out anything."""
        return self.select if self.select is not None and self.select.selects else None

    @property
    def survey_name(self) -> str:
        """The name, or by default the kind's last part in lower case."""
        return self.name or self.kind.rpartition(".")[2].lower().replace("_", "-")
