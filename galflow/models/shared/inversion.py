"""Anomaly scores by inversion of a generator: the mixed score of the papers, and the refinement of latents.

AS = lambda * G + (1 - lambda) * C (Schlegl+17, equation 5; Schlegl+19; Storey-Fisher+21, section 3.2) with
G = mean |x - G(z*)| over observed pixels and C = mean |f(x) - f(G(z*))| over the critic's last convolutional features.
The papers take G and C as they are; galflow first divides each by its median over training objects (score_scale.py),
so that lambda is the share of G in the score of a typical object. It knows no network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from galflow.errors import SpecError


def mix_from_feature_weight(feature_weight: float) -> float:
    """Our lambda (the weight of the residual G) for a published weight of the feature term C.

    Storey-Fisher+21 write s = (1 - l) G + l C with l = 0.3: lambda = 0.7. Schlegl+17's l = 0.1 is lambda = 0.9.
    """
    return check_mix(1.0 - feature_weight)


def check_mix(mix: float) -> float:
    """``mix`` itself, refused where it is not a weight."""
    if not 0.0 <= mix <= 1.0:
        raise SpecError(
            f"mix is {mix!r}; lambda in AS = lambda*G + (1-lambda)*C must lie in 0..1 (1: residual only). "
            "Papers that weigh the feature term instead are converted by inversion.mix_from_feature_weight"
        )
    return mix


def mean_per_object(values: Tensor, observed: Tensor | None = None) -> Tensor:
    """(B,) means over all but the first dimension, of observed entries only; 0 for an object that has none."""
    if observed is None:
        return values.flatten(1).mean(1)
    total = torch.where(observed, values, torch.zeros_like(values)).flatten(1).sum(1)
    return total / observed.flatten(1).sum(1).clamp(min=1)


def refine_latents(objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, rate: float) -> Tensor:
    """(B, D) latents after ``steps`` Adam steps from ``start`` down ``objective``: latents (B, D) -> (B,).

    Objects do not touch each other: the sum of their objectives is descended and Adam works element by element, so
    the split into batches does not matter. Each object keeps the best latents it met, so its objective never rises.
    """
    with torch.inference_mode(False), torch.enable_grad():
        latents = start.detach().clone().requires_grad_()
        best = latents.detach().clone()
        lowest = torch.full_like(best[:, 0], torch.inf)
        # eps well above rounding noise: a vanishing gradient must not become a full step of random sign
        adam = torch.optim.Adam([latents], lr=rate, betas=(0.5, 0.9), eps=1e-5)
        for step in range(steps + 1):
            value = objective(latents)
            better = value.detach() < lowest
            best = torch.where(better[:, None], latents.detach(), best)
            lowest = torch.where(better, value.detach(), lowest)
            if step < steps:
                # Only the latents' gradients: the network's own must stay as the training left them.
                (latents.grad,) = torch.autograd.grad(value.sum(), latents)
                adam.step()
    return best
