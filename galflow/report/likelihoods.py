"""How far other samples lie from the survey's held-out objects, as rows of a table and in words.

The words never say more than the interval does: a sample whose interval holds 0.5 "cannot be told apart".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.compare.two_sample import Interval, TwoSample
from galflow.report.sample_words import begun, objects_of
from galflow.report.verdicts import verdict
from galflow.scores.score import LIKELIHOODS, ScoreColumn, columns_of
from galflow.spec.models import Ratio
from galflow.training.trained_model import BPD, LOGLIKE, TrainedModel

FloatArray = npt.NDArray[np.float64]

UNITS = {LOGLIKE: "nats", BPD: "bits per pixel and band"}
_EDGES = 61


@dataclass(frozen=True)
class ComparedRow:
    """One sample under one score or likelihood."""

    sample: str
    column: str
    unit: str
    n: str
    medians: str
    ks: str
    wasserstein: str
    auroc: str


@dataclass(frozen=True)
class Sentence:
    """How one sample compares with the sky under one model."""

    sample: str
    model: str
    text: str
    by_ratio: bool = False
    """Whether it is about a likelihood ratio."""


def with_interval(interval: Interval, digits: str | None = None) -> str:
    """ "0.83 [0.80, 0.86]"."""
    value, low, high = (
        f"{v:{digits}}" if digits else _number(v) for v in (interval.value, interval.low, interval.high)
    )
    return f"{value} [{low}, {high}]"


def _number(value: float) -> str:
    """Four digits, without an exponent where a person would not write one."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


@dataclass(frozen=True)
class StatedLikelihood:
    """One likelihood column, or one ratio of two, of which there are held-out objects to compare with."""

    column: str
    label: str
    """What it is, with its unit."""
    reference: FloatArray
    """Of the survey's held-out objects."""
    samples: Mapping[str, FloatArray]
    """Sample name -> its values, where it was compared."""
    linear_width: float | None = None
    """Of a ratio, whose tails are long: where its axis turns from linear to logarithmic, nats on either side of 0."""


def stated_likelihoods(
    models: Mapping[str, TrainedModel], comparison: Mapping[str, Any] | None, ratios: Sequence[Ratio] = ()
) -> list[StatedLikelihood]:
    """The likelihoods that models state, then those of the ratios that were compared."""
    found = []
    for column in columns_of(models):
        if column.score in LIKELIHOODS:
            name = "log-likelihood" if column.score == LOGLIKE else "bits per dimension"
            label = f"{name} under {column.model} [{UNITS[column.score]}]"
            reference = models[column.model].reference[column.score]
            found.append(StatedLikelihood(column.name, label, reference, _values(comparison, column.name)))
    for ratio in ratios:
        if references := _values(comparison, ratio.column, "reference_values"):
            label = f"log-likelihood ratio of {ratio.model} to {ratio.background} [{UNITS[LOGLIKE]}]"
            values, reference = _values(comparison, ratio.column), next(iter(references.values()))
            width = _linear_width(reference)
            found.append(StatedLikelihood(ratio.column, label, reference, values, width))
    return found


def _linear_width(reference: FloatArray) -> float:
    """The power of ten next to a fifth of what a ratio mostly is, nats; at least 1."""
    return float(10 ** np.round(np.log10(max(1.0, 0.2 * float(np.median(np.abs(reference)))))))


def _values(comparison: Mapping[str, Any] | None, column: str, what: str = "sample_values") -> dict[str, FloatArray]:
    """Sample name -> its values of a column, where it was compared."""
    samples = (comparison or {}).get("samples", {})
    return {
        name: np.asarray(results[column][what], dtype=np.float64)
        for name, results in samples.items()
        if column in results
    }


def likelihood_edges(stated: Sequence[StatedLikelihood]) -> dict[str, FloatArray]:
    """Column -> bins that hold 99% of the held-out objects' values and of each sample's."""
    edges = {}
    for likelihood in stated:
        groups = [likelihood.reference, *likelihood.samples.values()]
        ends = np.array([np.quantile(g, [0.005, 0.995]) for g in groups if len(g)])
        low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
        width = likelihood.linear_width
        if width is not None:  # bins of one width on the axis that is drawn
            low, high = (float(np.arcsinh(end / width)) for end in (low, high))
        margin = 0.05 * (high - low) or 0.5
        even = np.linspace(low - margin, high + margin, _EDGES)
        edges[likelihood.column] = even if width is None else width * np.sinh(even)
    return edges


