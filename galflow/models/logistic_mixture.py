"""A mixture of discretised logistics over the bands of each pixel: exact bin probabilities, draws, expectations.

The head of the autoregressive models (Salimans+17, section 2.1 and 2.2). It knows bins and parameters, not the network
that makes them, and it refuses to approximate: probabilities of all bins sum to one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.errors import ModelError, SpecError

MIN_LOG_SCALE, MAX_LOG_SCALE = -6.0, 3.0
"""Bounds of the logistics' log scale, relative to the half width of the range: no bin's mass is then beyond float32."""


@dataclass(frozen=True)
class Bins:
    """``levels`` bins of equal width over [low, high] stretched units; the outermost two also own the tails."""

    low: float
    high: float
    levels: int

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.levels >= 2):
            raise SpecError(
                f"bins of low={self.low}, high={self.high}, levels={self.levels} cannot be made; "
                "give low < high and at least 2 levels"
            )

    @property
    def width(self) -> float:
        """Width of one bin in stretched units."""
        return (self.high - self.low) / self.levels

    def level(self, pixels: Tensor) -> Tensor:
        """Bin numbers (int64, 0 .. levels-1) of stretched pixels; what lies outside [low, high] is in the edge bins."""
        return ((pixels - self.low) / self.width).floor().clamp(0, self.levels - 1).long()

    def centre(self, level: Tensor, dtype: torch.dtype) -> Tensor:
        """The stretched value at the middle of each bin."""
        return self.low + (level.to(dtype) + 0.5) * self.width


@dataclass(frozen=True)
class LogisticMixture:
    """K mixture components, shared by the C bands of a pixel; a component's mean in a band is linear in earlier bands.

    P(x_1 .. x_C) = sum_k pi_k prod_c P_kc(x_c | x_<c), where P_kc is a logistic of mean m_kc + sum_{j<c} a_kcj x_j and
    scale s_kc, integrated over the bin of x_c. Values x are bin centres in stretched units. A band that is not observed
    contributes no factor, and 0 as a predecessor.
    """

    bins: Bins
    logits: Tensor
    """(B, K, H, W): unnormalised log pi."""
    means: Tensor
    """(B, K, C, H, W) in stretched units, before the earlier bands are added."""
    log_scales: Tensor
    """(B, K, C, H, W): log of the scale in stretched units, bounded."""
    coefficients: Tensor
    """(B, K, C(C-1)/2, H, W): a, in the order of ``torch.tril_indices(C, C, -1)``."""

    @staticmethod
    def parameters_per_pixel(components: int, channels: int) -> int:
        """How many network outputs one pixel needs."""
        return components * (1 + 2 * channels + channels * (channels - 1) // 2)

    @classmethod
    def from_outputs(cls, outputs: Tensor, bins: Bins, components: int, channels: int) -> Self:
        """Read a network's outputs (B, parameters_per_pixel, H, W).

        Order: logits, means, log scales, coefficients. Means and scales are in units of half the range, so that
        outputs of order one mean something.
        """
        pairs = channels * (channels - 1) // 2
        sizes = [components, components * channels, components * channels, components * pairs]
        if outputs.shape[1] != sum(sizes):
            raise ModelError(
                f"a mixture of {components} logistics in {channels} band(s) takes {sum(sizes)} outputs a pixel, "
                f"got {outputs.shape[1]}; size the last layer with LogisticMixture.parameters_per_pixel"
            )
        logits, means, log_scales, coefficients = outputs.split(sizes, dim=1)
        half_range = (bins.high - bins.low) / 2
        by_component = (components, -1)
        return cls(
            bins,
            logits,
            means.unflatten(1, by_component) * half_range,
            log_scales.unflatten(1, by_component).clamp(MIN_LOG_SCALE, MAX_LOG_SCALE) + math.log(half_range),
            coefficients.unflatten(1, (components, pairs)),
        )

    @property
    def channels(self) -> int:
        """Bands C."""
        return self.means.shape[2]

    def conditional_means(self, values: Tensor, observed: Tensor) -> Tensor:
        """(B, K, C, H, W) means given the true earlier bands of the same pixel: ``values`` (B, C, H, W) stretched."""
        if self.channels == 1:
            return self.means
        later, earlier = torch.tril_indices(self.channels, self.channels, -1, device=values.device)
        known = torch.where(observed, values, torch.zeros_like(values))
        return self.means.index_add(2, later, self.coefficients * known[:, None, earlier])

    def _log_mass(self, means: Tensor, level: Tensor, observed: Tensor) -> Tensor:
        """(B, K, C, H, W) log probability of each band's bin under each component; 0 where not observed.

        With a, b the standardised upper and lower edge: S(a) - S(b) = S(a) S(-b) (1 - exp(b - a)) for the logistic
        function S. All three logarithms are finite for any mean, so no case needs rescuing in float32.
        """
        level, observed = level[:, None], observed[:, None]
        inverse_scale = torch.exp(-self.log_scales)
        centre = self.bins.centre(level, means.dtype)
        upper = (centre + self.bins.width / 2 - means) * inverse_scale
        lower = (centre - self.bins.width / 2 - means) * inverse_scale
        bottom, top = level == 0, level == self.bins.levels - 1
        zero = torch.zeros((), dtype=means.dtype, device=means.device)
        log_mass = torch.where(top, zero, F.logsigmoid(upper)) + torch.where(bottom, zero, F.logsigmoid(-lower))
        log_mass = log_mass + torch.where(top | bottom, zero, torch.log(-torch.expm1(-self.bins.width * inverse_scale)))
        return torch.where(observed, log_mass, zero)

    def log_prob(self, level: Tensor, observed: Tensor) -> Tensor:
        """(B, H, W) natural-log probability of each pixel's observed bands; ``level`` (B, C, H, W) are bin numbers."""
        values = self.bins.centre(level, self.means.dtype)
        log_mass = self._log_mass(self.conditional_means(values, observed), level, observed)
        return torch.logsumexp(F.log_softmax(self.logits, dim=1) + log_mass.sum(dim=2), dim=1)

    def expectation(self, level: Tensor, observed: Tensor) -> Tensor:
        """(B, C, H, W) expected stretched value of each band given the true earlier bands of the pixel.

        The logistic is clipped to the outermost bin centres and integrated in closed form; binning would move the
        result by a small fraction of a bin (nothing measurable where the scale exceeds a bin's width).
        """
        values = self.bins.centre(level, self.means.dtype)
        means = self.conditional_means(values, observed)
        log_mass = self._log_mass(means, level, observed)
        seen_before = log_mass.cumsum(dim=2) - log_mass
        weights = torch.softmax(self.logits[:, :, None] + seen_before, dim=1)
        low, high = self.bins.low + self.bins.width / 2, self.bins.high - self.bins.width / 2
        scale = torch.exp(self.log_scales)
        # E[clip(X, low, high)] = low + integral of P(X > t) from low to high
        clipped = low + scale * (F.softplus((means - low) / scale) - F.softplus((means - high) / scale))
        return (weights * clipped).sum(dim=1)

    def draw(self, generator: torch.Generator | None) -> Tensor:
        """(B, C, H, W) bin numbers drawn from the mixture, band after band."""
        batch, _, _, height, width = self.means.shape
        cumulative = torch.softmax(self.logits, dim=1).cumsum(dim=1)[:, :-1]
        chosen = (self._uniform((batch, 1, height, width), generator) > cumulative).sum(dim=1)[:, None, None]

        def of_chosen(parameter: Tensor) -> Tensor:
            return parameter.gather(1, chosen.expand(-1, -1, parameter.shape[2], -1, -1)).squeeze(1)

        means, scales = of_chosen(self.means), of_chosen(self.log_scales.exp())
        coefficients = of_chosen(self.coefficients)
        uniform = self._uniform(tuple(means.shape), generator).clamp(1e-7, 1 - 1e-7)
        noise = scales * (torch.log(uniform) - torch.log1p(-uniform))
        levels: list[Tensor] = []
        pair = 0
        for band in range(self.channels):
            mean = means[:, band]
            for earlier in range(band):
                mean = mean + coefficients[:, pair] * self.bins.centre(levels[earlier], mean.dtype)
                pair += 1
            levels.append(self.bins.level(mean + noise[:, band]))
        return torch.stack(levels, dim=1)

    def _uniform(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """Uniform numbers drawn where the generator lives, brought to where the parameters are."""
        device = self.means.device if generator is None else generator.device
        return torch.rand(shape, generator=generator, dtype=self.means.dtype, device=device).to(self.means.device)
