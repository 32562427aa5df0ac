"""The verb of scoring: one cutout set, all models -> one score part with its receipt.

Each chunk is read once and given to every model, while the next one is being read. A score that could not be computed
is null, and the row's outcome says why; no row is ever missing.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.cutouts.batches import missing_inputs
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_SCORED, has_flag, outcome_text
from galflow.cutouts.splits import learnt_rows, marked_flags
from galflow.scores.calibration import Reference, calibrated
from galflow.scores.chunks import View, chunks_in_views
from galflow.scores.part_columns import (
    OBJECTS_DETAIL,
    SCHEMA_DETAIL,
    carried_schema,
    identity_columns,
    packed_schema,
    share_columns,
    with_carried,
)
from galflow.scores.ratio import in_flux, per_flux, ratio_values
from galflow.scores.reuse import VERSION_DETAIL, EarlierPart, earlier_scores
from galflow.scores.summary import PartSummary
from galflow.scores.triage_features import Measurements
from galflow.spec.models import Ratio
from galflow.spec.run import fingerprint
from galflow.storage.layout import scores_product
from galflow.storage.products import outcome_of, write_one_file
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.training.trained_model import BPD, LOGLIKE, TrainedModel

SCORES_VERSION = "6"
"""Raised when the same cutouts and models would give other scores."""
LIKELIHOODS = (LOGLIKE, BPD)
"""What a Density gives beside its scores: nats, and bits per observed dimension."""
_PER_FLUX = "loglike_per_flux"
"""A log-likelihood as a density per flux; on the way to a ratio, in no part."""


@dataclass(frozen=True)
class ScoreColumn:
    """One score of one model, and its column in the catalogue."""

    model: str
    score: str

    @property
    def name(self) -> str:
        """``wgan_anomaly``, or ``loglike_pixelcnn``."""
        return f"{self.score}_{self.model}" if self.score in LIKELIHOODS else f"{self.model}_{self.score}"

    @property
    def calibrated(self) -> bool:
        """Whether it is an anomaly score (higher = more anomalous) and not a likelihood."""
        return self.score not in LIKELIHOODS


@dataclass(frozen=True)
class PartSettings:
    """What a score part holds beside the models' scores."""

    ratios: tuple[Ratio, ...] = ()
    shares: tuple[float, float] | None = None
    """Shares of objects that validate and that calibrate, for the column ``split``; None: nothing is trained."""
    learners: tuple[str, ...] = ()
    """The models that were trained on these objects: those that they learnt from get no p-value by them, since p-values
    compare with objects that no training has seen."""
    triage: bool = True
    """Whether what the triage goes by is measured on the way."""


def scores_fingerprint(joined: str, models: Mapping[str, str], settings: PartSettings) -> str:
    """Of what a score part depends on: its joined set, the models, ratios, splits, and who learnt from them."""
    columns = [ratio.column for ratio in settings.ratios]
    measured = () if settings.triage else ("no triage",)
    return fingerprint(
        SCORES_VERSION, joined, dict(models), columns, settings.shares, sorted(settings.learners), *measured
    )


def columns_of(models: Mapping[str, TrainedModel]) -> list[ScoreColumn]:
    """The score columns of these models, in catalogue order."""
    return [ScoreColumn(name, score) for name, model in models.items() for score in model.score_names]


