"""The networks of adversarial models: critic, encoder, and the generators without styles.

No batch normalisation anywhere: a gradient penalty and a score are per object. Three things keep a regular pattern out
of the samples: kernels of 4 at stride 2, under which every pixel weighs the same in the critic's gradient (3 at stride
2 does not); growing by interpolation before a convolution (Odena+16); and noise of its own for every pixel, without
which a generator must imitate the sky's noise by a texture. No loss and no score here.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

SLOPE = 0.2
"""Of the leaky rectifiers, as in Radford+15."""
SMALLEST_IMAGE = 5
"""Below so many pixels on a side there is nothing to convolve: the networks are dense."""
_DENSE_LAYERS = 3
_ONE_SIGMA = math.asinh(1 / 3)
"""What a pixel of one sky sigma becomes, but for a factor, in an asinh stretch softened at 3 sigma."""
_LEAST_SCATTER = 0.02
_FAINT = 0.1
"""An untrained generator's images vary by about this much, in stretched units."""

_GREY = 0.9
"""Share that all bands have in common in an untrained object."""


def sides_of(size: int) -> list[int]:
    """Pixels on a side at each resolution, halved (rounding down) until 4 or less: 32 -> [32, 16, 8, 4]."""
    sides = [size]
    while sides[-1] >= SMALLEST_IMAGE:
        sides.append(sides[-1] // 2)
    return sides


def widths_of(width: int, stages: int) -> list[int]:
    """Feature maps after each halving: ``width``, doubled at each stage, at most eightfold."""
    return [width * min(2**stage, 8) for stage in range(stages)]


def he_weights(module: nn.Module) -> None:
    """He's initial weights and no bias (as Gulrajani+17), so that signals keep their size through all layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class _Features(nn.Sequential):
    """(B, C, size, size) to the last features: maps (B, F, side, side), or a vector (B, F) of a tiny image."""

    def __init__(self, channels: int, size: int, width: int) -> None:
        layers: list[nn.Module] = []
        if size < SMALLEST_IMAGE:
            flat = 4 * width
            layers.append(nn.Flatten())
            for before, after in pairwise([channels * size**2] + [flat] * _DENSE_LAYERS):
                layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
        else:
            sides = sides_of(size)
            widths = [channels, *widths_of(width, len(sides) - 1)]
            flat = widths[-1] * sides[-1] ** 2
            for before, after in pairwise(widths):
                layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers)
        self.flat = flat
        he_weights(self)


class Critic(nn.Module):
    """A real number for each image; ``features`` are its last convolutional features.

    Of a Wasserstein critic only differences mean anything and a ``bias`` would never learn; a logit needs it.
    """

    def __init__(self, channels: int, size: int, width: int, *, bias: bool = False) -> None:
        super().__init__()
        self.features = _Features(channels, size, width)
        self.head = nn.Linear(self.features.flat, 1, bias=bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B,) values of (B, C, H, W) pixels."""
        return self.head(self.features(pixels).flatten(1)).squeeze(1)


class Encoder(nn.Module):
    """Latents of an image: the critic's shape with a wider end."""

    def __init__(self, channels: int, size: int, width: int, latent: int) -> None:
        super().__init__()
        self.features = _Features(channels, size, width)
        self.head = nn.Linear(self.features.flat, latent)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, latent) of (B, C, H, W) pixels."""
        return self.head(self.features(pixels).flatten(1))


class ImageGenerator(nn.Module, ABC):
    """Latents and noise to images. Without noise the image is what the latents alone say of an object."""

    noise_shapes: tuple[tuple[int, int, int], ...]
    """(maps, rows, columns) of the noise that each noisy layer takes."""

    @property
    def noise_size(self) -> int:
        """Numbers of noise in one image."""
        return sum(math.prod(shape) for shape in self.noise_shapes)

    def noise_maps(self, noise: Tensor | None) -> Sequence[Tensor | None]:
        """``noise`` (B, noise_size) as the maps of each layer, or None for every layer."""
        if noise is None:
            return [None] * len(self.noise_shapes)
        parts = noise.split([math.prod(shape) for shape in self.noise_shapes], dim=1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.noise_shapes, strict=True)]

    @abstractmethod
    def forward(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, C, H, W) stretched pixels of (B, latent) and standard normal noise (B, noise_size)."""

    @abstractmethod
    def start_from(self, centre: Tensor, scatter: Tensor) -> None:
        """Let untrained images be a sky of this level and noise, (C,) each in stretched units."""


