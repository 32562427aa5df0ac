"""Which rows of a tile are cut: those of its own catalogue, or assigned to it, that the survey's selection takes.

Which of them are stars is measured here, on all rows that the tile has, so that it does not depend on the selection.
This file cuts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.cutouts.cutting import positions
from galflow.cutouts.flags import repeated
from galflow.cutouts.tile_images import TileImages
from galflow.errors import DataError
from galflow.spec.run import CutoutSpec
from galflow.spec.selection import SelectionSpec
from galflow.surveys.base import REQUIRED_COLUMNS, Image, Survey, Tile
from galflow.surveys.reading.selection import (
    NO_STAR,
    STAR,
    LeftOut,
    Sieve,
    left_out_of,
    sieve,
    without_left_out,
)
from galflow.surveys.reading.stellar import StarSize, find_stars
from galflow.surveys.reading.table_metadata import reasons_of, without_reasons

SELECTION_DETAIL = "selection"
"""Where a receipt says what was left out (``LeftOut.to_json``)."""
_REPEATED = "repeated_id"


@dataclass(frozen=True, eq=False)
class TileRows:
    """The rows of a tile that are cut."""

    table: pa.Table
    """With the boolean column ``repeated_id``."""
    stars: np.ndarray
    """(N,) bool: as small as the reference band's stars."""
    star: StarSize | None
    """What a star looks like there; None where nobody can tell, or nobody asked."""
    left_out: LeftOut | None
    """None: nothing was to be selected."""
    reasons: list[str] = field(default_factory=list)
    """What is wrong with the catalogue, a line each."""
    doubts: list[str] = field(default_factory=list)

    def take(self, order: np.ndarray) -> TileRows:
        """The rows in another order."""
        return replace(self, table=self.table.take(pa.array(order)), stars=self.stars[order])

    @property
    def details(self) -> dict[str, Any]:
        """What a receipt says of the selection."""
        return {} if self.left_out is None else {SELECTION_DETAIL: self.left_out.to_json()}

    @property
    def emptiness(self) -> str:
        """Why a set without rows has none."""
        if self.left_out is None or not self.left_out.total:
            return "no object in this tile"
        return "the selection leaves no object in this tile"


@dataclass(frozen=True, eq=False)
class TileCatalog:
    """All rows that a tile has, and which of them regions and rules let through. No pixel is needed for it."""

    table: pa.Table
    kept: Sieve | None
    """None: a rule does not fit the table, and no row is taken."""
    before: LeftOut | None
    """What was left out of a survey-wide catalogue before its rows were assigned; None: nothing is said of it."""
    reasons: list[str]

    @property
    def taken(self) -> np.ndarray:
        """(N,) bool: the rows that are cut, unless they are left out for being stars, or for being none."""
        return np.zeros(len(self.table), bool) if self.kept is None else self.kept.kept


def finds_stars(survey: Survey, spec: CutoutSpec) -> bool:
    """Whether all sources of a tile are measured for which of them are stars."""
    selection = survey.selection
    return bool(spec.defects) or (selection is not None and selection.stars is not None)


def tile_catalog(survey: Survey, tile: Tile, images: Mapping[str, Image], assigned: pa.Table | None) -> TileCatalog:
    """The rows of a tile. ``assigned`` are those of a survey-wide catalogue, of which regions and rules have left out
    the others before; None: the tile's own. ``images``: of the shape and WCS that the tile's bands have.
    """
    selection = survey.selection
    table, reasons = (assigned, []) if assigned is not None else _own_rows(survey, tile, images)
    reasons += reasons_of(table)
    before, table = left_out_of(table), without_left_out(without_reasons(table))
    if selection is None or assigned is not None:
        return TileCatalog(table, Sieve(len(table)), before, reasons)
    try:
        return TileCatalog(table, sieve(table, selection), before, reasons)
    except DataError as error:
        return TileCatalog(table, None, before, [*reasons, f"selection: {error}"])


def rows_to_cut(
    survey: Survey, bands: Sequence[str], images: TileImages, catalog: TileCatalog, *, stars: bool
) -> TileRows:
    """The rows of a tile that the survey's selection takes. ``stars``: find them (``finds_stars``)."""
    selection, table, kept = survey.selection, catalog.table, catalog.kept
    found, star = np.zeros(len(table), bool), None
    reference = next((band for band in bands if band in images), None)
    if reference is not None and stars:
        x, y = positions(table, "x"), positions(table, "y")
        found, star = find_stars(images[reference], x, y, images.sky(reference))
    if kept is None:
        return TileRows(_marked(table.slice(0, 0)), found[:0], star, None, catalog.reasons)
    if selection is None:
        return TileRows(_marked(table), found, star, None, catalog.reasons)
    doubts = _select_stars(kept, selection, found, star)
    left_out = kept.left_out
    if catalog.before is not None:
        left_out = LeftOut(catalog.before.total, catalog.before.reasons).add(left_out)
    table = table.filter(pa.array(kept.kept))
    return TileRows(_marked(table), found[kept.kept], star, left_out, catalog.reasons, doubts)


def _own_rows(survey: Survey, tile: Tile, images: Mapping[str, Image]) -> tuple[pa.Table, list[str]]:
    """The tile's own catalogue; an empty one with the reason if there is none to be had."""
    try:
        return survey.catalog(tile, images), []
    except DataError as error:
        columns = {n: pa.array([], pa.int64() if n == "object_id" else pa.float64()) for n in REQUIRED_COLUMNS}
        return pa.table(columns), [f"catalogue: {error}"]


def _marked(table: pa.Table) -> pa.Table:
    """With ``repeated_id``, which rows of a survey-wide catalogue have already."""
    if _REPEATED in table.column_names:
        return table
    return table.append_column(_REPEATED, pa.array(repeated(table.column("object_id"))))


def _select_stars(kept: Sieve, selection: SelectionSpec, stars: np.ndarray, star: StarSize | None) -> list[str]:
    """Leave out stars, or all but stars; what is to be said of a tile in which they could not be told."""
    if selection.stars is None:
        return []
    if selection.stars == "drop":
        kept.leave_out(STAR, stars)
    else:
        kept.leave_out(NO_STAR, ~stars)
    if star is not None or not len(stars):
        return []
    left = "none was left out as a star" if selection.stars == "drop" else "none was taken for a star"
    return [f"select.stars: neither a PSF nor enough stars show how large a star is here, so {left}"]
