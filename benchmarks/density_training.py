"""One training loop for every density in the comparisons, galflow's own and other libraries', and the tables they fill.

The budget is processor time of one thread, not wall time, so that a busy machine takes nothing from anybody: 80 s of
it are 40 s of two cores in full use. Everything counts, validation too. Adam, gradients clipped, the learning rate
rises for a fiftieth of the budget and then falls to 0 along a cosine; what is measured are running averages of the
weights, those of the best validation.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import cos, pi
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

CLIP = 5.0
RISE = 0.02
AVERAGE = 0.998
"""Of each step, the part of the running average that stays, once there were steps enough."""

Case = TypeVar("Case")


@dataclass(frozen=True)
class Trained:
    """How a training went."""

    steps: int
    seconds: float
    """Processor time."""
    best: float
    """The lowest validation."""


def train(
    module: nn.Module,
    loss: Callable[[], Tensor],
    validate: Callable[[], float],
    *,
    seconds: float,
    rate: float = 2e-3,
    validations: int = 25,
) -> Trained:
    """Minimise ``loss()`` over the module's parameters; leave it with its best averaged weights, in eval mode."""
    weights = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(weights, lr=rate)
    average = [weight.detach().clone() for weight in weights]
    best, kept = float("inf"), average
    began = time.process_time()
    step, validated, used = 0, 0, 0.0
    while used < 1:
        optimiser.param_groups[0]["lr"] = rate * min(used / RISE, 1.0) * 0.5 * (1 + cos(pi * used)) + 1e-9
        module.train()
        optimiser.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
        step += 1
        torch._foreach_lerp_(average, [weight.detach() for weight in weights], 1 - min(AVERAGE, step / (step + 10)))
        used = (time.process_time() - began) / seconds
        if used * validations >= validated + 1 or used >= 1:
            validated = int(used * validations)
            found = _with_weights(module, weights, average, validate)
            if found < best:
                best, kept = found, [weight.clone() for weight in average]
    _put(weights, kept)
    module.eval()
    return Trained(step, time.process_time() - began, best)


def _with_weights(
    module: nn.Module, weights: Sequence[Tensor], others: Sequence[Tensor], measure: Callable[[], float]
) -> float:
    own = [weight.detach().clone() for weight in weights]
    _put(weights, others)
    module.eval()
    with torch.no_grad():
        found = measure()
    _put(weights, own)
    return found


@torch.no_grad()
def _put(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)


def each_in_its_process(
    measure: Callable[..., Any], cases: Sequence[Case], workers: int, **options: Any
) -> Iterator[Any]:
    """``measure(case, **options)`` of each case, in order, in a process with one torch thread; so many at a time."""
    context = multiprocessing.get_context("spawn")
    # A process takes one case: what one leaves behind (memory, random state) is not the next one's.
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        yield from pool.map(partial(_alone, measure, options), cases)


def _alone(measure: Callable[..., Any], options: dict[str, Any], case: Any) -> Any:
    torch.set_num_threads(1)
    return measure(case, **options)
