"""The controls of a comparison: what a sample is to be held against, so that its difference means something.

Two are made of the survey's own scores and need no work (galflow.compare.controls); two are samples like those that a
person names, and are made here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import JsonValue

from galflow.spec.survey import SurveySpec

Control = Literal["held_out", "training", "background", "empty_sky"]
ALL_CONTROLS: tuple[Control, ...] = ("held_out", "training", "background", "empty_sky")
SAMPLE_OF = {"background": "background_galaxies", "empty_sky": "empty_sky"}
"""Control -> the name of the sample that it is, where it is one."""
_KIND_OF = {"background": "sersic_mock", "empty_sky": "empty_sky"}
_OPTIONS_OF: dict[str, dict[str, JsonValue]] = {"background": {"shapes": "detected"}, "empty_sky": {}}
_TILES, _EACH = 8, 128
"""Of the survey's tiles at most, and objects of each: a thousand suffice for what a control says."""


def control_surveys(
    survey: SurveySpec, size: int, samples: Sequence[tuple[str, str]], controls: Collection[str]
) -> list[tuple[str, SurveySpec]]:
    """Name and survey of each sample that the ``controls`` add to ``samples`` (name, survey kind), for cutouts of
    ``size`` pixels.

    None beside a sample of the same kind or name, which then is the control; none of a survey that is simulated on
    another's sky: it has none of its own.
    """
    if not samples or "like" in survey.options:
        return []
    names, kinds = {name for name, _ in samples}, {kind for _, kind in samples}
    # Mocks imitate what regions and rules take, not what stars are told by.
    plain = survey.selection.model_copy(update={"stars": None}) if survey.selection is not None else None
    like = survey.model_copy(update={"select": plain}).model_dump(mode="json")
    options: dict[str, JsonValue] = {"like": like, "count": _EACH, "tiles": _TILES, "stamp_size": max(16, size)}
    return [
        (
            SAMPLE_OF[control],
            SurveySpec(
                kind=kind,
                name=f"{survey.survey_name}-{SAMPLE_OF[control]}",
                release=survey.release,
                options=options | _OPTIONS_OF[control],
            ),
        )
        for control, kind in _KIND_OF.items()
        if control in controls and SAMPLE_OF[control] not in names and kind not in kinds
    ]
