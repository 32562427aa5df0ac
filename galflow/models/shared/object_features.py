"""What a classical outlier detector sees of an object: a few numbers instead of pixels, brought to one scale.

They are the residuals of an inner model by distance from the centre, that model's latents, what is measured on the
image, or all but the latents with the image's texture. The scale is robust: median and median absolute deviation, so
that the outliers among the training objects do not hide others. This file detects nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.constants import SIGMA_PER_MAD
from galflow.errors import ModelError, SpecError
from galflow.layers.images import morphology
from galflow.layers.images.blocks import observed_pixels
from galflow.layers.images.texture import texture
from galflow.models.base import Encodes, GenerativeModel, Reconstructs

KINDS = ("residual", "latents", "measured", "all")
RINGS = 5
"""Rings of a quarter of half a side each around the centre; the last one reaches into the corners."""
LEAST_RESIDUAL = 1e-4
"""Root-mean-square residuals count as at least this, in stretched units, before their logarithm is taken."""
FARTHEST = 1e3
"""Robust standard deviations from the median at which a feature is cut off, so that every distance is finite."""
KEEP_SEED = 20
"""Of the draw of training objects to keep."""


@torch.no_grad()
def describe(batch: Batch, kind: str, inner: GenerativeModel) -> Tensor:
    """(B, F) features ``kind``, float32; NaN where an object has too few pixels to tell.

    SpecError unless ``kind`` is one of KINDS and ``inner`` can give it.
    """
    if kind == "all":
        return torch.cat([describe(batch, "residual", inner), texture(batch), morphology.measure(batch)], dim=1)
    if kind == "measured":
        return morphology.measure(batch)
    if kind == "latents" and isinstance(inner, Encodes):
        return inner.encode(batch).float()
    if kind == "residual" and isinstance(inner, Reconstructs):
        return ring_residuals(observed_pixels(batch) - inner.reconstruct(batch), batch.observed)
    if kind not in KINDS:
        raise SpecError(f"features is {kind!r}; expected one of {', '.join(KINDS)}")
    able = "reconstructs" if kind == "residual" else "encodes"
    raise SpecError(
        f"features is {kind!r}, for which the inner model {type(inner).__name__} is not made; give one that {able}, "
        "such as pca.PCA, or choose features: measured"
    )


def ring_residuals(residual: Tensor, observed: Tensor) -> Tensor:
    """(B, C * RINGS) log10 of the root-mean-square residual in rings around the centre, band by band.

    NaN where a ring has no observed pixel. A turned or mirrored object has the same.
    """
    size = residual.shape[-1]
    ring = (morphology.centre_distance(size, residual.device) * (RINGS - 1)).long().clamp_max(RINGS - 1)
    member = nn.functional.one_hot(ring, RINGS).float()
    squares = torch.where(observed, residual.float().square(), 0).flatten(2)
    with torch.autocast(residual.device.type, enabled=False):
        counts = observed.flatten(2).float() @ member
        mean = (squares @ member) / counts
    return 0.5 * mean.clamp_min(LEAST_RESIDUAL**2).log10().flatten(1)


class RobustScale(nn.Module):
    """(x - median) / (1.48 median absolute deviation), feature by feature; a feature that is NaN becomes 0."""

    centre: Tensor
    scale: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Of ``points`` (N, F). Where more than half are equal the standard deviation is taken, or 1 if all are."""
        centre = points.nanmedian(0).values.nan_to_num(0.0)
        scale = SIGMA_PER_MAD * (points - centre).abs().nanmedian(0).values
        spread = (points - centre).square().nanmean(0).sqrt()
        scale = torch.where(scale > 0, scale, spread)
        self.centre.copy_(centre)
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))

    def forward(self, points: Tensor) -> Tensor:
        """(N, F) scaled, within +-FARTHEST."""
        scaled = ((points - self.centre) / self.scale).nan_to_num(0.0, posinf=FARTHEST, neginf=-FARTHEST)
        return scaled.clamp(-FARTHEST, FARTHEST)


@torch.no_grad()
def kept_features(batches: Iterable[Batch], kind: str, inner: GenerativeModel, keep: int) -> Tensor:
    """(N, F) features of at most ``keep`` objects with any pixel, drawn evenly with a fixed seed from one pass."""
    draw = torch.Generator().manual_seed(KEEP_SEED)
    found: list[Tensor] = []
    keys = torch.empty(0, dtype=torch.float64)
    for given in batches:
        batch = given.to(next(inner.parameters()).device)
        seen = batch.observed.flatten(1).any(1)
        found.append(describe(batch[seen], kind, inner))
        keys = torch.cat([keys, torch.rand(len(found[-1]), generator=draw, dtype=torch.float64)])
        if len(keys) > keep:
            # The smallest keys so far are an even draw of all objects so far (Vitter 85).
            chosen = keys.argsort(stable=True)[:keep].sort().values
            found, keys = [torch.cat(found)[chosen.to(found[-1].device)]], keys[chosen]
    if not len(keys):
        raise ModelError(
            "an outlier detector was given no observed object to fit; give the training set's batches, which can be "
            "read several times (a list or a stream), with at least one observed object"
        )
    return torch.cat(found)
