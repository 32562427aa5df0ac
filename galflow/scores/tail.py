"""How improbable the most extreme objects are: a generalised Pareto tail fitted to the held-out ones.

A conformal p-value cannot fall below 1 / (1 + references), so in a survey of millions nothing survives a correction for
so many tests. Beyond a high threshold nearly every distribution has a generalised Pareto tail (Pickands 1975, Ann.
Stat. 3, 119), and with it a p-value can be EXTRAPOLATED. It is a model, not a guarantee: its columns say so.

Held-out objects are the survey's own and hold its anomalies. So the most extreme tenth of them enters the fit by
its number alone: anomalies among them make the tail heavier, and p-values too large, but do not rule it by how far out
they lie.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
TAIL = 0.25
"""The tail is fitted to what exceeds all but this share of the references."""
CENSORED = 0.1
"""Share of the references whose values count as "beyond" only."""
FEWEST = 40
"""Fewer references between threshold and limit fit nothing."""
_SHAPES, _SCALES = (-0.48, 0.48), (0.4, 2.5)
"""Of the shape; of the scale, in units of that of an exponential tail."""
_GRID, _UNLIKELY = 31, 12.0
"""Points in each direction; the grid is laid twice, the second time where the likelihood is not e^-12 of the best."""
_EXCESSES = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 600)])
"""At which the tail is kept, in units of the distance from threshold to limit."""
_NONE = 0.05
_DRAWS = 500
_SEED = 21


@dataclass(frozen=True, eq=False)
class ParetoTail:
    """The mean of generalised Pareto tails by their posterior weight: the heavier, the less the references tell."""

    threshold: float
    limit: float
    """References beyond it are censored."""
    share: float
    """Of an ordinary object to lie above the threshold: (1 + those above) / (1 + all)."""
    log_survival: FloatArray
    """Logarithm of the share of those above that lies beyond each excess of _EXCESSES."""
    fitted: int
    """References between threshold and limit."""
    misfit_p: float
    """Of the distance between these and the fitted tail (Kolmogorov-Smirnov, by draws from the fit): small if no
    generalised Pareto tail describes them."""

    @classmethod
    def of(cls, reference: FloatArray) -> ParetoTail | None:
        """The tail of (r,) sorted values of held-out objects; None where they are too few, or too many alike."""
        n = len(reference)
        if n < FEWEST / (TAIL - CENSORED):
            return None
        threshold, limit = (float(reference[n - 1 - int(share * n)]) for share in (TAIL, CENSORED))
        above = reference[reference > threshold]
        excess = above[above <= limit] - threshold
        if len(excess) < FEWEST or len(np.unique(excess)) < FEWEST // 2:
            return None
        width = limit - threshold
        survival = _mean_survival(excess / width, len(above) - len(excess))
        misfit_p = _misfit(excess / width, survival)
        log_survival = np.log(np.maximum(survival, np.finfo(float).tiny))
        return cls(threshold, limit, (1 + len(above)) / (1 + n), log_survival, len(excess), misfit_p)

    def p_values(self, values: FloatArray) -> FloatArray:
        """(n,) probability that an ordinary object lies as far out; of ``values`` above the threshold."""
        excess = (np.asarray(values, dtype=np.float64) - self.threshold) / (self.limit - self.threshold)
        return np.asarray(self.share * np.exp(np.interp(excess, _EXCESSES, self.log_survival)), dtype=np.float64)

    def unexpected(self, reference: FloatArray) -> int:
        """How many of (r,) references lie where the tail expects less than 0.05: anomalies, or a heavier tail."""
        return int(np.count_nonzero(self.p_values(reference[reference > self.limit]) * len(reference) < _NONE))

    def quantiles(self, reference: FloatArray, most: int = 60) -> tuple[FloatArray, FloatArray]:
        """Of (r,) sorted references at most ``most`` above the threshold, and where the tail expects each, to be drawn.

        The more extreme, the denser.
        """
        above = reference[reference > self.threshold]
        beyond = (np.arange(len(above), 0, -1) - 0.5) / len(above)
        wanted = np.unique(np.rint(len(above) * (1 - np.geomspace(1 / len(above), 1, most))).astype(int))
        wanted = wanted[wanted < len(above)]
        excess = np.interp(-np.log(beyond[wanted]), -self.log_survival, _EXCESSES)
        return above[wanted], self.threshold + excess * (self.limit - self.threshold)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"log_survival": self.log_survival.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ParetoTail:
        """The inverse of ``to_json``."""
        return cls(**value | {"log_survival": np.asarray(value["log_survival"], dtype=np.float64)})


def _survival(excess: FloatArray, shape: FloatArray, scale: FloatArray) -> FloatArray:
    """Share beyond (n,) excesses, for (k, 1) shapes and scales; the exponential's where the shape is 0."""
    exponential = np.abs(shape) < 1e-9
    safe = np.where(exponential, 1.0, shape)
    with np.errstate(divide="ignore"):
        log_base = np.log(np.maximum(0.0, 1.0 + shape * excess / scale))
    return np.asarray(np.exp(np.where(exponential, -excess / scale, -log_base / safe)))


