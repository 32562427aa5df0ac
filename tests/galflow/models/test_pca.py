"""PCA: the exact solution, densities against full covariances, missing pixels, what the score weighs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as ReferencePCA
from torch import Tensor
from torch.distributions import MultivariateNormal

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.pca import PCA
from galflow.models.shared import principal_components


def spread(n: int = 300, channels: int = 2, size: int = 5, factors: int = 3, seed: int = 0) -> Batch:
    """Images of a few factors of falling strength, with noise of 0.1."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(factors, channels, size, size, generator=torch.Generator().manual_seed(99))
    strengths = torch.randn(n, factors, generator=draw) * torch.linspace(1.0, 0.4, factors)
    pixels = 0.5 + torch.einsum("nk,kcyx->ncyx", strengths, images)
    return Batch.of(pixels + 0.1 * torch.randn(pixels.shape, generator=draw))


def with_holes(batch: Batch, share: float = 0.3, seed: int = 1) -> Batch:
    """The same with missing pixels of NaN, some objects complete and the last one without any pixel."""
    observed = torch.rand(batch.pixels.shape, generator=torch.Generator().manual_seed(seed)) > share
    observed[::4] = True
    observed[-1] = False
    return replace(batch, observed=observed, pixels=torch.where(observed, batch.pixels, torch.nan))


def split(batch: Batch, rows: int = 70) -> list[Batch]:
    return [batch[start : start + rows] for start in range(0, len(batch), rows)]


def fitted(batch: Batch, components: int = 3) -> PCA:
    torch.manual_seed(0)
    model = PCA(channels=batch.pixels.shape[1], size=batch.pixels.shape[2], components=components)
    model.finish(split(batch))
    return model.eval()


def covariance(model: PCA) -> Tensor:
    """(P, P) of the model's Gaussian, in double precision."""
    loadings = model.loadings.detach().double()
    return loadings.T @ loadings + torch.exp(2 * model.log_sigma.detach().double()) * torch.eye(loadings.shape[1])


def test_the_fit_is_scikit_learns() -> None:
    data = spread()
    model = fitted(data)
    flat = data.pixels.flatten(1).double().numpy()
    reference = ReferencePCA(3, svd_solver="full").fit(flat)
    # scikit-learn divides the scatter by N - 1, the maximum of the likelihood by N.
    expected = reference.get_covariance() * (len(flat) - 1) / len(flat)
    np.testing.assert_allclose(model.mean.detach().flatten(), reference.mean_, atol=1e-6)
    np.testing.assert_allclose(covariance(model), expected, atol=1e-5)
    residual = flat - reference.inverse_transform(reference.transform(flat))
    found = (data.pixels - model.reconstruct(data)).detach().flatten(1)
    np.testing.assert_allclose(found.double().norm(dim=1), np.linalg.norm(residual, axis=1), rtol=2e-2)


def test_density_is_the_marginal_over_each_objects_own_pixels() -> None:
    model = fitted(spread())
    holes = with_holes(spread(8, seed=5))
    mean, cov = model.mean.detach().double().flatten(), covariance(model)
    found = model.log_prob(holes).detach()
    for row, (pixels, seen) in enumerate(zip(holes.pixels.flatten(1), holes.observed.flatten(1), strict=True)):
        expected = 0.0
        if seen.any():
            expected = MultivariateNormal(mean[seen], cov[seen][:, seen]).log_prob(pixels[seen].double()).item()
        assert found[row].item() == pytest.approx(expected, abs=2e-3), row
    complete = holes[holes.observed.flatten(1).all(1)]
    assert 1 < len(complete) < len(holes), "both paths are compared"
    torch.testing.assert_close(model.log_prob(complete).detach(), found[holes.observed.flatten(1).all(1)])


