"""How far two samples of a scalar (a score, a log-likelihood) or of features lie apart, each distance with an interval.

The statistics are those of scipy and scikit-learn, computed on weights so that all bootstraps of a block are one array
operation. This file refuses values that are not finite, and samples too small to resample.

Intervals are percentile bootstraps (Efron 79; 2.5% to 97.5%). A distance cannot be negative, so resampling adds to it:
where two samples truly agree the interval lies above zero. Compare it with that of two halves of one sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.compare.matching import Matched
from galflow.errors import ModelError, SpecError
from galflow.scores.fractions import error_of_mean

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]

STATISTICS = ("ks", "wasserstein", "energy", "auroc")
_ROUNDING = 1e-9
"""A permutation that comes this close, relatively, to what is observed counts as equal."""
BLOCK_VALUES = 500_000
"""Weights held at once while bootstrapping (a few MB an array, so that a block stays in cache)."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95% bootstrap interval, widened where needed so that low <= value <= high."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, bootstraps: FloatArray) -> Interval:
        """The interval from the 2.5 to the 97.5 percentile of ``bootstraps``."""
        low, high = np.percentile(bootstraps, [2.5, 97.5])
        return cls(float(value), float(min(low, value)), float(max(high, value)))

    @classmethod
    def over_trainings(cls, found: Sequence[Interval]) -> Interval:
        """The mean of several trainings' values, with their scatter and the mean width of their intervals in its own.

        Both add in quadrature: which objects there are and how a training came out have nothing to do with each other.
        """
        values = [one.value for one in found]
        mean, scatter = float(np.mean(values)), error_of_mean(values, 0.95)
        below = float(np.mean([one.value - one.low for one in found]))
        above = float(np.mean([one.high - one.value for one in found]))
        return cls(mean, mean - math.hypot(below, scatter), mean + math.hypot(above, scatter))


@dataclass(frozen=True)
class TwoSample:
    """Sample b against sample a."""

    ks: Interval
    """Kolmogorov-Smirnov: the largest distance of the cumulative distributions, 0 to 1."""
    wasserstein: Interval
    """1-Wasserstein distance, in the unit of the values."""
    energy: Interval
    """Energy distance as scipy.stats.energy_distance states it, in the square root of that unit."""
    auroc: Interval
    """P(value of b > value of a) + P(equal) / 2: 0.5 where alike, above it where b's values are higher."""
    n_a: int
    n_b: int
    median_a: float
    median_b: float

    def to_json(self) -> dict[str, Any]:
        """Nested plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TwoSample:
        """The inverse of ``to_json``."""
        plain: dict[str, Any] = {key: Interval(**item) if key in STATISTICS else item for key, item in value.items()}
        return cls(**plain)

    @classmethod
    def over_trainings(cls, found: Sequence[TwoSample]) -> TwoSample:
        """Of several trainings of one model, the first of which gives the medians."""
        joined: dict[str, Any] = {
            name: Interval.over_trainings([getattr(one, name) for one in found]) for name in STATISTICS
        }
        return replace(found[0], **joined)


def finite_sample(values: npt.ArrayLike, name: str, ndim: int = 1, along: int = 0) -> FloatArray:
    """A sample as float64, its objects along one axis.

    SpecError where its shape is none, ModelError where a value is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or array.shape[along] < 2:
        shape = "(n,)" if ndim == 1 else ("(n, features)", "(columns, n)")[along]
        raise SpecError(f"sample {name} has shape {array.shape}; give {shape} with at least two objects")
    if not np.all(np.isfinite(array)):
        raise ModelError(
            f"sample {name} holds {int(np.count_nonzero(~np.isfinite(array)))} value(s) that are not finite; "
            "leave out objects without a value (null in the catalogue) before comparing"
        )
    return array


def _resampled(rng: np.random.Generator, place: IndexArray, rows: int, width: int) -> FloatArray:
    """(rows, width) weights of ``rows`` bootstraps of the objects that lie at ``place`` of the pooled values."""
    return _weights(place[rng.integers(0, place.size, size=(rows, place.size))], width)


