"""What every flow makes of three densities in the plane: held-out negative log-likelihood minus the true entropy.

That difference is KL(target || model), 0 for a perfect model. It is taken as the mean of log target - log model over
held-out points, which has the same expectation as the difference of the two and far less noise. Every model is trained
by the same loop on fresh points at every step, for the same processor time (FFJORD eight times as long, the planar CNF
three times). The planar normalizing flow is the one that cannot learn from points: it is given the density itself
(Rezende+15), the checkerboard's with its zero raised to a slope, for its loss would be infinite otherwise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.density_training import each_in_its_process, train
from benchmarks.tables import Figures
from benchmarks.targets2d import Target, targets
from galflow.batch import Batch
from galflow.models.base import Density, build_model
from galflow.models.planar import PlanarFlow

SECONDS = 25.0
"""Processor time of one thread, for each flow and target."""
POINTS_A_STEP = 512
VALIDATION_POINTS = 2000
VALIDATIONS = 8
HELD_OUT_POINTS = 20_000
CHUNK = 2000
_FLOOR, _SLOPE = 8.0, 4.0
"""Where a target is 0, the planar flow is shown a log-density of -8 that falls by 4 for each unit beyond the edge."""


@dataclass(frozen=True)
class Case:
    """One row: a model of galflow and how it is trained."""

    label: str
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rate: float = 2e-3
    form: str = "published"
    longer: float = 1.0
    """Its training's processor time, in units of the others'."""


_LIGHTLY = {"kinetic": 0.002, "jacobian": 0.002}
"""Weights of FFJORD's regularisers: its own are for data whose likelihood has no edges."""
_SOLVER = 8.0
"""FFJORD solves an equation where others run one pass; it gets this much longer, and the table says so."""
CASES = (
    Case("NICE", "nice.NICE", {}, form="additive"),
    Case("RealNVP", "realnvp.RealNVP", {}, form="affine"),
    Case("RealNVP, splines", "realnvp.RealNVP", {"coupling": "spline"}, form="spline"),
    Case("Glow", "glow.Glow", {}, form="affine"),
    Case("Glow, splines", "glow.Glow", {"coupling": "spline"}, form="spline"),
    Case("planar NF", "planar.PlanarFlow", {}, rate=5e-3, form="on the density"),
    Case("reverse-NF", "planar.ReverseFlow", {}, rate=5e-3, form="planar"),
    Case("MAF", "maf.MAF", {"width": 128}, 4e-3, form="affine"),
    Case(
        "MAF, splines", "maf.MAF", {"width": 128, "transform": "spline", "layers": 3, "bins": 16}, 4e-3, form="spline"
    ),
    Case("TAN, linear (LAM)", "tan.TAN", {"conditional": "linear", "mixtures": 32, "state": 32}, 4e-3, form="mixture"),
    Case(
        "TAN, recurrent (RAM)",
        "tan.TAN",
        {"conditional": "recurrent", "mixtures": 32, "state": 32},
        4e-3,
        form="mixture",
    ),
    Case("TAN, masked", "tan.TAN", {"conditional": "masked", "mixtures": 32}, 4e-3, form="mixture"),
    Case("planar CNF", "planar_cnf.PlanarCNF", {}, form="continuous", longer=3.0),
    Case("FFJORD", "ffjord.FFJORD", _LIGHTLY, 5e-3, form="continuous", longer=_SOLVER),
)


@dataclass(frozen=True)
class Excess:
    """What one flow reached on one target."""

    nats: float
    """Held-out negative log-likelihood minus entropy."""
    error: float
    """Its standard error from the finite number of held-out points."""
    steps: int
    seconds: float
    """Processor time of the training."""


class OnDensity(PlanarFlow):
    """The planar normalizing flow with one of the plane's densities as its target."""

    target: Target

    def log_target(self, pixels: Tensor) -> Tensor:
        """(B,) log-density, above -inf everywhere."""
        points = pixels.flatten(1)
        beyond = (points.abs() - self.target.half_width).clamp_min(0).sum(1)
        floor = -_FLOOR - _SLOPE * beyond
        found = self.target.log_prob(points)
        return torch.where(found.isfinite(), found, floor)


def as_batch(points: Tensor) -> Batch:
    """Points (N, 2) as images of one pixel in two bands."""
    return Batch.of(points[:, :, None, None])


def build(case: Case, target: Target) -> Density:
    """The untrained model of a case."""
    if case.model == "planar.PlanarFlow":
        flow = OnDensity(channels=2, size=1, **case.options)
        flow.target = target
        return flow
    model = build_model(case.model, channels=2, size=1, **case.options)
    if not isinstance(model, Density):
        raise TypeError(f"{case.model} has no exact density and cannot stand in this table")
    return model


def mean_log_prob(model: Density, points: Tensor) -> Tensor:
    """(N,) log-densities, in chunks."""
    with torch.no_grad():
        return torch.cat([model.log_prob(as_batch(part)) for part in points.split(CHUNK)])


def measure(job: tuple[Case, int], seconds: float = SECONDS) -> Excess:
    """Train and measure one case on the target of that number."""
    case, number = job
    target = targets()[number]
    torch.manual_seed(1)
    draw = torch.Generator().manual_seed(2)
    validation = target.sample(VALIDATION_POINTS, torch.Generator().manual_seed(3))
    held_out = target.sample(HELD_OUT_POINTS, torch.Generator().manual_seed(4))
    model = build(case, target)
    model.initialise(as_batch(target.sample(CHUNK, draw)))
    [player] = model.players
    trained = train(
        model,
        lambda: model.loss(as_batch(target.sample(POINTS_A_STEP, draw)), player.name),
        lambda: -float(mean_log_prob(model, validation).mean()),
        seconds=seconds * case.longer,
        rate=case.rate,
        validations=VALIDATIONS,
    )
    excess = target.log_prob(held_out) - mean_log_prob(model, held_out)
    return Excess(float(excess.mean()), float(excess.std()) / math.sqrt(len(excess)), trained.steps, trained.seconds)


def compare(
    cases: Sequence[Case] = CASES, *, seconds: float = SECONDS, workers: int | None = None
) -> dict[str, dict[str, Excess]]:
    """Label -> target -> what was reached; each in a process of its own, as many at a time as there are cores."""
    names = [target.name for target in targets()]
    jobs = [(case, number) for case in cases for number in range(len(names))]
    found = each_in_its_process(measure, jobs, workers or os.cpu_count() or 1, seconds=seconds)
    table: dict[str, dict[str, Excess]] = {case.label: {} for case in cases}
    for (case, number), excess in zip(jobs, found, strict=True):
        table[case.label][names[number]] = excess
    return table


def as_figures(found: Mapping[str, Mapping[str, Excess]], cases: Sequence[Case] = CASES) -> Figures:
    """The table in nats."""
    entropies = ", ".join(f"{target.name} {target.entropy():.4f}" for target in targets())
    names = [target.name for target in targets()]
    rows: dict[str, tuple[float | str, ...]] = {
        case.label: (
            case.form,
            *(found[case.label][name].nats for name in names),
            f"{max(found[case.label][name].seconds for name in names):.0f}",
        )
        for case in cases
    }
    worst = max(excess.error for by_target in found.values() for excess in by_target.values())
    title = f"held-out negative log-likelihood minus entropy, nats (entropies: {entropies}; errors up to {worst:.3f})"
    return Figures(title, ("form", *names, "cpu s"), rows)


def run() -> Iterator[Figures]:
    """All flows on all targets."""
    yield as_figures(compare())
