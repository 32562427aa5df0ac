"""A mixture of Gaussians on latents, fitted by scikit-learn and asked by torch. It knows no image and no model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from galflow.errors import SpecError
from galflow.layers.images.blocks import random_choice, standard_normal

COVARIANCE_FLOOR = 1e-4
"""Least variance of a component in any direction, in units of the latents' mean variance."""
EM_STEPS = 200
EM_TOLERANCE = 1e-6
"""EM ends when the bound on the mean log-density rises by less than this many nats."""
EM_SEED = 20
"""Of the k-means++ start: the same latents give the same mixture."""
MEAN_PRIOR_OBJECTS = 1e-2
"""A component's mean is drawn to the mean of all latents as by so many objects there."""


class GaussianMixture(nn.Module):
    """Mixture of ``components`` Gaussians with full covariances in ``dimensions`` dimensions, all in buffers.

    Until ``fit`` is called it is a standard normal.
    """

    log_weights: Tensor
    means: Tensor
    whitenings: Tensor

    def __init__(self, *, components: int, dimensions: int) -> None:
        super().__init__()
        if components < 1:
            raise SpecError(f"components is {components}; a mixture needs at least one, such as 8")
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.register_buffer("means", torch.zeros(components, dimensions))
        # Inverse Cholesky factors W with covariance (W^T W)^-1: a density is then one matrix product per component.
        self.register_buffer("whitenings", torch.eye(dimensions).expand(components, -1, -1).clone())

    def joint_log_prob(self, points: Tensor) -> Tensor:
        """(N, K) log of weight times density, in nats, of ``points`` (N, D)."""
        white = torch.einsum("kij,nkj->nki", self.whitenings, points[:, None, :] - self.means)
        log_det = self.whitenings.diagonal(dim1=1, dim2=2).log().sum(1)
        normal = -0.5 * white.square().sum(2) - 0.5 * points.shape[1] * math.log(2 * math.pi)
        return self.log_weights + log_det + normal

    def log_prob(self, points: Tensor) -> Tensor:
        """(N,) log-density in nats of ``points`` (N, D)."""
        return torch.logsumexp(self.joint_log_prob(points), dim=1)

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Expectation-maximisation on ``points`` (N, D) by scikit-learn, in double precision, with a fixed seed.

        Covariances carry the conjugate prior of Fraley & Raftery 07 (J. Classif. 24, 155): scale = the points'
        covariance / K^(2/D), D + 2 degrees of freedom. It fades with N and keeps small components from collapsing.
        Weights count one object more in each component: none dies out.
        """
        from sklearn.mixture import BayesianGaussianMixture

        components, dimensions = self.means.shape
        x = points.double().cpu()
        x = x.repeat(-(-max(components, 2) // len(x)), 1)  # scikit-learn wants two points, and one for each component
        spread = torch.atleast_2d(torch.cov(x.T, correction=0))
        floor = float(COVARIANCE_FLOOR * spread.diagonal().mean() + 1e-12)
        prior = spread / components ** (2 / dimensions) + floor * torch.eye(dimensions, dtype=x.dtype)
        fitted = BayesianGaussianMixture(
            n_components=components,
            weight_concentration_prior_type="dirichlet_distribution",
            weight_concentration_prior=1.0,
            mean_precision_prior=MEAN_PRIOR_OBJECTS,
            covariance_prior=prior.numpy(),
            degrees_of_freedom_prior=dimensions + 2,
            reg_covar=floor,
            init_params="k-means++",
            max_iter=EM_STEPS,
            tol=EM_TOLERANCE * len(x),
            random_state=EM_SEED,
        ).fit(x.numpy())
        self.log_weights.copy_(torch.from_numpy(fitted.weights_).log())
        self.means.copy_(torch.from_numpy(fitted.means_))
        self.whitenings.copy_(torch.from_numpy(fitted.precisions_cholesky_).mT)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, D) draws."""
        chosen = random_choice(self.log_weights.exp(), n, generator)
        noise = standard_normal((n, self.means.shape[1]), generator, self.means)
        step = torch.linalg.solve_triangular(self.whitenings[chosen], noise[:, :, None], upper=False)[:, :, 0]
        return self.means[chosen] + step
