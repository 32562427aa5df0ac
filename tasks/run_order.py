"""The order of a run's objects by the rule that it chose, found once in a start of it."""

from __future__ import annotations

import json
from typing import Any

from galflow.catalog.ranking import RunRanking, rank_objects
from galflow.runs.plan import survey_learners
from galflow.scores.mask_levels import MaskLevels
from galflow.scores.ranking import stated_reference
from galflow.scores.rule import RankingRule
from tasks.run_record import RunRecord
from tasks.worker_jobs import open_model


def evidence_of(record: RunRecord) -> dict[str, Any]:
    """Which score ranks, and why."""
    found: dict[str, Any] = json.loads(record.store.get(record.ranking.receipts[0].product))
    return found


def order_of(record: RunRecord) -> tuple[RunRanking, tuple[str, ...]]:
    """The order of all objects, and what is to be said of their ids; DataError where nothing can be compared."""
    if record.order is None:
        spec, evidence = record.spec, evidence_of(record)
        rule, stated = RankingRule.from_json(evidence["chosen"]), None
        if not survey_learners(spec):  # the survey holds out nobody, so the models' own held-out objects calibrate
            places = spec.of_survey(record.model_places())
            stated = stated_reference(rule, {n: open_model(record.store, *at, "cpu") for n, at in places.items()})
        masks = MaskLevels.from_json(evidence["masks"]["levels"]) if evidence["masks"] else None
        trim = spec.scoring.trim_reference
        record.order = rank_objects(record.store, record.scores[None].receipts, rule, stated, masks, trim)
    return record.order
