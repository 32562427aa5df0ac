"""The verb of ranking: held-out objects and painted copies of them through all models -> the rule that ranks a run.

The product is one JSON file: the rule, why, and what every score finds of every kind of anomaly.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from galflow.cutouts.batches import PIXELS_ALONE, CutoutRows
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.painted import HeldOut, held_out_objects, masked_objects, painted_copies, survey_masks
from galflow.errors import DataError, SpecError
from galflow.scores.calibration import Reference, calibrated, robust_sigma
from galflow.scores.evidence import Evidence, Trial, choose_rule
from galflow.scores.mask_levels import MaskLevels
from galflow.scores.rule import RankingRule, placed
from galflow.scores.score import columns_of
from galflow.scores.triage_trial import learn_triage
from galflow.spec.run import fingerprint
from galflow.storage.products import Target, outcome_of, write_one_file
from galflow.storage.receipts import Receipt, to_json
from galflow.training.trained_model import TrainedModel

RANKING_VERSION = "4"
"""Raised when the same models and objects would choose otherwise."""
_OBJECTS, _COPIES = 1500, 80
"""Held-out objects, and copies of each kind of anomaly."""
_MASKS, _MASKED = 160, 960
"""Masks of the survey's own, and held-out objects under them."""
_FEWEST = 40
"""Fewer held-out objects choose nothing."""


@dataclass(frozen=True)
class RankingSettings:
    """What is known before any score: what the user declares, and what ranks where nothing can be measured."""

    declared: str | None
    """A score; None: choose by evidence."""
    first: str
    """The main score of the first model of the survey."""
    shares: tuple[float, float] | None
    """Of objects that validate and that calibrate; None: nothing was trained on this survey."""
    seed: int
    batch_objects: int
    triage: bool = True
    """Whether a triage is learnt."""


def ranking_fingerprint(joins: Sequence[str], models: Mapping[str, str], settings: RankingSettings) -> str:
    """Of the joined sets, the models of the survey, and the settings."""
    of_settings = (settings.declared, settings.first, settings.shares, settings.seed)
    triage = () if settings.triage else ("no triage",)
    return fingerprint(RANKING_VERSION, sorted(joins), dict(models), *of_settings, *triage)


def rank_by_evidence(
    target: Target,
    sets: Sequence[CutoutSet],
    models: Mapping[str, TrainedModel],
    settings: RankingSettings,
    device: str = "cpu",
) -> Receipt:
    """Choose the rule that ranks, store it with the evidence, and return the receipt.

    Where too little can be measured the declared score ranks, or else the first model's, and the receipt says why.
    """
    started = time.perf_counter()
    try:
        objects = _held_out(sets, models, settings)
        trial = _trial(objects, models, settings, device)
        evidence = choose_rule(trial, settings.declared, settings.seed, joined=settings.shares is not None)
        found, reasons = evidence.to_json(), []
        found["masks"] = _masks(sets, objects, trial, evidence.chosen, models, settings, device)
        sigmas = partial(_sigmas, models=models, batch_objects=settings.batch_objects, device=device)
        found["triage"] = learn_triage(objects, trial.objects, sigmas, settings.seed) if settings.triage else None
    except DataError as error:
        there = [c.name for c in columns_of(models) if c.calibrated]
        rule = RankingRule.of(settings.declared or (settings.first if settings.first in there else there[0]))
        why = f"{rule.name} ranks, as it stands first among the models: which score finds most is not known."
        if settings.declared is not None:
            why = f"{rule.name} ranks, as scoring.primary declares."
        found = Evidence(rule, why, (), 0, 0).to_json() | {"masks": None, "triage": None}
        reasons = [f"no score was chosen by what it finds: {error}"]
    outcome, told = outcome_of(reasons if settings.declared is None else ())
    receipt = Receipt(
        product=target.product,
        fingerprint=target.fingerprint,
        inputs=dict(target.inputs),
        rows=int(found["objects"]),
        outcome=outcome,
        reasons=told,
        details={"chosen": found["chosen"]["name"]},
    )
    return write_one_file(target.store, receipt, to_json(found), started)


def stated_reference(rule: RankingRule, models: Mapping[str, TrainedModel]) -> np.ndarray:
    """(r,) what a rule of one term gives the held-out objects of its model, which was trained elsewhere.

    SpecError for a rule that joins scores: those of different trainings are of different objects.
    """
    if len(rule.terms) > 1:
        raise SpecError(f"{rule.name} joins scores of models that were trained elsewhere; let one score rank")
    column = next(c for c in columns_of(models) if c.name == rule.terms[0].column)
    reference = Reference(column.name, models[column.model].reference[column.score])
    return rule.values({column.name: robust_sigma(reference.scores, reference)})


