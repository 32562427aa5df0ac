"""Whether the column by which a report groups objects can be there, as far as it is known before any work."""

from __future__ import annotations

import pyarrow as pa

from galflow.catalog.schema import catalog_schema
from galflow.errors import SpecError
from galflow.spec.output import OutputSpec
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