def _mean_survival(excess: FloatArray, censored: int) -> FloatArray:
    """Share beyond each of _EXCESSES, of (m,) excesses below 1 and a number of censored ones beyond 1.

    The shape's prior is the beta distribution of Martins & Stedinger (2000, Water Resour. Res. 36, 737); the scale's is
    even in its logarithm. Excesses are counted in 400 bins, so that any number of them costs the same.
    """
    counts = np.histogram(excess, np.linspace(0.0, 1.0, 401))[0]
    scale_1 = float(excess.sum() + censored) / len(excess)
    shapes = np.linspace(_SHAPES[0], _SHAPES[1], _GRID)
    log_scales = np.linspace(np.log(_SCALES[0] * scale_1), np.log(_SCALES[1] * scale_1), _GRID)
    log_p = _log_posterior(counts, censored, shapes, log_scales)
    likely = log_p > log_p.max() - _UNLIKELY
    shapes, log_scales = (_closer(grid, likely.any(axis)) for grid, axis in ((shapes, 1), (log_scales, 0)))
    log_p = _log_posterior(counts, censored, shapes, log_scales)
    kept = log_p > log_p.max() - _UNLIKELY
    weight = np.exp(log_p[kept] - log_p.max())
    shape, log_scale = (grid[kept][:, None] for grid in np.meshgrid(shapes, log_scales, indexing="ij"))
    return weight / weight.sum() @ _survival(_EXCESSES, shape, np.exp(log_scale))


def _closer(grid: FloatArray, likely: npt.NDArray[np.bool_]) -> FloatArray:
    """A finer grid over the likely points, one step further on both sides."""
    first, last = np.flatnonzero(likely)[[0, -1]]
    return np.linspace(grid[max(0, first - 1)], grid[min(len(grid) - 1, last + 1)], len(grid))


def _log_posterior(
    counts: npt.NDArray[np.int64], censored: int, shapes: FloatArray, log_scales: FloatArray
) -> FloatArray:
    """(s, t) for each shape and scale, of excesses counted in bins from 0 to 1 and those censored at 1."""
    shape, log_scale = (grid.ravel()[:, None] for grid in np.meshgrid(shapes, log_scales, indexing="ij"))
    prior = 5 * np.log(0.5 - shape[:, 0]) + 8 * np.log(0.5 + shape[:, 0])  # their kappa is minus the shape
    survival = _survival(np.linspace(0.0, 1.0, len(counts) + 1), shape, np.exp(log_scale))
    within = np.log(np.maximum(survival[:, :-1] - survival[:, 1:], 1e-300)) @ counts
    beyond = censored * np.log(np.maximum(survival[:, -1], 1e-300))
    return np.asarray((prior + within + beyond).reshape(len(shapes), len(log_scales)))


def _misfit(excess: FloatArray, survival: FloatArray) -> float:
    """p of the (m,) excesses' distance from the tail below 1: how often draws of the tail itself lie farther off."""
    rng, m = np.random.default_rng(_SEED), len(excess)
    at_one = np.interp(1.0, _EXCESSES, survival)
    levels = np.sort((1.0 - np.interp(excess, _EXCESSES, survival)) / (1.0 - at_one))
    ideal = (np.arange(m) + 0.5) / m
    chance = np.sort(rng.random((max(100, min(_DRAWS, 2_000_000 // m)), m)), axis=1)
    farther = np.abs(chance - ideal).max(axis=1) >= np.abs(levels - ideal).max()
    return float((1 + np.count_nonzero(farther)) / (1 + len(chance)))
