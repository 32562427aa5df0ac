"""Which of several samples is nearest to the sky: an order with what the resamplings say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.compare.two_sample import Interval

FloatArray = npt.NDArray[np.float64]


def order_of_samples(distances: Mapping[str, FloatArray]) -> dict[str, Any]:
    """Samples from the nearest to the farthest, of each its (bootstraps,) ``distances`` from the sky.

    Of each sample the median with its 95% interval and the ranks that 95% of the resamplings give it (1: nearest);
    ``holds`` is the share of resamplings in which the whole order is this one.
    """
    names = sorted(distances, key=lambda name: float(np.median(distances[name])))
    drawn = np.stack([distances[name] for name in names])
    ranks = drawn.argsort(axis=0, kind="stable").argsort(axis=0) + 1
    rows = []
    for number, name in enumerate(names):
        interval = Interval.of(float(np.median(drawn[number])), drawn[number])
        low, high = np.percentile(ranks[number], [2.5, 97.5], method="nearest")
        rows.append(
            {
                "sample": name,
                "distance": interval.value,
                "low": interval.low,
                "high": interval.high,
                "rank_low": int(low),
                "rank_high": int(high),
            }
        )
    return {"samples": rows, "holds": float((np.diff(drawn, axis=0) > 0).all(axis=0).mean())}
