"""Held-out bits per dimension on scikit-learn's 8 x 8 digits: galflow's densities beside zuko's and a Gaussian mixture.

Seventeen levels, one unit apart. A density sees level + u with u uniform in [-1/2, 1/2], fresh in every training step
and ten fixed draws of it for the held-out images: its mean -log2 at bins of width 1 bounds the bits of the levels from
above (Theis+16), so that it stands beside a PixelCNN's, which are exact. One split for all: a fifth is held out, a
tenth of the rest chooses the best weights, and every model is trained for the same processor time by the same loop; the
Gaussian mixture is fitted to the end, which takes less.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import zuko
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from benchmarks.density_training import Trained, each_in_its_process, train
from benchmarks.tables import Figures
from galflow.batch import Batch
from galflow.models.base import Density, build_model

SECONDS = 80.0
"""Processor time of one thread."""
LEVELS = 17
SIZE = 8
DIMENSIONS = SIZE**2
HELD_OUT = 0.2
VALIDATION = 0.1
DRAWS = 10
"""Dequantisations of the held-out images; five of the validation images."""
BATCH = 128
COMPONENTS = 10
_MIXTURE_DRAWS = 10


@dataclass(frozen=True)
class Case:
    """One row: whose model, which, and how it is trained."""

    label: str
    library: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 2e-3


_WIDE = {"transforms": 5, "hidden_features": (256, 256)}
"""Beside zuko's own defaults, which are 3 transforms of (64, 64) hidden units: neither size is best for every flow."""
_BINS = {"low": -0.5, "high": LEVELS - 0.5, "levels": LEVELS}
CASES = (
    Case("zuko NICE", "zuko", "NICE"),
    Case("zuko RealNVP", "zuko", "RealNVP"),
    Case("zuko RealNVP, wide", "zuko", "RealNVP", _WIDE),
    Case("zuko CNF", "zuko", "CNF"),
    Case("zuko MAF", "zuko", "MAF"),
    Case("zuko MAF, wide", "zuko", "MAF", _WIDE),
    Case("zuko NSF", "zuko", "NSF"),
    Case("zuko NSF, wide", "zuko", "NSF", _WIDE),
    Case("mixture of 10 Gaussians", "scikit-learn", "GaussianMixture"),
    Case("NICE", "galflow", "nice.NICE"),
    Case("RealNVP", "galflow", "realnvp.RealNVP"),
    Case("RealNVP, splines", "galflow", "realnvp.RealNVP", {"coupling": "spline"}),
    Case("Glow", "galflow", "glow.Glow"),
    Case("Glow, splines", "galflow", "glow.Glow", {"coupling": "spline"}),
    Case("MAF", "galflow", "maf.MAF", {"width": 96, "order": "interleaved"}),
    Case("MAF, splines", "galflow", "maf.MAF", {"transform": "spline", "layers": 3, "width": 128}),
    Case("TAN, linear (LAM)", "galflow", "tan.TAN", {"conditional": "linear", "state": 32}),
    Case("TAN, recurrent (RAM)", "galflow", "tan.TAN", {"conditional": "recurrent", "state": 64}),
    Case("TAN, masked", "galflow", "tan.TAN", {"conditional": "masked"}),
    Case("PixelCNN++", "galflow", "pixelcnn_pp.PixelCNNPP", _BINS | {"width": 32, "layers": 4, "dropout": 0.3}, 3e-3),
)


@dataclass(frozen=True)
class Split:
    """Levels 0-16 as (N, 64) float tensors."""

    training: Tensor
    validation: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class Reached:
    """What one model reached."""

    bits: float
    """Held-out bits per dimension."""
    error: float
    """Its standard error from the finite number of held-out images."""
    steps: int
    seconds: float
    """Processor time of the training."""


def digits() -> Split:
    """The data in a seeded order."""
    pixels = torch.as_tensor(load_digits().data, dtype=torch.float32)
    pixels = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))]
    held_out = int(len(pixels) * HELD_OUT)
    validation = int((len(pixels) - held_out) * VALIDATION)
    first, second, rest = pixels.split([held_out, validation, len(pixels) - held_out - validation])
    return Split(rest, second, first)


def dequantised(levels: Tensor, generator: torch.Generator, draws: int = 1) -> Tensor:
    """(draws * N, 64): each image with so many draws of uniform noise, all images after one another in each draw."""
    levels = levels.repeat(draws, 1)
    return levels + torch.rand(levels.shape, generator=generator) - 0.5


