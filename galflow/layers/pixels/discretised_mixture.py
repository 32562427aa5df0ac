"""Mixtures of discretised logistics or Gaussians over the bands of each pixel: exact bin probabilities.

The heads of PixelCNN++ (Salimans+17, sections 2.1 and 2.2) and of Zanisi+21. They know bins and parameters, not the
network that makes them, and refuse to approximate: probabilities of all bins sum to one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.errors import ModelError
from galflow.layers.pixels.distribution import Bins, PixelDistribution

MIN_LOG_SCALE, MAX_LOG_SCALE = -6.0, 3.0
"""Bounds of the components' log scale, relative to the half width of the range: no bin's mass is beyond float32."""
_TINY = 1e-12
"""Uniform numbers stay this far from 0 and 1, where the quantile is infinite."""


@dataclass(frozen=True)
class DiscretisedMixture(PixelDistribution):
    """K mixture components, shared by the C bands of a pixel; a component's mean in a band is linear in earlier bands.

    P(x_1 .. x_C) = sum_k pi_k prod_c P_kc(x_c | x_<c), where P_kc is a distribution of mean m_kc + sum_{j<c} a_kcj x_j
    and scale s_kc, integrated over the bin of x_c. Values x are bin centres in stretched units; a band that is not
    observed counts as 0 as a predecessor.
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

    @abstractmethod
    def _log_cdf(self, z: Tensor) -> Tensor:
        """log of the standard distribution function (symmetric about 0)."""

    @abstractmethod
    def _log_between(self, upper: Tensor, lower: Tensor, width: Tensor) -> Tensor:
        """log probability between two standardised edges, ``width`` apart; finite whatever they are."""

    @abstractmethod
    def _ramp(self, z: Tensor) -> Tensor:
        """Integral of the distribution function from minus infinity to z."""

    @abstractmethod
    def _quantile(self, uniform: Tensor) -> Tensor:
        """The standard distribution's quantile."""

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
                f"a mixture of {components} components in {channels} band(s) takes {sum(sizes)} outputs a pixel, "
                f"got {outputs.shape[1]}; size the last layer with {cls.__name__}.parameters_per_pixel"
            )
        logits, means, log_scales, coefficients = outputs.split(sizes, dim=1)
        by_component = (components, -1)
        return cls(
            bins,
            logits,
            means.unflatten(1, by_component) * bins.half_range,
            log_scales.unflatten(1, by_component).clamp(MIN_LOG_SCALE, MAX_LOG_SCALE) + math.log(bins.half_range),
            coefficients.unflatten(1, (components, pairs)),
        )

    @property
    def channels(self) -> int:
        """Bands C."""
        return self.means.shape[2]

    @property
    def uniforms(self) -> int:
        """One for the component and one for each band."""
        return 1 + self.channels

    def conditional_means(self, values: Tensor, observed: Tensor) -> Tensor:
        """(B, K, C, H, W) means given the true earlier bands of the same pixel: ``values`` (B, C, H, W) stretched."""
        if self.channels == 1:
            return self.means
        earlier = torch.tril_indices(self.channels, self.channels, -1, device=values.device)[1]
        known = torch.where(observed, values, torch.zeros_like(values))
        # Summed band by band: index_add would add in an order that differs from run to run on a GPU.
        of_later_bands = (self.coefficients * known[:, None, earlier]).split(list(range(1, self.channels)), dim=2)
        shifts = [torch.zeros_like(self.means[:, :, 0]), *(shift.sum(dim=2) for shift in of_later_bands)]
        return self.means + torch.stack(shifts, dim=2)

    def _log_mass(self, means: Tensor, log_scales: Tensor, level: Tensor) -> Tensor:
        """Log probability of the bins ``level`` under components of ``means`` and ``log_scales``, all broadcast."""
        inverse_scale = torch.exp(-log_scales)
        centre = self.bins.centre(level, means.dtype)
        upper = (centre + self.bins.width / 2 - means) * inverse_scale
        lower = (centre - self.bins.width / 2 - means) * inverse_scale
        inside = self._log_between(upper, lower, self.bins.width * inverse_scale)
        below_top = torch.where(level == 0, self._log_cdf(upper), inside)
        return torch.where(level == self.bins.levels - 1, self._log_cdf(-lower), below_top)

    def _observed_log_mass(self, level: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Conditional means and log masses (B, K, C, H, W) of the true bins; 0 where not observed."""
        means = self.conditional_means(self.bins.centre(level, self.means.dtype), observed)
        log_mass = self._log_mass(means, self.log_scales, level[:, None])
        return means, torch.where(observed[:, None], log_mass, torch.zeros_like(log_mass))

    def log_prob(self, level: Tensor, observed: Tensor) -> Tensor:
        """(B, H, W) natural-log probability of each pixel's observed bands."""
        _, log_mass = self._observed_log_mass(level, observed)
        log_prob = torch.logsumexp(F.log_softmax(self.logits, dim=1) + log_mass.sum(dim=2), dim=1)
        return torch.where(observed.any(dim=1), log_prob, torch.zeros_like(log_prob))

    def expectation(self, level: Tensor, observed: Tensor) -> Tensor:
        """(B, C, H, W) expected stretched value of each band given the true earlier bands of the pixel.

        The component is clipped to the outermost bin centres and integrated in closed form; binning would move the
        result by a small fraction of a bin (nothing measurable where the scale exceeds a bin's width).
        """
        means, log_mass = self._observed_log_mass(level, observed)
        seen_before = log_mass.cumsum(dim=2) - log_mass
        weights = torch.softmax(self.logits[:, :, None] + seen_before, dim=1)
        low, high = self.bins.low + self.bins.width / 2, self.bins.high - self.bins.width / 2
        scale = torch.exp(self.log_scales)
        # E[clip(X, low, high)] = low + integral of P(X > t) from low to high
        clipped = low + scale * (self._ramp((means - low) / scale) - self._ramp((means - high) / scale))
        return (weights * clipped).sum(dim=1)

    def masses(self, level: Tensor, observed: Tensor, band: int) -> Tensor:
        """(B, levels, H, W) probability of every bin of ``band`` given the true earlier bands of the pixel."""
        means, log_mass = self._observed_log_mass(level, observed)
        weights = torch.softmax(self.logits + log_mass[:, :, :band].sum(dim=2), dim=1)
        every = torch.arange(self.bins.levels, device=level.device)[:, None, None]
        each = self._log_mass(means[:, :, band, None], self.log_scales[:, :, band, None], every)
        return (weights[:, :, None] * each.exp()).sum(dim=1)

    def draw(self, uniform: Tensor) -> Tensor:
        """(B, C, H, W) bin numbers: ``uniform`` (B, 1 + C, H, W) chooses the component, then a value in each band."""
        cumulative = torch.softmax(self.logits, dim=1).cumsum(dim=1)[:, :-1]
        chosen = (uniform[:, :1] > cumulative).sum(dim=1)[:, None, None]

        def of_chosen(parameter: Tensor) -> Tensor:
            return parameter.gather(1, chosen.expand(-1, -1, parameter.shape[2], -1, -1)).squeeze(1)

        means, noise = of_chosen(self.means), self._quantile(uniform[:, 1:].clamp(_TINY, 1 - _TINY))
        noise = noise * of_chosen(self.log_scales).exp()
        if self.channels == 1:
            return self.bins.level(means + noise)
        coefficients = of_chosen(self.coefficients)
        levels: list[Tensor] = []
        pair = 0
        for band in range(self.channels):
            mean = means[:, band]
            for earlier in range(band):
                mean = mean + coefficients[:, pair] * self.bins.centre(levels[earlier], mean.dtype)
                pair += 1
            levels.append(self.bins.level(mean + noise[:, band]))
        return torch.stack(levels, dim=1)


class LogisticMixture(DiscretisedMixture):
    """Components are logistics (Salimans+17, equation 2)."""

    def _log_cdf(self, z: Tensor) -> Tensor:
        return F.logsigmoid(z)

    def _log_between(self, upper: Tensor, lower: Tensor, width: Tensor) -> Tensor:
        # S(a) - S(b) = S(a) S(-b) (1 - exp(b - a)): all three logarithms are finite, so no case needs rescuing.
        return F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-width))

    def _ramp(self, z: Tensor) -> Tensor:
        return F.softplus(z)

    def _quantile(self, uniform: Tensor) -> Tensor:
        return torch.logit(uniform)


class GaussianMixture(DiscretisedMixture):
    """Components are Gaussians; one component is the head of Zanisi+21, here on bins."""

    def _log_cdf(self, z: Tensor) -> Tensor:
        return torch.special.log_ndtr(z)

    def _log_between(self, upper: Tensor, lower: Tensor, width: Tensor) -> Tensor:
        # Both edges in the lower half, where the distribution function keeps its relative precision. Their difference
        # rounds to 0 only for means some 1e5 half ranges away; the floor keeps even those finite.
        mirrored = upper + lower > 0
        far = self._log_cdf(torch.where(mirrored, -upper, lower))
        near = self._log_cdf(torch.where(mirrored, -lower, upper))
        return near + torch.log(-torch.expm1((far - near).clamp(max=-_TINY)))

    def _ramp(self, z: Tensor) -> Tensor:
        return z * torch.special.ndtr(z) + torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)

    def _quantile(self, uniform: Tensor) -> Tensor:
        return torch.special.ndtri(uniform)
