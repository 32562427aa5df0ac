"""The nearest of kept training objects, by their features.

A training object meets itself among those kept; it is left out, so that training objects and others are judged alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from galflow.errors import SpecError

SAME = 1e-3
"""Nearer than this share of the kept objects' median distance to the k-th neighbour, an object is taken for itself."""


class Neighbours(nn.Module):
    """At most ``keep`` objects of ``features`` numbers each, padded, and who of them is near."""

    points: Tensor
    kept: Tensor
    same: Tensor
    reach: Tensor
    density: Tensor

    def __init__(self, *, keep: int, features: int, neighbours: int) -> None:
        super().__init__()
        if not 1 <= neighbours < keep:
            raise SpecError(
                f"neighbours is {neighbours} and keep is {keep}; ask for at least 1 neighbour, and keep more objects "
                "than that"
            )
        self.neighbours = neighbours
        self.register_buffer("points", torch.zeros(keep, features))
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64))
        self.register_buffer("same", torch.zeros(()))
        self.register_buffer("reach", torch.zeros(keep))
        self.register_buffer("density", torch.ones(keep))

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Keep ``points`` (N, F); each one's distance to its k-th neighbour, and its local density (Breunig+00)."""
        from sklearn.neighbors import NearestNeighbors

        count = len(points)
        self.points[:count] = points
        self.kept.fill_(count)
        near = min(self.neighbours, count - 1)
        if near < 1:
            return
        found = NearestNeighbors(n_neighbors=near).fit(points.double().cpu().numpy())
        distances, rows = (torch.from_numpy(part).to(points.device) for part in found.kneighbors())
        self.reach[:count] = distances[:, -1].to(self.reach)
        self.same.copy_(SAME * self.reach[:count].median())
        self.density[:count] = self.local_density(distances.to(self.reach), rows)

    def nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Distances and rows, each (B, k), of the k nearest kept objects of ``points`` (B, F), nearest first.

        k is smaller where fewer are kept.
        """
        count = int(self.kept)
        near = max(0, min(self.neighbours, count - 1))
        # Not by |a|^2 - 2ab + |b|^2, whose rounding would hide that an object meets itself.
        squares = torch.cdist(points, self.points[:count], compute_mode="donot_use_mm_for_euclid_dist")
        distances, rows = squares.topk(min(near + 1, count), dim=1, largest=False)
        if near == 0:
            return distances[:, :0], rows[:, :0]
        itself = distances[:, :1] <= self.same
        return torch.where(itself, distances[:, 1:], distances[:, :-1]), torch.where(itself, rows[:, 1:], rows[:, :-1])

    def local_density(self, distances: Tensor, rows: Tensor) -> Tensor:
        """(B,) local reachability density (Breunig+00, definition 6) of objects with these neighbours."""
        return 1 / (torch.maximum(distances, self.reach[rows]).mean(1) + 1e-10)
