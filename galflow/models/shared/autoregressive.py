"""What the autoregressive image models share: what a distribution for each pixel is used for.

The exact probability of a cutout pixel after pixel, reconstructions, the distribution of one pixel, samples and
completions. It refuses to learn from pixels that were not observed, and states masses of declared bins, not densities.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError
from galflow.layers.images.blocks import observed_pixels
from galflow.models.base import Density, Reconstructs
from galflow.models.shared.causal_network import CausalNetwork

_Outputs = Callable[[Tensor, int, int], Tensor]
"""(what is told (n, K, H, W) so far, y, x) -> the network's outputs (n, P) at that pixel."""


class Autoregressive(CausalNetwork, Density, Reconstructs):
    """log P(x) = sum of log P(pixel | pixels before it) in raster order, the bands of a pixel in their order.

    Valid input: stretched pixels; what lies outside [low, high] counts as the edge bin. ``log_prob`` is the log of
    the probability mass of bins of width ``bin_width``; divide by it per pixel and band for a density.
    ``loss`` is bits per observed dimension.

    Missing pixels: the network sees 0 and the flag of pixels beyond the edge, and their terms are left out.
    So ``log_prob`` is the sum over observed pixels of log P(pixel | observed pixels before it), a normalised
    probability over the observed pixels for the given mask. It is not the full model with the missing pixels
    integrated out, which would have to average over all values they might have.

    With ``conditions`` every probability is given these catalogue values (NaN where unknown): log P(x | values), which
    leaves brightness and size, say, to the catalogue and is about the rest. Draws are then for training objects' own
    values. Without, a draw has to decide on the brightness of its galaxy at the first pixels that it reaches.

    With ``average`` > 0 what the training ends with is the average of the weights, as in Salimans+17.
    """

    scores: ClassVar[Mapping[str, str]] = {
        "bits_per_dim": "-log2 probability per observed pixel and band; follows brightness (Nalisnick+19)"
    }
    one_pass_sampling: ClassVar[bool] = False
    free_form_jacobian: ClassVar[bool] = False
    loss_per_pixel: ClassVar[bool] = True

    @property
    def pixel_bins(self) -> tuple[float, float]:
        """The model's own bins; where it has more than 256, wider ones over the same range."""
        return self.bins.low, max(self.bins.width, 2 * self.bins.half_range / 256)

    def _levels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Bin numbers (0 where missing) and bin centres in the network's precision."""
        self.check(batch)
        level = self.bins.level(observed_pixels(batch))
        return level, self.bins.centre(level, self.stack.enter_up.weight.dtype)

    def _log_prob(self, batch: Batch, dropout: float) -> Tensor:
        level, values = self._levels(batch)
        distribution = self.distribution(self._outputs_of(batch, values, dropout))
        return distribution.log_prob(level, batch.observed).sum((1, 2))

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) natural log of the probability of the observed pixels' bins."""
        return self._log_prob(batch, 0.0)

    def loss(self, batch: Batch, player: str) -> Tensor:
        """Bits per observed pixel and band, over the whole batch; in training mode with dropout, where there is any."""
        if player != "network":
            raise ModelError(f"{type(self).__name__} has no player {player!r}; its only player is network")
        if self.average is not None and self.training and torch.is_grad_enabled():
            self.average.update(self)
        observed = batch.observed.sum().clamp(min=1)
        return -self._log_prob(batch, self.dropout if self.training else 0.0).sum() / (observed * math.log(2))

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """Each pixel's expectation given its true predecessors (B, C, H, W); missing pixels are filled in likewise."""
        level, values = self._levels(batch)
        return self.distribution(self._outputs_of(batch, values)).expectation(level, batch.observed)

    @torch.no_grad()
    def residual(self, batch: Batch) -> Tensor:
        """(B, C, H, W) pixel minus its expectation given its true predecessors; 0 where not observed."""
        difference = observed_pixels(batch) - self.reconstruct(batch)
        return torch.where(batch.observed, difference, torch.zeros_like(difference))

    @torch.no_grad()
    def pixel_distribution(self, batch: Batch, y: int, x: int, band: int = 0) -> tuple[Tensor, Tensor]:
        """The distribution of one pixel given all that comes before it (Lecture: "the PDF of one chosen pixel").

        Returns the bin centres (levels,) in stretched units and the probability (B, levels) of each bin in ``band`` at
        (y, x); its own value plays no part. Divide by ``bin_width`` for a density.
        """
        self._check_place(y, x, band)
        level, values = self._levels(batch)
        here = (..., slice(y, y + 1), slice(x, x + 1))
        distribution = self.distribution(self._outputs_of(batch, values)[here])
        masses = distribution.masses(level[here], batch.observed[here], band)[:, :, 0, 0]
        return self.bins.centres(masses), masses

    def _check_place(self, y: int, x: int, band: int) -> None:
        if not (0 <= y < self.size and 0 <= x < self.size and 0 <= band < self.channels):
            raise ModelError(
                f"pixel (y={y}, x={x}) of band {band} does not exist; y and x run from 0 to {self.size - 1}, "
                f"band from 0 to {self.channels - 1}"
            )

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) bin centres, drawn pixel by pixel from cached activations (Ramachandran+17).

        In double precision, so that the other order of summation never decides a draw: the same pixels as
        ``sample_naive`` for the same generator. With conditions, for the values of training objects.
        """
        return self._grow(n, generator, context=self._drawn_contexts(n, generator))

    def sample_for(self, conditions: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) bin centres: a draw for each row of raw catalogue values (B, K), NaN where unknown."""
        if self.catalogue is None:
            raise ModelError(f"this {type(self).__name__} has no conditions to draw for; build it with conditions=")
        return self._grow(len(conditions), generator, context=self.catalogue.context(conditions))

    def _drawn_contexts(self, n: int, generator: torch.Generator | None) -> Tensor | None:
        return None if self.catalogue is None else self.catalogue.drawn(n, generator)

    @torch.no_grad()
    def sample_naive(self, n: int, generator: torch.Generator | None = None, rows: int | None = None) -> Tensor:
        """The same pixels with a pass of the whole network over all images for each: what ``sample`` must equal.

        With ``rows`` it stops after so many rows and returns those: (n, C, rows, W).
        """
        return self._grow(n, generator, context=self._drawn_contexts(n, generator), naive=True, rows=rows)

    def complete(self, batch: Batch, rows: int, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W): the batch's first ``rows`` rows (as bin centres), the rest drawn given them.

        What was not observed in those rows is drawn as well, given the pixels and bands before it.
        """
        self.check(batch)
        if not 0 <= rows <= self.size:
            raise ModelError(f"rows is {rows}; a completion keeps between 0 and {self.size} rows of the cutout")
        kept = batch.observed.clone()
        kept[:, :, rows:] = False
        given = (self._levels(batch)[0], kept)
        return self._grow(len(batch), generator, context=self._context_of(batch), given=given)

    @torch.no_grad()
    def _grow(
        self,
        n: int,
        generator: torch.Generator | None,
        *,
        context: Tensor | None,
        naive: bool = False,
        given: tuple[Tensor, Tensor] | None = None,
        rows: int | None = None,
    ) -> Tensor:
        """Draw pixel after pixel, in double precision; ``given``: bin numbers and where they stand instead of draws."""
        model = copy.deepcopy(self).double()
        maps = model._maps(None if context is None else context.double())
        told = torch.zeros(n, 2 * self.channels, self.size, self.size, dtype=torch.float64, device=self.position.device)
        told = torch.cat([told, model.position.expand(n, -1, -1, -1)], dim=1)
        outputs = model._naive_outputs(maps) if naive else model._cached_outputs(n, maps)
        levels = torch.zeros(n, self.channels, self.size, self.size, dtype=torch.long, device=told.device)
        drawn = torch.ones(n, self.channels, dtype=torch.bool, device=told.device)
        rows = self.size if rows is None else rows
        partly = None if given is None else (given[1].any(1) != given[1].all(1)).any(0).tolist()
        for y in range(rows):
            uniform: Tensor | None = None
            for x in range(self.size):
                distribution = model.distribution(outputs(told, y, x)[:, :, None, None])
                if uniform is None:
                    uniform = _uniform((self.size, n, distribution.uniforms, 1, 1), generator, told)
                if given is not None and partly is not None:
                    here = (..., slice(y, y + 1), slice(x, x + 1))
                    known, standing = given[1][here], given[0][here]
                    level = (
                        distribution.draw_given(uniform[x], standing, known)
                        if partly[y][x]
                        else distribution.draw(uniform[x])
                    )
                    level = torch.where(known, standing, level)[..., 0, 0]
                else:
                    level = distribution.draw(uniform[x])[..., 0, 0]
                levels[..., y, x] = level
                told[:, : 2 * self.channels, y, x] = model._told(self.bins.centre(level, torch.float64), drawn)
        return self.bins.centre(levels[:, :, :rows], self.stack.enter_up.weight.dtype)

    def _naive_outputs(self, maps: Tensor | None) -> _Outputs:
        """The network's outputs by a pass over the whole images for each pixel."""

        def outputs(told: Tensor, y: int, x: int) -> Tensor:
            return self.head(self.stack(told, maps))[:, :, y, x]

        return outputs

    def _cached_outputs(self, n: int, maps: Tensor | None) -> _Outputs:
        """The network's outputs from cached activations, for pixels visited in raster order."""
        stack = self.stack.cached(n, self.size, self.size, maps)

        def outputs(told: Tensor, y: int, x: int) -> Tensor:
            before = y * self.size + x - 1
            features = stack.step(told.flatten(2)[:, :, before] if before >= 0 else None)
            return self.head(features[:, :, None, None])[:, :, 0, 0]

        return outputs


def _uniform(shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Uniform numbers of ``like``'s type on its device, drawn where the generator lives."""
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)
