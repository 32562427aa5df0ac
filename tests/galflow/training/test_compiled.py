"""training.compiled: the same training by torch.compile, and what is said where it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch._dynamo
import torch._inductor.config as inductor
from torch._dynamo.utils import counters

from galflow.cutouts.stream import TrainingSet
from galflow.errors import ModelError
from galflow.models.base import Player
from galflow.spec.run import TrainingSpec
from galflow.training.fit import fit

# The compiler and what it imports warn of what is theirs; raised, a warning would be its failure.
pytestmark = pytest.mark.filterwarnings("ignore")

Data = Callable[..., TrainingSet]


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """No compiled loss of an earlier test, and no compiling processes beside this one."""
    torch._dynamo.reset()
    with inductor.patch(compile_threads=1, fx_graph_cache=False):
        yield
    torch._dynamo.reset()


def trained(kind: type, data: TrainingSet, **settings: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = kind.tiny()
    result = fit(model, data, TrainingSpec(epochs=2, batch_size=16, **settings), seed=4)
    return model, result.curves


@pytest.mark.full
def test_a_compiled_training_is_the_plain_one_but_for_rounding(toys: SimpleNamespace, make_data: Data) -> None:
    """With a last batch that is smaller than the others."""
    data = make_data(120)
    before = counters["frames"]["ok"]
    (plain, curves), (compiled, compiled_curves) = (
        trained(toys.Gaussian, data, compiled=compiled) for compiled in (False, True)
    )
    assert counters["frames"]["ok"] > before, "something was compiled"
    torch.testing.assert_close(compiled.image, plain.image, rtol=1e-4, atol=1e-5)
    assert [p.train_loss for p in compiled_curves] == pytest.approx([p.train_loss for p in curves], rel=1e-4)


def test_a_loss_made_of_gradients_stays_as_it_is_or_is_refused(
    toys: SimpleNamespace, make_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced and differentiated by the compiler, without the machine code."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))

    class Declared(toys.Duel):
        @property
        def players(self) -> tuple[Player, ...]:
            critic, *others = super().players
            return replace(critic, compiles=False), *others

    data = make_data(60)
    _, curves = trained(Declared, data, compiled=True)
    assert {p.player for p in curves} == {"critic", "generator", "encoder"}
    with pytest.raises(ModelError, match=r"(?s)torch.compile failed at the loss of player 'critic' of Duel: .*double"):
        trained(toys.Duel, data, compiled=True)


def test_without_a_compiler_it_says_what_is_missing(
    toys: SimpleNamespace, make_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inductor.cpp, "cxx", (None, "/nowhere/g++"))
    with pytest.raises(ModelError, match=r"InvalidCxxCompiler.*leave training.compiled out"):
        trained(toys.Gaussian, make_data(60), compiled=True)
