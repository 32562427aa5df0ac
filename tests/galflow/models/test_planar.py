"""Planar maps and the two flows made of them, against autograd, numerical integration and exact entropies."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.flows.planar_map import LEAST_SLOPE, PlanarMap
from galflow.models.planar import PlanarFlow, ReverseFlow
from galflow.models.shared.flow import Flow

FLOWS = pytest.mark.parametrize("flow", [PlanarFlow, ReverseFlow])


def bent(flow: type[PlanarFlow] | type[ReverseFlow], *, channels: int, size: int, layers: int = 6) -> Flow:
    """A flow far from the identity, in double precision."""
    torch.manual_seed(4)
    model = flow(channels=channels, size=size, layers=layers).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.7 * torch.randn_like(parameter))
    return model


def grid(axes: int, points: int, edge: float) -> tuple[Tensor, float]:
    """(points**axes, axes) doubles over a cube and the volume of a cell."""
    axis = torch.linspace(-edge, edge, points, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * axes).view(-1, axes), float(axis[1] - axis[0]) ** axes


def test_the_map_undoes_itself_and_knows_its_determinant() -> None:
    torch.manual_seed(1)
    planar = PlanarMap(5).double()
    with torch.no_grad():
        planar.w.copy_(2 * torch.randn(5))
        planar.u.copy_(-3 * planar.w + torch.randn(5))  # w.u far below -1: only the correction keeps it invertible
        planar.bias.fill_(0.3)
    keep = torch.ones(64, 5, dtype=torch.float64)
    keep[::2, 1] = 0
    keep[::4, 3] = 0
    keep[7] = 0
    values = 3 * torch.randn(64, 5, dtype=torch.float64) * keep
    changed, log_det = planar(values, keep)
    back, again = planar.back(changed, keep)
    torch.testing.assert_close(back, values, rtol=0, atol=1e-11)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-11)
    assert torch.equal(changed[keep == 0], torch.zeros_like(changed[keep == 0]))
    for i in (0, 1, 2, 4, 7):
        known = keep[i].nonzero()[:, 0]
        jacobian = torch.autograd.functional.jacobian(lambda v, i=i: planar(v[None], keep[i : i + 1])[0][0], values[i])
        expected = torch.linalg.slogdet(jacobian[known][:, known])
        assert expected.sign == 1
        torch.testing.assert_close(log_det[i], expected.logabsdet, rtol=0, atol=1e-11)
    assert (log_det >= math.log(LEAST_SLOPE) - 1e-9).all()


def test_the_inverse_has_the_gradient_of_the_implicit_function() -> None:
    torch.manual_seed(2)
    planar = PlanarMap(3).double()
    with torch.no_grad():
        planar.u.copy_(torch.randn(3))
    keep = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    values = (torch.randn(2, 3, dtype=torch.float64) * keep).requires_grad_()
    inputs = (values, planar.w, planar.u, planar.bias)

    def back(v: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return planar.back(v, keep)

    assert torch.autograd.gradcheck(back, inputs)


@FLOWS
def test_inverse_and_determinant(flow: type[PlanarFlow] | type[ReverseFlow]) -> None:
    model = bent(flow, channels=2, size=2)
    model.scale.copy_(torch.tensor([0.4, 2.0]).view(2, 1, 1))
    pixels = torch.randn(5, 2, 2, 2, dtype=torch.float64)
    batch = Batch.of(pixels)
    torch.testing.assert_close(model.decode(model.encode(batch)), pixels, rtol=0, atol=1e-9)
    log_det = model.to_base(batch).log_det
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda v: model.encode(Batch.of(v[None]))[0], pixels[i])
        expected = torch.linalg.slogdet(jacobian.reshape(8, 8)).logabsdet
        torch.testing.assert_close(log_det[i], expected, rtol=0, atol=1e-9)
    single = model.float()
    again = single.decode(single.encode(Batch.of(pixels.float())))
    torch.testing.assert_close(again, pixels.float(), rtol=0, atol=1e-4)


@torch.no_grad()
@FLOWS
def test_density_of_the_observed_pixels_integrates_to_one(flow: type[PlanarFlow] | type[ReverseFlow]) -> None:
    model = bent(flow, channels=3, size=1, layers=4)
    points, cell = grid(2, 281, 14.0)
    pixels = torch.full((len(points), 3, 1, 1), torch.nan, dtype=torch.float64)
    pixels[:, [0, 2], 0, 0] = points
    observed = torch.zeros(pixels.shape, dtype=torch.bool)
    observed[:, [0, 2]] = True
    total = model.log_prob(Batch(pixels, observed)).exp().sum() * cell
    assert float(total) == pytest.approx(1, abs=0.01)


def test_reverse_flow_learns_a_bent_density(train: Callable[..., None]) -> None:
    """Two numbers of which one is a noisy tanh of the other: the entropy is known, a Gaussian misses it."""
    draw = torch.Generator().manual_seed(3)
    first = 1.5 * torch.randn(4000, generator=draw)
    second = 2 * torch.tanh(2 * first) + 0.3 * torch.randn(4000, generator=draw)
    data = Batch.of(torch.stack([first, second], 1)[:, :, None, None])
    entropy = math.log(1.5) + math.log(0.3) + math.log(2 * math.pi * math.e)
    gaussian = 0.5 * torch.logdet(torch.cov(data.pixels.flatten(1).T)).item() + math.log(2 * math.pi * math.e)
    torch.manual_seed(0)
    model = ReverseFlow(channels=2, size=1, layers=8)
    train(model, data, rounds=300, batch_size=250)
    found = -model.log_prob(data).mean().item()
    assert found < entropy + 0.15
    assert found < gaussian - 0.3
    points, cell = grid(2, 301, 9.0)
    total = model.log_prob(Batch.of(points.float().view(-1, 2, 1, 1))).exp().sum().item() * cell
    assert total == pytest.approx(1, abs=0.01)


class Banana(PlanarFlow):
    """Its target: x ~ N(0, 1), y ~ N(x^2 / 2, 0.5), normalised."""

    def log_target(self, pixels: Tensor) -> Tensor:
        x, y = pixels.flatten(1).unbind(1)
        return -0.5 * (x.square() + ((y - x.square() / 2) / 0.5).square()) - math.log(2 * math.pi * 0.5)


@pytest.mark.full
def test_planar_flow_learns_a_target_it_is_told(train: Callable[..., None]) -> None:
    torch.manual_seed(0)
    model = Banana(channels=2, size=1, layers=12)
    anything = Batch.of(torch.randn(512, 2, 1, 1))
    train(model, anything, rounds=350, batch_size=256)
    torch.manual_seed(1)
    kl_nats = model.loss(Batch.of(torch.zeros(4000, 2, 1, 1)), "flow").item() * 2 * math.log(2)
    assert 0 < kl_nats < 0.2
    points, cell = grid(2, 201, 10.0)
    batch = Batch.of(points.float().view(-1, 2, 1, 1))
    log_prob = model.log_prob(batch).detach()
    assert float(log_prob.exp().sum() * cell) == pytest.approx(1, abs=0.01)
    exact = (log_prob.exp() * (log_prob - model.log_target(batch.pixels))).sum() * cell
    assert float(exact) == pytest.approx(kl_nats, abs=0.02)


@torch.no_grad()
def test_drawn_images_have_the_density_that_log_prob_states() -> None:
    model = bent(PlanarFlow, channels=2, size=2)
    model.scale.copy_(torch.tensor([0.4, 2.0]).view(2, 1, 1))
    model.centre.copy_(torch.tensor([0.1, -2.0]).view(2, 1, 1))
    pixels, log_prob = model.drawn(torch.randn(20, 8, dtype=torch.float64))
    torch.testing.assert_close(model.log_prob(Batch.of(pixels)), log_prob, rtol=0, atol=1e-8)


@torch.no_grad()
def test_default_target_is_the_gaussian_of_the_first_batch() -> None:
    torch.manual_seed(0)
    draws = torch.randn(20000, 3).double() @ torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]]).double()
    model = PlanarFlow(channels=3, size=1, layers=1, rank=2).double()
    model.initialise(Batch.of((draws + 1)[:, :, None, None]))
    covariance = model.target_directions @ model.target_directions.T + model.target_variance.diag()
    torch.testing.assert_close(covariance, torch.cov(draws.T), rtol=0, atol=0.05)
    torch.testing.assert_close(model.target_mean, draws.mean(0) + 1, rtol=0, atol=1e-9)
    known = torch.distributions.MultivariateNormal(model.target_mean, covariance)
    x = torch.randn(5, 3, 1, 1).double()
    torch.testing.assert_close(model.log_target(x), known.log_prob(x.flatten(1)))


def test_only_the_reverse_flow_is_trained_on_data() -> None:
    torch.manual_seed(0)
    model = PlanarFlow.tiny()
    losses = []
    for scale in (1.0, 7.0):
        torch.manual_seed(5)
        losses.append(model.loss(Batch.of(scale * torch.rand(3, 2, 8, 8)), "flow"))
    assert torch.equal(*losses)
    assert ReverseFlow.trains_on_data
    assert not PlanarFlow.trains_on_data


def test_refusals() -> None:
    for flow in (PlanarFlow, ReverseFlow):
        with pytest.raises(SpecError, match=r"layers is 0; a planar flow needs at least one layer, such as 32"):
            flow(channels=1, size=8, layers=0)
    with pytest.raises(SpecError, match=r"rank is 0; the default target needs at least one main direction"):
        PlanarFlow(channels=1, size=8, rank=0)
    model = PlanarFlow.tiny()
    with pytest.raises(ModelError, match=r"PlanarFlow has no player 'critic'; its only player is flow"):
        model.loss(Batch.of(torch.zeros(1, 2, 8, 8)), "critic")
