"""All that a report is made of, as the publishing task hands it over."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import galflow
from galflow.catalog.ranking import ANOMALY
from galflow.errors import SpecError
from galflow.models.base import Encodes
from galflow.scores.score import columns_of
from galflow.scores.summary import PartSummary
from galflow.spec.run import RunSpec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel

CUTOUTS, JOINS, MODELS, SCORES, RANKING = "cutouts", "joins", "models", "scores", "ranking"
COMPARISON, RESIDUAL_OBJECTS, RESIDUALS, CATALOG = "comparison", "residual_objects", "residuals", "catalog"
RESIDUAL_OBJECTS_BEFORE = "selection"
"""What earlier manifests called the objects whose residuals are stored."""
MEASUREMENTS, LATENTS, INDEX = "measurements", "latents", "index"
"""Names of a run's stages, as in its manifest; a comparison sample's are "cutouts of NAME" and "scores of NAME"."""

_REPORTED_PACKAGES = ("torch", "zarr", "prefect", "distributed", "astropy", "numpy", "xarray")


def code_versions() -> dict[str, str]:
    """Of galflow, Python and what the numbers depend on."""
    versions = {"galflow": galflow.__version__, "python": platform.python_version()}
    return versions | {name: version(name) for name in _REPORTED_PACKAGES}


@dataclass(frozen=True)
class StageRecord:
    """One stage of the run: what is there, and what could not be made."""

    receipts: tuple[Receipt, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    """(tile, model or sample; why it could not be made)."""
    made: int = 0
    """How many of the receipts are of this start of the run; the others were found done."""


@dataclass(frozen=True)
class ReportInputs:
    """All that a report is made of."""

    run: str
    spec: RunSpec
    code_versions: dict[str, str]
    store: Store
    stages: Mapping[str, StageRecord]
    """Stage -> what it left, in the order of the work; cutouts, models and scores at least."""
    models: dict[str, TrainedModel]
    summary: PartSummary
    catalog: str
    """Key of the catalogue's folder."""
    comparison: dict[str, Any] | None
    """The JSON of galflow.compare.samples; None: nothing was compared."""
    findings: dict[str, Any]
    """As galflow.report.findings gives them."""
    evidence: dict[str, Any]
    """Which score ranks and why, as galflow.scores.evidence gives it."""

    def __post_init__(self) -> None:
        missing = [name for name in (CUTOUTS, MODELS, SCORES) if name not in self.stages]
        if missing:
            raise SpecError(
                f"a report was given the stages {', '.join(self.stages) or 'none'}, without {', '.join(missing)}; "
                "give every stage of the run, empty ones too"
            )

    @property
    def cutouts(self) -> tuple[Receipt, ...]:
        """The receipts of the survey's cutout sets."""
        return self.stages[CUTOUTS].receipts

    @property
    def survey_models(self) -> dict[str, TrainedModel]:
        """The models that learnt the survey; what the others score is how much an object is like their sample."""
        return self.spec.of_survey(self.models)

    @property
    def calibrated(self) -> list[str]:
        """Score columns with sigmas: what ranks first, then those of the survey's models."""
        return [ANOMALY, *(c.name for c in columns_of(self.survey_models) if c.calibrated)]

    @property
    def primary(self) -> str:
        """The column that ranks."""
        return ANOMALY

    @property
    def leading(self) -> str:
        """The first of the scores that the rule takes."""
        return str(self.evidence["chosen"]["terms"][0]["column"])

    @property
    def encoder(self) -> str | None:
        """The model in whose latents objects are put on a map: the first of the survey's that encodes."""
        return next((n for n, model in self.survey_models.items() if isinstance(model.module, Encodes)), None)

    @property
    def samples_learnt(self) -> dict[str, str]:
        """Model name -> comparison sample, of the models that learnt one instead of the survey."""
        return {m.name: m.sample for m in self.spec.trainings if m.sample is not None}

    @property
    def reused(self) -> dict[str, str]:
        """Model name -> URI, of the models that were trained elsewhere and are used as they are."""
        return {m.name: m.trained for m in self.spec.trainings if m.trained is not None and m.name in self.models}
