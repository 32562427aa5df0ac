"""The verb of comparison: how far a second sample is from the survey's held-out objects, under models of the survey.

Both samples were seen through the same cutout specification and stretch; anything else is refused, with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.compare.controls import Controls
from galflow.compare.matched import MatchedSamples, Matching
from galflow.compare.two_sample import TwoSample, compare_scalars, permutation_p
from galflow.cutouts.displayed import white_of
from galflow.errors import DataError, SpecError
from galflow.scores.calibration import Reference
from galflow.scores.fractions import Fraction, inconsistent_fraction
from galflow.scores.score import ScoreColumn, columns_of
from galflow.spec.repeats import first_training
from galflow.spec.run import fingerprint
from galflow.storage.products import Target, outcome_of, write_one_file
from galflow.storage.receipts import Receipt, to_json
from galflow.training.trained_model import TrainedModel

COMPARISON_VERSION = "5"
_KEPT_VALUES = 4000
"""Values of a sample kept in the product for plots; more are thinned evenly in rank."""
MINIMUM_OBJECTS = 20
"""Fewer scored objects than this are reported as too few, not compared."""
INCONSISTENT_LEVEL = 0.05
"""The "percentage of inconsistent images" counts scores above this upper quantile of the held-out normal objects'."""


def comparison_fingerprint(
    samples: Mapping[str, Sequence[str]],
    models: Mapping[str, str],
    bootstraps: int,
    seed: int,
    survey: Sequence[str] = (),
    matching: Matching | None = None,
) -> str:
    """Of the samples' score parts, the models, the number of bootstraps and their seed.

    ``survey`` are the survey's own score parts where those count too: for likelihood ratios and matched samples.
    """
    parts = {n: sorted(p) for n, p in samples.items()}
    more: list[Any] = [sorted(survey)] if survey else []
    more += [matching.content] if matching is not None else []
    return fingerprint(COMPARISON_VERSION, parts, dict(models), bootstraps, seed, *more)


def require_same_space(name: str, attributes: Mapping[str, Any], model: TrainedModel) -> None:
    """Refuse a sample in another unit or other bands than the model was trained on."""
    for what, given, expected in (
        ("flux unit", attributes["unit"], model.card.unit),
        ("bands", list(attributes["bands"]), list(model.card.bands)),
        ("pixels", _pixels(white_of(attributes)), _pixels(model.card.display_white)),
    ):
        if given != expected:
            raise SpecError(
                f"sample {name!r} cannot be compared: its {what} is {given!r}, the model's {expected!r}; likelihoods "
                "are comparable only in the same unit, bands, cutout specification and stretch"
            )


def _pixels(white: Sequence[float | None] | None) -> str:
    """ "flux", or "stretched for display (white 255)"."""
    known = sorted({w for w in white or () if w})
    return f"stretched for display (white {', '.join(f'{w:g}' for w in known)})" if known else "flux"


