"""FFJORD, its latent and its multi-scale variant: normalised densities, with and without missing pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.layers.flows.continuous import Continuous
from galflow.layers.flows.dynamics import ConvolutionalDynamics, DenseDynamics
from galflow.models.base import Density, GenerativeModel
from galflow.models.ffjord import FFJORD
from galflow.models.ffjord_latent import FFJORDLatent
from galflow.models.ffjord_multiscale import FFJORDMultiscale
from galflow.models.planar_cnf import PlanarCNF

Train = Callable[..., None]


def two_bumps(n: int, seed: int = 0) -> Tensor:
    """(n, 2): two correlated clumps in the plane."""
    draw = torch.Generator().manual_seed(seed)
    side = torch.randint(2, (n, 1), generator=draw) * 2.0 - 1
    first = 0.3 * torch.randn(n, 1, generator=draw) + side
    return torch.cat([first, 0.5 * first + 0.3 * torch.randn(n, 1, generator=draw)], 1)


def plane(model: Density, points: Tensor, observed: Tensor) -> Tensor:
    """Log-density of points (N, 2) laid into the first two pixels or bands, with one mask (C, H, W) for all."""
    shape = (model.channels, model.size, model.size)
    pixels = torch.zeros(len(points), math.prod(shape))
    pixels[:, :2] = points
    with torch.no_grad():
        return model.log_prob(Batch(pixels.view(-1, *shape), observed.expand(len(points), *shape)))


def axis(cells: int = 80, half: float = 4.0) -> tuple[Tensor, float]:
    step = 2 * half / cells
    return (torch.arange(cells) + 0.5) * step - half, step


@pytest.fixture(scope="module")
def trained(train: Train) -> Callable[[str], Density]:
    """Models of two numbers, or of four of which two are missing below."""
    made: dict[str, Density] = {}

    def once(kind: str) -> Density:
        if kind not in made:
            torch.manual_seed(1)
            if kind == "latent":
                model: Density = FFJORDLatent(channels=1, size=2, coarse=1, width=16, detail_width=6)
            elif kind == "multiscale":
                model = FFJORDMultiscale(channels=1, size=2, width=12)
            else:
                planar = PlanarCNF(channels=2, size=1, units=32)
                model = planar if kind == "planar" else FFJORD(channels=2, size=1, width=24)
            two = two_bumps(256)
            four = torch.cat([two, -two + 0.3 * two_bumps(256, seed=1)], 1)
            data = two.view(256, 2, 1, 1) if model.channels == 2 else four.view(256, 1, 2, 2)
            train(model, Batch.of(data), rounds=60 if model.channels == 2 else 20, batch_size=64)
            made[kind] = model
        return made[kind]

    return once


@pytest.mark.parametrize("kind", ["ffjord", "planar"])
def test_density_integrates_to_one_in_the_plane(kind: str, trained: Callable[[str], Density]) -> None:
    model = trained(kind)
    ticks, step = axis()
    log_prob = plane(model, torch.cartesian_prod(ticks, ticks), torch.ones(2, 1, 1, dtype=torch.bool))
    assert float(log_prob.exp().sum()) * step**2 == pytest.approx(1, abs=0.01)
    assert log_prob.exp().std() > 0.01


@pytest.mark.parametrize("kind", ["ffjord", "planar"])
def test_with_one_coordinate_missing_the_other_integrates_to_one(kind: str, trained: Callable[[str], Density]) -> None:
    model = trained(kind)
    ticks, step = axis(400)
    for band in (0, 1):
        observed = torch.arange(2).view(2, 1, 1) == band
        log_prob = plane(model, torch.stack([ticks, ticks], 1), observed)
        assert float(log_prob.exp().sum()) * step == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("kind", ["latent", "multiscale"])
def test_with_two_of_four_pixels_missing_the_others_integrate_to_one(
    kind: str, trained: Callable[[str], Density]
) -> None:
    model = trained(kind)
    ticks, step = axis()
    observed = torch.tensor([[[True, True], [False, False]]])
    log_prob = plane(model, torch.cartesian_prod(ticks, ticks), observed)
    assert float(log_prob.exp().sum()) * step**2 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("kind", ["ffjord", "planar"])
def test_it_learns(kind: str, trained: Callable[[str], Density]) -> None:
    """Better than the Gaussian of the same covariance, held out; its samples have the data's covariance."""
    model, data = trained(kind), two_bumps(2000, seed=5)
    gaussian = torch.distributions.MultivariateNormal(data.mean(0), data.T.cov())
    with torch.no_grad():
        log_prob = model.log_prob(Batch.of(data.view(-1, 2, 1, 1)))
    assert float(log_prob.mean()) > float(gaussian.log_prob(data).mean()) + 0.05
    drawn = model.sample(2000, torch.Generator().manual_seed(1)).flatten(1)
    torch.testing.assert_close(drawn.T.cov(), data.T.cov(), rtol=0, atol=0.25)


def test_what_each_variant_solves() -> None:
    def dynamics(model: GenerativeModel) -> list[object]:
        return [part.dynamics for part in model.modules() if isinstance(part, Continuous)]

    [dense] = dynamics(FFJORD(channels=3, size=8))
    assert isinstance(dense, DenseDynamics)
    assert dense.enter.in_features == 192
    [latent] = dynamics(FFJORDLatent(channels=3, size=32))
    assert isinstance(latent, DenseDynamics)
    assert latent.enter.in_features == 48
    scales = dynamics(FFJORDMultiscale(channels=3, size=32))
    assert all(isinstance(scale, ConvolutionalDynamics) for scale in scales)
    assert [scale.inwards.in_channels for scale in scales] == [12, 24, 48]  # type: ignore[attr-defined]


def test_the_jacobian_of_ffjord_is_free_form() -> None:
    """Every base value depends on every pixel, and no order of the pixels makes the map triangular."""
    torch.manual_seed(2)
    model = FFJORD(channels=1, size=3, width=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    image = torch.randn(1, 1, 3, 3)
    jacobian = torch.autograd.functional.jacobian(lambda x: model.encode(Batch.of(x))[0], image).flatten(1)
    assert (jacobian.abs() > 1e-5).all()