def _statistics(weights_a: FloatArray, weights_b: FloatArray, steps: FloatArray) -> FloatArray:
    """(4, rows) of ``STATISTICS`` for weights (rows, m), each row summing to 1, at m pooled values ``steps`` apart.

    KS and Wasserstein integrate the difference of the cumulative distributions, the energy distance its square
    (Szekely & Rizzo 13: 2 int (F - G)^2 dx).
    """
    below_a = np.cumsum(weights_a, axis=1)
    auroc = np.einsum("rm,rm->r", weights_b, below_a - 0.5 * weights_a)
    difference = below_a
    difference -= np.cumsum(weights_b, axis=1)
    energy = np.sqrt(2.0 * np.einsum("rm,rm,m->r", difference[:, :-1], difference[:, :-1], steps))
    np.abs(difference, out=difference)
    return np.stack([difference.max(axis=1), difference[:, :-1] @ steps, energy, auroc])


def _pooled(a: FloatArray, b: FloatArray) -> tuple[FloatArray, IndexArray, IndexArray]:
    """Distances between the sorted distinct values of both samples, and where a's and b's objects lie among them."""
    values, place = np.unique(np.concatenate([a, b]), return_inverse=True)
    return np.diff(values), place[: a.size], place[a.size :]


def point_statistics(a: FloatArray, b: FloatArray) -> FloatArray:
    """(4,) statistics of the samples themselves."""
    steps, place_a, place_b = _pooled(a, b)
    weights = [np.bincount(p, minlength=steps.size + 1)[None] / p.size for p in (place_a, place_b)]
    return _statistics(weights[0], weights[1], steps)[:, 0]


def require_bootstraps(bootstraps: int) -> None:
    """SpecError where an interval cannot be made of so few."""
    if bootstraps < 2:
        raise SpecError(f"bootstraps is {bootstraps}; an interval needs at least 2, and 1000 for stable percentiles")


