"""Several trainings of one model, from other random numbers each: what they are called, and which seed each has.

The first training is the one that a run without repeats has, so that asking for more trains only the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from galflow.spec.models import ModelSpec

_MARK = "_seed"
_REPEAT = re.compile(rf"{_MARK}(\d+)")
_STEP = 7919
"""Between the seeds of one model's trainings."""


def require_no_repeat(name: str) -> str:
    """The name of a model as it stands in a specification; ValueError for one that reads as that of a repeat."""
    if (found := _REPEAT.search(name)) is not None:
        raise ValueError(
            f"{found[0]!r} in a model's name marks the further trainings of training.seeds, whose scores are joined "
            f"with those of the first; expected a name without it, such as {name.replace(_MARK, '_s')!r}"
        )
    return name


def repeated_models(models: Iterable[ModelSpec], seeds: int) -> tuple[ModelSpec, ...]:
    """Every model with its repeats after it; one that is not trained has none, and a repeat makes no ratio."""
    found: list[ModelSpec] = []
    for model in models:
        found.append(model)
        if model.trained is None:
            found += [
                model.model_copy(update={"name": f"{model.name}{_MARK}{number}", "background": None})
                for number in range(2, seeds + 1)
            ]
    return tuple(found)


def seed_of(model: str, seed: int) -> int:
    """The seed of a training by its model's name, in a run with ``seed``."""
    found = re.search(rf"{_REPEAT.pattern}$", model)
    return seed if found is None else (seed + _STEP * (int(found[1]) - 1)) % 2**31


def first_training(name: str) -> str:
    """A model or a score (vae_seed2_elbo) by the name of its first training (vae_elbo); others as they are."""
    return _REPEAT.sub("", name, count=1)
