"""What ran, as rows of tables: products per outcome, reasons with how often they occurred, flags, models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from galflow.report.flag_words import FLAG_WORDS
from galflow.report.inputs import (
    CATALOG,
    COMPARISON,
    CUTOUTS,
    INDEX,
    JOINS,
    LATENTS,
    MEASUREMENTS,
    MODELS,
    RANKING,
    RESIDUAL_OBJECTS,
    RESIDUAL_OBJECTS_BEFORE,
    RESIDUALS,
    SCORES,
    StageRecord,
)
from galflow.report.prepared import prepared_words
from galflow.report.reading import reading_words, survey_reading
from galflow.scores.summary import PartSummary
from galflow.storage.receipts import Outcome, Receipt
from galflow.training.trained_model import TrainedModel

FAILED = "failed"
REASONS_SHOWN = 25
TILES_NAMED = 4
"""A reason names so many of the tiles it concerns; the rest are counted."""
_STAGE_WORDS = {
    CUTOUTS: ("ingest", "cutout sets, one a tile"),
    JOINS: ("join", "objects joined across tiles, one a tile"),
    MODELS: ("train", "models"),
    MEASUREMENTS: ("measure", "parts of measurements, one a tile"),
    SCORES: ("score", "score parts, one a tile"),
    RANKING: ("rank", "the rule that orders the objects"),
    COMPARISON: ("compare", "comparison of all samples"),
    **dict.fromkeys(
        (RESIDUAL_OBJECTS, RESIDUAL_OBJECTS_BEFORE), ("residual objects", "the objects whose residuals are stored")
    ),
    RESIDUALS: ("residuals", "residual pictures, one set a tile"),
    LATENTS: ("encode", "latents, one part a tile"),
    INDEX: ("index", "the index by which similar objects are found"),
    CATALOG: ("publish", "catalogue"),
}


@dataclass(frozen=True)
class StageRow:
    """One stage of the run."""

    stage: str
    what: str
    """Which products."""
    products: int
    """That should be there: those that are, and those that failed."""
    outcomes: dict[str, int]
    """Outcome -> products; "failed" among them."""
    found: int
    """Products that an earlier start or another run had made."""
    rows: int
    seconds: str
    """Summed over products, however many ran at a time."""


@dataclass(frozen=True)
class Reason:
    """Why products are failed, partial or empty."""

    stage: str
    outcome: str
    text: str
    count: int
    names: str


@dataclass(frozen=True)
class ModelRow:
    """One trained model."""

    name: str
    model: str
    source: str
    options: str
    objects: str
    training: str
    """How long it took, or from where the model was taken."""
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


def stage_words(stage: str) -> tuple[str, str]:
    """Verb and products of a stage by its name in the manifest, as ("score sersic", "score parts, one a tile")."""
    name, of, sample = stage.partition(" of ")
    verb, what = _STAGE_WORDS.get(name, (name, "products"))
    return (f"{verb} {sample}", what) if of else (verb, what)


def stage_rows(stages: Mapping[str, StageRecord]) -> list[StageRow]:
    """A row for each stage that had anything to do."""
    return [_stage(name, record) for name, record in stages.items() if record.receipts or record.failures]


def _stage(name: str, record: StageRecord) -> StageRow:
    receipts = record.receipts
    outcomes = Counter(str(r.outcome) for r in receipts)
    counts = {str(o): outcomes[str(o)] for o in Outcome} | {FAILED: len(record.failures)}
    # Models share their training objects; parts and cutout sets have their own.
    rows = max((r.rows for r in receipts), default=0) if name == MODELS else sum(r.rows for r in receipts)
    verb, what = stage_words(name)
    said = (what, reading_words(survey_reading(receipts)), prepared_words(receipts))
    return StageRow(
        verb,
        "; ".join(filter(None, said)),
        len(receipts) + len(record.failures),
        counts,
        len(receipts) - record.made,
        rows,
        duration(sum(r.seconds for r in receipts)),
    )


def reasons(stages: Mapping[str, StageRecord]) -> tuple[list[Reason], int]:
    """Why products failed, are partial or empty: failures first, then the commonest; equal texts of a stage together.

    And how many different reasons are left out.
    """
    names: dict[tuple[str, str, str], list[str]] = {}
    for stage, record in stages.items():
        verb, _ = stage_words(stage)
        for name, text in record.failures:
            names.setdefault((verb, FAILED, text), []).append(name)
        for receipt in record.receipts:
            for text in receipt.reasons:
                names.setdefault((verb, str(receipt.outcome), text), []).append(_name(receipt))
    ordered = sorted(names.items(), key=lambda item: (item[0][1] != FAILED, -len(item[1]), item[0]))
    found = [Reason(*key, len(who), _named(who)) for key, who in ordered[:REASONS_SHOWN]]
    return found, max(0, len(ordered) - REASONS_SHOWN)


def troubles(stages: Mapping[str, StageRecord]) -> str:
    """ "1 product failed, 2 are partial", over all stages; "" if all is well."""
    rows = stage_rows(stages)
    counts = {name: sum(row.outcomes[name] for row in rows) for name in (FAILED, *map(str, Outcome))}
    words = []
    if failed := counts[FAILED]:
        words.append(f"{failed} product{'s' * (failed != 1)} failed")
    for outcome in (Outcome.PARTIAL, Outcome.EMPTY):
        if number := counts[outcome]:
            noun = "" if words else f" product{'s' * (number != 1)}"
            words.append(f"{number}{noun} {'is' if number == 1 else 'are'} {outcome}")
    return ", ".join(words)


def _name(receipt: Receipt) -> str:
    """The tile of a product, or the model."""
    parts = receipt.product.split("/")
    fallback = parts[1] if parts[0] == "models" and len(parts) > 2 else receipt.product
    return str(receipt.details.get("tile", fallback))


def _named(names: Sequence[str]) -> str:
    text = ", ".join(sorted(names)[:TILES_NAMED])
    return text if len(names) <= TILES_NAMED else f"{text} and {len(names) - TILES_NAMED} more"


def outcome_rows(summary: PartSummary) -> list[tuple[str, int]]:
    """Outcome of objects -> how many, commonest first."""
    return sorted(summary.outcomes.by_name.items(), key=lambda item: (-item[1], item[0]))


def flag_rows(summary: PartSummary) -> list[tuple[str, str, int]]:
    """(flag, its words, how many rows have it), in the order of the bits; flags that nobody has are left out."""
    counts = summary.flags.by_name
    rows = ((str(flag.name), words, counts.get(str(flag.name), 0)) for flag, words in FLAG_WORDS.items())
    return [row for row in rows if row[2]]


def model_rows(
    models: Mapping[str, TrainedModel], reused: Mapping[str, str], samples: Mapping[str, str]
) -> list[ModelRow]:
    """What each model is, and on how many objects it was trained and calibrated.

    ``reused``: name -> where from; ``samples``: name -> the sample that it learnt instead of the survey.
    """
    rows = []
    for name, trained in models.items():
        card = trained.card
        counts: Mapping[str, Any] = card.training.get("counts", {})
        options = {k: v for k, v in card.arguments.items() if k not in ("channels", "size")}
        left_out = card.training.get("left_out")
        seconds = duration(card.metrics.get("training_seconds", 0.0))
        rows.append(
            ModelRow(
                name,
                card.model,
                card.source,
                ", ".join(f"{k} = {v}" for k, v in options.items()) or "defaults",
                ", ".join(f"{count_text(n)} {split}" for split, n in counts.items())
                + (f" of sample {samples[name]}" if name in samples else "")
                + (f"; trained without {count_text(left_out['objects'])}" if left_out else ""),
                f"reused, not trained here: {reused[name]}" if name in reused else seconds,
                card.fingerprint,
                [ability.replace("_", " ") for ability, holds in card.abilities.items() if holds],
            )
        )
    return rows