def _scalar_draws(a: FloatArray, b: FloatArray, bootstraps: int, seed: int) -> FloatArray:
    """(4, bootstraps) of ``STATISTICS``, both samples resampled. The same seed draws the same objects of ``a``."""
    steps, place_a, place_b = _pooled(a, b)
    # One stream a sample, so that the draws do not depend on the blocks.
    streams = np.random.default_rng(seed).spawn(2)
    width = steps.size + 1
    block = max(1, BLOCK_VALUES // width)
    parts = []
    for start in range(0, bootstraps, block):
        rows = min(block, bootstraps - start)
        weights_a, weights_b = (_resampled(s, p, rows, width) for s, p in zip(streams, (place_a, place_b), strict=True))
        parts.append(_statistics(weights_a, weights_b, steps))
    return np.concatenate(parts, axis=1)


def compare_scalars(a: npt.ArrayLike, b: npt.ArrayLike, *, bootstraps: int = 1000, seed: int = 0) -> TwoSample:
    """Distances of (n_b,) ``b`` from (n_a,) ``a`` with 95% intervals; both samples are resampled. The same seed gives
    the same intervals.
    """
    first, second = finite_sample(a, "a"), finite_sample(b, "b")
    require_bootstraps(bootstraps)
    draws = _scalar_draws(first, second, bootstraps, seed)
    intervals = {
        name: Interval.of(*pair) for name, *pair in zip(STATISTICS, point_statistics(first, second), draws, strict=True)
    }
    return TwoSample(
        **intervals,
        n_a=first.size,
        n_b=second.size,
        median_a=float(np.median(first)),
        median_b=float(np.median(second)),
    )


def matched_draws(a: npt.ArrayLike, b: npt.ArrayLike, matches: Iterable[Matched]) -> FloatArray:
    """(C, 8, bootstraps) of bootstrapped matched samples (``matching.match_bootstraps``) of C columns of values.

    ``a`` is (C, n_a), ``b`` (C, n_b). ``STATISTICS`` of each, then both numbers of objects and both medians. One
    bootstrap is held at a time.
    """
    first, second = finite_sample(a, "a", ndim=2, along=1), finite_sample(b, "b", ndim=2, along=1)
    pooled = [_pooled(one, two) for one, two in zip(first, second, strict=True)]
    rows = []
    for index_a, index_b in matches:
        if min(index_a.size, index_b.size) < 2:
            raise SpecError(f"{index_a.size} objects are matched; at least two are needed. Give fewer bins")
        rows.append([_of_matched(x, y, of, index_a, index_b) for x, y, of in zip(first, second, pooled, strict=True)])
    require_bootstraps(len(rows))
    return np.asarray(rows).transpose(1, 2, 0)


def _of_matched(
    a: FloatArray,
    b: FloatArray,
    pooled: tuple[FloatArray, IndexArray, IndexArray],
    index_a: IndexArray,
    index_b: IndexArray,
) -> list[float]:
    """What ``matched_draws`` gives of one column in one bootstrap."""
    steps, place_a, place_b = pooled
    weights = [
        _weights(place[index][None], steps.size + 1) for place, index in ((place_a, index_a), (place_b, index_b))
    ]
    found = _statistics(weights[0], weights[1], steps)[:, 0]
    return [*found, index_a.size, index_b.size, float(np.median(a[index_a])), float(np.median(b[index_b]))]


def over_draws(draws: FloatArray) -> TwoSample:
    """What ``matched_draws`` gave of one column, (8, bootstraps), as medians with intervals."""
    middle = np.median(draws, axis=1)
    intervals = {name: Interval.of(middle[i], draws[i]) for i, name in enumerate(STATISTICS)}
    n_a, n_b, median_a, median_b = middle[len(STATISTICS) :].tolist()
    return TwoSample(**intervals, n_a=round(n_a), n_b=round(n_b), median_a=median_a, median_b=median_b)


def permutation_p(
    a: npt.ArrayLike, b: npt.ArrayLike, *, permutations: int = 999, seed: int = 0, paired: bool = False
) -> dict[str, float]:
    """Statistic -> p-value that (n_a,) ``a`` and (n_b,) ``b`` are of one population, by exchanging their objects.

    Exact for any number of objects: of one population, p is at most x in a share x of cases (Phipson & Smyth 10). The
    statistics are those of ``STATISTICS``, AUROC as its distance from 0.5. ``paired``: the i-th of both lie in one cell
    of matched samples, and only they are exchanged, so that what differs from cell to cell does not count.
    """
    first, second = finite_sample(a, "a"), finite_sample(b, "b")
    if permutations < 1 or (paired and first.size != second.size):
        raise SpecError(
            f"{permutations} permutations of {first.size} and {second.size} values; give at least 1, and pairs"
        )
    steps, place_a, place_b = _pooled(first, second)
    width, rng = steps.size + 1, np.random.default_rng(seed)
    observed = _distances(_weights(place_a[None], width), _weights(place_b[None], width), steps)
    as_far = np.zeros(len(STATISTICS))
    block = max(1, BLOCK_VALUES // width)
    for start in range(0, permutations, block):
        rows = min(block, permutations - start)
        if paired:
            exchanged = rng.random((rows, place_a.size)) < 0.5
            one, two = np.where(exchanged, place_b, place_a), np.where(exchanged, place_a, place_b)
        else:
            shuffled = rng.permuted(np.tile(np.concatenate([place_a, place_b]), (rows, 1)), axis=1)
            one, two = shuffled[:, : place_a.size], shuffled[:, place_a.size :]
        found = _distances(_weights(one, width), _weights(two, width), steps)
        as_far += (found >= observed * (1 - _ROUNDING)).sum(axis=1)
    return dict(zip(STATISTICS, ((1 + as_far) / (1 + permutations)).tolist(), strict=True))


def chance_statistics(values: npt.ArrayLike, *, halvings: int, seed: int) -> FloatArray:
    """(4, halvings) of ``STATISTICS`` between two random halves of (n,) ``values``: what nothing but chance gives."""
    whole = finite_sample(values, "a")
    distinct, place = np.unique(whole, return_inverse=True)
    steps, width, rng = np.diff(distinct), distinct.size, np.random.default_rng(seed)
    block, parts = max(1, BLOCK_VALUES // width), []
    for start in range(0, halvings, block):
        rows = min(block, halvings - start)
        shuffled = rng.permuted(np.tile(place, (rows, 1)), axis=1)
        one, two = shuffled[:, : place.size // 2], shuffled[:, place.size // 2 :]
        parts.append(_statistics(_weights(one, width), _weights(two, width), steps))
    return np.concatenate(parts, axis=1)


def _weights(place: IndexArray, width: int) -> FloatArray:
    """(rows, width) weights of the objects that lie at ``place``, (rows, n), of the pooled values."""
    rows, n = place.shape
    flat = (place + (np.arange(rows) * width)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * width).reshape(rows, width) / n


def _distances(weights_a: FloatArray, weights_b: FloatArray, steps: FloatArray) -> FloatArray:
    """(4, rows) of ``STATISTICS``, AUROC as its distance from 0.5."""
    found = _statistics(weights_a, weights_b, steps)
    found[-1] = np.abs(found[-1] - 0.5)
    return found
