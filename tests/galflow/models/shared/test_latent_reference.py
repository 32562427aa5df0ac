"""Neighbours and density of latents against scikit-learn and torch.distributions."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import distributions

from galflow.errors import ModelError, SpecError
from galflow.models.shared.latent_reference import LatentReference


def stretched(count: int, latents: int, seed: int = 0) -> torch.Tensor:
    """A Gaussian cloud far from 0, of unequal width and correlated."""
    draw = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(latents, latents, generator=torch.Generator().manual_seed(9))).Q
    widths = torch.logspace(1, -1, latents)
    return 5.0 + torch.randn(count, latents, generator=draw) * widths @ turn


def reference(latents: int, **changes: int) -> LatentReference:
    return LatentReference(
        **{"latents": latents, "keep": 3000, "neighbours": 7, "components": 1, "axes": 32, **changes}
    )


def test_the_distance_is_that_of_the_kth_neighbour() -> None:
    known, asked = stretched(500, 6), stretched(80, 6, seed=1)
    fitted = reference(6)
    fitted.fit(known)
    unit = math.sqrt(float(known.double().var(0, correction=0).sum()))
    found = NearestNeighbors(n_neighbors=8).fit(known.numpy())
    expected = torch.from_numpy(found.kneighbors(asked.numpy())[0][:, 6] / unit).float()
    torch.testing.assert_close(fitted.distance(asked), expected, rtol=1e-4, atol=1e-5)
    # A kept object does not count itself.
    itself = torch.from_numpy(found.kneighbors(known.numpy())[0][:, 7] / unit).float()
    torch.testing.assert_close(fitted.distance(known), itself, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("latents", "axes"), [(6, 32), (6, 6), (6, 2), (40, 5)])
def test_the_density_is_that_of_a_gaussian_with_equal_widths_off_the_axes(latents: int, axes: int) -> None:
    known, asked = stretched(3000, latents).double(), stretched(50, latents, seed=1)
    fitted = reference(latents, axes=axes)
    fitted.fit(known.float())
    values, vectors = torch.linalg.eigh(torch.cov(known.T, correction=0))
    values = values.clone()
    if axes < latents:
        values[: latents - axes] = values[: latents - axes].mean()
    covariance = vectors * values @ vectors.T
    expected = distributions.MultivariateNormal(known.mean(0), covariance).log_prob(asked.double())
    torch.testing.assert_close(fitted.log_prob(asked).double(), expected, rtol=5e-3, atol=0.1)


def test_several_gaussians_are_a_density_too() -> None:
    """It integrates to one over two latents, of which one is off the axes."""
    draw = torch.Generator().manual_seed(0)
    known = torch.stack([torch.randn(2000, generator=draw) + 6 * (torch.arange(2000) % 2), torch.zeros(2000)], 1)
    known[:, 1] = 0.3 * torch.randn(2000, generator=draw)
    fitted = reference(2, components=2, axes=1)
    fitted.fit(known)
    x, y = torch.meshgrid(torch.arange(-8, 14, 0.05), torch.arange(-3, 3, 0.05), indexing="ij")
    density = fitted.log_prob(torch.stack([x.flatten(), y.flatten()], 1)).exp()
    assert float(density.sum()) * 0.05**2 == pytest.approx(1, abs=0.01)
    valley, hills = fitted.log_prob(torch.tensor([[3.0, 0.0], [0.0, 0.0], [6.0, 0.0]])).split([1, 2])
    assert (hills > valley + 1).all()


def test_what_leaves_the_axes_is_seen_and_a_latent_that_never_moved_stays_finite() -> None:
    known = stretched(300, 5)
    known = torch.cat([known, torch.zeros(300, 3)], 1)
    fitted = reference(8, axes=2)
    fitted.fit(known)
    odd = known[:1].repeat(3, 1)
    odd[1, 7], odd[2, 7] = 1.0, 100.0
    usual, off, far = fitted.log_prob(odd).tolist()
    assert usual > off > far
    assert math.isfinite(far)
    assert fitted.distance(odd).isfinite().all()


@pytest.mark.parametrize("count", [20, 40, 200])
def test_with_fewer_objects_than_latents_others_like_them_are_not_far(count: int) -> None:
    """As many axes as objects would leave no width off the axes, and anything else would be infinitely unlikely."""
    known, alike, odd = stretched(count, 300), stretched(100, 300, seed=1), 3 * stretched(100, 300, seed=2)
    fitted = reference(300)
    fitted.fit(known)
    usual, held, far = (fitted.log_prob(points) for points in (known, alike, odd))
    assert (held > far.max()).all()
    gap = float(usual.mean() - held.mean())
    assert 0 < gap < 300, f"held-out objects are {gap:.0f} nats below the others, of {300} latents"
    shifted = fitted.log_prob(alike * (1 + 1e-6))
    torch.testing.assert_close(shifted, held, rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("known", [torch.ones(5, 3), torch.zeros(1, 3), stretched(4, 3)[:, :1] * torch.ones(3)])
def test_few_or_equal_objects_leave_every_number_finite(known: torch.Tensor) -> None:
    fitted = reference(3)
    fitted.fit(known)
    asked = torch.cat([known, known + 1])
    assert fitted.log_prob(asked).isfinite().all()
    assert fitted.distance(asked).isfinite().all()


def test_untrained_it_says_so_and_wrong_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match=r"no training objects to compare with; train the model first"):
        reference(3).distance(torch.zeros(1, 3))
    for change, text in (
        ({"axes": 0}, r"axes is 0; the density needs at least one principal axis"),
        ({"components": 0}, r"components is 0; a mixture needs at least one"),
        ({"neighbours": 0}, r"neighbours is 0 and keep is 3000"),
    ):
        with pytest.raises(SpecError, match=text):
            reference(3, **change)
