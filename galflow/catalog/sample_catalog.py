"""The catalogue of a comparison sample: what the survey's has, but for the ranking, which is of the survey's objects.

Scores and likelihoods by the run's models, what was measured on its cutouts, and the sample's own columns: of a mock
observation all that it was made from (redshift, true flux and size, why the survey would or would not have found it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from galflow.catalog.measured_columns import MeasuredColumns
from galflow.catalog.own_columns import RANK_COLUMNS, triage_columns
from galflow.catalog.published import CatalogPlan, plan_catalog, with_measured, with_names
from galflow.catalog.published_table import PublishedTable, SourcePart
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store


@dataclass(frozen=True, eq=False)
class SampleCatalog(PublishedTable):
    """The catalogue of one sample."""

    plan: CatalogPlan
    """Of all columns, also of those that are left out."""

    @classmethod
    def of(
        cls,
        run: str,
        scores: Sequence[str],
        likelihoods: Sequence[str],
        parts: Sequence[Receipt],
        measured: MeasuredColumns | None,
    ) -> tuple[SampleCatalog, tuple[str, ...]]:
        """From the whole receipts of the sample's score parts; and what is to be said about it."""
        plan, remarks = plan_catalog(run, scores, likelihoods, parts, measured=measured)
        left_out = {column.name for column in (*RANK_COLUMNS, *triage_columns())}
        schema = pa.schema([field for field in plan.schema if field.name not in left_out])
        return cls(schema, plan), remarks

    def rows_of(self, store: Store, source: SourcePart, part: pa.Table) -> pa.Table:
        """One row each."""
        # Measurements are of all rows of a tile, planted ones too; a sample has none of these.
        table = with_measured(store, with_names(part, self.plan), self.plan, source.measured)
        return table.append_column("run_id", pa.array([self.plan.run] * len(table), pa.string()))
