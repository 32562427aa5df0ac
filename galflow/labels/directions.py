"""The leading directions of a model's latents: along which objects differ most, as the axes of a map.

Latents are standardised robustly first, so that neither a latent of a large scale nor one odd object decides the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

COMPONENTS = 4
"""Directions that a map may choose from."""
_LARGEST_SPREADS = 10
"""What lies farther out counts as if it lay there: a few extremes would else be all that a map shows."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LatentDirections:
    """Principal components of standardised latents, found of some objects, for any."""

    shares: FloatArray
    """(C,) of the variance, of each component; C is COMPONENTS or fewer."""
    used: npt.NDArray[np.intp]
    """Numbers of the D latents that vary."""
    middle: FloatArray
    """(len(used),) medians."""
    spread: FloatArray
    """(len(used),) half the interval that holds 68%."""
    mean: FloatArray
    """(len(used),) of the standardised latents, clipped."""
    vectors: FloatArray
    """(len(used), C)."""

    @classmethod
    def of(cls, latents: npt.NDArray[np.floating]) -> LatentDirections:
        """Those of (N, D) finite latents; N and D are 2 at least."""
        low, middle, high = np.quantile(latents.astype(np.float64), [0.16, 0.5, 0.84], axis=0)
        spread = (high - low) / 2
        used = np.flatnonzero(spread > 0)
        if len(used) < 2:
            used, spread = np.arange(latents.shape[1]), np.ones(latents.shape[1])
        middle, spread = middle[used], spread[used]
        centred = _clipped((latents[:, used] - middle) / spread)
        mean = centred.mean(axis=0)
        centred -= mean
        variances, vectors = np.linalg.eigh(centred.T @ centred)
        order = np.argsort(variances)[::-1][:COMPONENTS]
        chosen = vectors[:, order] * np.where(vectors[:, order].sum(axis=0) < 0, -1, 1)  # else a sign is by chance
        shares = variances[order] / max(float(variances.sum()), np.finfo(float).tiny)
        return cls(shares, used, middle, spread, mean, chosen)

    def standardised(self, latents: npt.NDArray[np.floating]) -> FloatArray:
        """(N, len(used)) each latent less its median, over its spread."""
        return np.asarray((latents[:, self.used].astype(np.float64) - self.middle) / self.spread)

    def places(self, latents: npt.NDArray[np.floating]) -> FloatArray:
        """(N, C) where (N, D) latents lie; NaN of an object without latents."""
        return np.asarray((_clipped(self.standardised(latents)) - self.mean) @ self.vectors)


def _clipped(standardised: FloatArray) -> FloatArray:
    return np.clip(standardised, -_LARGEST_SPREADS, _LARGEST_SPREADS)
