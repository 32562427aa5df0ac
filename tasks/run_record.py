"""What a run has reached: what each of its stages left, of the survey and of every comparison sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from galflow.catalog.ranking import RunRanking
from galflow.report.inputs import (
    COMPARISON,
    CUTOUTS,
    INDEX,
    JOINS,
    LATENTS,
    MEASUREMENTS,
    MODELS,
    RANKING,
    RESIDUAL_OBJECTS,
    RESIDUALS,
    SCORES,
)
from galflow.report.left_out import left_out_of_run
from galflow.report.reading import survey_reading
from galflow.runs.plan_units import JoinedTile
from galflow.spec.run import RunSpec, SurveySpec
from galflow.storage.layout import models_folder
from galflow.storage.receipts import Receipt, RunManifest
from galflow.storage.store import Store
from tasks.fan_out import Failure, StageResult


@dataclass(frozen=True, eq=False)
class Joined(StageResult):
    """The joins that a stage left, with the sets that they belong to."""

    tiles: tuple[JoinedTile, ...] = ()
    """In the order of the receipts."""
    filled: frozenset[str] = frozenset()
    """Fingerprints of those that hold objects."""

    @property
    def with_objects(self) -> tuple[JoinedTile, ...]:
        """The sets that hold objects."""
        return tuple(tile for tile in self.tiles if tile.fingerprint in self.filled)


@dataclass(eq=False)
class RunRecord:
    """One run, filled in stage after stage. Key None stands for the survey itself, a name for a comparison sample."""

    spec: RunSpec
    cutouts: dict[str | None, StageResult] = field(default_factory=dict)
    joined: dict[str | None, Joined] = field(default_factory=dict)
    models: StageResult = field(default_factory=StageResult)
    ranking: StageResult = field(default_factory=StageResult)
    """The rule that ranks, with its evidence."""
    measurements: dict[str | None, StageResult] = field(default_factory=dict)
    """Empty where nothing is to be measured."""
    scores: dict[str | None, StageResult] = field(default_factory=dict)
    comparison: StageResult = field(default_factory=StageResult)
    order: tuple[RunRanking, tuple[str, ...]] | None = None
    """The order of all objects, once it is known, and what is to be said of their ids."""
    residual_objects: StageResult = field(default_factory=StageResult)
    """The objects whose residuals are stored."""
    residuals: StageResult = field(default_factory=StageResult)
    latents: StageResult = field(default_factory=StageResult)
    """By the model in whose latents similar objects are found."""
    index: StageResult = field(default_factory=StageResult)
    manifest: RunManifest | None = None
    """What was published, if anything was."""

    @property
    def surveys(self) -> dict[str | None, SurveySpec]:
        """What is cut and scored: the survey first, then the samples."""
        return {None: self.spec.survey} | {sample.name: sample.survey for sample in self.spec.samples}

    @property
    def store(self) -> Store:
        """Where the products lie."""
        return Store.of(self.spec.store)

    @property
    def stages(self) -> dict[str, StageResult]:
        """What each stage left, under its name in the manifest."""
        return {
            **_named(CUTOUTS, self.cutouts),
            **_named(JOINS, self.joined),
            MODELS: self.models,
            **_named(MEASUREMENTS, self.measurements),
            **_named(SCORES, self.scores),
            RANKING: self.ranking,
            COMPARISON: self.comparison,
            **({LATENTS: self.latents, INDEX: self.index} if self.spec.output.similar else {}),
            **(
                {RESIDUAL_OBJECTS: self.residual_objects, RESIDUALS: self.residuals}
                if self.spec.output.residuals
                else {}
            ),
        }

    @property
    def fingerprints(self) -> list[str]:
        """Of all by which the run is named. Residuals follow from the rest, but for those that failed."""
        found = [r.fingerprint for name, of in self.stages.items() if name != RESIDUALS for r in of.receipts]
        return found + [f"without {RESIDUALS} of {failure.name}" for failure in self.residuals.failures]

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What failed, stage by stage. A control that could not be made fails no run; ``partial`` tells of it."""
        return tuple(f for name, result in self.stages.items() if not self._of_control(name) for f in result.failures)

    @property
    def partial(self) -> tuple[str, ...]:
        """Why products are partial or empty, a line a reason."""
        lines = [line for result in self.stages.values() for line in result.partial]
        lost = [f for name, result in self.stages.items() if self._of_control(name) for f in result.failures]
        return (*lines, *(f"control {f.stage} {f.name}: {f.reason}" for f in lost))

    def _of_control(self, stage: str) -> bool:
        return stage.rpartition(" of ")[2] in self.spec.control_samples

    @property
    def left_out(self) -> dict[str, Any]:
        """What the selections of the survey and of samples left out, by name; nothing of those without one."""
        return {
            survey.survey_name if sample is None else f"sample {sample}": left_out_of_run(
                self.store, self.cutouts[sample].receipts, self.cutouts[sample].unopened
            )
            for sample, survey in self.surveys.items()
            if survey.selection is not None
        }

    @property
    def of_cutting(self) -> dict[str, Any]:
        """What the summary says of the surveys' objects and files: what was left out, and what was read."""
        receipts = (receipt for part in self.cutouts.values() for receipt in part.receipts)
        return {"selection": self.left_out, "reading": survey_reading(receipts)}

    @property
    def measured(self) -> tuple[Receipt, ...]:
        """Of what was measured on the survey's cutouts."""
        return self.measurements[None].receipts if self.measurements else ()

    @property
    def has_scores(self) -> bool:
        """Whether any object of the survey was scored, by a model that may rank."""
        return bool(self.ranking.receipts) and any(part.rows for part in self.scores[None].receipts)

    def model_products(self) -> dict[str, str]:
        """Model name -> key or URI, of those that are trained, in the specification's order."""
        products = {receipt.product for receipt in self.models.receipts}
        found = {
            model.name: [p for p in products if p == model.trained or p.startswith(f"{models_folder(model.name)}/")]
            for model in self.spec.trainings
        }
        return {name: match[0] for name, match in found.items() if match}

    def model_places(self) -> dict[str, tuple[str, str]]:
        """Model name -> (key or URI, class that it must be), of the same models."""
        products = self.model_products()
        return {
            model.name: (products[model.name], model.model) for model in self.spec.trainings if model.name in products
        }

    def model_fingerprints(self) -> dict[str, str]:
        """Model name -> fingerprint, of the same models."""
        by_product = {receipt.product: receipt.fingerprint for receipt in self.models.receipts}
        return {name: by_product[product] for name, product in self.model_products().items()}


def _named(stage: str, results: dict[str | None, StageResult] | dict[str | None, Joined]) -> dict[str, StageResult]:
    return {stage if sample is None else f"{stage} of {sample}": result for sample, result in results.items()}
