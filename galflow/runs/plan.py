"""What a run should make, what of it is done, and why the rest is to do.

Every product's fingerprint is known before anything is made, because it depends on specifications and on the inputs'
fingerprints alone. So a crash, a second start, an updated tile, a new model and a changed setting are one thing: plan,
subtract what is done, do the rest. This file makes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from galflow.compare.matched import Matching
from galflow.compare.samples import comparison_fingerprint
from galflow.runs.plan_cutouts import briefly, by_tile_of, plan_cutouts, planned_selections
from galflow.runs.plan_joins import plan_joins
from galflow.runs.plan_measurements import plan_measurements
from galflow.runs.plan_residuals import plan_residual_objects, plan_residuals
from galflow.runs.plan_similar import plan_similar
from galflow.runs.plan_units import (
    JoinedTile,
    JoinUnit,
    MeasureUnit,
    ModelUnit,
    PlannedSelection,
    RankingUnit,
    ResidualsUnit,
    ScoreUnit,
    TileUnit,
    Unit,
)
from galflow.scores.leading import declared_score, first_score, may_rank
from galflow.scores.ranking import RankingSettings, ranking_fingerprint
from galflow.scores.reuse import best_earlier
from galflow.scores.score import SCORES_VERSION, PartSettings, scores_fingerprint
from galflow.spec.models import ModelSpec
from galflow.spec.repeats import seed_of
from galflow.spec.run import RunSpec, SurveySpec, fingerprint
from galflow.storage.layout import (
    comparison_product,
    comparisons_folder,
    manifest_key,
    model_product,
    models_folder,
    ranking_product,
    rankings_folder,
    scores_folder,
    scores_product,
)
from galflow.storage.receipts import Receipt, find_receipts
from galflow.storage.store import Store
from galflow.training.brought_weights import weights_file
from galflow.training.train_model import model_fingerprint
from galflow.training.trained_model import load_uri

logger = logging.getLogger(__name__)


def plan_models(
    spec: RunSpec, store: Store, cutouts: Sequence[str], samples: Mapping[str, Sequence[str]]
) -> list[ModelUnit]:
    """A unit for each model, trained on the joined sets with these fingerprints, or on those of a sample."""
    units = []
    for model in spec.trainings:
        if model.trained is not None:
            units.append(_trained_elsewhere(model))
            continue
        sets, sky = (cutouts, ()) if model.sample is None else (samples[model.sample], cutouts)
        training, weights = spec.training_of(model), weights_file(model)
        seed = seed_of(model.name, spec.seed)
        found = model_fingerprint(model, training, spec.cutouts, spec.stretch, seed, sets, sky, weights)
        earlier = find_receipts(store, models_folder(model.name))
        changed = "settings or training tiles changed" if weights is None else "settings, weights or tiles changed"
        why = f"model {model.name}: {changed}" if earlier else f"model {model.name} is new"
        receipt = earlier.get(found)
        product = receipt.product if receipt else model_product(model.name, found)
        units.append(ModelUnit("train", model.name, found, product, receipt, why, model=model, weights=weights))
    return units


def _trained_elsewhere(model: ModelSpec) -> ModelUnit:
    trained = load_uri(str(model.trained), model=model.model)
    found = trained.card.fingerprint
    receipt = Receipt(product=str(model.trained), fingerprint=found, code_version=trained.card.code_version)
    return ModelUnit("train", model.name, found, str(model.trained), receipt, model=model)


def plan_scores(
    spec: RunSpec, store: Store, sets: Sequence[JoinedTile], models: Mapping[str, str], survey: SurveySpec
) -> list[ScoreUnit]:
    """A unit for each joined set, to be scored by ``models``, name -> fingerprint."""
    receipts = briefly(store, scores_folder(survey.survey_name))
    by_tile = by_tile_of(receipts.values())
    settings = part_settings(spec, survey)
    units = []
    for joined in sets:
        cut = joined.cutouts
        found = scores_fingerprint(joined.fingerprint, models, settings)
        receipt = receipts.get(found)
        product = receipt.product if receipt else scores_product(survey.survey_name, survey.release, cut.tile, found)
        of_tile = by_tile.get(cut.tile, [])
        earlier = None if receipt else best_earlier(of_tile, cut.fingerprint, models, SCORES_VERSION)
        why = _why_score(joined, models, of_tile)
        why += f"; scores by {', '.join(earlier.models)} hold" if earlier else ""
        units.append(ScoreUnit("score", cut.tile, found, product, receipt, why, joined=joined, earlier=earlier))
    return units


def part_settings(spec: RunSpec, survey: SurveySpec) -> PartSettings:
    """What every score part of the survey, or of a sample with this specification, holds beside scores."""
    surveys = {sample.name: sample.survey for sample in spec.samples}
    own = [m for m in spec.trainings if m.trained is None]
    learners = tuple(m.name for m in own if (spec.survey if m.sample is None else surveys[m.sample]) == survey)
    return PartSettings(spec.ratios, split_shares(spec), learners, spec.scoring.triage)


def split_shares(spec: RunSpec) -> tuple[float, float] | None:
    """Shares of objects that validate and that calibrate; None where no model is trained."""
    learns = any(model.trained is None for model in spec.models)
    return (spec.training.validation_fraction, spec.training.reference_fraction) if learns else None


def survey_learners(spec: RunSpec) -> tuple[str, ...]:
    """Names of the models that are trained on the survey itself."""
    return tuple(m.name for m in spec.trainings if m.sample is None and m.trained is None)


def plan_ranking(spec: RunSpec, store: Store, joins: Sequence[str], models: Mapping[str, str]) -> RankingUnit | None:
    """The rule by which the objects are ranked, of these joined sets and models (name -> fingerprint).

    None if no model of the survey is there, or if the model of the declared score is not.
    """
    of_survey = spec.of_survey(models)
    declared = declared_score(spec)
    if not of_survey or (declared is not None and may_rank(spec)[declared] not in of_survey):
        return None
    settings = RankingSettings(
        declared,
        first_score(spec, of_survey),
        split_shares(spec),
        spec.seed,
        spec.scoring.batch_objects,
        spec.scoring.triage,
    )
    found = ranking_fingerprint(joins, of_survey, settings)
    receipt = find_receipts(store, rankings_folder(spec.survey.survey_name)).get(found)
    product = receipt.product if receipt else ranking_product(spec.survey.survey_name, found)
    why = "which score ranks is to be chosen: the models or their objects are new or changed"
    return RankingUnit("rank", spec.survey.survey_name, found, product, receipt, why, settings=settings)


def _why_score(joined: JoinedTile, models: Mapping[str, str], earlier: list[Receipt]) -> str:
    cut = joined.cutouts
    if not earlier:
        return f"tile {cut.tile} was never scored"
    same_cutouts = [r for r in earlier if r.inputs.get("cutouts") == cut.fingerprint]
    if not same_cutouts:
        return f"the cutouts of tile {cut.tile} changed"
    scored_with = same_cutouts[-1].inputs
    changed = [n for n, f in models.items() if scored_with.get(f"model {n}") != f]
    if changed:
        return f"tile {cut.tile}: model {', '.join(changed)} is new or changed"
    if all(r.inputs.get("join") != joined.fingerprint for r in same_cutouts):
        return f"tile {cut.tile}: what its neighbours have of its objects changed"
    return f"tile {cut.tile}: the models or the ratios changed"


@dataclass(frozen=True, eq=False)
class RunPlan:
    """Everything a run should make."""

    run: str
    published: bool
    """Whether the run's manifest is there."""
    cutouts: list[TileUnit]
    samples: dict[str, list[TileUnit]]
    joins: list[JoinUnit]
    sample_joins: dict[str, list[JoinUnit]]
    models: list[ModelUnit]
    ranking: RankingUnit | None
    scores: list[ScoreUnit]
    sample_scores: dict[str, list[ScoreUnit]]
    comparison: Unit | None
    measurements: dict[str | None, list[MeasureUnit]]
    """By sample; None is the survey itself."""
    residual_objects: Unit | None = None
    residuals: list[ResidualsUnit] = field(default_factory=list)
    """Empty as long as their objects are to be chosen."""
    similar: list[Unit] = field(default_factory=list)  # latents and their index
    selections: dict[str, PlannedSelection] = field(default_factory=dict)
    """Of the survey, or "sample NAME", that have one -> what it leaves out, as far as it is known."""

    @property
    def units(self) -> list[Unit]:
        """All units in the order of the work."""
        return [*self.named_units, *self.residuals]

    @property
    def named_units(self) -> list[Unit]:
        """Those by which the run is named: known before any of them is made."""
        units: list[Unit] = [*self.cutouts, *(u for us in self.samples.values() for u in us)]
        units += [*self.joins, *(u for us in self.sample_joins.values() for u in us), *self.models]
        units += [u for us in self.measurements.values() for u in us]
        units += [*self.scores, *(u for us in self.sample_scores.values() for u in us)]
        units += [self.ranking] if self.ranking else []
        return units + self.similar + [u for u in (self.comparison, self.residual_objects) if u is not None]

    @property
    def done(self) -> bool:
        """Whether nothing is to do."""
        return self.published and all(unit.done for unit in self.units)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        units = [
            {"stage": u.stage, "name": u.name, "fingerprint": u.fingerprint, "product": u.product, "done": u.done}
            | ({} if u.done else {"why": u.why})
            for u in self.units
        ]
        found = {"run": self.run, "published": self.published, "done": self.done, "units": units}
        selections = {name: selection.to_json() for name, selection in self.selections.items()}
        return found | ({"selections": selections} if selections else {})


