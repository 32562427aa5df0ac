"""The gated stack: strictly causal, without a blind spot, and the same from cached activations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from galflow.errors import ModelError, SpecError
from galflow.layers.pixels.gated_stack import GatedStack


def random_stack(context: int = 2, width: int = 8, layers: int = 3, condition: int = 0) -> GatedStack:
    torch.manual_seed(0)
    return GatedStack(context, width, layers, condition).double()


def maps(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def influence(stack: GatedStack, size: int, y: int, x: int, *, of_condition: bool = False) -> Tensor:
    """(K, H, W) bool: which context (or condition) values the features at (y, x) depend on, by gradients."""
    context = maps(3, stack.context, size, size).requires_grad_()
    condition = maps(3, stack.condition, size, size, seed=2).requires_grad_() if stack.condition else None
    features = stack(context, condition)[..., y, x]
    inputs = condition if of_condition else context
    assert inputs is not None
    (gradient,) = torch.autograd.grad((features * maps(*features.shape, seed=3)).sum(), inputs)
    return (gradient != 0).any(0)


@pytest.mark.parametrize("condition", [0, 2])
def test_no_blind_spot_and_no_look_ahead(condition: int) -> None:
    """Each pixel depends on every earlier pixel in reach, those up-right included, and on no other."""
    stack = random_stack(condition=condition)
    order = torch.arange(64).view(8, 8)
    assert min(stack.reach) >= 7
    for y, x in [(0, 0), (0, 7), (3, 0), (4, 3), (4, 7), (7, 0), (7, 7)]:
        assert torch.equal(influence(stack, 8, y, x), (order < order[y, x]).expand(2, -1, -1)), (y, x)


def test_nothing_beyond_the_stated_reach() -> None:
    stack = random_stack(context=1, layers=1)
    rows, columns = stack.reach
    assert (rows, columns) == (5, 4)
    y, x = torch.meshgrid(torch.arange(12) - 8, torch.arange(12) - 6, indexing="ij")
    above = (y < 0) & (y >= -rows) & (x.abs() <= columns)
    left = (y == 0) & (x < 0) & (x >= -5)
    assert torch.equal(influence(stack, 12, 8, 6)[0], above | left)


def test_conditions_reach_every_pixel() -> None:
    """Each pixel depends on all maps of its own place and of places around; no row is told of the rows below."""
    stack = random_stack(condition=2)
    for y, x in [(0, 0), (2, 5), (5, 1), (7, 7)]:
        seen = influence(stack, 8, y, x, of_condition=True)
        assert seen[:, y, x].all()
        assert seen[0].sum() > 1 or (y, x) == (0, 0)
        assert not seen[:, y + 1 :].any()


@pytest.mark.parametrize(("condition", "height", "width"), [(0, 9, 13), (3, 7, 5), (0, 1, 6), (0, 6, 1)])
def test_cached_activations_give_the_same_features(condition: int, height: int, width: int) -> None:
    """Against one pass over the whole images; taller than the entry and wider than the largest dilation, and not."""
    stack = random_stack(layers=4, condition=condition)
    context = maps(3, 2, height, width)
    known = maps(3, condition, height, width, seed=2) if condition else None
    with torch.no_grad():
        expected = stack(context, known)
    cached = stack.cached(3, height, width, known)
    before: Tensor | None = None
    for y in range(height):
        for x in range(width):
            torch.testing.assert_close(cached.step(before), expected[..., y, x], rtol=0, atol=1e-13)
            before = context[..., y, x]


def test_cached_activations_of_single_precision_weights_are_double() -> None:
    stack = random_stack().float()
    features = stack.cached(2, 4, 4).step(None)
    assert features.dtype == torch.float64
    assert stack.cached(2, 4, 4, dtype=torch.float32).step(None).dtype == torch.float32
    expected = stack(torch.zeros(2, 2, 4, 4))[..., 0, 0].double()
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)


def test_dropout_is_asked_for_in_the_call() -> None:
    stack, context = random_stack(), maps(2, 2, 8, 8)
    plain = stack.train()(context)
    assert torch.equal(plain, stack.eval()(context))
    assert torch.equal(plain[..., 0, 0], stack(context, dropout=0.0)[..., 0, 0])
    torch.manual_seed(1)
    assert not torch.isclose(plain, stack(context, dropout=0.5)).all()


def test_impossible_stacks_and_conditions_are_refused() -> None:
    with pytest.raises(SpecError, match=r"context, width and layers of at least 1 .* got 2, 0, 3 and 0"):
        GatedStack(2, 0, 3)
    with pytest.raises(ModelError, match=r"conditions of shape \(2, 3, 8, 8\) .* was given None"):
        GatedStack(2, 4, 1, condition=3)(torch.zeros(2, 2, 8, 8))
    with pytest.raises(ModelError, match=r"conditions of shape None .* was given \(2, 3, 8, 8\)"):
        GatedStack(2, 4, 1).cached(2, 8, 8, torch.zeros(2, 3, 8, 8))


def test_steps_out_of_order_are_refused() -> None:
    cached = random_stack().cached(1, 1, 2)
    with pytest.raises(ModelError, match=r"step 0 of 2 was given a context; give None for the first pixel"):
        cached.step(torch.zeros(1, 2))
    cached.step(None)
    with pytest.raises(ModelError, match=r"step 1 of 2 was given no context"):
        cached.step(None)
    cached.step(torch.zeros(1, 2))
    with pytest.raises(ModelError, match=r"step 2 of 2"):
        cached.step(torch.zeros(1, 2))
