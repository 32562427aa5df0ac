"""The light of a galaxy before any telescope: a decoder whose output is positive, sharp and free of noise.

Light is a square of points, several to a pixel's side where wanted, that shares its centre with the cutout and reaches
a little beyond it. What a PSF and pixels make of it is galflow.layers.images.observe's.

Images say nothing about detail much finer than their PSF. Left to itself a network fills it with the pattern of its own
upsampling, which a sharper telescope would then show; here the logarithm-like stretch of the light is smooth by
construction, so that what no image told stays as smooth as it can be.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.errors import SpecError
from galflow.layers.images.blocks import ImageDecoder
from galflow.photometry import AsinhStretch

MARGIN = 8
"""On each side the light reaches one part in so many beyond the cutout, for the PSF carries some of it in."""
FINEST = 4
"""Points to a pixel's side at the most."""
_SOFTNESS = 10.0
_DARK = 0.3
"""The network's outputs r become softplus(10 (r - 0.3)) / 10 stretched units: positive, and dark at the start."""
_BRIGHTEST = 3.0
"""Most light of one point, in stretched units: some 1e8 sigmas of the sky."""


class LightDecoder(nn.Module):
    """(B, latent) -> (B, channels, n, n): the flux in sky sigmas of n x n points, 1 / ``oversample`` pixels apart.

    The network works on pixels and in ``stretch``, in which bright and faint galaxies are learnt equally well. Its
    output is smoothed by 1-2-1, interpolated to the points, and smoothed by 1-2-1 again.
    """

    spread: Tensor

    def __init__(
        self, *, latent: int, channels: int, size: int, width: int, oversample: int, stretch: AsinhStretch
    ) -> None:
        super().__init__()
        if not 1 <= oversample <= FINEST:
            raise SpecError(f"oversample is {oversample}; give 1 to {FINEST} points of light to a pixel's side")
        self.oversample = oversample
        self.stretch = stretch
        self.canvas = size + 2 * (size // MARGIN)
        """Side of the light in pixels."""
        self.network = ImageDecoder(features=latent, channels=channels, size=self.canvas, width=width)
        # One matrix for all three, which a GPU applies without the atomic sums of its own interpolation's gradient.
        self.register_buffer("spread", smooth_interpolation(self.canvas, oversample), persistent=False)

    def forward(self, latents: Tensor) -> Tensor:
        """The light, nowhere negative."""
        gain = self.stretch.gain
        # All that can be done at the pixels is: there are fewer of them, and interpolation keeps within their bounds.
        raw = ((self.network(latents) - _DARK) / gain).clamp(max=_BRIGHTEST / gain)
        positive = F.softplus(self.spread @ raw @ self.spread.T, beta=_SOFTNESS * gain)
        return torch.sinh(positive) * (self.stretch.softening_sigma / self.oversample**2)


def smooth_interpolation(pixels: int, oversample: int) -> Tensor:
    """(oversample * pixels, pixels): values at the points of one axis from values at its pixels; each row sums to 1."""
    place = (torch.arange(oversample * pixels) + 0.5) / oversample - 0.5
    linear = (1 - (place[:, None] - torch.arange(pixels)).abs()).clamp_min(0)
    linear = linear / linear.sum(1, keepdim=True)  # beyond the outermost pixels' centres their own value goes on
    return _smoothing(oversample * pixels) @ linear @ _smoothing(pixels)


def _smoothing(count: int) -> Tensor:
    """(count, count) weights 1-2-1; the end points stand in for what lies beyond them."""
    weights = 0.5 * torch.eye(count)
    beside = 0.25 * torch.ones(count - 1)
    weights += beside.diag(1) + beside.diag(-1)
    return weights + (1 - weights.sum(1)).diag()