def score_cutouts(
    cutouts: CutoutSet,
    models: Mapping[str, TrainedModel],
    batch_objects: int,
    device: str = "cpu",
    flux_densities: Collection[str] = (),
    measurements: Measurements | None = None,
) -> dict[ScoreColumn, np.ndarray]:
    """Raw scores of every object, (N,) float64 each, NaN where the object is not to be scored.

    The scores of a model that needs what the set has not (``galflow.cutouts.batches.missing_inputs``) are not in the
    result. Of the models named in ``flux_densities`` there is also the log-likelihood per flux. ``measurements`` of the
    same pixels are taken on the way.
    """
    # One stretch for all, but for models that were trained elsewhere: each sees pixels as in its training.
    views = {
        name: View(model.stretch, model.contents)
        for name, model in models.items()
        if missing_inputs(cutouts, model.contents) is None
    }
    if not views:
        return {}
    columns = columns_of({name: models[name] for name in views})
    columns += [ScoreColumn(name, _PER_FLUX) for name in views if name in flux_densities]
    raw = {column: np.full(len(cutouts), np.nan) for column in columns}
    wanted = ~has_flag(cutouts.read("flags"), NOT_SCORED)
    measuring = None if measurements is None else measurements.view
    every = set(views.values()) if measuring is None else {*views.values(), measuring}
    for rows, seen in chunks_in_views(cutouts, every, wanted, device):
        for start in range(0, len(rows), batch_objects):
            part = slice(start, start + batch_objects)
            portions = {view: batch[part] for view, batch in seen.items()}
            if measurements is not None and measuring is not None:
                measurements.add(rows[part], portions[measuring])
            for name, view in views.items():
                found = models[name].evaluate(portions[view])
                if name in flux_densities:
                    found[_PER_FLUX] = per_flux(models[name], portions[view], found[LOGLIKE])
                for score, values in found.items():
                    raw[ScoreColumn(name, score)][rows[part]] = values
    return raw


class PartFingerprints(NamedTuple):
    """Of a score part, and of what it is made of."""

    part: str
    cutouts: str
    join: str = ""


def score_set(
    store: Store,
    cutouts: CutoutSet,
    models: Mapping[str, TrainedModel],
    of: PartFingerprints,
    settings: PartSettings,
    *,
    batch_objects: int = 128,
    device: str = "cpu",
    earlier: EarlierPart | None = None,
) -> Receipt:
    """Score one cutout set with all models, store the part and its receipt, and return the receipt.

    Scores that the ``earlier`` part of these cutouts has by the same models are taken over. A likelihood ratio gets its
    column if both of its models are among ``models``.
    """
    started = time.perf_counter()
    attributes = cutouts.attributes
    ratios = [ratio for ratio in settings.ratios if {ratio.model, ratio.background} <= models.keys()]
    flux_densities = in_flux(ratios, models)
    raw: dict[ScoreColumn, np.ndarray] = {}
    measurements = Measurements.of(cutouts) if settings.triage else Measurements.none()
    if earlier is not None and len(cutouts):
        # A density per flux needs the pixels.
        hold = {name: models[name] for name in earlier.models if name not in flux_densities}
        raw = _taken_over(store, cutouts, hold, earlier, measurements)
    known = {column.model for column in raw}
    if len(cutouts):
        missing = {name: model for name, model in models.items() if name not in known}
        raw |= score_cutouts(cutouts, missing, batch_objects, device, flux_densities, measurements)
    found = {ratio.column: _ratio(ratio, raw, flux_densities, len(cutouts)) for ratio in ratios}
    table, lost = _part_table(cutouts, models, raw, found, settings)
    table = with_carried(measurements.beside(table), cutouts)
    product = scores_product(attributes["survey"], attributes["release"], attributes["tile"], of.part)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    calibrated = [c.name for c in columns_of(models) if c.calibrated]
    summary = PartSummary.of(table, calibrated)
    outcome, reasons = outcome_of(lost, empty=None if len(table) else "the cutout set is empty")
    receipt = Receipt(
        product=product,
        fingerprint=of.part,
        inputs={"cutouts": of.cutouts, "join": of.join} | {f"model {n}": m.card.fingerprint for n, m in models.items()},
        rows=len(table),
        outcome=outcome,
        reasons=reasons,
        details={
            "tile": attributes["tile"],
            OBJECTS_DETAIL: summary.objects,
            "summary": summary.to_json(),
            "carried": {SCHEMA_DETAIL: packed_schema(carried_schema(table))},
            VERSION_DETAIL: SCORES_VERSION,
            "taken_over": sorted(known),
        },
    )
    return write_one_file(store, receipt, data, started)


