"""The arithmetic of x = mean + z W + noise with normal latents z, when every object misses other pixels.

Everything happens in the k latent dimensions: no matrix of pixels by pixels is ever made, and an incomplete object
costs in proportion to the pixels that it misses. This file knows no batch and no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_MOST_ENTRIES = 1 << 21
"""Numbers in the loadings gathered for some objects at a time: 16 MB in double precision."""


@dataclass(frozen=True)
class MissingLoadings:
    """Some objects of like completeness, with the loadings of the pixels that each of them misses."""

    rows: Tensor
    """(B,) which objects they are."""
    pixels: Tensor
    """(B, m) indices of the missing pixels; where an object misses fewer than m, any."""
    counts: Tensor
    """(B, m) 1.0 where ``pixels`` is a missing pixel, else 0.0."""
    loadings: Tensor
    """(B, m, k) loadings of the missing pixels; 0 where there is none."""


def missing_loadings(loadings: Tensor, observed: Tensor) -> Iterator[MissingLoadings]:
    """The incomplete objects of ``observed`` (B, P), some at a time, with their share of ``loadings`` (k, P)."""
    lost = observed.shape[1] - observed.sum(1)
    order = lost.argsort(descending=True, stable=True)
    order = order[: int((lost > 0).sum())]
    transposed = loadings.T.contiguous()
    while len(order):
        widest = int(lost[order[0]])
        rows = order[: max(1, _MOST_ENTRIES // max(1, widest * len(loadings)))]
        order = order[len(rows) :]
        row, pixel = (~observed[rows]).nonzero(as_tuple=True)
        starts = lost[rows].cumsum(0) - lost[rows]
        place = torch.arange(len(row), device=row.device) - starts[row]
        pixels = torch.zeros(len(rows), widest, dtype=torch.int64, device=row.device)
        counts = torch.zeros(len(rows), widest, dtype=loadings.dtype, device=row.device)
        pixels[row, place] = pixel
        counts[row, place] = 1.0
        gathered = transposed.index_select(0, pixels.flatten()).view(len(rows), widest, len(loadings))
        yield MissingLoadings(rows, pixels, counts, gathered * counts[:, :, None])


def cholesky_of_precision(loadings: Tensor, variance: Tensor, observed: Tensor) -> Tensor:
    """Cholesky factors of M = W_o W_o^T + variance, each object's W_o being the loadings of its observed pixels.

    M / variance is the precision of the posterior of the latents. ``loadings`` (k, P), ``variance`` (), ``observed``
    (B, P); the result is (1, k, k) where all objects are complete, else (B, k, k) in double precision: there, what is
    missing is subtracted, and galaxies may vary a million times as much as the noise.
    """
    k, every = len(loadings), bool(observed.all())
    if not every:
        loadings, variance = loadings.double(), variance.double()
    complete = loadings @ loadings.T + variance * torch.eye(k, dtype=loadings.dtype, device=loadings.device)
    if every:
        return torch.linalg.cholesky(complete)[None]
    rows, parts = [], []
    for lost in missing_loadings(loadings, observed):
        rows.append(lost.rows)
        parts.append(complete - lost.loadings.mT @ lost.loadings)
    precisions = complete.expand(len(observed), k, k).index_copy(0, torch.cat(rows), torch.cat(parts))
    return torch.linalg.cholesky(precisions)


def posterior_mean(factors: Tensor, projections: Tensor) -> Tensor:
    """(B, k) M^-1 W (x - mean), given the factors (1 or B, k, k) of M and ``projections`` = W (x - mean), (B, k)."""
    if len(factors) == 1:
        return torch.cholesky_solve(projections.T, factors[0]).T
    return torch.cholesky_solve(projections[:, :, None], factors)[:, :, 0]


def log_determinants(factors: Tensor) -> Tensor:
    """(1 or B,) log|det M| of its Cholesky factors."""
    return 2 * factors.diagonal(dim1=1, dim2=2).log().sum(1)