def compared_rows(
    comparison: Mapping[str, Any] | None, models: Mapping[str, TrainedModel], ratios: Sequence[Ratio] = ()
) -> list[ComparedRow]:
    """All samples under all scores, likelihoods and ratios, in that order."""
    units = {column.name: UNITS.get(column.score, "score") for column in columns_of(models)}
    units |= {ratio.column: UNITS[LOGLIKE] for ratio in ratios}
    rows = []
    for sample, results in (comparison or {}).get("samples", {}).items():
        for column, unit in units.items():
            if column not in results:
                continue
            s = TwoSample.from_json(results[column]["statistics"])
            rows.append(
                ComparedRow(
                    sample,
                    column,
                    unit,
                    f"{s.n_b} / {s.n_a}",
                    f"{_number(s.median_b)} / {_number(s.median_a)}",
                    with_interval(s.ks, ".2f"),
                    with_interval(s.wasserstein, ".0f" if s.wasserstein.low >= 100 else ".3g"),
                    with_interval(s.auroc, ".2f"),
                )
            )
    return rows


def sentences(
    comparison: Mapping[str, Any] | None,
    models: Mapping[str, TrainedModel],
    primary: str,
    ratios: Sequence[Ratio] = (),
) -> list[Sentence]:
    """One sentence for each sample and likelihood in bits, then for each ratio.

    Under the primary score where no model has a likelihood.
    """
    columns = [c for c in columns_of(models) if c.score == BPD]
    columns = columns or [c for c in columns_of(models) if c.name == primary]
    samples = (comparison or {}).get("samples", {})
    return [
        Sentence(
            sample, column.model, _sentence(sample, column, TwoSample.from_json(results[column.name]["statistics"]))
        )
        for sample, results in samples.items()
        for column in columns
        if column.name in results
    ] + [
        Sentence(
            sample, ratio.model, _ratio_sentence(sample, ratio, results[ratio.column]["statistics"]), by_ratio=True
        )
        for sample, results in samples.items()
        for ratio in ratios
        if ratio.column in results
    ]


def headlines(found: Sequence[Sentence]) -> list[str]:
    """The first sentence of each sample, that of the first model which has a likelihood, and its first of a ratio."""
    first: dict[tuple[str, bool], str] = {}
    for sentence in found:
        first.setdefault((sentence.sample, sentence.by_ratio), sentence.text)
    return list(first.values())


def _sentence(sample: str, column: ScoreColumn, statistics: TwoSample) -> str:
    """In the direction people mean. Higher values of the column mean less probable, or more anomalous."""
    adjective, what = ("probable", "bits per dim") if column.score == BPD else ("anomalous", column.name)
    above, below = ("LESS", "MORE") if column.score == BPD else ("MORE", "LESS")
    auroc = statistics.auroc
    numbers = f"(P({what} of {sample} > sky) = {with_interval(auroc, '.2f')}; 0.5 = alike)"
    said = verdict(
        auroc.low,
        auroc.high,
        above=f"are {above} {adjective} than the sky's under {column.model}",
        below=f"are {below} {adjective} than the sky's under {column.model}",
        alike=f"cannot be told from the sky's by the {what} of {column.model}",
    )
    return begun(f"{objects_of(sample)} {said} {numbers}.")


def _ratio_sentence(sample: str, ratio: Ratio, statistics: Mapping[str, Any]) -> str:
    auroc = TwoSample.from_json(statistics).auroc
    numbers = f"(P({ratio.column} of {sample} > sky) = {with_interval(auroc, '.2f')}; 0.5 = alike)"
    finds = f"With {ratio.background} as its background, {ratio.model} finds {objects_of(sample)}"
    said = verdict(
        auroc.low,
        auroc.high,
        above=f"{finds} MORE like the survey than the sky's",
        below=f"{finds} LESS like the survey than the sky's",
        alike=f"{objects_of(sample)} cannot be told from the sky's by {ratio.column}",
    )
    return begun(f"{said} {numbers}.")


@dataclass(frozen=True)
class InconsistentRow:
    """One score: which part of each group it finds inconsistent with the held-out normal objects."""

    score: str
    cells: list[str]


def inconsistent_rows(found: Mapping[str, Any], scores: Sequence[str]) -> tuple[list[str], list[InconsistentRow]]:
    """The groups (real objects, planted copies, samples), and for each score "46% [41, 51]" per group.

    ``found`` are the run's findings; a group without that score has "-".
    """
    groups: Mapping[str, Mapping[str, Any]] = found.get("inconsistent", {})
    rows = [InconsistentRow(score, [_percent(of.get(score)) for of in groups.values()]) for score in scores]
    return list(groups), rows


def _percent(share: Mapping[str, float] | None) -> str:
    if share is None:
        return "\u2013"
    value, low, high = (f"{100 * share[end]:.0f}" for end in ("value", "low", "high"))
    return f"{value}% [{low}, {high}]"
