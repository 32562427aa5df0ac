"""From the pixels of a batch to the images that a pretrained encoder was made for, as a person has declared them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.images.blocks import observed_pixels

Numbers = float | Sequence[float]
LARGEST_INPUT = 4096


class EncoderImages(nn.Module):
    """Bands, range, mean, standard deviation and size, in this order; SpecError for what cannot be meant."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        channels: int,
        input_size: int,
        bands: Sequence[int] | None,
        limits: Sequence[float] | None,
        mean: Numbers,
        std: Numbers,
    ) -> None:
        super().__init__()
        if not 1 <= input_size <= LARGEST_INPUT:
            raise SpecError(f"input_size is {input_size}; expected 1 to {LARGEST_INPUT} pixels on a side, such as 224")
        self.input_size = input_size
        self.bands = _checked_bands(bands, channels)
        self.limits = _checked_range(limits)
        self.register_buffer("mean", _per_channel("mean", mean, len(self.bands)))
        self.register_buffer("std", _per_channel("std", std, len(self.bands), above=0.0))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: (channel, y, x)."""
        return len(self.bands), self.input_size, self.input_size

    def forward(self, batch: Batch) -> Tensor:
        """(B, channel, y, x) float32."""
        found = observed_pixels(batch)[:, list(self.bands)].float()
        if self.limits is not None:
            low, high = self.limits
            found = ((found - low) / (high - low)).clamp(0, 1)
        found = (found - self.mean) / self.std
        given = found.shape[-1]
        if self.input_size == given:
            return found.contiguous()
        shrinks = self.input_size < given
        return nn.functional.interpolate(found, self.shape[1:], mode="bilinear", align_corners=False, antialias=shrinks)


def _checked_bands(bands: Sequence[int] | None, channels: int) -> tuple[int, ...]:
    if bands is None:
        return tuple(range(channels))
    if not bands or any(type(band) is not int or not 0 <= band < channels for band in bands):
        raise SpecError(
            f"bands is {list(bands)}; expected a list with a band for each channel of the encoder, counted from 0 to "
            f"{channels - 1} in the order of the cutouts' bands, such as {[0] * 3}"
        )
    return tuple(bands)


def _checked_range(limits: Sequence[float] | None) -> tuple[float, float] | None:
    if limits is None:
        return None
    if len(limits) != 2 or not all(math.isfinite(limit) for limit in limits) or not limits[0] < limits[1]:
        raise SpecError(f"range is {list(limits)}; expected two stretched values, the lower first, such as [-0.1, 1.0]")
    return float(limits[0]), float(limits[1])


def _per_channel(name: str, values: Numbers, channels: int, above: float = -math.inf) -> Tensor:
    """(channels, 1, 1) of one number, or of one for each."""
    given = [float(value) for value in values] if isinstance(values, Sequence) else [float(values)] * channels
    if len(given) != channels or not all(math.isfinite(value) for value in given):
        raise SpecError(f"{name} is {values}; expected one finite number, or one for each of the {channels} channels")
    if any(value <= above for value in given):
        raise SpecError(f"{name} is {values}; expected numbers above {above:g}, such as 0.5")
    return torch.tensor(given).view(channels, 1, 1)
