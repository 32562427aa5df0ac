"""Which joins a survey needs: each tile with its neighbours on the sky, and whose ids its objects keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from galflow.cutouts.joins import JoinInput, JoinTask, join_base
from galflow.runs.plan_cutouts import briefly
from galflow.runs.plan_units import CutTile, JoinUnit
from galflow.spec.run import RunSpec, SurveySpec, fingerprint
from galflow.storage.layout import join_product, joins_folder
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.base import Survey
from galflow.surveys.reading.places import Place, neighbours
from galflow.surveys.resolve import open_survey


def plan_joins(
    spec: RunSpec, survey_spec: SurveySpec, store: Store, cuts: Sequence[CutTile], places: Mapping[str, Place | None]
) -> list[JoinUnit]:
    """A unit for each cutout set: joined with those of the tiles around it, by their places on the sky.

    Where each tile has its own rows all neighbours count; where one catalogue serves all, they matter for splits alone.
    Of ready-made images every other tile is a neighbour.
    """
    survey = open_survey(survey_spec)
    by_name = {cut.tile: cut for cut in cuts}
    around = neighbours({name: places.get(name) for name in by_name}, spec.join.margin_arcsec)
    if survey.ready_made:  # a copy of an image may be anywhere
        around = {name: tuple(other for other in sorted(by_name) if other != name) for name in by_name}
    earlier: dict[str, list[Receipt]] = {}
    for receipt in briefly(store, joins_folder(survey.name)).values():
        earlier.setdefault(str(receipt.details["tile"]), []).append(receipt)
    settings = (spec.join, survey.joins_tiles)
    bases = {
        name: join_base(*settings, cut.fingerprint, [by_name[n].fingerprint for n in around[name]])
        for name, cut in by_name.items()
    }
    done = {
        name: next((r for r in earlier.get(name, ()) if r.details["base"] == bases[name]), None) for name in by_name
    }
    inputs = {name: _join_input(cut, survey, earlier.get(name, ()), done[name]) for name, cut in by_name.items()}
    units = []
    for name, cut in by_name.items():
        if (made := done[name]) is not None:
            units.append(JoinUnit("join", name, made.fingerprint, made.product, made, cutouts=cut, task=None))
            continue
        parts = [inputs[name], *(inputs[other] for other in around[name])]
        found = fingerprint(bases[name], [part.ancestor or "" for part in parts])
        product = join_product(survey.name, survey.release, name, found)
        generation = 1 + max((int(r.details["generation"]) for r in earlier.get(name, ())), default=0)
        details: dict[str, str | int] = {
            "tile": name,
            "base": bases[name],
            "generation": generation,
            "ancestor": parts[0].ancestor or "",
        }
        task = JoinTask(
            parts[0], tuple(parts[1:]), survey.joins_tiles, product, found,
            {f"cutouts {part.product}": part.fingerprint for part in parts}, details,
        )  # fmt: skip
        why = f"the neighbours of tile {name}, or its cutouts, changed" if name in earlier else f"tile {name} is new"
        units.append(JoinUnit("join", name, found, product, None, why, cutouts=cut, task=task))
    return units


def _join_input(cut: CutTile, survey: Survey, earlier: Sequence[Receipt], done: Receipt | None) -> JoinInput:
    """With the join whose ids a tile's objects keep: the one that its present join was made of, else its last."""
    ancestor: str | None = None
    if survey.detects and done is not None:
        ancestor = str(done.details["ancestor"]) or None
    elif survey.detects and earlier:
        last = max(earlier, key=lambda r: (int(r.details["generation"]), r.fingerprint))
        ancestor = last.product
    return JoinInput(cut.tile, cut.fingerprint, cut.product, ancestor)
