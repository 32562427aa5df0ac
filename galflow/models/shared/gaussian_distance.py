"""How far a point lies from all others in units of their own scatter, whatever its direction (Mahalanobis 36)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 0.1
"""Added to each feature's variance, which is about 1: few objects do not tell many features' correlations."""
LINEAR = 4.0
"""Robust standard deviations up to which a feature counts as it is; beyond, by its arcsinh."""


class GaussianDistance(nn.Module):
    """The Mahalanobis distance over the square root of the number of features: 1 is typical.

    Features come scaled robustly. Their tails are bent inwards before and the covariance is taken with a ridge, so that
    a few far outliers among the training objects do not stretch it.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("whitening", torch.eye(features))

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Mean and covariance of ``points`` (N, F)."""
        bent = _bent(points.double())
        mean = bent.mean(0)
        centred = bent - mean
        covariance = centred.T @ centred / max(1, len(points) - 1)
        identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        factor = torch.linalg.cholesky(covariance + RIDGE * identity)
        self.mean.copy_(mean)
        self.whitening.copy_(torch.linalg.solve_triangular(factor, identity, upper=False))

    def forward(self, points: Tensor) -> Tensor:
        """(B,) distances of ``points`` (B, F)."""
        return ((_bent(points) - self.mean) @ self.whitening.T).square().mean(1).sqrt()


def _bent(points: Tensor) -> Tensor:
    return LINEAR * torch.asinh(points / LINEAR)
