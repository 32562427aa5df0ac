"""VAE: the KL against torch.distributions, the bound against a marginal likelihood that is known exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy.stats import median_abs_deviation
from torch import Tensor, distributions, nn

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.models.vae import LOG_VARIANCE_BOUND, VAE, kl_to_standard_normal

SIGMA = 0.5


class LinearDecoder(nn.Module):
    """x = W z, W of shape (pixels, latents)."""

    def __init__(self, matrix: Tensor, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.matrix = matrix
        self.shape = shape

    def forward(self, latents: Tensor) -> Tensor:
        return (latents @ self.matrix.T).view(-1, *self.shape)


class LinearEncoder(nn.Module):
    """Posterior mean = A x + shift, constant posterior variance; both known in closed form for a linear decoder."""

    def __init__(self, matrix: Tensor, variance: Tensor, shift: float = 0.0) -> None:
        super().__init__()
        self.matrix, self.variance, self.shift = matrix, variance, shift

    def forward(self, pixels: Tensor) -> Tensor:
        mean = pixels.flatten(1) @ self.matrix.T + self.shift
        raw = LOG_VARIANCE_BOUND * torch.atanh(self.variance.log() / LOG_VARIANCE_BOUND)
        return torch.cat([mean, raw.expand_as(mean)], dim=1)


def linear_case() -> tuple[VAE, Batch, Tensor, LinearEncoder]:
    """A VAE whose marginal p(x) = N(0, W W^T + sigma^2) is known; log p(x); and the exact posterior.

    W has orthogonal columns, so that the exact posterior is diagonal and the bound can be reached.
    """
    draw = torch.Generator().manual_seed(1)
    orthogonal = torch.linalg.qr(torch.randn(64, 3, generator=draw)).Q
    matrix = orthogonal * torch.tensor([3.0, 1.5, 0.7])
    model = VAE(channels=1, size=8, latent=3, width=4, sigma=SIGMA, learn_sigma=False)
    model.decoder = LinearDecoder(matrix, (1, 8, 8))
    latents = torch.randn(6, 3, generator=draw)
    pixels = latents @ matrix.T + SIGMA * torch.randn(6, 64, generator=draw)
    marginal = distributions.MultivariateNormal(torch.zeros(64), matrix @ matrix.T + SIGMA**2 * torch.eye(64))
    variance = 1.0 / (1.0 + matrix.square().sum(0) / SIGMA**2)
    exact = LinearEncoder(variance[:, None] * matrix.T / SIGMA**2, variance)
    return model, Batch.of(pixels.view(6, 1, 8, 8)), marginal.log_prob(pixels), exact


def mean_elbo(model: VAE, batch: Batch, draws: int = 4000) -> tuple[Tensor, Tensor]:
    """Mean over draws and its standard error, each (B,)."""
    torch.manual_seed(2)
    rows = torch.arange(len(batch)).repeat_interleave(draws)
    with torch.no_grad():
        found = model.elbo(batch[rows]).view(len(batch), draws)
    return found.mean(1), found.std(1) / draws**0.5


def test_kl_agrees_with_torch_distributions() -> None:
    draw = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(5, 4, generator=draw), torch.randn(5, 4, generator=draw)
    posterior = distributions.Normal(mean, torch.exp(0.5 * log_variance))
    expected = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)


def test_elbo_with_the_exact_posterior_is_the_log_likelihood() -> None:
    model, batch, log_likelihood, exact = linear_case()
    model.encoder = exact
    mean, error = mean_elbo(model, batch)
    assert ((mean - log_likelihood).abs() < 5 * error).all()
    assert error.max().item() < 0.1


@pytest.mark.parametrize(("widening", "shift"), [(4.0, 0.0), (0.3, 0.0), (1.0, 0.4)])
def test_elbo_with_another_posterior_lies_below(widening: float, shift: float) -> None:
    """Below by exactly KL(q || exact posterior), which is known here."""
    model, batch, log_likelihood, exact = linear_case()
    model.encoder = LinearEncoder(exact.matrix, exact.variance * widening, shift)
    mean, error = mean_elbo(model, batch)
    assert (mean < log_likelihood - 0.1).all()
    gap = 0.5 * (widening - 1 - torch.log(torch.tensor(widening)) + shift**2 / exact.variance).sum()
    if shift == 0.0:
        gap = 3 * 0.5 * (widening - 1 - torch.log(torch.tensor(widening)))
    assert ((log_likelihood - mean - gap).abs() < 5 * error).all()


def test_loss_is_minus_the_elbo_per_observed_pixel() -> None:
    model, batch, _, exact = linear_case()
    model.encoder = exact
    observed = torch.rand(batch.pixels.shape, generator=torch.Generator().manual_seed(3)) > 0.3
    holes = Batch(batch.pixels, observed)
    torch.manual_seed(4)
    loss = model.loss(holes, "vae")
    torch.manual_seed(4)
    mean, log_variance = model.posterior(holes)
    latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    likelihood = distributions.Normal(model.decoder(latents), SIGMA).log_prob(batch.pixels)[observed].sum()
    kl = distributions.kl_divergence(
        distributions.Normal(mean, torch.exp(0.5 * log_variance)), distributions.Normal(0.0, 1.0)
    ).sum()
    torch.testing.assert_close(loss, -(likelihood - kl) / observed.sum())


def test_score_is_the_loss_at_the_posterior_mean() -> None:
    torch.manual_seed(0)
    model = VAE.tiny()
    batch = Batch.of(0.1 * torch.randn(3, 2, 8, 8))
    scores = model.score(batch)
    mean, log_variance = model.posterior(batch)
    sigma = model.noise_variance().sqrt()
    likelihood = distributions.Normal(model.decoder(mean), sigma).log_prob(batch.pixels).sum((1, 2, 3))
    kl = kl_to_standard_normal(mean, log_variance)
    torch.testing.assert_close(scores["neg_elbo"], (-(likelihood - kl) / 128).detach())
    torch.testing.assert_close(scores["kl"], kl.detach())
    residual = (model.reconstruct(batch) - batch.pixels).square().mean((1, 2, 3))
    torch.testing.assert_close(scores["reconstruction"], residual.detach())


def test_learnt_noise_starts_at_the_sky(blobs: Callable[..., Batch]) -> None:
    model = VAE.tiny()
    data = blobs(model, 64)
    model.initialise(data)
    expected = median_abs_deviation(data.pixels.transpose(0, 1).flatten(1).numpy(), axis=1, scale="normal")
    assert model.noise_variance().sqrt().flatten().tolist() == pytest.approx(expected.tolist(), rel=5e-3)


def test_learnt_noise_comes_to_rest_at_the_residuals() -> None:
    """With everything else held, the loss is least where each band's variance is its mean squared residual."""
    torch.manual_seed(0)
    model = VAE(channels=2, size=8, latent=4, width=8)
    batch = Batch.of(torch.randn(16, 2, 8, 8) * torch.tensor([0.1, 0.4]).view(1, 2, 1, 1))

    def gradient(variance: Tensor) -> Tensor:
        with torch.no_grad():
            model.log_sigma.copy_(0.5 * torch.log(variance))
        model.zero_grad()
        torch.manual_seed(1)
        model.loss(batch, "vae").backward()
        assert model.log_sigma.grad is not None
        return model.log_sigma.grad

    torch.manual_seed(1)
    mean, log_variance = model.posterior(batch)
    latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    residual = (model.decoder(latents) - batch.pixels).square().mean((0, 2, 3)).detach()
    assert (gradient(residual).abs() < 1e-3).all()
    assert (gradient(1.2 * residual) > 0.05).all()
    assert (gradient(residual / 1.2) < -0.05).all()


