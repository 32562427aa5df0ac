"""What NICE, RealNVP and Glow all promise, with each kind of coupling: inverses, determinants, densities, any mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.models.glow import Glow
from galflow.models.nice import NICE
from galflow.models.realnvp import RealNVP
from galflow.models.shared.flow import Flow

Build = Callable[..., Flow]
FLOWS: dict[str, Build] = {
    "NICE": NICE,
    "RealNVP affine": RealNVP,
    "RealNVP spline": partial(RealNVP, coupling="spline"),
    "Glow affine": Glow,
    "Glow spline": partial(Glow, coupling="spline"),
}
each_flow = pytest.mark.parametrize("build", FLOWS.values(), ids=FLOWS)


def shaken(build: Build, *, channels: int, size: int, amount: float = 0.2, **options: int) -> Flow:
    """A flow far from the identity, in double precision."""
    torch.manual_seed(4)
    model = build(channels=channels, size=size, **{"width": 8, "steps": 4, **options}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(amount * torch.randn_like(parameter))
        model.scale.copy_(0.5 + torch.rand_like(model.scale))
        model.centre.copy_(torch.randn_like(model.centre))
    return model


def grid(points: int, edge: float) -> tuple[Tensor, float]:
    """(points**2, 2) doubles over a square and the area of a cell."""
    axis = torch.linspace(-edge, edge, points, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2


@each_flow
@pytest.mark.parametrize(("channels", "size"), [(2, 1), (1, 8), (1, 5), (3, 6), (2, 16)])
def test_inverse(build: Build, channels: int, size: int) -> None:
    model = shaken(build, channels=channels, size=size, amount=0.05)
    pixels = model.centre + model.scale * torch.randn(6, channels, size, size, dtype=torch.float64)
    assert (model.decode(model.encode(Batch.of(pixels))) - pixels).abs().max() < 1e-6
    model.float()
    again = model.decode(model.encode(Batch.of(pixels.float())))
    assert (again - pixels).abs().max() < 1e-4
    assert not torch.allclose(model.encode(Batch.of(pixels.float())).sort(1).values, pixels.float().flatten(1))


@each_flow
@pytest.mark.parametrize(("channels", "size"), [(3, 1), (1, 5), (2, 4)])
def test_determinant_of_the_observed_numbers(build: Build, channels: int, size: int) -> None:
    """Against autograd, everything observed or not; a missing number has no influence and no image."""
    model = shaken(build, channels=channels, size=size)
    pixels = torch.randn(4, channels, size, size, dtype=torch.float64)
    observed = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(6)) > 0.35
    observed[0] = True
    at = model.to_base(Batch(pixels, observed))
    assert torch.equal(at.mask.flatten(1).sum(1).long(), observed.flatten(1).sum(1))
    assert not at.values[at.mask == 0].any()
    for i in range(4):
        mask = observed[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda v, mask=mask: model.to_base(Batch(v[None], mask)).values.flatten(), pixels[i]
        ).flatten(1)
        assert not jacobian[:, ~mask.flatten()].any()
        inner = jacobian[at.mask[i].flatten().bool()][:, mask.flatten()]
        expected = torch.linalg.slogdet(inner).logabsdet
        torch.testing.assert_close(at.log_det[i], expected, rtol=0, atol=1e-8)


@torch.no_grad()
@each_flow
def test_density_of_the_observed_numbers_integrates_to_one(build: Build) -> None:
    """Three numbers, each of them missing in turn."""
    model = shaken(build, channels=3, size=1, steps=3, amount=0.15)
    for missing in range(3):
        known = [band for band in range(3) if band != missing]
        points, cell = grid(241, 16.0)
        pixels = torch.full((len(points), 3, 1, 1), torch.nan, dtype=torch.float64)
        pixels[:, known, 0, 0] = points
        observed = torch.zeros(pixels.shape, dtype=torch.bool)
        observed[:, known] = True
        total = model.log_prob(Batch(pixels, observed)).exp().sum().item() * cell
        assert total == pytest.approx(1, abs=0.01)


@pytest.mark.full
@each_flow
def test_a_trained_density_integrates_to_one_and_beats_a_gaussian(build: Build, train: Callable[..., None]) -> None:
    """A noisy parabola, whose entropy is known."""
    draw = torch.Generator().manual_seed(3)
    first = torch.randn(2000, generator=draw)
    second = first.square() + 0.3 * torch.randn(2000, generator=draw)
    data = Batch.of(torch.stack([first, second], 1)[:, :, None, None])
    torch.manual_seed(0)
    model = build(channels=2, size=1, width=16, steps=4)
    train(model, data, rounds=100, batch_size=200)
    with torch.no_grad():
        found = -model.log_prob(data).mean().item()
        points, cell = grid(301, 15.0)
        total = model.log_prob(Batch.of(points.float().view(-1, 2, 1, 1))).exp().sum().item() * cell
    entropy = math.log(0.3) + math.log(2 * math.pi * math.e)
    gaussian = 0.5 * torch.logdet(torch.cov(data.pixels.flatten(1).T)).item() + math.log(2 * math.pi * math.e)
    assert total == pytest.approx(1, abs=0.01)
    assert entropy - 0.1 < found < 0.5 * (entropy + gaussian)


@each_flow
def test_scores_stay_finite_far_away(build: Build) -> None:
    model = shaken(build, channels=2, size=16, levels=2).float()
    pixels = torch.randn(4, 2, 16, 16)
    near = model.score(Batch.of(pixels))["bits_per_dim"]
    pixels[1, 0, 3, 3], pixels[2, 1], pixels[3] = 1e4, -1e4, 1e6
    far = model.score(Batch.of(pixels))["bits_per_dim"]
    assert far.isfinite().all()
    assert far[0] == near[0]
    assert (far[1:] > near[1:]).all()


@torch.no_grad()
@each_flow
def test_first_values_bring_the_base_to_zero_mean_and_unit_variance(build: Build) -> None:
    """A new flow moves nothing between its normalisations, so the base sees what they make of the first batch."""
    torch.manual_seed(5)
    pixels = 3 + torch.linspace(0.2, 2, 64).view(1, 1, 8, 8) * torch.randn(400, 1, 8, 8)
    model = build(channels=1, size=8, width=8, steps=4)
    model.initialise(Batch.of(pixels))
    base = model.encode(Batch.of(pixels))
    torch.testing.assert_close(base.mean(0), torch.zeros(64), rtol=0, atol=0.02)
    torch.testing.assert_close(base.std(0), torch.ones(64), rtol=0, atol=0.2)


@each_flow
def test_missing_pixels_do_not_make_an_untrained_image_improbable(build: Build) -> None:
    """A step with them must be as good as one without: what is left of an image passes every layer undistorted."""
    torch.manual_seed(5)
    model = build(channels=3, size=16)
    whole = Batch.of(torch.randn(32, 3, 16, 16))
    holes = torch.ones(32, 3, 16, 16, dtype=torch.bool)
    holes[:16, :, :7] = False
    holes[16:, 0] = False
    model.initialise(whole)
    with torch.no_grad():
        bits = [float(model.loss(batch, "flow")) for batch in (whole, Batch(whole.pixels, holes))]
    assert abs(bits[1] - bits[0]) < 0.3
