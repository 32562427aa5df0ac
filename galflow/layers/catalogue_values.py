"""Catalogue values as a network is to see them: standardised, each with a flag that says whether it is known.

A value that the catalogue lacks is a fact that a network is told, not a number. This file knows no image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from galflow.errors import ModelError

_LEAST_SCALE = 1e-6
KEPT_ROWS = 4096
"""Rows of the training catalogue that draws are made for."""


class CatalogueValues(nn.Module):
    """Raw values (B, K), NaN where unknown -> ``context`` (B, 2 K): values and flags.

    Values have zero mean and unit variance in the training set (``standardise``) and are 0 where unknown.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, conditions: int) -> None:
        super().__init__()
        self.conditions = conditions
        self.register_buffer("centre", torch.zeros(conditions))
        self.register_buffer("scale", torch.ones(conditions))

    @torch.no_grad()
    def standardise(self, conditions: Tensor) -> None:
        """Take mean and standard deviation of each condition from (N, K) values; a column all NaN gets 0 and 1."""
        known = conditions.isfinite()
        count = known.sum(0)
        values = torch.where(known, conditions, 0)
        mean = values.sum(0) / count.clamp_min(1)
        deviation = torch.where(known, conditions - mean, 0)
        spread = (deviation.square().sum(0) / count.clamp_min(1)).sqrt()
        self.centre.copy_(mean)
        self.scale.copy_(torch.where(spread > _LEAST_SCALE, spread, torch.ones_like(spread)))

    def context(self, conditions: Tensor) -> Tensor:
        """(B, 2 K) standardised values and flags of raw conditions (B, K)."""
        if conditions.ndim != 2 or conditions.shape[1] != self.conditions:
            raise ModelError(
                f"conditions of shape {tuple(conditions.shape)} do not fit a network given {self.conditions} value(s) "
                "an object; give (B, K) catalogue values in the order of the model's conditions, NaN where unknown"
            )
        known = conditions.isfinite()
        values = torch.where(known, (conditions.to(self.scale) - self.centre) / self.scale, 0.0)
        return torch.cat([values, known.to(values)], dim=1)


def kept_rows(contexts: Tensor) -> Tensor:
    """At most ``KEPT_ROWS`` of the rows of ``contexts`` (N, D), evenly chosen."""
    kept = min(len(contexts), KEPT_ROWS)
    return contexts[torch.linspace(0, len(contexts) - 1, kept, device=contexts.device).long()]


def drawn_rows(contexts: Tensor, kept: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """(n, D): rows drawn with equal chances from the first ``kept`` of ``contexts`` (KEPT_ROWS, D)."""
    device = contexts.device if generator is None else generator.device
    return contexts[torch.randint(int(kept), (n,), generator=generator, device=device).to(contexts.device)]
