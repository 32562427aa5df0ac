"""Whether columns that a specification names can be there, as far as it is known before any work."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pyarrow as pa

from galflow.catalog.schema import catalog_schema
from galflow.errors import SpecError
from galflow.spec.output import OutputSpec
from galflow.spec.run import ComparisonSpec
from galflow.surveys.base import Survey

_OWN = frozenset(catalog_schema([], [], pa.schema([]), pa.int64(), True).names)


def check_group(output: OutputSpec, survey: Survey) -> None:
    """SpecError where ``output.group_by`` names a column that the catalogue will not have."""
    column = output.group_by
    if column is None or column in _OWN:
        return
    if output.columns is not None and column not in output.columns:
        raise SpecError(
            f"output.group_by: {column!r} is not among output.columns ({', '.join(output.columns) or 'none'}), so the "
            "catalogue will not have it; add it there"
        )
    known = survey.catalog_columns
    if known is not None and column not in known:
        raise SpecError(
            f"output.group_by: no object of survey {survey.name} has a column {column!r}; expected one of "
            f"{', '.join(sorted(known))}"
        )


def sample_title(name: str) -> str:
    """What a person calls a comparison sample."""
    return f"comparison sample {name}"


def check_matching(comparison: ComparisonSpec, surveys: Mapping[str, Survey], measured: Collection[str] = ()) -> None:
    """SpecError where a column of ``comparison`` is one that the objects of a survey or sample will not have.

    ``surveys``: the run's survey and its samples by what a person calls them; ``measured``: columns that the run
    measures on the cutouts of all of them.
    """
    if comparison.explain and not comparison.match:
        raise SpecError("comparison.explain explains differences of matched samples; give comparison.match as well")
    matching = {m.column: "comparison.match" for m in comparison.match}
    matching |= dict.fromkeys(comparison.explain, "comparison.explain")
    asked = {name: dict(matching) for name in surveys}
    for pair in comparison.pairs:
        for name in (sample_title(pair.first), sample_title(pair.second)):
            asked[name] |= dict.fromkeys(pair.by, "comparison.pairs")
    lacking = []
    for name, survey in surveys.items():
        known = survey.catalog_columns
        lacking += [
            f"{field}: no object of {name} has a column {column!r}; expected one of {', '.join(sorted(known))}"
            for column, field in asked[name].items()
            if known is not None and column not in known and column not in _OWN and column not in measured
        ]
    if lacking:
        raise SpecError("\n".join(lacking))
