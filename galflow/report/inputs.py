"""All that a report is made of, as the publishing task hands it over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from galflow.receipts import Receipt
from galflow.scores.score import columns_of
from galflow.scores.summary import PartSummary
from galflow.spec import RunSpec
from galflow.store import Store
from galflow.training.trained_model import TrainedModel


@dataclass(frozen=True)
class ReportInputs:
    """All that a report is made of."""

    run: str
    spec: RunSpec
    code_versions: dict[str, str]
    store: Store
    cutouts: list[Receipt]
    scores: list[Receipt]
    models: dict[str, TrainedModel]
    summary: PartSummary
    catalog: str
    """Key of the catalogue's folder."""
    comparison: dict[str, Any] | None
    """The JSON of galflow.compare.samples; None: nothing was compared."""
    findings: dict[str, Any]
    """As galflow.report.findings gives them."""
    primary: str
    """The score that ranks."""

    @property
    def calibrated(self) -> list[str]:
        """Calibrated score columns, the primary one first."""
        names = [c.name for c in columns_of(self.models) if c.calibrated]
        return [self.primary, *(n for n in names if n != self.primary)]