def matching_of(spec: RunSpec, measured: Sequence[str] = ()) -> Matching | None:
    """How samples are matched or paired, by properties with these fingerprints, too; None where they are not."""
    of = spec.comparison
    if not (of.match or of.pairs):
        return None
    return Matching(of.match, of.explain, of.bootstraps, spec.seed, of.pairs, tuple(measured) if of.match else ())


def plan_comparison(
    spec: RunSpec,
    store: Store,
    sample_scores: Mapping[str, Sequence[str]],
    models: Mapping[str, str],
    scores: Sequence[str],
    measured: Sequence[str] = (),
) -> Unit | None:
    """The comparison of all samples (name -> fingerprints of its score parts); None if there are none.

    ``scores`` are the fingerprints of the survey's score parts, on which likelihood ratios are compared; ``measured``
    those of what was measured on all cutouts, by which samples may be matched.
    """
    if not sample_scores:
        return None
    matching = matching_of(spec, measured)
    survey = scores if spec.ratios or matching else ()
    found = comparison_fingerprint(sample_scores, models, spec.comparison.bootstraps, spec.seed, survey, matching)
    receipt = find_receipts(store, comparisons_folder(spec.name)).get(found)
    why = f"samples {', '.join(sample_scores)}: new, or their scores changed"
    product = receipt.product if receipt else comparison_product(spec.name, found)
    return Unit("compare", ", ".join(sample_scores), found, product, receipt, why)


