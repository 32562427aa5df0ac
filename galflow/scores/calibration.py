"""From raw anomaly scores to statements: robust sigmas, conformal p-values, q-values over a run, fractions of a sample.

Everything here is plain numpy on scores where HIGHER = MORE ANOMALOUS. This file refuses scores that are not finite
(an object that could not be scored is null in the catalogue and never comes here) and references that are empty.
"""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galflow.constants import SIGMA_PER_MAD
from galflow.errors import ModelError, SpecError

FloatArray = npt.NDArray[np.float64]

SIGMA_PER_MEAN_DEVIATION = math.sqrt(math.pi / 2.0)
"""Standard deviations in one mean absolute deviation of a Gaussian."""


def finite_scores(scores: npt.ArrayLike, what: str) -> FloatArray:
    """(n,) float64; SpecError for another shape, ModelError for what is not finite."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise SpecError(f"{what} have shape {values.shape}; give one number per object, shape (n,)")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ModelError(
            f"{what} hold {bad.size} value(s) that are not finite (first: {values[bad[0]]} at position {bad[0]}); "
            "leave out objects that could not be scored and give them a null with its outcome"
        )
    return values


@dataclass(frozen=True, eq=False)
class Reference:
    """The scores of held-out normal objects, against which a score is judged."""

    name: str
    """The score's name, such as "wgan_anomaly"."""
    scores: FloatArray
    """(n,) finite, in any order when given; kept sorted, ascending and read-only."""

    def __post_init__(self) -> None:
        values = np.sort(finite_scores(self.scores, f"reference {self.name!r}: scores"))
        if not values.size:
            raise SpecError(f"reference {self.name!r} is empty; hold out at least one normal object to calibrate with")
        values.flags.writeable = False
        object.__setattr__(self, "scores", values)

    def __len__(self) -> int:
        return int(self.scores.size)

    @cached_property
    def median(self) -> float:
        """The median score."""
        return float(np.median(self.scores))

    @cached_property
    def sigma(self) -> float:
        """Robust standard deviation, 1.4826 * MAD.

        Where half or more of the scores are equal the MAD is 0; then the mean absolute deviation from the median times
        sqrt(pi/2) stands in (equal to sigma for a Gaussian, less robust). Raises ModelError if all scores are equal.
        """
        deviation = np.abs(self.scores - self.median)
        sigma = SIGMA_PER_MAD * float(np.median(deviation)) or SIGMA_PER_MEAN_DEVIATION * float(np.mean(deviation))
        if not sigma > 0:
            raise ModelError(
                f"reference {self.name!r}: all {len(self)} held-out scores equal {self.median}; expected scores that "
                "differ. The model may have collapsed: retrain it, or hold out more than one object"
            )
        return sigma

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON keeps exactly."""
        return {"name": self.name, "scores": self.scores.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Reference:
        """The inverse of ``to_json``."""
        return cls(value["name"], np.asarray(value["scores"], dtype=np.float64))


def robust_sigma(scores: npt.ArrayLike, reference: Reference) -> FloatArray:
    """(n,) robust standard deviations by which each score lies above the reference's median."""
    return (finite_scores(scores, "scores") - reference.median) / reference.sigma


def conformal_p(scores: npt.ArrayLike, reference: Reference) -> FloatArray:
    """(n,) conformal p-values (1 + #{reference >= s}) / (1 + n_reference); a tie counts against the anomaly.

    For an object exchangeable with the reference, P(p <= a) <= a (Vovk+05; Bates+23, Ann. Stat. 51, 149).
    """
    below = np.searchsorted(reference.scores, finite_scores(scores, "scores"), side="left")
    return np.asarray((1.0 + (len(reference) - below)) / (1.0 + len(reference)), dtype=np.float64)


class Calibrated(NamedTuple):
    """Scores as the catalogue shows them beside their raw values; NaN where the score is not finite."""

    sigma: FloatArray
    """(n,) robust standard deviations above the reference's median."""
    p: FloatArray
    """(n,) conformal p-values."""
    why_no_sigma: str | None
    """Why all sigmas are NaN: the reference has no spread, as of a model that has collapsed."""


def calibrated(scores: FloatArray, reference: Reference) -> Calibrated:
    """Sigma and p of (n,) scores that may be NaN."""
    good = np.isfinite(scores)
    sigma, p = np.full((2, len(scores)), np.nan)
    p[good] = conformal_p(scores[good], reference)
    try:
        sigma[good] = robust_sigma(scores[good], reference)
    except ModelError as error:
        return Calibrated(sigma, p, str(error))
    return Calibrated(sigma, p, None)


