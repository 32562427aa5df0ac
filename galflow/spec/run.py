"""What a person writes: the run specification, in YAML or in the UI's form, and its fingerprints.

This file validates what can be known without opening a survey or a model; the options of a survey or model are checked
by the class they name, still before any work (galflow.runs.check). It reads no data and opens no store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from galflow.errors import SpecError
from galflow.spec.addresses import is_loopback
from galflow.spec.cluster import ClusterSpec
from galflow.spec.comparison import MatchSpec, PairSpec, require_samples
from galflow.spec.controls import ALL_CONTROLS, Control, control_surveys
from galflow.spec.document import read_document, require_plain
from galflow.spec.models import ModelSpec, Ratio, require_equal_conditions
from galflow.spec.output import OutputSpec
from galflow.spec.part import ColumnName, Name, Part, describe
from galflow.spec.repeats import repeated_models
from galflow.spec.scoring import ScoringSpec
from galflow.spec.store import StoreSpec
from galflow.spec.stretch import StretchSpec
from galflow.spec.survey import SurveySpec
from galflow.spec.training import TrainingSpec

Value = TypeVar("Value")


def _require_distinct(names: list[str], what: str) -> None:
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise ValueError(f"{what} must differ, but {twice[0]!r} occurs {names.count(twice[0])} times")


class PlantSpec(Part):
    """Known anomalies painted into copies of real cutouts, to measure what the scores find."""

    per_tile: Annotated[int, Field(ge=1)] = 40
    """How many copies in each tile, at most one of each real object."""
    kinds: tuple[str, ...] = ()
    """Which kinds, in turn; empty: all that galflow can paint."""
    seed: int = 1
    """Seed of the choice of cutouts and of the geometry."""


class CutoutSpec(Part):
    """How every galaxy is cut out and stored."""

    size: Annotated[int, Field(ge=8, le=512)] = 32
    """Side in pixels of the reference band."""
    bands: tuple[str, ...] | None = None
    """Bands in the order that models see them; the first is the reference. By default all of the survey's."""
    pixels: Literal["lossless", "quantised"] = "lossless"
    """Lossless float32, or rounded to a fraction of each tile's sky sigma (noise hardly compresses otherwise)."""
    quantum_sigma: Annotated[float, Field(gt=0, le=1)] = 0.25
    """For quantised pixels: the largest rounding step in units of the tile's sky sigma (White & Greenfield 12: 1/4)."""
    minimum_observed: Annotated[float, Field(gt=0, le=1)] = 0.5
    """An object with a smaller fraction of observed pixels (over all bands) is kept but not scored."""
    chunk_megabytes: Annotated[float, Field(gt=0, le=512)] = 5.0
    """Size of the flux of one chunk: one read, one batch on the device."""
    chunks_per_shard: Annotated[int, Field(ge=1, le=1024)] = 16
    """Whole chunks in one stored object."""
    codec: Literal["zstd", "lz4"] = "lz4"
    """Blosc codec: lz4 where the CPU is the limit, zstd where the link is."""
    defects: bool | Literal["cutouts"] = True
    """Flag trails, spikes, cosmic rays, flat tops, lost and doubled areas that no mask tells of; a fifth to a half
    slower. "cutouts": what cutouts alone show (no trails, no spikes), so that a tile need not be read whole."""
    plant: PlantSpec | None = None
    """Known anomalies to add; none by default."""


class JoinSpec(Part):
    """When rows of different tiles are one object of the sky, and which objects must not be parted in training."""

    radius_arcsec: Annotated[float, Field(gt=0, le=60)] | None = None
    """Rows of overlapping tiles nearer than this are one object; by default the PSF's FWHM, or three pixels."""
    split_radius_arcsec: Annotated[float, Field(gt=0, le=60)] | None = None
    """Objects nearer than this are never on two sides of training and held-out; by default 1 arcsec or two FWHM."""

    @property
    def margin_arcsec(self) -> float:
        """Tiles that come nearer than this to one another are joined."""
        return max(30.0, 4 * (self.radius_arcsec or 0) + 2 * (self.split_radius_arcsec or 0))


class SampleSpec(Part):
    """A second sample: a simulation, or another survey."""

    name: ColumnName
    """Its name in tables and plots."""
    survey: SurveySpec
    """Where it comes from; it is cut out with the run's own cutout specification."""


