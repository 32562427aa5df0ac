"""Where an object ranks among those that are as bright and as large as it.

A score follows brightness and size; among its like, an object is odd for what it looks like. Its like are the nearest
held-out objects in light and half-light radius, each in units of its robust scatter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from galflow.constants import SIGMA_PER_MAD

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FloatArray = npt.NDArray[np.float64]
NEIGHBOURS = 64
"""Held-out objects that an object is compared with: p-values go down to 1 / 65."""
_MOST = 20_000
"""Held-out objects that are kept."""
_SEED = 22
_BLOCK = 50_000
"""Objects compared at once."""


@dataclass(frozen=True, eq=False)
class Alike:
    """Held-out objects by what an object is compared in."""

    covariates: FloatArray
    """(r, 2) logarithms of light and size."""
    values: FloatArray
    """(r,) what ranks."""

    @classmethod
    def of(cls, covariates: FloatArray, values: FloatArray) -> Alike:
        """From (r, 2) and (r,); those without a number are left out, and of very many an even draw is kept."""
        known = np.flatnonzero(np.isfinite(covariates).all(axis=1) & np.isfinite(values))
        if len(known) > _MOST:
            known = np.sort(np.random.default_rng(_SEED).choice(known, _MOST, replace=False))
        return cls(covariates[known], values[known])

    @cached_property
    def _scatter(self) -> FloatArray:
        """(2,) of the covariates, robust; 1 where they do not vary."""
        centre = np.median(self.covariates, axis=0)
        scatter = SIGMA_PER_MAD * np.median(np.abs(self.covariates - centre), axis=0)
        return np.where(scatter > 0, scatter, 1.0)

    @cached_property
    def _tree(self) -> cKDTree:
        """Built once for all parts of a run."""
        from scipy.spatial import cKDTree

        return cKDTree(self.covariates / self._scatter)

    def p_values(self, covariates: FloatArray, values: FloatArray) -> FloatArray:
        """(n,) share of its like that rank as high or higher, (1 + number) / (1 + NEIGHBOURS); NaN where unknown.

        Of (n, 2) covariates and (n,) values. NaN for all where fewer than twice NEIGHBOURS are held out.
        """
        found = np.full(len(values), np.nan)
        if len(self.values) < 2 * NEIGHBOURS:
            return found
        known = np.flatnonzero(np.isfinite(covariates).all(axis=1) & np.isfinite(values))
        for start in range(0, len(known), _BLOCK):
            rows = known[start : start + _BLOCK]
            _, near = self._tree.query(covariates[rows] / self._scatter, k=NEIGHBOURS)
            as_high = (self.values[near] >= values[rows, None]).sum(axis=1)
            found[rows] = (1 + as_high) / (1 + NEIGHBOURS)
        return found
