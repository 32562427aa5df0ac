"""A codebook that learns by moving averages, revives its dead codes, and says how much of it is in use.

``vector_quantize_pytorch.VectorQuantize`` has the same rule of learning (a test holds ours to it), but does not keep
our models' promises: it moves its codebook in every forward pass in training mode, so that evaluating a loss twice
gives two values; its threshold for dead codes is a number of vectors, which means something else for every batch and
grid size; and whether several workers share their sums is settled when it is built, before they know of each other.

Here the codebook moves in the *backward* pass, like every other weight: a loss that nobody differentiates (validation,
scores, diagnostics) changes nothing. This file knows no image, no prior and no optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as workers
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.errors import SpecError

SMOOTHING = 1e-5
"""Laplace smoothing of the codes' counts (van den Oord+17, appendix A.1): no code divides by zero."""


@dataclass(frozen=True)
class Quantised:
    """What a codebook makes of (B, D, H, W) vectors."""

    vectors: Tensor
    """(B, D, H, W) each vector's nearest code; its gradient goes to the vector itself (straight through)."""
    codes: Tensor
    """(B, H, W) int64 row of the codebook."""
    commitment: Tensor
    """(B,) mean squared distance from vectors to their codes; its gradient draws the vectors to the codes."""


class Quantiser(nn.Module):
    """A codebook of ``codes`` vectors of ``dimensions`` numbers, learnt by moving averages (van den Oord+17).

    With n_k the vectors nearest to code k in a batch and s_k their sum: N_k <- d N_k + (1 - d) n_k, likewise S_k, and
    e_k = S_k / N_k. A code whose N_k has fallen below ``revive_below`` of the codes' mean is dead: it is put on a
    vector of the batch, drawn with torch's global generator, as if it had been in average use.
    Several workers of ``torch.distributed`` add their n_k and s_k and revive with the first worker's vectors, so that
    their codebooks stay the same.

    The nearest code is that of the least squared distance, the first in case of a tie. A vector as far from one code
    as from another, to the last digit, may change sides with whatever changes that digit; nothing can be done about it.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, *, codes: int, dimensions: int, decay: float = 0.99, revive_below: float = 0.1) -> None:
        super().__init__()
        if codes < 2 or dimensions < 1:
            raise SpecError(
                f"a codebook of {codes} codes of {dimensions} numbers tells nothing apart; "
                "give at least 2 codes of at least 1 number, such as 128 of 16"
            )
        if not (0 <= decay < 1 and 0 <= revive_below < 1):
            raise SpecError(
                f"decay is {decay} and revive_below {revive_below}; both must lie in [0, 1), such as 0.99 and 0.1"
            )
        self.codes, self.dimensions = codes, dimensions
        self.decay, self.revive_below = decay, revive_below
        start = torch.randn(codes, dimensions)
        self.register_buffer("codebook", start)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", start.clone())

    def nearest(self, vectors: Tensor) -> Tensor:
        """(B, H, W) int64 nearest codes of ``vectors`` (B, D, H, W); in single precision at least."""
        precision = torch.promote_types(vectors.dtype, torch.float32)
        rows, codebook = _rows(vectors).to(precision), self.codebook.to(precision)
        with torch.autocast(vectors.device.type, enabled=False):
            # |v - e|^2 less |v|^2, which is the same for all codes.
            distance = codebook.square().sum(1) - 2 * rows @ codebook.T
        return distance.argmin(1).view(len(vectors), *vectors.shape[2:])

    def lookup(self, codes: Tensor) -> Tensor:
        """(B, D, H, W) vectors of ``codes`` (B, H, W)."""
        return self.codebook[codes].movedim(-1, 1)

    def forward(self, vectors: Tensor, counted: Tensor | None = None) -> Quantised:
        """The nearest codes of ``vectors`` (B, D, H, W).

        In training mode the backward pass through the result moves the codebook, by the vectors of the objects that
        are ``counted`` (B,) bool; by default all.
        """
        codes = self.nearest(vectors.detach())
        chosen = self.lookup(codes).to(vectors.dtype)
        if self.training and vectors.requires_grad:
            vectors.register_hook(lambda _: self._learn(vectors.detach(), codes, counted))
        straight_through = vectors + (chosen - vectors).detach()
        return Quantised(straight_through, codes, (vectors - chosen).square().mean((1, 2, 3)))

    def _learn(self, vectors: Tensor, codes: Tensor, counted: Tensor | None) -> None:
        if counted is not None:
            vectors, codes = vectors[counted], codes[counted]
        self.update(_rows(vectors), codes.flatten())

    @torch.no_grad()
    def start(self, vectors: Tensor) -> None:
        """Put the codes on vectors of ``vectors`` (B, D, H, W), drawn with torch's global generator."""
        rows = _rows(vectors).to(self.codebook)
        if not len(rows):
            return
        order = torch.randperm(len(rows), device=rows.device)
        self.codebook.copy_(rows[order[torch.arange(self.codes, device=rows.device) % len(rows)]])
        self.counts.fill_(len(rows) / self.codes)
        self.sums.copy_(self.codebook * self.counts[:, None])

    @torch.no_grad()
    def update(self, rows: Tensor, codes: Tensor) -> None:
        """One step of the moving averages with ``rows`` (N, D) and their ``codes`` (N,); then the dead are revived."""
        rows = rows.to(self.codebook)
        member = F.one_hot(codes, self.codes).to(rows)
        with torch.autocast(rows.device.type, enabled=False):
            seen, total = member.sum(0), member.T @ rows
        revived, any_row = self._candidates(rows)
        if _several_workers():
            for part in (seen, total):
                workers.all_reduce(part)
            for part in (revived, any_row):
                workers.broadcast(part, src=0)
        if not float(seen.sum()):  # No object of the batch has an observed pixel.
            return
        self.counts.lerp_(seen, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        everything = self.counts.sum()
        smoothed = (self.counts + SMOOTHING) / (everything + self.codes * SMOOTHING) * everything
        fresh = everything / self.codes
        dead = ((self.counts < self.revive_below * fresh) & (any_row > 0))[:, None]
        self.codebook.copy_(torch.where(dead, revived, self.sums / smoothed[:, None]))
        self.sums.copy_(torch.where(dead, revived * fresh, self.sums))
        self.counts.copy_(torch.where(dead[:, 0], fresh, self.counts))

    def _candidates(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(K, D) vectors of the batch for codes that might be dead, and (1,) whether there are any."""
        if not len(rows):
            return torch.zeros_like(self.codebook), self.counts.new_zeros(1)
        # One draw for every code, dead or not: what is drawn later does not depend on how many are dead.
        drawn = torch.randint(len(rows), (self.codes,), device=rows.device)
        return rows[drawn], self.counts.new_ones(1)

    def usage(self) -> float:
        """Perplexity of the moving counts: in how many codes the training's vectors lie, if they shared evenly."""
        return float(perplexity(self.counts))


def perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of ``counts`` (K,): K if all codes are used alike, 1 if a single one is, 0 if none."""
    share = counts.double() / counts.double().sum().clamp_min(1e-300)
    return torch.special.entr(share).sum().exp() * (counts.sum() > 0)


def code_counts(codes: Tensor, size: int) -> Tensor:
    """(size,) how often each code stands in ``codes`` (any shape, int64)."""
    return torch.bincount(codes.flatten(), minlength=size)


def _rows(vectors: Tensor) -> Tensor:
    """(B H W, D) of (B, D, H, W)."""
    return vectors.movedim(1, -1).reshape(-1, vectors.shape[1])


def _several_workers() -> bool:
    return workers.is_available() and workers.is_initialized() and workers.get_world_size() > 1
