"""What the objects that rank highest are, by triage and by flag, and how well the triage tells kinds apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from galflow.report.flag_words import flag_words
from galflow.report.objects import Shown
from galflow.report.planted import HeatCell, shade
from galflow.scores.triage import CLASSES

UNKNOWN = "not known"


@dataclass(frozen=True)
class HighestRanked:
    """Of how many objects that rank highest, how many are what."""

    objects: int
    classes: list[tuple[str, int]]
    """In the order of the triage's classes."""
    flags: list[tuple[str, int]]
    """Commonest first."""


def highest_ranked(rows: Sequence[Shown]) -> HighestRanked:
    """Counts of the given rows, which are those that rank highest."""
    classes = Counter(row.triage or UNKNOWN for row in rows)
    flags = Counter(words for row in rows for words in flag_words(row.flags))
    return HighestRanked(
        len(rows),
        [(name, classes[name]) for name in (*CLASSES, UNKNOWN) if classes[name]],
        sorted(flags.items(), key=lambda item: (-item[1], item[0])),
    )


@dataclass(frozen=True)
class JudgedTriage:
    """The confusion table, and its numbers in words."""

    classes: list[str]
    rows: list[tuple[str, int, list[HeatCell]]]
    """Class, its examples, and of each class the share of them that it is taken for."""
    log_loss: str
    log_loss_of_priors: str
    artefact_auroc: str


def judged_triage(evidence: Mapping[str, Any]) -> JudgedTriage | None:
    """From the ranking product; None where no triage was learnt."""
    if (found := evidence.get("triage")) is None:
        return None
    judged = found["judged"]
    rows = []
    for name, taken in judged["confusion"].items():
        total = sum(taken.values())
        shares = {other: 100 * taken[other] / total for other in CLASSES}
        cells = [
            HeatCell(f"{shares[other]:.0f}%", "", shade(50 + shares[other] / 2), other == name) for other in CLASSES
        ]
        rows.append((name, total, cells))
    auroc = judged["artefact_auroc"]
    return JudgedTriage(
        list(CLASSES),
        rows,
        f"{judged['log_loss']:.2f}",
        f"{judged['log_loss_of_priors']:.2f}",
        "unknown" if auroc is None else f"{auroc:.3f}",
    )
