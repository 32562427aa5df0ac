"""Whether a survey's files are what its options say: asked of headers, file names and first rows, before any work.

What only some tiles have is no fault of the specification: it is said, and costs those tiles.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from galflow.cutouts.cut import chosen_bands
from galflow.errors import DataError, SpecError, StoreError
from galflow.runs.check_selection import selection_faults
from galflow.spec.run import CutoutSpec, SurveySpec
from galflow.surveys.base import Survey
from galflow.surveys.reading.fault import Fault
from galflow.surveys.resolve import open_survey
from galflow.variables import without_values

_TILES_NAMED = 4
Value = TypeVar("Value")


def refuse(faults: Sequence[str]) -> None:
    """SpecError with all faults, a line each; nothing if there are none."""
    if not faults:
        return
    different = list(dict.fromkeys(faults))
    many = f"the specification has {len(different)} faults:\n" if len(different) > 1 else ""
    raise SpecError(many + "\n".join(f"  {fault}" if many else fault for fault in different))


def ask(question: Callable[[], Value], faults: list[str]) -> Value | None:
    """The answer; None, with the fault noted, where there is none."""
    try:
        return question()
    except SpecError as error:
        faults.append(str(error))
    except StoreError as error:
        cause = error.__cause__
        nowhere = isinstance(cause, FileNotFoundError | NotADirectoryError)
        if not nowhere and not (isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG):
            raise
        faults.append(str(error))  # what the specification names is not there
    return None


def check_survey(
    survey: SurveySpec, cutouts: CutoutSpec, what: str, faults: list[str], remarks: list[str]
) -> tuple[str, ...] | None:
    """The bands that are cut, and what is wrong with the survey's files; None if it cannot be opened."""
    own: list[str] = []
    opened = ask(lambda: open_survey(survey), own)
    bands = None if opened is None else ask(lambda: chosen_bands(opened, cutouts), own)
    if opened is not None:
        _look(opened, own, remarks)
    faults += own if what == "survey" else [f"{what}: {fault}" for fault in own]
    return bands


def _look(survey: Survey, faults: list[str], remarks: list[str]) -> None:
    """Every fault that file names, headers and first rows show: of all tiles, or of some."""
    tiles = ask(lambda: survey.listed, faults)
    if tiles is None:
        return
    try:
        found = [*survey.inspect(tiles), *selection_faults(survey, tiles)]
    except (DataError, StoreError) as error:
        remarks.append(str(error))
        return
    for kind in _kinds(found):
        affected = {fault.tile for fault in kind if fault.tile is not None}
        whole = any(fault.tile is None for fault in kind) or len(affected) >= len(tiles)
        refused = whole and any(fault.refuses for fault in kind)
        (faults if refused else remarks).append(_told(kind, () if whole else sorted(affected)))


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
