"""Whether a run can be meant at all: asked with surveys and models opened, before any work is begun."""

from __future__ import annotations

import importlib.util

from galflow.cutouts.cut import chosen_bands
from galflow.errors import SpecError
from galflow.scores.leading import leading_model, primary_score
from galflow.spec import RunSpec
from galflow.surveys.resolve import open_survey
from galflow.training.check import check_model, check_ratio


def check_run(spec: RunSpec) -> None:
    """Open the surveys and build every model once; SpecError for whatever cannot be meant, before any work."""
    bands = chosen_bands(open_survey(spec.survey), spec.cutouts)
    for sample in spec.comparison.samples:
        try:
            chosen_bands(open_survey(sample.survey), spec.cutouts.model_copy(update={"bands": bands}))
        except SpecError as error:
            raise SpecError(f"comparison sample {sample.name}: {error}") from error
    primary, leader = primary_score(spec), leading_model(spec)
    for model in spec.models:
        ranks_by = primary.removeprefix(f"{leader}_") if model.name == leader else None
        check_model(model, bands, spec.cutouts.size, spec.stretch, ranks_by)
    for ratio in spec.ratios:
        check_ratio(ratio, spec.models)
    if "hats" in spec.output.formats and importlib.util.find_spec("hats") is None:
        raise SpecError("output.formats: hats needs the package hats; install galflow[hats], or leave hats out")
