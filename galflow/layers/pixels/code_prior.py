"""PixelCNN priors over grids of codes: the probability of a grid, alone or given a coarser one, and draws of it.

The codes are names without an order; what they look like is the business of the model that owns the codebook.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.errors import ModelError, SpecError
from galflow.layers.pixels.gated_stack import GatedStack

EMBEDDING = 16
"""Numbers that stand for a code in what the network sees: as many as a code's own vector has by default."""


class CodePrior(nn.Module):
    """p(codes) = product over cells in raster order of p(code | codes before it), by a gated PixelCNN.

    ``grid`` cells on a side, ``codes`` different codes. Each cell has its own learnt place vector, as galaxies sit in
    the middle of cutouts. With ``coarser_codes`` the probability is given a grid of half the resolution
    (Razavi+19, section 3.2): each cell sees the coarse codes around it, ahead of it in raster order too.
    """

    def __init__(self, *, codes: int, grid: int, width: int, layers: int, coarser_codes: int = 0) -> None:
        super().__init__()
        if codes < 2 or grid < 1 or (coarser_codes and grid % 2):
            raise SpecError(
                f"a prior over {grid} x {grid} cells of {codes} codes, given {coarser_codes} coarser ones, cannot be "
                "built; it needs at least 2 codes and one cell, and an even number of cells where it is given others"
            )
        self.codes, self.grid, self.coarser_codes = codes, grid, coarser_codes
        self.embed = nn.Embedding(codes, EMBEDDING)
        self.place = nn.Parameter(torch.zeros(width, grid, grid))
        self.coarser: nn.Module = nn.Identity()
        if coarser_codes:
            self.coarse_embed = nn.Embedding(coarser_codes, EMBEDDING)
            self.coarser = nn.Sequential(
                nn.Conv2d(EMBEDDING, width, 3, padding=1),
                nn.SiLU(),
                nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
        self.stack = GatedStack(EMBEDDING, width, layers, condition=width)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, codes))

    def _condition(self, n: int, coarse: Tensor | None) -> Tensor:
        """(n, width, grid, grid): what is known of every cell beforehand."""
        if (coarse is not None) != bool(self.coarser_codes):
            raise ModelError(
                f"a prior built with coarser_codes={self.coarser_codes} was given "
                f"{'no coarse codes' if coarse is None else 'coarse codes'}; pass them if, and only if, it was built so"
            )
        place = self.place.expand(n, -1, -1, -1)
        return place if coarse is None else place + self.coarser(self.coarse_embed(coarse).movedim(-1, 1))

    def logits(self, codes: Tensor, coarse: Tensor | None = None) -> Tensor:
        """(B, grid, grid, K) logits of each cell given the ``codes`` (B, grid, grid) before it."""
        context = self.embed(codes).movedim(-1, 1)
        return self.head(self.stack(context, self._condition(len(codes), coarse)).movedim(1, -1))

    def log_prob(self, codes: Tensor, coarse: Tensor | None = None) -> Tensor:
        """(B,) natural log-probability of ``codes`` (B, grid, grid), given ``coarse`` (B, grid/2, grid/2) if any."""
        log_share = F.log_softmax(self.logits(codes, coarse), dim=-1)
        return log_share.gather(-1, codes[..., None]).sum((1, 2, 3))

    @torch.no_grad()
    def draw(self, n: int, generator: torch.Generator | None = None, coarse: Tensor | None = None) -> Tensor:
        """(n, grid, grid) codes, cell by cell from cached activations; random numbers come from ``generator``."""
        device = self.place.device if generator is None else generator.device
        drawn = torch.empty(n, self.grid**2, dtype=torch.int64, device=self.place.device)
        dtype = self.place.dtype
        cache = self.stack.cached(n, self.grid, self.grid, self._condition(n, coarse))
        context: Tensor | None = None
        for cell in range(self.grid**2):
            share = F.softmax(self.head(cache.step(context).to(dtype)), dim=-1, dtype=torch.float32)
            chosen = torch.multinomial(share.to(device), 1, generator=generator)[:, 0].to(drawn.device)
            drawn[:, cell] = chosen
            context = cast(Tensor, self.embed(chosen))
        return drawn.view(n, self.grid, self.grid)
