"""What ran, as rows of tables: products per outcome, reasons with how often they occurred, flags, models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from galflow.receipts import Outcome, Receipt
from galflow.report.flag_words import FLAG_WORDS
from galflow.scores.summary import PartSummary
from galflow.training.trained_model import TrainedModel

REASONS_SHOWN = 25
TILES_NAMED = 4
"""A reason names so many of the tiles it concerns; the rest are counted."""


@dataclass(frozen=True)
class StageRow:
    """One stage of the run."""

    stage: str
    products: int
    outcomes: dict[str, int]
    """Outcome -> products."""
    rows: int
    seconds: str
    """Summed over products, however many ran at a time."""


@dataclass(frozen=True)
class Reason:
    """Why products are partial or empty."""

    stage: str
    text: str
    count: int
    tiles: str


@dataclass(frozen=True)
class ModelRow:
    """One trained model."""

    name: str
    model: str
    source: str
    options: str
    objects: str
    seconds: str
    scores: list[tuple[str, str]]
    fingerprint: str
    abilities: list[str]


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def count_text(number: float) -> str:
    """A count with thin spaces between thousands."""
    return f"{number:,.0f}".replace(",", "\u2009")


def stage_rows(
    cutouts: Sequence[Receipt], scores: Sequence[Receipt], models: Mapping[str, TrainedModel]
) -> list[StageRow]:
    """Ingest, training and scoring."""
    trained = sum(m.card.metrics.get("training_seconds", 0.0) for m in models.values())
    objects = max((int(m.card.training.get("counts", {}).get("train", 0)) for m in models.values()), default=0)
    return [
        _stage("ingest: cutout sets, one a tile", cutouts),
        StageRow("train: models", len(models), {str(Outcome.DONE): len(models)}, objects, duration(trained)),
        _stage("score: parts, one a tile", scores),
    ]


def _stage(name: str, receipts: Sequence[Receipt]) -> StageRow:
    outcomes = Counter(str(r.outcome) for r in receipts)
    counts = {str(o): outcomes[str(o)] for o in Outcome}
    return StageRow(
        name, len(receipts), counts, sum(r.rows for r in receipts), duration(sum(r.seconds for r in receipts))
    )


def reasons(stages: Mapping[str, Sequence[Receipt]]) -> tuple[list[Reason], int]:
    """The commonest reasons, equal texts of a stage together, and how many different ones are left out."""
    tiles: dict[tuple[str, str], list[str]] = {}
    for stage, receipts in stages.items():
        for receipt in receipts:
            for text in receipt.reasons:
                tiles.setdefault((stage, text), []).append(str(receipt.details.get("tile", receipt.product)))
    ordered = sorted(tiles.items(), key=lambda item: (-len(item[1]), item[0]))
    found = [Reason(stage, text, len(names), _named(names)) for (stage, text), names in ordered[:REASONS_SHOWN]]
    return found, max(0, len(ordered) - REASONS_SHOWN)


def _named(tiles: Sequence[str]) -> str:
    names = ", ".join(sorted(tiles)[:TILES_NAMED])
    return names if len(tiles) <= TILES_NAMED else f"{names} and {len(tiles) - TILES_NAMED} more"


def outcome_rows(summary: PartSummary) -> list[tuple[str, int]]:
    """Outcome of objects -> how many, commonest first."""
    return sorted(summary.outcomes.by_name.items(), key=lambda item: (-item[1], item[0]))


def flag_rows(summary: PartSummary) -> list[tuple[str, str, int]]:
    """(flag, its words, how many rows have it), in the order of the bits; flags that nobody has are left out."""
    counts = summary.flags.by_name
    rows = ((str(flag.name), words, counts.get(str(flag.name), 0)) for flag, words in FLAG_WORDS.items())
    return [row for row in rows if row[2]]


def model_rows(models: Mapping[str, TrainedModel]) -> list[ModelRow]:
    """What each model is, and on how many objects it was trained and calibrated."""
    rows = []
    for name, trained in models.items():
        card = trained.card
        counts: Mapping[str, Any] = card.training.get("counts", {})
        options = {k: v for k, v in card.arguments.items() if k not in ("channels", "size")}
        rows.append(
            ModelRow(
                name,
                card.model,
                card.source,
                ", ".join(f"{k} = {v}" for k, v in options.items()) or "defaults",
                ", ".join(f"{count_text(n)} {split}" for split, n in counts.items()),
                duration(card.metrics.get("training_seconds", 0.0)),
                list(card.scores.items()),
                card.fingerprint,
                [name.replace("_", " ") for name, holds in card.abilities.items() if holds],
            )
        )
    return rows
