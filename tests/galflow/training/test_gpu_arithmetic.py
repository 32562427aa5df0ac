"""What only a GPU would show, as far as a CPU can tell: which settings and generators are touched, and put back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from galflow.batch import Batch
from galflow.training.gpu_arithmetic import full_float32
from galflow.training.randomness import seeded


def test_convolutions_are_full_float32_inside_and_as_before_outside() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    assert before == (True, False), "what torch has by itself"
    with full_float32():
        assert (cudnn.allow_tf32, cudnn.deterministic) == (False, False)
        with full_float32(deterministic=True):
            assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
        assert (cudnn.allow_tf32, cudnn.deterministic) == (False, False)
    with pytest.raises(ValueError, match="stop"), full_float32(deterministic=True):
        raise ValueError("stop")
    assert (cudnn.allow_tf32, cudnn.deterministic) == before


def test_seeding_the_cpu_leaves_a_gpus_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def seed_all(seed: int) -> None:
        raise AssertionError(f"all GPUs were seeded with {seed}")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seed_all)
    before = torch.get_rng_state()
    with seeded(5, torch.device("cpu")):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.rand(3, generator=torch.Generator().manual_seed(5)))


class Copies(TorchFunctionMode):
    """Notes how tensors are copied to another device."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead: list[bool] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.to:
            self.ahead.append(kwargs["non_blocking"])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device", "ahead"), [("meta", True), ("cpu", False), (torch.device("cpu"), False)])
def test_a_copy_to_the_cpu_has_ended_when_it_is_returned(device: torch.device | str, ahead: bool) -> None:
    """On a GPU an asynchronous copy to the CPU gives a tensor that is not yet filled. "meta" stands for a GPU here."""
    with Copies() as copies:
        Batch.of(torch.zeros(1, 1, 2, 2)).to(device)
    assert copies.ahead == [ahead, ahead]
