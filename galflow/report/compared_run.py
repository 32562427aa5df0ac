"""A run that compares samples with the sky, as its report's pictures need it: sides, models, and likelihood columns.

Made of a report's inputs, or of a published run's manifest, so that a notebook draws the same pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from galflow.errors import SpecError
from galflow.models.base import Reconstructs
from galflow.models.shared.autoregressive import Autoregressive
from galflow.report.extremes import Side
from galflow.report.inputs import COMPARISON, SCORES, ReportInputs
from galflow.scores.score import ScoreColumn
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import Receipt, RunManifest, read_receipts
from galflow.storage.store import Store
from galflow.training.trained_model import LOGLIKE, TrainedModel, load_uri

SKY = "sky"
"""What the survey's side is called beside the samples."""
_OF_SAMPLE = f"{SCORES} of "
MOST_COLUMNS = 4
"""By so many likelihoods extremes are shown, and of so many models reconstructions."""
MOST_SIDES = 6
"""The sky and the first samples; more do not stand beside each other."""


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """What a run compared, and by what."""

    store: Store
    spec: RunSpec
    models: Mapping[str, TrainedModel]
    """Those that learnt the survey, each by its first training."""
    sides: tuple[Side, ...]
    """The sky first."""
    comparison: Mapping[str, Any]
    """The JSON of galflow.compare.samples."""

    @property
    def columns(self) -> dict[str, str]:
        """Column of a ratio or a log-likelihood -> its name in words; ratios first."""
        words = {r.column: f"log-likelihood ratio of {r.model} to {r.background}" for r in self.spec.ratios}
        columns = [ScoreColumn(name, LOGLIKE) for name, model in self.models.items() if LOGLIKE in model.score_names]
        return words | {column.name: f"log p under {column.model}" for column in columns}

    @property
    def shown_columns(self) -> list[str]:
        """Those by which extremes are shown."""
        return list(self.columns)[:MOST_COLUMNS]

    @property
    def reconstructing(self) -> list[str]:
        """Models whose reconstructions are shown."""
        return [n for n, model in self.models.items() if isinstance(model.module, Reconstructs)][:MOST_COLUMNS]

    @property
    def predicting(self) -> list[str]:
        """Models that predict pixel by pixel."""
        return [name for name, model in self.models.items() if isinstance(model.module, Autoregressive)]

    @property
    def left_out(self) -> list[str]:
        """Samples that find no room."""
        shown = {side.name for side in self.sides}
        return [sample.name for sample in self.spec.comparison.samples if sample.name not in shown]

    @classmethod
    def of_report(cls, inputs: ReportInputs) -> ComparedRun | None:
        """None where nothing was compared: what is in other units or another stretch is not drawn beside the sky."""
        scored = {stage: record.receipts for stage, record in inputs.stages.items()}
        return cls._of(inputs.store, inputs.spec, inputs.models, scored, inputs.comparison)

    @classmethod
    def of_published(cls, store: Store, manifest: RunManifest) -> ComparedRun:
        """Of a published run; SpecError where it compared nothing."""
        stages = {stage: keys for stage, keys in manifest.products.items() if stage.startswith(SCORES)}
        scored = {stage: tuple(read_receipts(store, keys)) for stage, keys in stages.items()}
        places = manifest.located(store).models
        models = {name: load_uri(uri, store.endpoint_url) for name, uri in places.items()}
        compared = [r.product for r in read_receipts(store, manifest.products.get(COMPARISON, []))]
        comparison = json.loads(store.get(compared[0])) if compared else None
        found = cls._of(store, parse_spec(dict(manifest.specification)), models, scored, comparison)
        if found is None:
            raise SpecError(
                f"run {manifest.run} compared no sample with the sky; name one under comparison.samples, and run it, "
                "or see in the report why none could be compared"
            )
        return found

    @classmethod
    def _of(
        cls,
        store: Store,
        spec: RunSpec,
        models: Mapping[str, TrainedModel],
        scored: Mapping[str, Sequence[Receipt]],
        comparison: Mapping[str, Any] | None,
    ) -> ComparedRun | None:
        if comparison is None:
            return None
        learnt = {m.sample for m in spec.trainings if m.trained is None and m.name in models}
        sides = [Side(SKY, tuple(scored[SCORES]), None in learnt)]
        for sample in spec.comparison.samples:
            parts = scored.get(_OF_SAMPLE + sample.name, ())
            if any(part.rows for part in parts):
                sides.append(Side(sample.name, tuple(parts), sample.name in learnt))
        learners = spec.of_survey(models)
        first = {model.name: learners[model.name] for model in spec.models if model.name in learners}
        return None if len(sides) == 1 else cls(store, spec, first, tuple(sides[:MOST_SIDES]), comparison)
