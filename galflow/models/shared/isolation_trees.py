"""Isolation trees as arrays that a state dict can hold, walked for many objects at once.

scikit-learn grows the trees; the walk gives its ``score_samples`` exactly, without it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

SAMPLES = 256
"""Objects a tree is grown on at most, as in Liu+08."""
DEPTH = math.ceil(math.log2(SAMPLES))
NODES = 2 * SAMPLES - 1
FOREST_SEED = 20


def average_path(objects: Tensor) -> Tensor:
    """Mean depth of an unsuccessful search in a binary tree of so many objects (Liu+08, eq. 1); 0 of a single one."""
    n = objects.double().clamp_min(2)
    depth = 2 * ((n - 1).log() + float(torch.special.digamma(torch.tensor(1.0, dtype=torch.float64)).neg()))
    depth = depth - 2 * (n - 1) / n
    return torch.where(objects > 2, depth, (objects == 2).double())


class IsolationTrees(nn.Module):
    """``trees`` trees of at most NODES nodes each, padded; before ``fit`` each is a single leaf."""

    branches: Tensor
    feature: Tensor
    threshold: Tensor
    path: Tensor
    typical: Tensor

    def __init__(self, trees: int) -> None:
        super().__init__()
        self.register_buffer("branches", torch.zeros(2, trees, NODES, dtype=torch.int64))
        self.register_buffer("feature", torch.zeros(trees, NODES, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, NODES))
        self.register_buffer("path", torch.zeros(trees, NODES, dtype=torch.float64))
        self.register_buffer("typical", torch.ones((), dtype=torch.float64))

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Grow the trees on ``points`` (N, F) by scikit-learn, with a fixed seed."""
        from sklearn.ensemble import IsolationForest

        samples = min(SAMPLES, len(points))
        forest = IsolationForest(n_estimators=len(self.feature), max_samples=samples, random_state=FOREST_SEED)
        forest.fit(points.float().cpu().numpy())
        for number, tree in enumerate(forest.estimators_):
            self._take(number, tree.tree_)
        self.typical.copy_(average_path(torch.tensor(samples)).clamp_min(torch.finfo(torch.float64).tiny))

    def _take(self, number: int, tree: Any) -> None:
        """Copy one tree of scikit-learn's into row ``number``. A leaf is its own child."""
        own = torch.arange(tree.node_count)
        left, right = torch.from_numpy(tree.children_left), torch.from_numpy(tree.children_right)
        leaf = left < 0
        depth = torch.zeros(tree.node_count, dtype=torch.float64)
        for node in range(tree.node_count):  # parents come before their children
            if not leaf[node]:
                depth[left[node]] = depth[right[node]] = depth[node] + 1
        wanted = torch.from_numpy(tree.threshold.copy())
        rounded = wanted.float()
        # For a float32 x, x <= t is the same as x <= the largest float32 that is not above t.
        below = torch.nextafter(rounded, torch.tensor(-torch.inf))
        rounded = torch.where(rounded.double() > wanted, below, rounded)
        filled = slice(0, tree.node_count)
        self.branches[0, number, filled] = torch.where(leaf, own, left).to(self.branches)
        self.branches[1, number, filled] = torch.where(leaf, own, right).to(self.branches)
        self.feature[number, filled] = torch.from_numpy(tree.feature).clamp_min(0).to(self.feature)
        self.threshold[number, filled] = rounded.to(self.threshold)
        self.path[number, filled] = (depth + average_path(torch.from_numpy(tree.n_node_samples))).to(self.path)

    def forward(self, points: Tensor) -> Tensor:
        """(B,) 2 ** (-mean path length / that of a typical object), Liu+08, eq. 2: 0.5 is typical, 1 is isolated."""
        trees = len(self.feature)
        first = NODES * torch.arange(trees, device=points.device)
        node = torch.zeros(len(points), trees, dtype=torch.int64, device=points.device)
        feature, threshold, left, right = (
            values.flatten() for values in (self.feature, self.threshold, *self.branches)
        )
        for _ in range(DEPTH):
            at = node + first
            goes_left = points.float().gather(1, feature[at]) <= threshold[at]
            node = torch.where(goes_left, left[at], right[at])
        mean = self.path.flatten()[node + first].mean(1)
        return torch.exp2(-mean / self.typical).to(points.dtype)