def _held_out(sets: Sequence[CutoutSet], models: Mapping[str, TrainedModel], settings: RankingSettings) -> HeldOut:
    contents = PIXELS_ALONE.joined(model.contents for model in models.values())
    objects = held_out_objects(sets, contents, settings.shares, _OBJECTS, settings.seed)
    if len(objects) < _FEWEST:
        raise DataError(
            f"{len(objects)} complete, normal objects are held out from training; {_FEWEST} at least are needed to "
            "tell scores apart. Hold out more (training.reference_fraction), or give more tiles"
        )
    return objects


def _trial(objects: HeldOut, models: Mapping[str, TrainedModel], settings: RankingSettings, device: str) -> Trial:
    painted = painted_copies(objects, _COPIES, settings.seed)
    of_objects, of_copies = (_sigmas(p.tiles, models, settings.batch_objects, device) for p in (objects, painted))
    usable = [name for name in of_objects if np.isfinite(of_objects[name]).any()]
    if not usable:
        raise DataError("no score of any model differs between held-out objects; the models may have collapsed")
    return Trial(
        {name: of_objects[name] for name in usable},
        {name: of_copies[name] for name in usable},
        painted.original,
        painted.kind,
        _covariates(objects),
    )


def _masks(
    sets: Sequence[CutoutSet],
    objects: HeldOut,
    trial: Trial,
    rule: RankingRule,
    models: Mapping[str, TrainedModel],
    settings: RankingSettings,
    device: str,
) -> dict[str, Any] | None:
    """The mend of what the survey's masks do to the rule, and how well it works; None where no mask was found.

    How well: AUROC of masked objects against the same ones whole, 0.5 if a mask does nothing; with the mend it is of
    one half of the masked objects, mended by the other.
    """
    masks = survey_masks(sets, _MASKS, settings.seed)
    if not len(masks):
        return None
    masked = masked_objects(objects, masks, _MASKED, settings.seed)
    used = {column.model: models[column.model] for column in columns_of(models) if column.name in rule.columns}
    values = rule.values(_sigmas(masked.tiles, used, settings.batch_objects, device))
    whole = rule.values(trial.objects)
    half = np.arange(len(values)) % 2 == 0
    learnt = MaskLevels.of(masked.shares[half], values[half], whole)
    mended = learnt.levelled(values[~half], masked.shares[~half])
    beside = whole[masked.original[~half]]
    return {
        "levels": MaskLevels.of(masked.shares, values, whole).to_json(),
        "objects": len(values),
        "auroc": _finite(placed(beside, values[~half]).mean()),
        "auroc_mended": _finite(placed(beside, mended).mean()),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _sigmas(
    tiles: Sequence[CutoutRows], models: Mapping[str, TrainedModel], batch_objects: int, device: str
) -> dict[str, np.ndarray]:
    """Score -> (n,) robust sigmas of held-out objects or painted copies; NaN where a score has no spread."""
    found: dict[str, list[np.ndarray]] = {}
    for rows in tiles:
        for start in range(0, len(rows.flux), batch_objects):
            _add(found, _portion(rows, slice(start, start + batch_objects)), models, device)
    return {
        column.name: calibrated(
            np.concatenate(found[column.name]),
            Reference(column.name, models[column.model].reference[column.score]),
        ).sigma  # NaN without a spread: the score parts say so, and this score cannot rank
        for column in columns_of(models)
        if column.calibrated
    }


def _portion(rows: CutoutRows, part: slice) -> CutoutRows:
    columns = {name: values[part] for name, values in rows.columns.items()}
    return CutoutRows(rows.flux[part], rows.ivar[part], rows.psf_of(part), columns)


def _add(found: dict[str, list[np.ndarray]], rows: CutoutRows, models: Mapping[str, TrainedModel], device: str) -> None:
    for column_model, model in models.items():
        batch = rows.batch(model.stretch, model.contents, device)
        values = model.evaluate(batch)
        for column in columns_of({column_model: model}):
            if column.calibrated:
                found.setdefault(column.name, []).append(values[column.score])


def _covariates(objects: HeldOut) -> dict[str, np.ndarray]:
    """Logarithm of the light within a quarter of the side around the centre, and the radius that holds half of it."""
    light, radius = [], []
    for rows in objects.tiles:
        side = rows.flux.shape[-1]
        offset = np.arange(side) - side // 2
        distance = np.hypot(offset[:, None], offset[None, :]).ravel()
        order = np.argsort(distance, kind="stable")
        order = order[distance[order] <= side / 4]
        growth = np.cumsum(rows.flux.sum(1).reshape(len(rows.flux), -1)[:, order], axis=1, dtype=np.float64)
        total = growth[:, -1]
        half = (growth >= 0.5 * total[:, None]).argmax(1)
        light.append(np.log10(np.where(total > 0, total, np.nan)))
        radius.append(np.where(total > 0, distance[order][half], np.nan))
    return {"brightness": np.concatenate(light), "size": np.concatenate(radius)}
