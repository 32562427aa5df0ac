"""The table that says why this score ranks: what every rule found of every kind of anomaly, losers included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from galflow.report.planted import HeatCell, shade

_SHOWN = 16
"""Rules in the table; the one that ranks is always among them."""


@dataclass(frozen=True)
class EvidenceRow:
    """One rule."""

    name: str
    ranks: bool
    """Whether it is the one that ranks."""
    auroc: str
    """Mean over kinds with its interval."""
    found: str
    """Share of all copies in the top 5%."""
    cells: list[HeatCell]
    """A kind each: its AUROC in percent."""
    among_alike: str
    """Mean AUROC among objects as bright and as large."""
    follows: list[str]
    """Rank correlation with each covariate."""
    trainings: str
    """AUROC of each training alone, and how alike they rank; empty where there is one."""


@dataclass(frozen=True)
class EvidenceTable:
    """All of it."""

    kinds: list[str]
    covariates: list[str]
    rows: list[EvidenceRow]
    left_out: int
    """Rules that found less and are not shown."""

    @property
    def repeated(self) -> bool:
        """Whether any score has several trainings."""
        return any(row.trainings for row in self.rows)


def evidence_table(evidence: Mapping[str, Any]) -> EvidenceTable | None:
    """From the JSON of galflow.scores.evidence; None where nothing could be measured."""
    verdicts = evidence["verdicts"]
    if not verdicts:
        return None
    chosen = evidence["chosen"]["name"]
    shown = [v for i, v in enumerate(verdicts) if i < _SHOWN or v["rule"]["name"] == chosen]
    kinds = list(verdicts[0]["by_kind"])
    covariates = sorted({name for verdict in shown for name in verdict["correlations"]})
    best = {kind: max(v["by_kind"][kind] for v in shown) for kind in kinds}
    rows = [
        EvidenceRow(
            v["rule"]["name"],
            v["rule"]["name"] == chosen,
            f"{v['auroc']:.3f} [{v['low']:.3f}, {v['high']:.3f}]",
            f"{v['found']:.0%}",
            [_cell(v["by_kind"][kind], best[kind]) for kind in kinds],
            "–" if v["among_alike"] is None else f"{v['among_alike']:.3f}",
            [f"{v['correlations'][c]:+.2f}" if c in v["correlations"] else "–" for c in covariates],
            _trainings(v),
        )
        for v in shown
    ]
    return EvidenceTable([k.replace("_", " ") for k in kinds], covariates, rows, len(verdicts) - len(shown))


def _trainings(verdict: Mapping[str, Any]) -> str:
    each = ", ".join(f"{auroc:.2f}" for auroc in verdict["by_training"])
    agreement = verdict["agreement"]
    return each if agreement is None else f"{each}; rank correlation {agreement:.2f}"


def _cell(auroc: float, best: float) -> HeatCell:
    text = f"{auroc:.2f}"
    return HeatCell(text, "", shade(100 * auroc), text == f"{best:.2f}")
