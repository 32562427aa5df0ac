"""The style-based generator (Karras+19): latents steer every layer by a style, and every layer has noise of its own.

It is a generator alone; an adversarial model trains it (``WGAN(generator="style")``). It refuses images too small to
convolve. What differs from the paper, and why: styles scale a convolution's inputs and the outputs are divided by what
that does to their variance (Karras+20), since normalising each map by its own image (AdaIN) blots out brightness and
leaves droplets; one convolution at each resolution instead of two, for speed; no growing and no mixing of styles.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from galflow.errors import SpecError
from galflow.layers.images.gan_networks import (
    SLOPE,
    SMALLEST_IMAGE,
    ImageGenerator,
    PixelHead,
    enlarged,
    he_weights,
    sides_of,
    widths_of,
)

RATE = 0.1
"""Learning rate of the mapping network and of the layers' noise over the others'. The former would upset the layers
(Karras+19: 0.01); the latter, before the latents have learnt what varies, would stand in for it as grain on objects."""
_FAINT = 0.1
"""Noise of an untrained sky, in stretched units."""


class SlowLinear(nn.Linear):
    """A dense layer whose weights act ``RATE``-fold, and so learn as much slower."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102
        return nn.functional.linear(inputs, self.weight * RATE, self.bias * RATE)


class StyledConvolution(nn.Module):
    """A 3 x 3 convolution whose input maps are weighed by a style, with noise and a rectifier behind it."""

    def __init__(self, before: int, after: int, style: int, noise: int) -> None:
        super().__init__()
        # Outputs do not depend on the weights' scale; how fast they learn does, and unit weights (Karras+19) are slow.
        self.weight = nn.Parameter(torch.randn(after, before, 3, 3) * (9 * before) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(after))
        self.style = nn.Linear(style, before)
        self.noise = nn.Conv2d(noise, after, 1, bias=False)

    def forward(self, maps: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """(B, after, side, side) of maps (B, before, side, side), style (B, S), noise (B, noise, side, side)."""
        weigh = 1 + self.style(style)
        # Convolving weighed maps is convolving with weighed kernels; each output then gets back unit variance.
        sizes = self.weight.square().sum((2, 3))
        level = torch.rsqrt(weigh.square() @ sizes.T + 1e-8)
        x = nn.functional.conv2d(maps * weigh[:, :, None, None], self.weight, padding=1) * level[:, :, None, None]
        if noise is not None:
            x = x + RATE * self.noise(noise)
        return 2**0.5 * nn.functional.leaky_relu(x + self.bias[:, None, None], SLOPE)


class StyleGenerator(ImageGenerator):
    """Mapping network, learned constant start, a style and noise maps for each layer (Karras+19).

    The noise has as many maps as there are bands, because the sky's noise is independent from band to band. The last
    layer adds the sky to what the styles have painted, as in the convolutional generator.
    """

    def __init__(self, channels: int, size: int, width: int, latent: int, mapping_layers: int = 4) -> None:
        super().__init__()
        if size < SMALLEST_IMAGE:
            raise SpecError(
                f"a style-based generator needs images of at least {SMALLEST_IMAGE} pixels on a side; got size={size}: "
                'choose generator="convolutional", which is dense for such images'
            )
        if mapping_layers < 1:
            raise SpecError(
                f"mapping_layers is {mapping_layers}; a mapping network needs at least one layer, such as 4"
            )
        self.sides = sides_of(size)[::-1]
        widths = widths_of(width, len(self.sides) - 1)[::-1]
        style = max(latent, 4 * width)
        dense = [SlowLinear(before, after) for before, after in pairwise([latent] + [style] * mapping_layers)]
        self.mapping = nn.Sequential(*(part for layer in dense for part in (layer, nn.LeakyReLU(SLOPE))))
        self.constant = nn.Parameter(torch.randn(1, widths[0], self.sides[0], self.sides[0]))
        shapes = [widths[0], *widths, widths[-1]]
        self.layers = nn.ModuleList(
            StyledConvolution(before, after, style, channels) for before, after in pairwise(shapes)
        )
        # The layers' outputs all have unit variance: brightness is what weighs them at the end.
        self.tone = nn.Linear(style, widths[-1])
        self.head = PixelHead(widths[-1], channels, size)
        self.noise_shapes = (*((channels, side, side) for side in self.sides), self.head.noise_shape)
        he_weights(self)
        for slow in dense:
            slow.weight.data.div_(RATE)
        nn.init.normal_(self.tone.weight, std=style**-0.5)
        for layer in self.layers:
            # No noise at first (Karras+19): what the latents can say must not be left to it.
            nn.init.zeros_(layer.noise.weight)  # type: ignore[union-attr, arg-type]
            nn.init.normal_(layer.style.weight, std=style**-0.5)  # type: ignore[union-attr, arg-type]
        self.start_from(torch.zeros(channels), torch.full((channels,), _FAINT))

    def start_from(self, centre: Tensor, scatter: Tensor) -> None:
        """The head decides both."""
        self.head.start_from(centre, scatter)

    def forward(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """See ``ImageGenerator.forward``."""
        *noises, sky = self.noise_maps(noise)
        style = self.mapping(latents)
        x = self.constant.expand(len(latents), -1, -1, -1)
        for layer, side, maps in zip(self.layers, self.sides, noises, strict=True):
            x = layer(x if x.shape[-1] == side else enlarged(x, side), style, maps)
        return self.head(x * (1 + self.tone(style))[:, :, None, None], sky)