class ZukoDensity(nn.Module):
    """A flow of zuko on pixels each of zero mean and unit variance, as its documentation recommends."""

    centre: Tensor
    scale: Tensor

    def __init__(self, name: str, options: Mapping[str, Any], training: Tensor) -> None:
        super().__init__()
        # Noise of dequantisation has a variance of 1/12 everywhere: no pixel is without scatter.
        self.register_buffer("centre", training.mean(0))
        self.register_buffer("scale", (training.var(0) + 1 / 12).sqrt())
        self.stochastic = name == "CNF"
        if name == "NICE":  # zuko's has affine couplings unless told otherwise
            additive = {"univariate": zuko.transforms.AdditiveTransform, "shapes": [()]}
            self.flow = zuko.flows.NICE(DIMENSIONS, **additive, **options)
        elif self.stochastic:
            self.flow = zuko.flows.CNF(DIMENSIONS, exact=False, **options)
        else:
            self.flow = getattr(zuko.flows, name)(DIMENSIONS, **options)

    def exact(self) -> None:
        """From now on without the noise of an estimated trace."""
        if self.stochastic:
            self.flow.transform.exact = True

    def log_prob(self, values: Tensor) -> Tensor:
        """(N,) log-density in nats of dequantised levels (N, 64)."""
        standard = (values - self.centre) / self.scale
        return self.flow().log_prob(standard) - self.scale.log().sum()


def images(values: Tensor) -> Batch:
    """(N, 64) values as a batch of images."""
    return Batch.of(values.view(-1, 1, SIZE, SIZE))


def bits(log_prob: Tensor) -> Tensor:
    """(N,) bits per dimension of log-probabilities (N,) in nats."""
    return -log_prob / (DIMENSIONS * math.log(2))


def measure(case: Case, seconds: float = SECONDS) -> Reached:
    """Train and measure one case."""
    torch.manual_seed(1)
    split = digits()
    if case.library == "scikit-learn":
        return _mixture(split)
    if case.library == "zuko":
        flow = ZukoDensity(case.model, case.options, split.training)
        trained = _train(
            flow, lambda v: bits(flow.log_prob(v)).mean(), flow.log_prob, split, case, seconds, discrete=False
        )
        flow.exact()
        return _reached(flow.log_prob, split, trained, discrete=False)
    model = build_model(case.model, channels=1, size=SIZE, **case.options)
    if not isinstance(model, Density):
        raise TypeError(f"{case.model} has no exact density and cannot stand in this table")
    discrete = model.bin_width is not None
    first = split.training if discrete else dequantised(split.training, torch.Generator().manual_seed(2))
    model.initialise(images(first))
    [player] = model.players

    def loss(values: Tensor) -> Tensor:
        return model.loss(images(values), player.name)

    def log_prob(values: Tensor) -> Tensor:
        return model.log_prob(images(values))

    trained = _train(model, loss, log_prob, split, case, seconds, discrete=discrete)
    return _reached(log_prob, split, trained, discrete=discrete)


def _train(
    module: nn.Module,
    mean_bits: Callable[[Tensor], Tensor],
    log_prob: Callable[[Tensor], Tensor],
    split: Split,
    case: Case,
    seconds: float,
    *,
    discrete: bool,
) -> Trained:
    draw = torch.Generator().manual_seed(3)
    validation = split.validation
    if not discrete:
        validation = dequantised(validation, torch.Generator().manual_seed(4), DRAWS // 2)

    def loss() -> Tensor:
        chosen = split.training[torch.randint(len(split.training), (BATCH,), generator=draw)]
        return mean_bits(chosen if discrete else dequantised(chosen, draw))

    return train(module, loss, lambda: float(bits(log_prob(validation)).mean()), seconds=seconds, rate=case.rate)


@torch.no_grad()
def _reached(log_prob: Callable[[Tensor], Tensor], split: Split, trained: Trained, *, discrete: bool) -> Reached:
    draw = torch.Generator().manual_seed(5)
    parts = [split.held_out if discrete else dequantised(split.held_out, draw) for _ in range(1 if discrete else DRAWS)]
    each = torch.stack([bits(log_prob(part)) for part in parts]).mean(0)
    return Reached(float(each.mean()), float(each.std()) / math.sqrt(len(each)), trained.steps, trained.seconds)


def _mixture(split: Split) -> Reached:
    began = time.process_time()
    values = dequantised(split.training, torch.Generator().manual_seed(2), _MIXTURE_DRAWS)
    mixture = GaussianMixture(COMPONENTS, random_state=0).fit(values.double().numpy())
    trained = Trained(int(mixture.n_iter_), time.process_time() - began, float("nan"))
    return _reached(
        lambda given: torch.as_tensor(mixture.score_samples(given.double().numpy())), split, trained, discrete=False
    )


def compare(
    cases: Sequence[Case] = CASES, *, seconds: float = SECONDS, workers: int | None = None
) -> dict[str, Reached]:
    """Label -> what was reached; each in a process of its own, as many at a time as there are cores."""
    found = each_in_its_process(measure, cases, workers or os.cpu_count() or 1, seconds=seconds)
    return {case.label: reached for case, reached in zip(cases, found, strict=True)}


def as_figures(found: Mapping[str, Reached]) -> Figures:
    """The table."""
    rows: dict[str, tuple[float | str, ...]] = {
        label: (reached.bits, reached.error, f"{reached.steps}", f"{reached.seconds:.0f}")
        for label, reached in found.items()
    }
    title = "8 x 8 digits of 17 levels: held-out bits per dimension, same split, dequantisation and processor time"
    return Figures(title, ("bits/dim", "error", "steps", "cpu s"), rows)


def run() -> Iterator[Figures]:
    """All models."""
    yield as_figures(compare())
