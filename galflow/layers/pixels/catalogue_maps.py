"""What a catalogue says of an object, at every pixel: maps for a gated stack that knows them before the first pixel.

It draws no random numbers but to choose among the training catalogue's rows, and is no density of those rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from galflow.layers.catalogue_values import KEPT_ROWS, CatalogueValues, drawn_rows, kept_rows


class CatalogueMaps(CatalogueValues):
    """Raw values (B, K), NaN where unknown, and each pixel's position -> maps (B, ``width``, H, W).

    So the brightness and size of a galaxy say at once how bright it is expected at every distance from its centre.
    """

    contexts: Tensor
    contexts_kept: Tensor

    def __init__(self, conditions: int, width: int) -> None:
        super().__init__(conditions)
        self.network = nn.Sequential(
            nn.Conv2d(2 * conditions + 3, 2 * width, 1), nn.SiLU(), nn.Conv2d(2 * width, width, 1), nn.SiLU()
        )
        self.register_buffer("contexts", torch.zeros(KEPT_ROWS, 2 * conditions))
        self.register_buffer("contexts_kept", torch.ones((), dtype=torch.int64))

    def forward(self, context: Tensor, position: Tensor) -> Tensor:
        """``context`` (B, 2 K); ``position`` (1, 3, H, W): y, x and radius from the centre, of order 1."""
        everywhere = context[:, :, None, None].expand(-1, -1, *position.shape[-2:])
        maps: Tensor = self.network(torch.cat([everywhere, position.expand(len(context), -1, -1, -1)], dim=1))
        return maps

    @torch.no_grad()
    def keep(self, contexts: Tensor) -> None:
        """Remember the training catalogue's rows (N, 2 K), at most 4096 of them, for ``drawn``."""
        kept = kept_rows(contexts)
        self.contexts[: len(kept)] = kept
        self.contexts_kept.fill_(len(kept))

    def drawn(self, n: int, generator: torch.Generator | None) -> Tensor:
        """(n, 2 K) contexts of training objects, drawn with equal chances."""
        return drawn_rows(self.contexts, self.contexts_kept, n, generator)
