"""``galflow cut``: the cutouts of a specification, made in this process, without Prefect, workers or models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from galflow.cutouts.cut import cut_tile
from galflow.cutouts.tile_rows import SELECTION_DETAIL
from galflow.errors import ChangedError, SpecError
from galflow.runs.check_survey import check_survey, refuse
from galflow.runs.plan_cutouts import plan_cutouts
from galflow.runs.plan_units import TileUnit
from galflow.spec.run import RunSpec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey


@dataclass(frozen=True)
class CutOutcome:
    """What became of one tile."""

    tile: str
    receipt: Receipt | None
    fresh: bool = True
    """Whether it was cut just now."""
    failure: str = ""
    """Why there is no receipt."""

    def line(self, store: Store) -> str:
        """For a person: how many objects, where they are, what is wrong with them."""
        if self.receipt is None:
            return f"failed: tile {self.tile}: {self.failure}"
        done = "" if self.fresh else ", as before"
        reasons = f" ({self.receipt.outcome}: {'; '.join(self.receipt.reasons)})" if self.receipt.reasons else ""
        selection = self.receipt.details.get(SELECTION_DETAIL)
        of = "" if selection is None else f" of {selection['rows']}"
        return f"{self.tile}: {self.receipt.rows}{of} objects{done}  {store.uri(self.receipt.product)}{reasons}"


def check_cut(spec: RunSpec) -> list[str]:
    """Look at the survey's files; SpecError with every fault, what is wrong with some tiles is returned."""
    faults: list[str] = []
    remarks: list[str] = []
    check_survey(spec.survey, spec.cutouts, "survey", faults, remarks)
    refuse(faults)
    return remarks


def cut_here(spec: RunSpec, store: Store, tiles: Sequence[str]) -> Iterator[CutOutcome]:
    """Cut the tiles of these names, all if there are none, one after another; what is done already is not cut again."""
    survey = open_survey(spec.survey)
    units = _chosen(plan_cutouts(spec, spec.survey, store), tiles)
    store.require_writable()
    for unit in units:
        if unit.receipt is not None:
            yield CutOutcome(unit.name, unit.receipt, fresh=False)
            continue
        try:
            made = cut_tile(store, survey, unit.tile, spec.cutouts, unit.fingerprint, unit.rows)
        except ChangedError as error:
            yield CutOutcome(unit.name, None, failure=str(error))
        else:
            yield CutOutcome(unit.name, made)


def _chosen(units: list[TileUnit], tiles: Sequence[str]) -> list[TileUnit]:
    by_name = {unit.name: unit for unit in units}
    unknown = [name for name in tiles if name not in by_name]
    if unknown:
        some = ", ".join(list(by_name)[:8]) + (", ..." if len(by_name) > 8 else "")
        raise SpecError(f"no tile is called {', '.join(unknown)}; the {len(by_name)} tiles are {some}")
    return [by_name[name] for name in dict.fromkeys(tiles)] if tiles else units
