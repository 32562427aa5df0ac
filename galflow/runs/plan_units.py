"""The units of a plan: one product each that should exist, done or to do, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from galflow.spec.models import ModelSpec
from galflow.spec.run import SurveySpec
from galflow.storage.receipts import Receipt
from galflow.surveys.base import Tile, TileFile
from galflow.surveys.reading.places import Place
from galflow.surveys.reading.selection import LeftOut

if TYPE_CHECKING:  # so that a plan of cutouts alone imports no models
    from galflow.cutouts.joins import JoinTask
    from galflow.scores.ranking import RankingSettings
    from galflow.scores.reuse import EarlierPart


@dataclass(frozen=True, eq=False)
class Unit:
    """One product that should exist."""

    stage: str
    name: str
    """The tile, the model, or the sample."""
    fingerprint: str
    product: str
    receipt: Receipt | None
    """Given if it is done."""
    why: str = ""
    """If it is to do: what is new or changed."""

    @property
    def done(self) -> bool:
        """Whether its receipt carries the right fingerprint."""
        return self.receipt is not None


@dataclass(frozen=True)
class CutTile:
    """A cutout set that is there, or will be."""

    tile: str
    fingerprint: str
    product: str


@dataclass(frozen=True)
class JoinedTile:
    """A cutout set and what is known of its objects from other tiles."""

    cutouts: CutTile
    fingerprint: str
    """Of the join, and with it of the cutout set."""
    product: str


@dataclass(frozen=True, eq=False)
class TileUnit(Unit):
    """One tile's cutout set."""

    survey: SurveySpec = field(kw_only=True)
    tile: Tile = field(kw_only=True)
    rows: pa.Table | None = field(kw_only=True, default=None)
    """The rows assigned to it from a survey-wide catalogue."""
    place: Place | None = field(kw_only=True, default=None)
    """Where it lies; None: unknown."""

    @property
    def cut(self) -> CutTile:
        """What scoring needs to know of it."""
        return CutTile(self.name, self.fingerprint, self.product)


@dataclass(frozen=True)
class PlannedSelection:
    """What a selection leaves out, as far as it is known before any tile is opened."""

    unopened: tuple[str, ...]
    """Tiles that lie wholly beyond the selected regions, which are not opened."""
    left_out: LeftOut | None
    """Of a survey-wide catalogue, by regions and rules; None: each tile has its own rows."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"unopened": list(self.unopened)} | ({} if self.left_out is None else self.left_out.to_json())


@dataclass(frozen=True, eq=False)
class MeasureUnit(Unit):
    """What is measured on one tile's cutouts."""

    cutouts: CutTile = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class LatentsUnit(Unit):
    """The latents of one tile's objects."""

    cutouts: CutTile = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class RankingUnit(Unit):
    """The rule by which the run's objects are ranked."""

    settings: RankingSettings = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class JoinUnit(Unit):
    """What other tiles have of one tile's objects."""

    cutouts: CutTile = field(kw_only=True)
    task: JoinTask | None = field(kw_only=True)
    """None if it is done."""

    @property
    def joined(self) -> JoinedTile:
        """What training and scoring need to know of it."""
        return JoinedTile(self.cutouts, self.fingerprint, self.product)


@dataclass(frozen=True, eq=False)
class ModelUnit(Unit):
    """One trained model."""

    model: ModelSpec = field(kw_only=True)
    weights: TileFile | None = field(kw_only=True, default=None)
    """The file that it brings."""


@dataclass(frozen=True, eq=False)
class ResidualsUnit(Unit):
    """One tile's residual pictures."""

    cutouts: CutTile = field(kw_only=True)
    models: Mapping[str, str] = field(kw_only=True)
    """By which models: name -> fingerprint."""


@dataclass(frozen=True, eq=False)
class ScoreUnit(Unit):
    """One tile's score part."""

    joined: JoinedTile = field(kw_only=True)
    earlier: EarlierPart | None = field(kw_only=True, default=None)
    """Scores of these cutouts that still hold."""
