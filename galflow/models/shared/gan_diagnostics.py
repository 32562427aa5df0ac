"""How the samples of a generator compare with held-out images: fidelity, diversity, and copies among the samples.

Distances are taken between means over nested central squares of each image, at most 4 x 4 cells of each ("fovea"). The
space needs no data and no network: it is the same in every epoch, for every model and after a reload. Its cells are
large where an image holds sky and small where a centred object is, so the sky's noise, which says nothing of
diversity, averages out. It sees no texture finer than its cells. It holds no model and draws no random numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

CELLS = 4
"""Cells of each square on a side."""
NEIGHBOURS = 5
"""As Naeem+20; fewer where there are few images."""
FEWEST_IMAGES = 8
MOST_IMAGES = 128
"""More than this cost time in every epoch and tell little more."""
NEAR_DUPLICATE = 0.1
"""Two samples nearer than this share of real images' typical distance to their nearest neighbour are copies."""


def fovea(pixels: Tensor) -> Tensor:
    """(B, D) means over the cells of nested central squares, each half the last one's side, of (B, C, H, W) images."""
    parts = []
    side = size = pixels.shape[-1]
    while True:
        edge = (size - side) // 2
        square = pixels[:, :, edge : edge + side, edge : edge + side]
        parts.append(adaptive_avg_pool2d(square, min(CELLS, side)).flatten(1))
        if side // 2 < CELLS:
            return torch.cat(parts, 1)
        side //= 2


def fidelity(real: Tensor, samples: Tensor, quiet: Tensor) -> dict[str, float]:
    """Coverage, density, near-duplicates, recall and precision of N samples against N held-out images, (N, C, H, W).

    ``quiet`` are the same samples without noise. With balls around each image that reach to its k-th nearest neighbour:

    - coverage: share of real balls that hold a sample; density: real balls around a sample, over k (Naeem+20). For
      samples of the data's own distribution about 1 - 2^-k and 1.
    - recall: share of real images in a sample's ball; precision: share of samples in a real ball (Kynkaanniemi+19).
    - near_duplicates: share of quiet samples much nearer to another one than real images are to each other: two
      samples that differ in their noise alone are copies.
    """
    real, samples, quiet = (fovea(images).float() for images in (real, samples, quiet))
    k = min(NEIGHBOURS, len(real) - 1)
    among_real, among_samples = _distances(real, real), _distances(samples, samples)
    across = _distances(samples, real)
    inside = across < _radii(among_real, k)
    nearest = _radii(among_real, 1).median()
    copies = _radii(_distances(quiet, quiet), 1) < NEAR_DUPLICATE * nearest
    return {
        "coverage": float(inside.any(0).float().mean()),
        "density": float(inside.float().sum(1).mean() / k),
        "near_duplicates": float(copies.float().mean()),
        "recall": float((across < _radii(among_samples, k)[:, None]).any(0).float().mean()),
        "precision": float(inside.any(1).float().mean()),
    }


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(len(a), len(b)) Euclidean distances; differences are taken first, so that copies are at exactly 0."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(among: Tensor, k: int) -> Tensor:
    """(N,) distance to the k-th nearest other point; the first in each row is the point itself."""
    return among.kthvalue(k + 1, dim=1).values