def _p_values(p: npt.ArrayLike) -> FloatArray:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise SpecError(
            f"p-values must be an (n,) array within [0, 1]; got shape {values.shape} with a value outside it"
        )
    return values


@dataclass(frozen=True, eq=False)
class PValueCounts:
    """How often each conformal p-value occurred: Benjamini-Hochberg over a run without holding the run.

    Conformal p-values take only the values k / (n_reference + 1), so counts per k merge exactly and in any order. The
    q-values are those of ``scipy.stats.false_discovery_control`` on all p-values together (Benjamini & Hochberg 1995),
    which would have to hold them all in memory.
    """

    counts: npt.NDArray[np.int64]
    """(n_reference + 1,): how many p-values equal (k + 1) / (n_reference + 1)."""

    @classmethod
    def empty(cls, n_reference: int) -> PValueCounts:
        """No p-values yet, against a reference of ``n_reference`` objects."""
        if n_reference < 1:
            raise SpecError(f"n_reference is {n_reference}; conformal p-values need at least 1 reference object")
        return cls(np.zeros(n_reference + 1, dtype=np.int64))

    def _ranks(self, p: npt.ArrayLike) -> npt.NDArray[np.int64]:
        values = _p_values(p)
        ranks = np.rint(values * self.counts.size)
        # The slack admits p-values that went through float32; ranks lie 1 apart.
        if np.any((ranks < 1) | (np.abs(values * self.counts.size - ranks) > 1e-3)):
            raise SpecError(
                f"some p-values are not multiples of 1/{self.counts.size}; expected conformal p-values against "
                f"{self.counts.size - 1} reference objects. Count the p-values of each reference apart"
            )
        return ranks.astype(np.int64) - 1

    def add(self, p: npt.ArrayLike) -> PValueCounts:
        """The counts with the (n,) conformal p-values ``p`` added."""
        return PValueCounts(self.counts + np.bincount(self._ranks(p), minlength=self.counts.size))

    def merge(self, other: PValueCounts) -> PValueCounts:
        """The counts of both."""
        if other.counts.size != self.counts.size:
            raise SpecError(
                f"p-value counts against {self.counts.size - 1} and {other.counts.size - 1} reference objects do not "
                "merge; score both parts with the same trained model"
            )
        return PValueCounts(self.counts + other.counts)

    def q_values(self, p: npt.ArrayLike) -> FloatArray:
        """(n,) q-values over all p-values added; each of ``p`` must be among them."""
        ranks = self._ranks(p)
        if np.any(self.counts[ranks] == 0):
            raise SpecError(
                "a q-value was asked for a p-value that was never added; add the p-values of all parts first"
            )
        if not ranks.size:
            return np.empty(0)
        total = int(self.counts.sum())
        grid = np.arange(1.0, self.counts.size + 1) / self.counts.size
        with np.errstate(divide="ignore"):  # below the smallest p-value added the cumulative count is 0: no bound
            stepped = grid * total / np.cumsum(self.counts)
        return np.minimum(1.0, np.minimum.accumulate(stepped[::-1])[::-1])[ranks]

    def to_json(self) -> dict[str, Any]:
        """Plain values: the ranks that occur and how often, as text, so that a part's are of its own size.

        A part has thousands of objects, a reference perhaps millions.
        """
        ranks = np.flatnonzero(self.counts)
        return {"references": self.counts.size - 1, "ranks": _packed(ranks), "counts": _packed(self.counts[ranks])}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PValueCounts:
        """The inverse of ``to_json``; receipts of old have a plain list of all counts."""
        if "references" not in value:
            return cls(np.asarray(value["counts"], dtype=np.int64))
        counts = np.zeros(value["references"] + 1, dtype=np.int64)
        counts[_unpacked(value["ranks"])] = _unpacked(value["counts"])
        return cls(counts)


def _packed(whole: npt.NDArray[np.int64]) -> str:
    """Whole numbers as text: int64, little-endian, zlib, base64. Steps between neighbours, which are small."""
    steps = np.diff(whole, prepend=0).astype("<i8")
    return base64.b64encode(zlib.compress(steps.tobytes())).decode("ascii")


def _unpacked(text: str) -> npt.NDArray[np.int64]:
    """The inverse of ``_packed``."""
    return np.cumsum(np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i8")).astype(np.int64)
