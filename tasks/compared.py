"""What a run's comparison compares: samples matched or paired object by object, and likelihood ratios."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from galflow.compare.cell_members import Members, write_members
from galflow.compare.controls import Controls, training_scores
from galflow.compare.matched import MatchedSamples
from galflow.compare.populations import Population, read_population
from galflow.compare.ratios import unseen_ratios
from galflow.runs.plan import matching_of
from galflow.scores.score import columns_of
from galflow.spec.controls import SAMPLE_OF
from galflow.storage.layout import matches_product
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt
from galflow.training.trained_model import TrainedModel
from tasks.run_record import RunRecord
from tasks.worker_jobs import open_set


def matched_samples(run: RunRecord, models: Mapping[str, TrainedModel], fingerprint: str) -> MatchedSamples | None:
    """The objects that are to be compared at equal properties or in pairs; None where neither is asked for.

    ``fingerprint``: of the comparison, under which is stored who was compared.
    """
    if (matching := matching_of(run.spec)) is None:
        return None
    columns = [column.name for column in columns_of(run.spec.of_survey(models))]
    columns += [ratio.column for ratio in run.spec.ratios if {ratio.model, ratio.background} <= models.keys()]
    learnt = {model.sample for model in run.spec.trainings if model.trained is None and model.name in models}

    def population(name: str | None) -> Population:
        receipts = run.scores[name].receipts
        keys = tuple({pair.by for pair in matching.pairs if name in (pair.first, pair.second)})
        measured = run.measurements[name].receipts if name in run.measurements else ()
        return read_population(
            run.store, receipts, columns, matching.columns, held_out=name in learnt, keys=keys, measured=measured
        )

    paired = {name for pair in matching.pairs for name in (pair.first, pair.second)}
    wanted = [
        name
        for name, of in run.scores.items()
        if name is not None and of.receipts and (matching.match or name in paired)
    ]
    return MatchedSamples(
        population(None) if matching.match else None,
        {name: population(name) for name in wanted},
        matching,
        run.spec.control_samples,
        partial(_keep_members, run, fingerprint),
    )


def controls_of(run: RunRecord, models: Mapping[str, TrainedModel]) -> Controls | None:
    """What every sample is held against; None where all controls are switched off."""
    wanted = run.spec.comparison.controls
    learnt = {}
    if "training" in wanted:
        learners = [m.name for m in run.spec.trainings if m.sample is None and m.trained is None and m.name in models]
        columns = [column.name for column in columns_of({name: models[name] for name in learners})]
        learnt = training_scores(run.store, run.scores[None].receipts, columns)
    given = {sample.survey.kind: sample.name for sample in run.spec.comparison.samples}
    samples: dict[str, str | None] = {"background": given.get("sersic_mock"), "empty_sky": given.get("empty_sky")}
    samples |= {str(control): name for control, name in SAMPLE_OF.items() if name in run.spec.control_samples}
    there = {str(c): name for c, name in samples.items() if name is not None and c in wanted and name in run.scores}
    return Controls("held_out" in wanted, learnt, there) if wanted else None


def _keep_members(run: RunRecord, fingerprint: str, members: Members) -> Receipt:
    """Store who was matched in the comparison with this fingerprint."""
    target = Target(run.store, matches_product(run.spec.name, fingerprint), fingerprint)
    parts = {name: [part.product for part in of.receipts if part.rows] for name, of in run.scores.items()}
    return write_members(target, members, parts[None], {n: keys for n, keys in parts.items() if n is not None})


def unseen_ratios_of(run: RunRecord, sample: str | None, models: Mapping[str, TrainedModel]) -> dict[str, np.ndarray]:
    """Ratio column -> values of the survey's objects, or of a sample's, that no model of the ratio learnt from."""
    there = [ratio for ratio in run.spec.ratios if {ratio.model, ratio.background} <= models.keys()]
    if not there:
        return {}
    learners = {m.name for m in run.spec.trainings if m.sample == sample}
    learnt = {r.column: [models[n] for n in (r.model, r.background) if n in learners] for r in there}
    sets = {tile.fingerprint: open_set(run.store, tile) for tile in run.joined[sample].tiles}
    return unseen_ratios(run.store, run.scores[sample].receipts, sets, learnt)
