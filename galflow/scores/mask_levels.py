"""What a mask does to what ranks, and the mend: an object is not to rank high or low for the pixels that it lacks.

The survey's own masks are laid over held-out complete objects. Where such a masked object ranks, beside where objects
rank that are masked alike, says how odd it is; where it ranks beside complete ones says mostly how much of it is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.constants import SIGMA_PER_MAD

FloatArray = npt.NDArray[np.float64]
_NEIGHBOURS = 96
"""Objects masked most alike, whose median and spread are taken."""
_FEWEST = 24
"""Fewer masked objects mend nothing."""


@dataclass(frozen=True, eq=False)
class MaskLevels:
    """Where objects with masks rank that are known to be ordinary."""

    shares: FloatArray
    """(m, 2 B) of galflow.cutouts.observed_shares, of the masked objects."""
    values: FloatArray
    """(m,) what ranks, of the same."""
    centre: float = 0.0
    spread: float = 1.0
    """Median and robust standard deviation of what ranks, of the same objects without masks."""

    @classmethod
    def of(cls, shares: FloatArray, values: FloatArray, whole: FloatArray) -> MaskLevels:
        """From (m,) values with masks and (n,) values without; none where too little is known."""
        good = np.isfinite(values)
        whole = whole[np.isfinite(whole)]
        if good.sum() < _FEWEST or len(whole) < _FEWEST:
            return cls.none(shares.shape[1])
        centre = float(np.median(whole))
        spread = SIGMA_PER_MAD * float(np.median(np.abs(whole - centre)))
        if not spread > 0:
            return cls.none(shares.shape[1])
        return cls(shares[good], values[good], centre, spread)

    @classmethod
    def none(cls, width: int = 0) -> MaskLevels:
        """Nothing is mended."""
        return cls(np.zeros((0, width)), np.zeros(0))

    def levelled(self, values: FloatArray, shares: FloatArray) -> FloatArray:
        """(n,) values of objects with these (n, 2 B) shares, as if nothing were masked; complete ones as they are.

        Median and spread of objects masked alike become those of complete ones.
        """
        incomplete = np.flatnonzero((shares < 1).any(axis=1)) if shares.size else np.zeros(0, np.int64)
        if not len(self.values) or not len(incomplete):
            return values
        from scipy.spatial import cKDTree

        count = min(_NEIGHBOURS, len(self.values))
        _, near = cKDTree(self.shares).query(shares[incomplete], k=count)
        alike = self.values[np.reshape(near, (len(incomplete), count))]
        centre = np.median(alike, axis=1)
        spread = SIGMA_PER_MAD * np.median(np.abs(alike - centre[:, None]), axis=1)
        scale = self.spread / np.where(spread > 0, spread, self.spread)
        found = values.copy()
        found[incomplete] = self.centre + (values[incomplete] - centre) * scale
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "shares": np.round(self.shares, 4).tolist(), "values": self.values.tolist(), "centre": self.centre,
            "spread": self.spread,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> MaskLevels:
        """The inverse of ``to_json``."""
        shares = np.asarray(value["shares"], dtype=np.float64)
        shares = shares if shares.ndim == 2 else np.zeros((0, 0))
        return cls(shares, np.asarray(value["values"], dtype=np.float64), value["centre"], value["spread"])