def _taken_over(
    store: Store,
    cutouts: CutoutSet,
    models: Mapping[str, TrainedModel],
    earlier: EarlierPart,
    measurements: Measurements,
) -> dict[ScoreColumn, np.ndarray]:
    """Raw scores by ``models`` in the earlier part, of those that can score this set at all; its measurements, too."""
    able = {name: model for name, model in models.items() if missing_inputs(cutouts, model.contents) is None}
    columns = {column.name: column for column in columns_of(able)}
    found = earlier_scores(store, earlier, cutouts.read("object_id"), [*columns, *measurements.names])
    if found is None:
        return {}
    measurements.take(found)
    return {columns[name]: found[name] for name in columns}


def _ratio(
    ratio: Ratio, raw: Mapping[ScoreColumn, np.ndarray], flux_densities: Collection[str], rows: int
) -> np.ndarray:
    """(rows,) nats; NaN where a likelihood is missing, and if a model could not score this set at all."""
    apart = {ratio.model, ratio.background} <= set(flux_densities)
    unknown = np.full(rows, np.nan)
    return ratio_values(
        *(raw.get(ScoreColumn(n, _PER_FLUX if apart else LOGLIKE), unknown) for n in (ratio.model, ratio.background))
    )


def _part_table(
    cutouts: CutoutSet,
    models: Mapping[str, TrainedModel],
    raw: Mapping[ScoreColumn, np.ndarray],
    ratios: Mapping[str, np.ndarray],
    settings: PartSettings,
) -> tuple[pa.Table, list[str]]:
    """The part: who the rows are, then raw score, sigma and p of each score, ratios, shares; and what went wrong."""
    n = len(cutouts)
    flags = marked_flags(cutouts)
    outcome = outcome_text(flags)
    reasons: list[str] = []
    unable: list[str] = []
    columns = identity_columns(cutouts, settings.shares)
    learnt = np.zeros(n, bool)
    if settings.shares is not None and settings.learners:
        learnt = learnt_rows(cutouts, *settings.shares)
    scored = ~has_flag(flags, NOT_SCORED)
    for column in columns_of(models):
        values = raw.get(column, np.full(n, np.nan))
        good = np.isfinite(values)
        failed = scored & ~good
        if column not in raw and n:
            if column.model not in unable:
                unable.append(column.model)
                reasons.append(
                    f"not scored by {column.model}: {missing_inputs(cutouts, models[column.model].contents)}"
                )
                outcome[failed] = f"not scored by {column.model}: the tile lacks what it needs"
        elif failed.any():
            reasons.append(f"{column.model} gave {int(failed.sum())} objects a {column.score} that is not finite")
            outcome[failed] = f"not scored by {column.model}: its {column.score} is not finite"
        columns[column.name] = _nullable(values, good)
        if column.calibrated:
            sigma, p, why_no_sigma = calibrated(values, _reference(models[column.model], column))
            if why_no_sigma is not None:  # the columns of the other models do not suffer for it
                reasons.append(f"{column.name}_sigma is null: {why_no_sigma}")
            columns[f"{column.name}_sigma"] = _nullable(sigma, np.isfinite(sigma))
            columns[f"{column.name}_p"] = _nullable(p, good & ~learnt if column.model in settings.learners else good)
    columns |= {name: _nullable(values, np.isfinite(values)) for name, values in ratios.items()}
    columns |= share_columns(cutouts)
    columns["flags"] = pa.array(flags)
    columns["outcome"] = pa.array(outcome, pa.string())
    return pa.table(columns), reasons


@functools.lru_cache(maxsize=64)
def _reference(model: TrainedModel, column: ScoreColumn) -> Reference:
    """Sorted, and its median and sigma taken, once for all parts that a process scores."""
    return Reference(column.name, model.reference[column.score])


def _nullable(values: np.ndarray, good: np.ndarray) -> pa.Array:
    return pa.array(values, pa.float64(), mask=~good)