def run_id(spec: RunSpec, fingerprints: Iterable[str]) -> str:
    """The run's name and a fingerprint of its specification and of all its products' fingerprints."""
    return f"{spec.name}-{fingerprint(spec.content(), sorted(fingerprints))[:10]}"


def plan_run(spec: RunSpec, store: Store) -> RunPlan:
    """The plan of a whole run. Reads receipts, headers and catalogues; makes nothing."""
    cutouts = plan_cutouts(spec, spec.survey, store)
    samples = {s.name: plan_cutouts(spec, s.survey, store, is_sample=True) for s in spec.samples}
    joins = _joins_of(spec, spec.survey, store, cutouts)
    sample_joins = {s.name: _joins_of(spec, s.survey, store, samples[s.name]) for s in spec.samples}
    sets = {name: [u.fingerprint for u in units] for name, units in sample_joins.items()}
    models = plan_models(spec, store, [u.fingerprint for u in joins], sets)
    fingerprints = {m.name: m.fingerprint for m in models}
    ranking = plan_ranking(spec, store, [u.fingerprint for u in joins], fingerprints)
    scores = plan_scores(spec, store, [u.joined for u in joins], fingerprints, spec.survey)
    sample_scores = {
        s.name: plan_scores(spec, store, [u.joined for u in sample_joins[s.name]], fingerprints, s.survey)
        for s in spec.samples
    }
    parts = {name: [u.fingerprint for u in units] for name, units in sample_scores.items()}
    measured: dict[str | None, list[MeasureUnit]] = {
        s.name: plan_measurements(spec, store, s.survey, [u.cut for u in samples[s.name]]) for s in spec.samples
    } | {None: plan_measurements(spec, store, spec.survey, [u.cut for u in cutouts])}
    of_measured = [u.fingerprint for units in measured.values() for u in units]
    comparison = plan_comparison(spec, store, parts, fingerprints, [u.fingerprint for u in scores], of_measured)
    of_rule = ranking.fingerprint if ranking else None
    chosen = plan_residual_objects(spec, store, [u.fingerprint for u in scores], of_rule)
    residuals = []
    if chosen is not None and chosen.receipt is not None:
        residuals = plan_residuals(spec, store, chosen.receipt.product, [u.cut for u in cutouts], fingerprints)
    plan = RunPlan(
        "", False, cutouts, samples, joins, sample_joins, models, ranking, scores, sample_scores, comparison, measured,
        chosen, residuals, plan_similar(spec, store, [u.joined for u in joins], fingerprints),
            planned_selections(spec, cutouts, samples),
    )  # fmt: skip
    run = run_id(spec, [u.fingerprint for u in plan.named_units])
    return replace(plan, run=run, published=store.exists(manifest_key(run)))


def _joins_of(spec: RunSpec, survey: SurveySpec, store: Store, tiles: Sequence[TileUnit]) -> list[JoinUnit]:
    return plan_joins(spec, survey, store, [u.cut for u in tiles], {u.name: u.place for u in tiles})