class PixelHead(nn.Module):
    """Feature maps to pixels: the object itself, and the sky's noise over it.

    The noise is correlated between neighbours and bands by a learned kernel, as after resampling. In a stretch it is
    quieter where an object is bright: behind asinh by 1 / cosh(fade * (pixel - sky)), with ``fade`` a number per band
    that starts where noise from the sky alone would put it and is learned. The features have no say in the noise: they
    would use it to sprinkle objects with grain, which a critic takes for detail long before it sees shapes.
    """

    level: Tensor

    def __init__(self, features: int, channels: int, size: int) -> None:
        super().__init__()
        self.noise_shape = (channels, size + 2, size + 2)
        """A margin of one pixel, so that the kernel does not fade the noise at the edge, which would give it away."""
        self.paint = nn.Conv2d(features, channels, 1)
        self.sky = nn.Conv2d(channels, channels, 3, bias=False)
        self.fade = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("level", torch.zeros(channels, 1, 1))

    @torch.no_grad()
    def start_from(self, centre: Tensor, scatter: Tensor) -> None:
        """See ``ImageGenerator.start_from``."""
        self.level.copy_(centre[:, None, None])
        self.fade.copy_((_ONE_SIGMA / scatter.clamp(min=_LEAST_SCATTER))[:, None, None])
        # Bands are much alike: an object starts out grey, and what it needs of colour is learned.
        self.paint.weight.copy_(_FAINT * self.paint.weight.lerp(self.paint.weight[:1], _GREY))
        self.paint.bias.copy_(centre)  # type: ignore[union-attr]
        nn.init.dirac_(self.sky.weight).mul_(scatter[:, None, None, None])

    def forward(self, features: Tensor, noise: Tensor | None) -> Tensor:
        """(B, C, size, size) of features (B, F, size, size) and noise of ``noise_shape``."""
        clean = self.paint(features)
        if noise is None:
            return clean
        # 1 / cosh, written so that it does not overflow however bright a pixel is
        bright = (self.fade * (clean - self.level)).abs()
        faded = 2 * torch.exp(-bright) / (1 + torch.exp(-2 * bright))
        return clean + faded * self.sky(noise)


class ConvolutionalGenerator(ImageGenerator):
    """A dense layer, then interpolation to twice the size and a convolution, again and again; noise at the end."""

    def __init__(self, channels: int, size: int, width: int, latent: int) -> None:
        super().__init__()
        self.sides = sides_of(size)[::-1]
        widths = widths_of(width, len(self.sides) - 1)[::-1]
        self.start = nn.Linear(latent, widths[0] * self.sides[0] ** 2)
        self.grow = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise([*widths, widths[-1]])
        )
        self.head = PixelHead(widths[-1], channels, size)
        he_weights(self)
        self.noise_shapes = (self.head.noise_shape,)
        self.start_from(torch.zeros(channels), torch.full((channels,), _FAINT))

    def start_from(self, centre: Tensor, scatter: Tensor) -> None:
        """The head decides both."""
        self.head.start_from(centre, scatter)

    def forward(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """See ``ImageGenerator.forward``."""
        (sky,) = self.noise_maps(noise)
        x = self.start(latents).unflatten(1, (-1, self.sides[0], self.sides[0]))
        x = nn.functional.leaky_relu(x, SLOPE)
        for layer, side in zip(self.grow, self.sides[1:], strict=True):
            x = nn.functional.leaky_relu(layer(enlarged(x, side)), SLOPE)
        return self.head(x, sky)


class DenseGenerator(ImageGenerator):
    """Dense layers, for images too small to convolve; it takes no noise."""

    def __init__(self, channels: int, size: int, width: int, latent: int) -> None:
        super().__init__()
        self.shape = (channels, size, size)
        self.noise_shapes = ()
        layers: list[nn.Module] = []
        for before, after in pairwise([latent] + [4 * width] * _DENSE_LAYERS):
            layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(4 * width, math.prod(self.shape))
        he_weights(self)

    @torch.no_grad()
    def start_from(self, centre: Tensor, scatter: Tensor) -> None:
        """Images around ``centre`` that scatter by about ``scatter``."""
        self.head.bias.copy_(centre[:, None, None].expand(self.shape).flatten())
        self.head.weight.mul_(scatter[:, None, None].expand(self.shape).flatten()[:, None])

    def forward(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """See ``ImageGenerator.forward``; ``noise`` is empty."""
        return self.head(self.hidden(latents)).unflatten(1, self.shape)


def enlarged(maps: Tensor, side: int) -> Tensor:
    """(B, F, side, side), interpolated between the pixels of ``maps``."""
    return nn.functional.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)


def on_sphere(latents: Tensor) -> Tensor:
    """Latents scaled to unit mean square, where almost all of a Gaussian's mass lies in many dimensions.

    So an encoder or a refinement cannot leave the generator's domain to reach an outlier.
    """
    return latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)


def frozen(module: nn.Module, *inputs: Tensor) -> Tensor:
    """``module(*inputs)`` with gradients to the inputs alone: saves the weights' backward, leaves them untouched."""
    return functional_call(module, {name: p.detach() for name, p in module.named_parameters()}, inputs)
