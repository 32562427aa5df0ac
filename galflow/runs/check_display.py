"""Whether all of a run's pixels can be seen in one stretch, asked of file names and first bytes before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from galflow.errors import SpecError
from galflow.spec.stretch import StretchSpec
from galflow.surveys.base import Survey

_TILES_LOOKED_AT = 200
"""At most, evenly among all of a survey: a look at one is a request to its store."""
_MEND = "declare the option display_stretched, or give a run one kind"


def displayed_survey(survey: Survey) -> bool | None:
    """Whether its pixels were stretched for display already; None: only they tell. SpecError where some were."""
    tiles = survey.listed
    looked_at = np.unique(np.linspace(0, len(tiles) - 1, min(len(tiles), _TILES_LOOKED_AT)).round().astype(int))
    found: dict[bool, str] = {}
    for number in looked_at:
        for what, displayed in survey.displayed(tiles[number]).items():
            found.setdefault(displayed, what)
    if len(found) > 1:
        raise SpecError(
            f"survey {survey.name}: {survey.below_root(found[True])} was stretched for display already (8 bits), and "
            f"{survey.below_root(found[False])} was not; models see all pixels in one stretch: {_MEND}"
        )
    return next(iter(found), None)


def displayed_run(surveys: Mapping[str, Survey]) -> bool | None:
    """Of all surveys of a run, by what they are in it; the run's own comes first."""
    found: dict[bool, str] = {}
    for what, survey in surveys.items():
        displayed = displayed_survey(survey)
        if displayed is not None:
            found.setdefault(displayed, what)
    if len(found) > 1:
        raise SpecError(
            f"the pictures of {found[True]} were stretched for display already, and the pixels of {found[False]} are "
            f"flux; the two cannot be compared: {_MEND}"
        )
    return next(iter(found), None)


def remarks_of(displayed: bool | None, stretch: StretchSpec) -> Iterator[str]:
    """What a person should know of pictures that were stretched for display already."""
    if displayed and stretch.kind_for(True) == "linear":
        yield (
            "survey: its pictures were stretched for display already (8 bits, or as declared); models see them in a "
            "linear stretch, from black at 0 to their white. stretch.kind: asinh would stretch them twice"
        )
    elif displayed:
        yield (
            "survey: its pictures were stretched for display already (8 bits, or as declared), and the specification "
            "has them stretched by an asinh again, which costs contrast; leave out stretch for a linear one"
        )
