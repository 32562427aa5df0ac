"""What every model is: a torch module with players, one loss per player, a score and samples.

A model owns no optimiser, device, path or logger. Its constructor's keyword arguments are its configuration; the first
two are always ``channels`` (bands) and ``size`` (pixels on a side). Random numbers inside ``loss`` come from torch's
global generator, which the training loop seeds and restores; ``score`` uses none.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError


@dataclass(frozen=True)
class Player:
    """One party of a training: which modules it owns and how often it moves.

    In each round of phase ``phase`` a player makes ``steps`` optimiser steps (Adam), each on a fresh batch.
    """

    name: str
    modules: tuple[str, ...]
    """Attribute names of the submodules (or parameters) that this player updates."""
    steps: int = 1
    phase: int = 0
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    effort: float = 1.0
    """Epochs of its phase relative to the training's: a phase of one step a batch learns more in an epoch than one in
    which several players share the batches. The largest of a phase's players counts."""
    compiles: bool = True
    """Whether ``torch.compile`` takes its loss; not one that is itself made of gradients."""


class GenerativeModel(nn.Module, ABC):
    """Base of all models. Subclasses say in their docstring: the paper, the loss, the valid input range."""

    source: ClassVar[str]
    """The paper, as "Kingma & Welling 13"."""
    version: ClassVar[str] = "1"
    """Raised when the same weights would give other numbers, so that old products count as stale."""
    scores: ClassVar[Mapping[str, str]]
    """What ``score`` returns: name -> one line that says what it measures. The first is the model's main score."""
    trains_on_data: ClassVar[bool] = True
    one_pass_sampling: ClassVar[bool] = True
    free_form_jacobian: ClassVar[bool] = True
    """Whether the network's shape is unconstrained by the likelihood (Grathwohl+18, table 1)."""
    loss_per_pixel: ClassVar[bool] = False
    """Whether ``loss`` is a mean over the batch's observed pixels, not over its objects: how losses of parts add up."""
    needs_ivar: ClassVar[bool] = False
    """Whether ``Batch.ivar`` must be there."""
    needs_psf: ClassVar[bool] = False
    """Whether ``Batch.psf`` must be there."""
    latent_log_density: ClassVar[str | None] = None
    """Which score, if any, is the negative log-density, in nats, of an object's latents."""

    def __init__(self, *, channels: int, size: int) -> None:
        super().__init__()
        if channels < 1 or size < 1:
            raise SpecError(f"a model needs at least one band and one pixel; got channels={channels}, size={size}")
        self.channels = channels
        self.size = size

    @property
    @abstractmethod
    def players(self) -> tuple[Player, ...]:
        """Who is trained, in which ratio and phase."""

    @abstractmethod
    def loss(self, batch: Batch, player: str) -> Tensor:
        """The scalar that ``player`` minimises; the same function in training, validation and tests."""

    @abstractmethod
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """One (B,) tensor a name in ``scores``: finite, deterministic, HIGHER = MORE ANOMALOUS."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) stretched pixels drawn from the model; ``n`` = 0 gives an empty tensor of that shape."""

    @classmethod
    @abstractmethod
    def tiny(cls) -> Self:
        """A configuration that trains in seconds (8 x 8 pixels or so), for the contract tests."""

    def initialise(self, batch: Batch) -> None:
        """Called once before training with a first batch of training objects (data-dependent initial values)."""

    def begin_phase(self, phase: int, batches: Iterable[Batch]) -> None:
        """Called once before each phase but the first, with batches as ``finish`` gets them."""

    def finish(self, batches: Iterable[Batch]) -> None:
        """Called once after training with batches of the training set in a fixed order (fits made afterwards).

        May iterate over ``batches`` several times. What it finds must live in parameters or buffers.
        """

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """Numbers worth a learning curve beside the losses (critic gap, codebook usage), on a validation batch."""
        return {}

    def check(self, batch: Batch) -> None:
        """Refuse a batch that is not (B, channels, size, size)."""
        expected = (self.channels, self.size, self.size)
        if tuple(batch.pixels.shape[1:]) != expected:
            raise ModelError(
                f"{type(self).__name__} was built for cutouts of shape {expected} (band, y, x), "
                f"but was given {tuple(batch.pixels.shape[1:])}; cut with the specification it was trained on"
            )


def bits_per_dim(log_prob: Tensor, observed: Tensor) -> Tensor:
    """(B,) -log2 p per observed dimension of ``log_prob`` (B,) in nats and ``observed`` (B, C, H, W) bool.

    0 for an object without any observed pixel.
    """
    return -log_prob / (observed.sum((1, 2, 3)).clamp(min=1) * math.log(2.0))