class ComparisonSpec(Part):
    """Samples whose likelihood under the run's models is compared with that of the held-out real objects."""

    samples: Annotated[tuple[SampleSpec, ...], Field(max_length=100)] = ()
    """The samples; none: no comparison."""
    match: Annotated[tuple[MatchSpec, ...], Field(max_length=6)] = ()
    """Properties in which samples are matched: the same comparisons again with equal counts in each cell of these."""
    explain: Annotated[tuple[str, ...], Field(max_length=50)] = ()
    """Columns by which a difference is explained; by default those of match."""
    pairs: Annotated[tuple[PairSpec, ...], Field(max_length=20)] = ()
    """Pairs of samples that hold the same galaxies: compared galaxy by galaxy."""
    controls: tuple[Control, ...] = ALL_CONTROLS
    """What the samples are held against, in every comparison by itself: held_out (two halves of the held-out sky),
    training (objects that the models learnt from), background (single-Sersic galaxies on the survey's own sky), and
    empty_sky; [] switches all off."""
    bootstraps: Annotated[int, Field(ge=50, le=100_000)] = 1000
    """Resamplings behind each interval."""

    @model_validator(mode="after")
    def _names_differ(self) -> ComparisonSpec:
        _require_distinct(list(self.controls), "comparison controls")
        _require_distinct([s.name for s in self.samples], "comparison sample names")
        _require_distinct([m.column for m in self.match], "columns of comparison.match")
        require_samples(self.pairs, [s.name for s in self.samples])
        return self


