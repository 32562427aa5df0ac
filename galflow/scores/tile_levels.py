"""How far a tile's scores lie above the others' for no merit of its objects: seeing, depth, sky; and the mend.

The level of a tile is the median of its held-out normal objects less that of all tiles, shrunk towards 0 by what chance
alone would give (empirical Bayes; Efron & Morris 1975, JASA 70, 311). Where tiles do not differ beyond chance, at the
1% level, all are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.constants import SIGMA_PER_MAD

_ERROR_OF_MEDIAN = 1.2533
"""Standard error of a Gaussian's median times sqrt(n), in standard deviations: sqrt(pi / 2)."""
_CHANCE = 0.01


@dataclass(frozen=True, eq=False)
class TileLevels:
    """What is subtracted from the scores of each tile."""

    by_tile: Mapping[str, float]
    """Tiles without a level are not in it."""
    scatter: float = 0.0
    """Standard deviation of the levels between tiles, without that of chance, in the unit of the score."""

    @classmethod
    def of(cls, held_out: Mapping[str, np.ndarray]) -> TileLevels:
        """From the scores of each tile's held-out normal objects, (r,) each."""
        filled = {tile: values for tile, values in held_out.items() if len(values)}
        if len(filled) < 2:
            return cls({})
        every = np.concatenate(list(filled.values()))
        centre, spread = float(np.median(every)), _spread_within(filled, every)
        if not spread > 0:
            return cls({})
        medians = {tile: float(np.median(values)) - centre for tile, values in filled.items()}
        errors = {tile: _ERROR_OF_MEDIAN * spread / float(np.sqrt(len(values))) for tile, values in filled.items()}
        weights = {tile: 1.0 / error**2 for tile, error in errors.items()}
        scatter2 = _between(np.array(list(medians.values())), np.array(list(errors.values())))
        if not scatter2:
            return cls({})
        mean = sum(weights[t] * medians[t] for t in filled) / sum(weights.values())
        levels = {t: scatter2 / (scatter2 + errors[t] ** 2) * (medians[t] - mean) for t in filled}
        return cls({t: float(level) for t, level in levels.items()}, float(np.sqrt(scatter2)))

    def of_tile(self, tile: str) -> float:
        """What is subtracted there."""
        return self.by_tile.get(tile, 0.0)

    def levelled(self, values: np.ndarray, part: pa.Table) -> np.ndarray:
        """(n,) values of a part's rows, each less its tile's level."""
        tiles = pc.dictionary_encode(part.column("tile")).combine_chunks()
        levels = np.array([self.of_tile(tile) for tile in tiles.dictionary.to_pylist()])
        return values - levels[tiles.indices.to_numpy()] if len(values) else values

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"by_tile": dict(self.by_tile), "scatter": self.scatter}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TileLevels:
        """The inverse of ``to_json``."""
        return cls(dict(value["by_tile"]), value["scatter"])


def _spread_within(by_tile: Mapping[str, np.ndarray], every: np.ndarray) -> float:
    """One robust standard deviation for all tiles, of objects around the median of their own tile.

    Each tile's own would be noise where it has few objects.
    """
    apart = [np.abs(v - np.median(v)) * np.sqrt(len(v) / (len(v) - 1)) for v in by_tile.values() if len(v) > 1]
    found = np.concatenate(apart) if apart else np.abs(every - np.median(every))
    return SIGMA_PER_MAD * float(np.median(found))


def _between(medians: np.ndarray, errors: np.ndarray) -> float:
    """Variance of the medians beyond that of chance (DerSimonian & Laird 1986, Control. Clin. Trials 7, 177).

    0 if chance explains them at the 1% level (Cochran's Q).
    """
    from scipy.stats import chi2

    weights = errors**-2.0
    mean = np.average(medians, weights=weights)
    q, freedom = float(np.sum(weights * (medians - mean) ** 2)), len(medians) - 1
    if chi2.sf(q, freedom) > _CHANCE:
        return 0.0
    scale = float(weights.sum() - np.sum(weights**2) / weights.sum())
    return max(0.0, (q - freedom) / scale)
