"""Whether a specification can be carried out: asked with surveys and models opened, before any work is begun.

All faults are found and told at once. What only some tiles have is no fault of the specification: it is said, and costs
those tiles.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from galflow.cutouts.cut import chosen_bands
from galflow.errors import DataError, SpecError, StoreError
from galflow.scores.leading import leading_model, primary_score
from galflow.spec import RunSpec, SurveySpec
from galflow.surveys.base import Fault, Survey
from galflow.surveys.resolve import open_survey
from galflow.training.check import check_model, check_ratio
from galflow.variables import without_values

_TILES_NAMED = 4
Value = TypeVar("Value")


def check_run(spec: RunSpec) -> list[str]:
    """Open the surveys, look at their headers and first rows, and build every model once, before any work.

    SpecError with every fault of the specification, a line each. What is wrong with some tiles is returned, a line a
    kind: the run goes on without what these lack.
    """
    faults: list[str] = []
    remarks: list[str] = []
    bands = _survey(spec.survey, spec, "survey", faults, remarks)
    for sample in spec.comparison.samples:
        like = spec.model_copy(update={"cutouts": spec.cutouts.model_copy(update={"bands": bands})}) if bands else spec
        _survey(sample.survey, like, f"comparison sample {sample.name}", faults, remarks)
    primary = _ask(lambda: primary_score(spec), faults)
    leader = _ask(lambda: leading_model(spec), faults) if primary is not None else None
    if bands is None:  # of what models are built of nothing is known
        bands = ()
    for model in spec.models if bands else ():
        ranks_by = primary.removeprefix(f"{leader}_") if primary is not None and model.name == leader else None
        _ask(partial(check_model, model, bands, spec.cutouts.size, spec.stretch, ranks_by), faults)
    for ratio in spec.ratios:
        _ask(partial(check_ratio, ratio, spec.models), faults)
    if "hats" in spec.output.formats and importlib.util.find_spec("hats") is None:
        faults.append("output.formats: hats needs the package hats; install galflow[hats], or leave hats out")
    if faults:
        different = list(dict.fromkeys(faults))
        many = f"the specification has {len(different)} faults:\n" if len(different) > 1 else ""
        raise SpecError(many + "\n".join(f"  {fault}" if many else fault for fault in different))
    return remarks


def _ask(question: Callable[[], Value], faults: list[str]) -> Value | None:
    """The answer; None, with the fault noted, where there is none."""
    try:
        return question()
    except SpecError as error:
        faults.append(str(error))
        return None


def _survey(
    survey: SurveySpec, spec: RunSpec, what: str, faults: list[str], remarks: list[str]
) -> tuple[str, ...] | None:
    """The bands that are cut, and what is wrong with the survey's files; None if it cannot be opened."""
    own: list[str] = []
    opened = _ask(lambda: open_survey(survey), own)
    bands = None if opened is None else _ask(lambda: chosen_bands(opened, spec.cutouts), own)
    if opened is not None:
        _look(opened, own, remarks)
    faults += own if what == "survey" else [f"{what}: {fault}" for fault in own]
    return bands


def _look(survey: Survey, faults: list[str], remarks: list[str]) -> None:
    """Every fault that file names, headers and first rows show: of all tiles, or of some."""
    tiles = _ask(survey.tiles, faults)
    if tiles is None:
        return
    try:
        found = survey.inspect(tiles)
    except (DataError, StoreError) as error:
        remarks.append(str(error))
        return
    for kind in _kinds(found):
        affected = {fault.tile for fault in kind if fault.tile is not None}
        whole = any(fault.tile is None for fault in kind) or len(affected) >= len(tiles)
        (faults if whole else remarks).append(_told(kind, () if whole else sorted(affected)))


def _kinds(found: Iterable[Fault]) -> list[list[Fault]]:
    kinds: dict[tuple[str, str], list[Fault]] = {}
    for fault in found:
        kinds.setdefault((fault.field, fault.problem), []).append(fault)
    return list(kinds.values())


def _told(kind: Sequence[Fault], tiles: Sequence[str]) -> str:
    problem = without_values(str(kind[0]))
    if not tiles:
        return problem
    named = ", ".join(tiles[:_TILES_NAMED])
    more = len(tiles) - _TILES_NAMED
    return f"tile{'s' * (len(tiles) > 1)} {named}{f' and {more} more' if more > 0 else ''}: {problem}"