def compare_samples(
    target: Target,
    samples: Mapping[str, pa.Table],
    models: Mapping[str, TrainedModel],
    *,
    bootstraps: int,
    seed: int,
    ratios: Mapping[str | None, Mapping[str, np.ndarray]] | None = None,
    matched: MatchedSamples | None = None,
    controls: Controls | None = None,
) -> Receipt:
    """Compare each sample's scores and likelihoods with the reference objects'; store the result and its receipt.

    ``samples`` are concatenated score parts by sample name, ``models`` those that learnt the survey. Likelihood ratios
    (see galflow.compare.ratios) come as values by column, of the survey (None) and of each sample. The result is JSON:
    sample -> column -> statistics, some values of both for plots and, of an anomaly score, the fraction of inconsistent
    images (Margalef-Bentabol+20). Several trainings of a model are one result, their scatter in its intervals.
    ``matched``: what is to be compared at equal properties, too; ``controls``: what samples are held against.
    """
    started = time.perf_counter()
    results: dict[str, Any] = {}
    known = ratios or {None: {}}
    reasons: list[str] = []
    for name, table in samples.items():
        results[name] = {}
        real = table.column("is_primary").to_numpy()  # each object once, and no planted copy
        for column in columns_of(models):
            try:
                results[name][column.name] = _compare(table, real, column, models[column.model], bootstraps, seed)
            except DataError as error:
                reasons.append(f"{name}, {column.name}: {error}")
        for ratio, values in known.get(name, {}).items():
            try:
                results[name][ratio] = _compared(known[None][ratio], values, bootstraps, seed)
            except DataError as error:
                reasons.append(f"{name}, {ratio}: {error}")
    over = {name: _over_trainings(of_sample) for name, of_sample in results.items()}
    found: dict[str, Any] = {"samples": over, "bootstraps": bootstraps}
    if controls is not None:
        held_out = {c.name: models[c.model].reference[c.score] for c in columns_of(models)} | dict(known[None])
        found["controls"] = controls.compare(held_out, list(results), bootstraps, seed)
    if matched is not None:
        found |= matched.compare(reasons)
    data = to_json(found)
    outcome, told = outcome_of(reasons)
    receipt = Receipt(
        product=target.product,
        fingerprint=target.fingerprint,
        inputs=dict(target.inputs),
        rows=sum(len(t) for t in samples.values()),
        outcome=outcome,
        reasons=told,
    )
    return write_one_file(target.store, receipt, data, started)


def _over_trainings(results: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Column -> comparison, where those of several trainings of one model are one, under the first one's name."""
    families: dict[str, list[str]] = {}
    for column in results:
        families.setdefault(first_training(column), []).append(column)
    joined: dict[str, dict[str, Any]] = {}
    for name, columns in families.items():
        each = [results[column] for column in columns]
        joined[name] = dict(each[0])
        if len(each) > 1:
            statistics = TwoSample.over_trainings([TwoSample.from_json(one["statistics"]) for one in each])
            # Twice the mean of p-values is one, however they depend on each other (Rueschendorf 82).
            p = {key: min(1.0, 2 * float(np.mean([one["p"][key] for one in each]))) for key in each[0]["p"]}
            joined[name] |= {"statistics": statistics.to_json(), "p": p, "trainings": len(each)}
        if len(each) > 1 and "inconsistent" in each[0]:
            fractions = [Fraction(**one["inconsistent"]) for one in each]
            joined[name]["inconsistent"] = Fraction.over_trainings(fractions).to_json()
    return joined


def _compare(
    table: pa.Table, real: np.ndarray, column: ScoreColumn, model: TrainedModel, bootstraps: int, seed: int
) -> dict[str, Any]:
    values = table.column(column.name).to_pandas().to_numpy(dtype=np.float64)
    values = values[real & np.isfinite(values)]
    held_out = model.reference[column.score]
    found = _compared(held_out, values, bootstraps, seed)
    if column.calibrated:
        # Of all values, not of the thinned ones, whose ranks near the quantile are coarse.
        fraction = inconsistent_fraction(values, Reference(column.name, held_out), INCONSISTENT_LEVEL)
        found["inconsistent"] = fraction.to_json()
    return found


def _compared(held_out: np.ndarray, values: np.ndarray, bootstraps: int, seed: int) -> dict[str, Any]:
    """The statistics of a sample's ``values`` against the held-out objects', and some values of both for plots."""
    if len(values) < MINIMUM_OBJECTS or len(held_out) < MINIMUM_OBJECTS:
        raise DataError(
            f"{len(values)} scored objects against {len(held_out)} held-out ones; "
            f"a comparison needs at least {MINIMUM_OBJECTS} of each"
        )
    statistics = compare_scalars(held_out, values, bootstraps=bootstraps, seed=seed)
    return {
        "statistics": statistics.to_json(),
        "p": permutation_p(held_out, values, permutations=bootstraps, seed=seed),
        "sample_values": _thinned(values),
        "reference_values": _thinned(held_out),
    }


def _thinned(values: np.ndarray) -> list[float]:
    ordered = np.sort(values)
    if len(ordered) > _KEPT_VALUES:
        ordered = ordered[np.linspace(0, len(ordered) - 1, _KEPT_VALUES).round().astype(int)]
    return [float(v) for v in ordered]
