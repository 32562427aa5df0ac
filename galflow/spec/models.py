"""One model of a run, and the likelihood ratio of two: a part of the specification. It knows no class of model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

from galflow.spec.addresses import clean_address
from galflow.spec.part import ColumnName, Part
from galflow.spec.repeats import require_no_repeat
from galflow.spec.training import TrainingOverrides


class ModelSpec(Part):
    """One model of the run."""

    name: Annotated[ColumnName, AfterValidator(require_no_repeat)]
    """Prefix of its columns in the catalogue, and its folder in the store."""
    model: str
    """Such as wgan.WGAN; `galflow models` lists them."""
    options: dict[str, JsonValue] = Field(default={})
    """Keyword arguments of the model's constructor."""
    training: TrainingOverrides = TrainingOverrides()
    """What differs from the run's training settings."""
    trained: Annotated[str, Field(pattern=r"^(file|s3)://"), AfterValidator(clean_address)] | None = None
    """URI (file:// or s3://) of an already trained model's folder, to use instead of training one."""
    sample: str | None = None
    """Train it on this comparison sample, not on the survey: a background for another model's likelihood ratio."""
    background: str | None = None
    """Another of the run's models: the catalogue says in llr_<this>_<that> which explains an object better, in nats."""


@dataclass(frozen=True)
class Ratio:
    """A likelihood ratio: log p of ``model`` minus log p of ``background``, both of the run."""

    model: str
    background: str

    @property
    def column(self) -> str:
        """Its column in the catalogue, as llr_pixelcnn_sersic."""
        return f"llr_{self.model}_{self.background}"


def require_equal_conditions(model: ModelSpec, background: ModelSpec) -> None:
    """Refuse a ratio of log p(pixels | one set of catalogue values) and log p(pixels | another): it is none."""
    given, other = (m.options.get("conditions") or [] for m in (model, background))
    if given != other:
        raise ValueError(
            f"model {model.name!r} is given conditions {given} and its background {background.name!r} {other}; a "
            "likelihood ratio needs the same for both: give both the same option conditions"
        )