def test_noise_start_ignores_missing_pixels() -> None:
    model = VAE(channels=2, size=8, width=8)
    pixels = 0.05 * torch.randn(40, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    observed = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(2)) > 0.6
    observed[:, 1] = False
    model.initialise(Batch(torch.where(observed, pixels, torch.nan), observed))
    sigma = model.noise_variance().sqrt().flatten().tolist()
    assert sigma[0] == pytest.approx(0.05, rel=0.1)
    assert sigma[1] == pytest.approx(0.1, rel=1e-3), "a band without any pixel keeps the declared noise"


def test_declared_noise_is_no_parameter_and_stays() -> None:
    model = VAE(channels=1, size=8, width=8, sigma=0.07, learn_sigma=False)
    model.initialise(Batch.of(torch.rand(4, 1, 8, 8)))
    assert "log_sigma" not in dict(model.named_parameters())
    assert model.noise_variance().item() == pytest.approx(0.0049, rel=1e-5)


def test_an_absurd_image_still_has_finite_numbers() -> None:
    torch.manual_seed(0)
    model = VAE.tiny()
    scores = model.score(Batch.of(torch.full((1, 2, 8, 8), 1e6)))
    assert all(values.isfinite().all() for values in scores.values())


def test_samples_carry_the_noise() -> None:
    model, _, _, _ = linear_case()
    drawn = model.sample(20_000, torch.Generator().manual_seed(5)).flatten(1)
    matrix = model.decoder.matrix
    assert isinstance(matrix, Tensor)
    torch.testing.assert_close(torch.cov(drawn.T), matrix @ matrix.T + SIGMA**2 * torch.eye(64), atol=0.08, rtol=0)


def test_refuses_options_without_meaning() -> None:
    with pytest.raises(SpecError, match=r"sigma is 0; it is a noise in stretched units and must be positive"):
        VAE(channels=1, size=8, sigma=0)
    with pytest.raises(SpecError, match=r"latent is 0; a VAE needs at least one"):
        VAE(channels=1, size=8, latent=0)