class RunSpec(Part):
    """One run: a survey, the models learnt from it, and what is made of their scores."""

    name: Name
    """The run's name; the run id is made of it and of a fingerprint."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of everything random."""
    survey: SurveySpec
    """The survey."""
    cutouts: CutoutSpec = CutoutSpec()
    """How galaxies are cut out."""
    measure: tuple[Literal["sersic", "morphology"], ...] = ()
    """Columns measured on every cutout, of the survey and of the samples alike: sersic (flux, half-light radius, index,
    shape of a fitted Sersic profile), morphology (Petrosian radius, concentration, asymmetry, Gini, M20)."""
    join: JoinSpec = JoinSpec()
    """Which rows of different tiles are one object."""
    stretch: StretchSpec = StretchSpec()
    """How models see pixels."""
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1, max_length=100)]
    """The models; which of their scores ranks is found out (scoring.primary)."""
    training: TrainingSpec = TrainingSpec()
    """How models are trained."""
    scoring: ScoringSpec = ScoringSpec()
    """How objects are scored."""
    comparison: ComparisonSpec = ComparisonSpec()
    """What is compared with the sky."""
    cluster: ClusterSpec = ClusterSpec()
    """Where the work runs."""
    store: StoreSpec = StoreSpec()
    """Where products go."""
    output: OutputSpec = OutputSpec()
    """What is published."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, document: Any) -> Any:
        try:
            require_plain(document)
        except SpecError as error:
            raise ValueError(str(error)) from None
        return document

    @model_validator(mode="after")
    def _names_differ(self) -> RunSpec:
        _require_distinct([m.name for m in self.trainings], "model names")
        _require_distinct(list(self.measure), "what is to be measured")
        return self

    @model_validator(mode="after")
    def _models_refer_to_what_is_there(self) -> RunSpec:
        samples, names = [s.name for s in self.samples], [m.name for m in self.models]
        for model in self.models:
            others = [n for n in names if n != model.name]
            for what, given, allowed in (("sample", model.sample, samples), ("background", model.background, others)):
                if given is not None and given not in allowed:
                    known = ", ".join(allowed) or "none, for there is no such"
                    raise ValueError(f"model {model.name!r}: {what} is {given!r}; expected one of {known}")
            if model.background is not None:
                require_equal_conditions(model, self.models[names.index(model.background)])
            if model.sample is not None and model.trained is not None:
                raise ValueError(f"model {model.name!r} has sample and trained; a trained model is trained on neither")
        trainings = [m.name for m in self.trainings]
        for name in self.output.residuals_of:
            if name not in trainings:
                raise ValueError(f"output.residuals_of has {name!r}; expected models of {', '.join(trainings)}")
        _require_distinct([r.column for r in self.ratios], "likelihood ratios' columns")
        return self

    @model_validator(mode="after")
    def _enough_workers(self) -> RunSpec:
        together, most = self.training.workers, self.cluster.most_workers
        if most is not None and together > most:
            raise ValueError(
                f"training.workers is {together}, but the cluster has {most} at most; raise cluster.workers (or "
                "cluster.adaptive.maximum), or lower training.workers"
            )
        return self

    @model_validator(mode="after")
    def _told_of_plain_training(self) -> RunSpec:
        tls, address = self.cluster.tls, self.cluster.address
        # At the loopback ranks meet over a private file, and nothing of theirs reaches a network.
        if tls is None or tls.plain_training or self.training.workers == 1 or is_loopback(address or ""):
            return self
        raise ValueError(
            f"training.workers is {self.training.workers} and cluster.tls is given, but what the workers of a training "
            "send each other (gradients and weights, over gloo or NCCL) is not encrypted; set "
            "cluster.tls.plain_training: true if the network between them may see it, or training.workers: 1"
        )

    def training_of(self, model: ModelSpec) -> TrainingSpec:
        """The run's training settings with the model's own on top."""
        return self.training.model_copy(update=model.training.model_dump(exclude_none=True))

    def of_survey(self, models: Mapping[str, Value]) -> dict[str, Value]:
        """Those of ``models`` (by name) that learn the survey; the others learn a sample, and score that."""
        learners = {m.name for m in self.trainings if m.sample is None}
        return {name: model for name, model in models.items() if name in learners}

    @property
    def samples(self) -> tuple[SampleSpec, ...]:
        """All that is compared with the survey: the samples of the specification, then those that controls are."""
        given, of = self.comparison.samples, self.comparison
        added = control_surveys(self.survey, self.cutouts.size, [(s.name, s.survey.kind) for s in given], of.controls)
        return (*given, *(SampleSpec(name=name, survey=survey) for name, survey in added))

    @property
    def control_samples(self) -> frozenset[str]:
        """Names of the samples that controls are."""
        return frozenset(s.name for s in self.samples) - {s.name for s in self.comparison.samples}

    @property
    def trainings(self) -> tuple[ModelSpec, ...]:
        """The models, each with its further trainings (training.seeds) after it."""
        return repeated_models(self.models, self.training.seeds)

    @property
    def ratios(self) -> tuple[Ratio, ...]:
        """The likelihood ratios that the models declare, in the models' order."""
        return tuple(Ratio(m.name, m.background) for m in self.models if m.background is not None)

    def content(self) -> dict[str, Any]:
        """What the results depend on, as JSON: all but where the work runs and where it is stored."""
        # Where nothing is measured, a run keeps the name it had before anything could be.
        left_out: dict[str, Any] = {"cluster": True, "store": True, "output": self.output.unused}
        left_out["training"] = {"tensorboard"}
        left_out |= {} if self.measure else {"measure": True}
        left_out |= {} if self.comparison.samples else {"comparison": {"controls"}}
        return self.model_dump(mode="json", exclude=left_out)


def fingerprint(*content: Any) -> str:
    """16 hexadecimal digits of SHA-256 over the content's canonical JSON.

    Stable across processes, machines and Python versions: keys are sorted, floats are written by their shortest
    round-trip form, and anything that JSON cannot hold (NaN included) is refused.
    """
    plain = [c.model_dump(mode="json") if isinstance(c, BaseModel) else c for c in content]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def parse_spec(document: Any, what: str = "the specification") -> RunSpec:
    """A RunSpec from plain values; SpecError names every field that is wrong, its value and what is allowed."""
    if not isinstance(document, dict):
        raise SpecError(
            f"{what} must be a mapping with at least name, survey and models; it is {type(document).__name__}"
        )
    try:
        return RunSpec.model_validate(document)
    except ValidationError as error:
        raise SpecError(describe(error, what)) from None


def load_spec(path: str | Path, root: str | None = None) -> RunSpec:
    """The RunSpec of a YAML file; ``root`` replaces the store's root."""
    spec = parse_spec(read_document(path), str(path))
    return with_root(spec, root) if root is not None else spec


def with_root(spec: RunSpec, root: str) -> RunSpec:
    """The same specification with another store root."""
    return spec.model_copy(update={"store": spec.store.model_copy(update={"root": root})})