class Density(GenerativeModel):
    """A model with an exact log-likelihood."""

    bin_width: float | None = None
    """Width in stretched units of the bins whose probability mass ``log_prob`` states; None: it states a density."""

    @property
    def pixel_bins(self) -> tuple[float, float]:
        """Where the first of 256 bins of stretched pixels begins, and their width: in which images are compressed."""
        return -0.3, 1.6 / 256

    @abstractmethod
    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) natural-log probability, summed over observed pixels only."""

    def log_prob_and_scores(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """``log_prob`` as float64 and the scores from one pass; by default bits per observed dimension alone.

        Override this, not ``score``, so that nothing is computed twice.
        """
        log_prob = self.log_prob(batch).double()
        return log_prob, {"bits_per_dim": bits_per_dim(log_prob, batch.observed)}

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """The scores of ``log_prob_and_scores`` in the pixels' type; 0 for an object without any observed pixel."""
        return {name: values.to(batch.pixels.dtype) for name, values in self.log_prob_and_scores(batch)[1].items()}


class Reconstructs(GenerativeModel):
    """A model that returns its own idea of an object."""

    @abstractmethod
    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) stretched pixels; deterministic."""


class Encodes(GenerativeModel):
    """A model with a latent description of an object."""

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """(B, D) latents; deterministic."""


class Conditional(GenerativeModel):
    """A model that uses ``Batch.conditions``."""

    conditions: tuple[str, ...]
    """Names of the catalogue columns, in the order of ``Batch.conditions``; NaN there is a value nobody knows."""


class BringsWeights(GenerativeModel):
    """A model whose network comes from a file of the user's. Whoever builds it reads the file; the model keeps it."""

    weights_option: ClassVar[str]
    """Which option of the constructor is the file's path or URI."""

    @abstractmethod
    def load_weights(self, data: bytes) -> None:
        """Take the bytes of the file, and keep them in ``state_dict``; before anything else is asked of the model.

        SpecError if they are not what the options say: another kind of file, or one that takes other images.
        """


def abilities(model: type[GenerativeModel]) -> dict[str, bool]:
    """The columns of Grathwohl+18, table 1, read off what the class can do."""
    return {
        "trains_on_data": model.trains_on_data,
        "one_pass_sampling": model.one_pass_sampling,
        "exact_log_likelihood": issubclass(model, Density),
        "free_form_jacobian": model.free_form_jacobian,
    }


def all_models() -> dict[str, type[GenerativeModel]]:
    """Every concrete model under ``galflow.models``: "wgan.WGAN" -> class, sorted by name."""
    found: dict[str, type[GenerativeModel]] = {}
    package = importlib.import_module("galflow.models")
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"galflow.models.{info.name}")
        for name, value in vars(module).items():
            defined_here = inspect.isclass(value) and value.__module__ == module.__name__
            if defined_here and issubclass(value, GenerativeModel) and not inspect.isabstract(value):
                found[f"{info.name}.{name}"] = value
    return dict(sorted(found.items()))


_LONGEST_NAME, _LONGEST_SHOWN = 200, 500


def find_model(name: str) -> type[GenerativeModel]:
    """The class that "wgan.WGAN" (under ``galflow.models``) or a full dotted path of a plug-in names."""
    if len(name) > _LONGEST_NAME or not all(part.isidentifier() for part in name.split(".")):
        raise SpecError(f"model {name[:_LONGEST_NAME]!r} is no path of names with dots between, such as wgan.WGAN")
    module_name, _, class_name = name.rpartition(".")
    candidates = [f"galflow.models.{module_name}", module_name] if module_name else []
    for candidate in candidates:
        try:
            module = importlib.import_module(candidate)
        except ModuleNotFoundError as error:
            if error.name is not None and (candidate == error.name or candidate.startswith(error.name + ".")):
                continue
            raise
        value: Any = getattr(module, class_name, None)
        if inspect.isclass(value) and issubclass(value, GenerativeModel) and not inspect.isabstract(value):
            return value
    raise SpecError(
        f"model {name!r} is unknown; expected one of {', '.join(all_models())}, "
        "or the full dotted path of a class derived from galflow.models.base.GenerativeModel"
    )


def build_model(name: str, *, channels: int, size: int, **options: Any) -> GenerativeModel:
    """The model ``name`` for cutouts of ``channels`` bands and ``size`` pixels, checked before any training."""
    model = find_model(name)
    parameters = inspect.signature(model.__init__).parameters
    allowed = [p for p in parameters if p not in ("self", "channels", "size")]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise SpecError(f"model {name} has no option {unknown[0]!r}; its options are {', '.join(allowed) or 'none'}")
    try:
        return model(channels=channels, size=size, **options)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError) as error:
        given = repr(options) if len(repr(options)) < _LONGEST_SHOWN else f"{len(options)} options"
        raise SpecError(f"model {name} cannot be built with {given}: {error}") from error
