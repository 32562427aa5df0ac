"""What residuals and scores usually are, so that missing pixels and different units do not decide a ranking.

G = mean |x - G(z*)| and C = mean |f(x) - f(G(z*))| differ in scale, and both depend on which pixels were observed: most
light lies in the middle, and where nothing was observed x and G(z*) would agree. What is missing is taken for as
unusual as it usually is: G by the usual residual of each pixel, C by a usual residual painted into the gap.
It knows no network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

TINY = 1e-12
RIDGE = 1e-3
"""Added to the bands' covariance, in units of its diagonal: bands may be copies of each other."""


class ScoreScale(nn.Module):
    """Usual residuals and scores, as buffers; untouched, they change nothing of a completely observed object."""

    residual_map: Tensor
    """(C, H, W) mean |x - G(z*)|."""
    covariance: Tensor
    """(C, C) of residuals over their map, between bands."""
    neighbours: Tensor
    """(3, 3) correlation of a pixel's residual with those around it, 0 in the middle and where it is negative."""
    typical: Tensor
    """(C, H, W) residual of one typical object, over the map."""
    residual_median: Tensor
    feature_median: Tensor

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.register_buffer("residual_map", torch.ones(channels, size, size))
        self.register_buffer("covariance", torch.eye(channels))
        self.register_buffer("neighbours", torch.zeros(3, 3))
        self.register_buffer("typical", torch.zeros(channels, size, size))
        self.register_buffer("residual_median", torch.ones(()))
        self.register_buffer("feature_median", torch.ones(()))

    def residual(self, difference: Tensor, observed: Tensor) -> Tensor:
        """(B,) mean of |difference| (B, C, H, W), what is missing taken for as unusual as what is observed.

        The plain mean of a completely observed object; 0 for one without any observed pixel.
        """
        total = torch.where(observed, difference.abs(), 0).flatten(1).sum(1)
        return total / (self.residual_map * observed).flatten(1).sum(1).clamp_min(TINY) * self.residual_map.mean()

    def mixed(self, residual: Tensor, feature: Tensor, mix: float) -> Tensor:
        """mix * G / median(G) + (1 - mix) * C / median(C), medians over training objects."""
        return mix * residual / self.residual_median + (1 - mix) * feature / self.feature_median

    def filled(self, difference: Tensor, observed: Tensor) -> Tensor:
        """``difference`` (B, C, H, W) with a usual one where not ``observed``.

        That of a typical object, moved by what the pixel's observed bands or, where it has none, its neighbours tell:
        a draw of a Gaussian under the condition of its known part is a free draw plus the regression on what that
        missed there (Matheron's rule).
        """
        # An exported network has no branches; what it says of images with gaps, its exporter makes NaN.
        if torch.compiler.is_exporting() or bool(observed.all()):
            return difference
        free = self.typical.to(difference).expand_as(difference)
        missed = torch.where(observed, difference / self.residual_map - free, 0)
        told = torch.where(
            observed.any(1, keepdim=True), self._regressed(missed, observed), self._nearby(missed, observed)
        )
        return torch.where(observed, difference, (free + told) * self.residual_map)

    def _nearby(self, missed: Tensor, observed: Tensor) -> Tensor:
        """What observed neighbours in the same band say of each pixel, as if they were alike correlated among them."""
        bands = observed.shape[1]
        weights = self.neighbours.to(missed).expand(bands, 1, 3, 3)
        seen = observed.to(missed)
        count = conv2d(seen, (weights > 0).to(missed), padding=1, groups=bands).clamp_min(1)
        weight = conv2d(seen, weights, padding=1, groups=bands)
        return conv2d(missed, weights, padding=1, groups=bands) / (1 + weight * (1 - 1 / count))

    def _regressed(self, missed: Tensor, observed: Tensor) -> Tensor:
        """What the observed bands' ``missed`` say of all bands at each pixel, by linear regression."""
        bands = observed.shape[1]
        patterns, which = observed.movedim(1, -1).reshape(-1, bands).unique(dim=0, return_inverse=True)
        covariance = self.covariance.float()
        known = patterns.float()
        # Rows and columns of missing bands become those of the identity: they neither give nor take.
        among = covariance * known[:, :, None] * known[:, None, :] + torch.diag_embed(1 - known)
        matrices = covariance @ torch.diag_embed(known) @ torch.linalg.inv(among)
        rows = missed.movedim(1, -1).reshape(-1, 1, bands)
        found = (rows * matrices.to(rows)[which]).sum(2)
        return found.view(*missed.movedim(1, -1).shape).movedim(-1, 1)

    @torch.no_grad()
    def learn_residuals(self, differences: Tensor, observed: Tensor) -> None:
        """From x - G(z*) of training objects (N, C, H, W): the usual residual of each pixel, and how bands go along."""
        seen = observed.sum(0)
        mean = torch.where(observed, differences.abs(), 0).sum(0) / seen.clamp_min(1)
        mean = torch.where(seen > 0, mean, mean.sum() / (seen > 0).sum().clamp_min(1))
        if not bool(mean.isfinite().all()) or float(mean.sum()) <= 0:
            return
        self.residual_map.copy_(mean.clamp_min(TINY))
        images = torch.where(observed, differences / self.residual_map, 0).float()
        self.neighbours.copy_(_correlation_with_neighbours(images, observed))
        relative = images.movedim(1, -1).flatten(0, 2)
        together = observed.movedim(1, -1).flatten(0, 2).float()
        covariance = (relative.T @ relative) / (together.T @ together).clamp_min(1)
        covariance.diagonal().mul_(1 + RIDGE).clamp_min_(TINY)
        self.covariance.copy_(covariance)

    @torch.no_grad()
    def learn_typical(self, difference: Tensor) -> None:
        """From the residual (C, H, W) of a completely observed training object that is as unusual as most."""
        self.typical.copy_(difference / self.residual_map)

    @torch.no_grad()
    def learn_medians(self, residual: Tensor, feature: Tensor) -> None:
        """From scores (N,) of training objects."""
        for kept, values in ((self.residual_median, residual), (self.feature_median, feature)):
            median = values.float().median()
            if bool(median.isfinite()) and float(median) > 0:
                kept.copy_(median)


def _correlation_with_neighbours(images: Tensor, observed: Tensor) -> Tensor:
    """(3, 3) of images (N, C, H, W), 0 where not ``observed``; 0 in the middle and where it is negative."""
    found = images.new_zeros(3, 3)
    variance = images.square().sum() / observed.sum().clamp_min(1)
    if min(images.shape[-2:]) < 2 or float(variance) <= 0:
        return found
    inner = images[..., 1:-1, 1:-1], observed[..., 1:-1, 1:-1]
    height, width = images.shape[-2:]
    for dy in range(3):
        for dx in range(3):
            square = (..., slice(dy, height - 2 + dy), slice(dx, width - 2 + dx))
            pairs = (observed[square] & inner[1]).sum().clamp_min(1)
            found[dy, dx] = (images[square] * inner[0]).sum() / pairs / variance
    found[1, 1] = 0
    return found.clamp(0, 1)
