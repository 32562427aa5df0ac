"""The conditional flow of latents: a density that integrates to one, draws that obey it, catalogues with gaps."""

from __future__ import annotations

import math

import pytest
import torch

from galflow.errors import ModelError, SpecError
from galflow.layers.flows.latent_flow import LatentFlow


def bent(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents that follow one condition on a curve, and do not care for the other; raw conditions (n, 2)."""
    draw = torch.Generator().manual_seed(seed)
    raw = torch.randn(n, 2, generator=draw)
    noise = torch.randn(n, 2, generator=draw)
    latents = torch.stack([raw[:, 0] + 0.3 * noise[:, 0], 0.5 * raw[:, 0] ** 2 - 0.5 + 0.3 * noise[:, 1]], dim=1)
    return latents, torch.stack([21 + 1.5 * raw[:, 0], 0.6 + 0.1 * raw[:, 1]], dim=1)


@pytest.fixture(scope="module")
def trained() -> LatentFlow:
    torch.manual_seed(0)
    flow = LatentFlow(latent=2, conditions=2, transforms=2, width=32)
    latents, conditions = bent(4000)
    flow.standardise(conditions)
    optimiser = torch.optim.Adam(flow.parameters(), lr=5e-3)
    for step in range(250):
        rows = torch.arange(256) + 256 * (step % 15)
        optimiser.zero_grad()
        (-flow.log_prob(latents[rows], flow.context(conditions[rows])).mean()).backward()
        optimiser.step()
    return flow.eval()


@torch.no_grad()
@pytest.mark.parametrize("given", [(21.0, 0.6), (23.0, 0.5), (float("nan"), 0.6)])
def test_the_density_integrates_to_one_for_each_condition(trained: LatentFlow, given: tuple[float, float]) -> None:
    axis = torch.linspace(-7, 7, 301)
    grid = torch.cartesian_prod(axis, axis)
    context = trained.context(torch.tensor([given])).expand(len(grid), -1)
    cell = float(axis[1] - axis[0]) ** 2
    assert float(trained.log_prob(grid, context).double().exp().sum() * cell) == pytest.approx(1.0, abs=0.01)


@torch.no_grad()
def test_it_learns_what_the_condition_tells(trained: LatentFlow) -> None:
    latents, conditions = bent(4000, seed=1)
    found = float(-trained.log_prob(latents, trained.context(conditions)).mean())
    truth = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.3))  # entropy of two Gaussians of sigma 0.3
    assert truth - 0.05 < found < truth + 0.15
    swapped = float(-trained.log_prob(latents, trained.context(conditions.roll(1, 0))).mean())
    assert swapped > found + 1


@torch.no_grad()
def test_draws_obey_the_generator_and_follow_the_condition(trained: LatentFlow) -> None:
    context = trained.context(torch.tensor([[24.0, 0.6]])).expand(3000, -1)
    state = torch.get_rng_state()
    drawn = trained.sample(context, torch.Generator().manual_seed(4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn, trained.sample(context, torch.Generator().manual_seed(4)))
    assert not torch.equal(drawn, trained.sample(context, torch.Generator().manual_seed(5)))
    expected = torch.tensor([2.0, 1.5])  # 24 is two standard deviations: 2 and 2^2 / 2 - 1 / 2
    torch.testing.assert_close(drawn.mean(0), expected, atol=0.2, rtol=0)
    torch.testing.assert_close(drawn.std(0), torch.tensor([0.3, 0.3]), atol=0.15, rtol=0)


@torch.no_grad()
def test_draws_have_the_density_stated(trained: LatentFlow) -> None:
    """The mean of 1 / p over draws is the volume they live in only if both agree: here, with a known test density q."""
    context = trained.context(torch.tensor([[21.0, 0.6]])).expand(4000, -1)
    drawn = trained.sample(context, torch.Generator().manual_seed(6))
    q = torch.distributions.Independent(torch.distributions.Normal(drawn.mean(0), 0.25), 1)
    ratio = (q.log_prob(drawn) - trained.log_prob(drawn, context)).exp()
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.06)


def test_unknown_values_are_flagged_and_do_not_spoil_the_standardisation() -> None:
    flow = LatentFlow(latent=2, conditions=3)
    nan = float("nan")
    flow.standardise(torch.tensor([[1.0, nan, 5.0], [3.0, nan, 5.0], [nan, nan, 5.0]]))
    assert flow.centre.tolist() == [2, 0, 5]
    assert flow.scale.tolist() == [1, 1, 1]
    context = flow.context(torch.tensor([[4.0, 7.0, 5.0], [nan, nan, 6.0], [2.0, float("inf"), 5.0]]))
    assert context.tolist() == [[2, 7, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 1]]
    assert flow.log_prob(torch.zeros(3, 2), context).isfinite().all()


def test_without_conditions_it_is_a_plain_density() -> None:
    flow = LatentFlow(latent=3, conditions=0)
    context = flow.context(torch.zeros(5, 0))
    assert flow.log_prob(torch.zeros(5, 3), context).shape == (5,)
    assert flow.sample(context, torch.Generator().manual_seed(0)).shape == (5, 3)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(SpecError, match=r"1 latent\(s\), 0 condition\(s\), .* cannot be built; it needs two latents"):
        LatentFlow(latent=1, conditions=0)
    with pytest.raises(ModelError, match=r"shape \(4, 3\) do not fit a network given 2 value\(s\) .* give \(B, K\)"):
        LatentFlow(latent=2, conditions=2).context(torch.zeros(4, 3))