def test_missing_pixels_are_rebuilt_from_those_observed() -> None:
    """The conditional mean of a Gaussian, by its covariance."""
    model = fitted(spread())
    holes = with_holes(spread(6, seed=6), share=0.5)[1:2]
    seen = holes.observed.flatten()
    mean, cov = model.mean.detach().double().flatten(), covariance(model)
    known = holes.pixels.flatten()[seen].double() - mean[seen]
    expected = mean[~seen] + cov[~seen][:, seen] @ torch.linalg.solve(cov[seen][:, seen], known)
    found = model.reconstruct(holes).detach().flatten()[~seen].double()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_passes_find_what_the_covariance_has(monkeypatch: pytest.MonkeyPatch) -> None:
    data = spread(channels=1, size=8, factors=5)
    exact = fitted(data, components=4)
    monkeypatch.setattr(principal_components, "LARGEST_COVARIANCE", 1)
    by_passes = fitted(data, components=4)
    torch.testing.assert_close(covariance(by_passes), covariance(exact), atol=1e-4, rtol=0)
    torch.testing.assert_close(by_passes.scatter, exact.scatter, rtol=1e-3, atol=0)


def test_fewer_objects_than_pixels_give_the_same_by_their_inner_products(monkeypatch: pytest.MonkeyPatch) -> None:
    data = spread(40, size=6, factors=5)
    by_inner_products = fitted(data, components=4)
    monkeypatch.setattr(principal_components, "_from_inner_products", None)
    monkeypatch.setattr(principal_components, "LARGEST_COVARIANCE", 72)
    with pytest.raises(TypeError):
        fitted(data, components=4)
    more = Batch.of(data.pixels.repeat(2, 1, 1, 1))
    torch.testing.assert_close(covariance(fitted(more, components=4)), covariance(by_inner_products))


def test_with_missing_pixels_the_likelihood_is_at_its_maximum() -> None:
    """No direction of any parameter raises it: the gradient is a hundred times smaller than a little way off."""
    holes = with_holes(spread(400))
    model = fitted(holes)
    sizes = []
    for away in (0.0, 0.02):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(away * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
        model.zero_grad()
        model.loss(holes, "pca").backward()
        sizes.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item())
    assert sizes[0] < 0.01 * sizes[1], sizes
    truth = fitted(spread(400))
    assert fitted(holes).log_sigma.item() == pytest.approx(truth.log_sigma.item(), abs=0.03)


def test_a_pixel_counts_by_its_own_scatter() -> None:
    """A residual of the same size is odder where galaxies hardly vary than where they always do."""
    draw = torch.Generator().manual_seed(2)
    scatter = torch.full((1, 6, 6), 0.05)
    scatter[:, 2:4, 2:4] = 0.5
    model = fitted(Batch.of(scatter * torch.randn(400, 1, 6, 6, generator=draw)), components=1)
    torch.testing.assert_close(model.scatter[0, 0, 0], scatter[0, 0, 0], rtol=0.15, atol=0)
    odd = torch.zeros(2, 1, 6, 6)
    odd[0, 0, 0, 0] = odd[1, 0, 2, 2] = 1.0
    found = model.score(Batch.of(odd))
    assert found["residual"][0] > 4 * found["residual"][1]
    assert found["reconstruction"][0] == pytest.approx(1 / 36, rel=0.1)
    empty = model.score(Batch(odd, torch.zeros_like(odd, dtype=torch.bool)))
    assert all((values == 0).all() for values in empty.values())


def test_samples_follow_the_density() -> None:
    model = fitted(spread())
    drawn = model.sample(20_000, torch.Generator().manual_seed(4)).flatten(1).double()
    torch.testing.assert_close(
        torch.cov(drawn.T), covariance(model), atol=0.05 * float(covariance(model).max()), rtol=0
    )
    entropy = 0.5 * torch.logdet(2 * math.pi * math.e * covariance(model)).item()
    found = -model.log_prob(Batch.of(drawn.float().view(-1, 2, 5, 5))).mean().item()
    assert found == pytest.approx(entropy, abs=0.2)


def test_fewer_objects_than_components() -> None:
    model = fitted(spread(3), components=10)
    assert all(values.isfinite().all() for values in model.score(spread(20, seed=8)).values())
    assert model.sample(2).isfinite().all()


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(SpecError, match=r"components is 16, but a cutout of 1 band\(s\) of 4 x 4 has 16 pixels"):
        PCA(channels=1, size=4, components=16)
    assert PCA(channels=1, size=4).components == 15
    assert PCA(channels=3, size=32).components == 64
    model = PCA(channels=2, size=5, components=3)
    with pytest.raises(ModelError, match=r"give batches that can be read several times"):
        model.finish(iter(()))
    with pytest.raises(ModelError, match=r"PCA has no player 'critic'"):
        model.loss(spread(3), "critic")
