"""What an object of a list most probably is: artefact, blend, star, galaxy, or interesting; learnt in each run.

A multinomial logistic regression tells kinds apart (each artefact, each astrophysical anomaly, stars, blends, and the
survey's own held-out objects as galaxies); a class's probability is the sum of its kinds'. The classes' shares among
real objects are unknown before: ``PRIORS`` are assumed. Flags tell what was measured over a whole tile or by a mask
and multiply odds. Plain numbers in and out; nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.constants import SIGMA_PER_MAD
from galflow.cutouts.flags import KNOWN_DEFECT, Flag, has_flag
from galflow.errors import DataError

FloatArray = npt.NDArray[np.float64]
CLASS_WORDS: Mapping[str, str] = {
    "artefact": "an error of the detector or the pipeline",
    "blend": "an ordinary object with another one's light beside it",
    "star": "a star",
    "galaxy": "an ordinary galaxy",
    "interesting": "an astrophysical anomaly (merger, tidal tail, ring and their like)",
}
CLASSES = tuple(CLASS_WORDS)
GALAXY = "galaxy"
KIND_CLASS: Mapping[str, str] = {
    "trail": "artefact",
    "cosmic_ray": "artefact",
    "saturated_star": "artefact",
    "dead_columns": "artefact",
    "edge": "artefact",
    "doubled_image": "artefact",
    "low_line": "artefact",
    "noise_step": "artefact",
    "level_step": "artefact",
    "shifted_band": "artefact",
    "merger_pair": "interesting",
    "tidal_tail": "interesting",
    "ring": "interesting",
    "blend": "blend",
    "star": "star",
    GALAXY: GALAXY,
}
"""Kind that was painted, or the survey's own -> class."""
PRIORS: Mapping[str, float] = {"artefact": 0.1, "blend": 0.15, "star": 0.1, "galaxy": 0.6, "interesting": 0.05}
"""Shares of the classes that are assumed; of those that a run could not learn nothing is."""
FLAG_ODDS: tuple[tuple[Flag, str, float], ...] = (
    (KNOWN_DEFECT, "artefact", 30.0),
    (Flag.BRIGHT_NEIGHBOUR, "blend", 10.0),
    (Flag.STAR, "star", 100.0),
)
"""Any of these flags multiplies the odds of the class. A star is flagged at least a hundred times as often as a galaxy
of 1.3 times its size; the other numbers are judgements."""
_REGULARISATION = 0.1
"""Inverse strength (scikit-learn's C)."""
_FARTHEST = 6.0
"""Features are cut off so many (asinh) units from the median."""


@dataclass(frozen=True, eq=False)
class Triage:
    """A fitted triage."""

    names: tuple[str, ...]
    """(F,) what its features are: measured ones first, then scores, as <model>_<score>_sigma."""
    centre: FloatArray
    scale: FloatArray
    """(F,) median and robust scatter over the held-out objects."""
    kinds: tuple[str, ...]
    weights: FloatArray
    """(K, 2 F): of the features, then of their squares."""
    offsets: FloatArray
    """(K,) with the assumed priors in them."""

    @classmethod
    def fit(cls, names: Sequence[str], features: FloatArray, kind: npt.NDArray[np.object_]) -> Triage:
        """Fit to objects (n, F) of known kind, (n,) texts; those of kind "galaxy" set the scale."""
        from sklearn.linear_model import LogisticRegression

        kinds = sorted(set(map(str, kind)))
        if GALAXY not in kinds or len(kinds) < 2:
            raise DataError(f"a triage was given the kinds {', '.join(kinds)}; give galaxies and something else")
        own = features[kind == GALAXY]
        centre = np.nan_to_num(np.nanmedian(own, axis=0))
        scatter = SIGMA_PER_MAD * np.nanmedian(np.abs(own - centre), axis=0)
        spread = np.nanstd(features, axis=0)
        scale = np.where(scatter > 0, scatter, np.where(spread > 0, spread, 1.0))
        scale = np.where(np.isfinite(scale), scale, 1.0)
        given = _expanded(features, centre, scale)
        # Each kind counts as its share of the assumed priors.
        wanted = _kind_priors(kinds)
        counts = {name: int((kind == name).sum()) for name in kinds}
        weight = np.array([wanted[name] / counts[name] for name in map(str, kind)]) * len(kind)
        model = LogisticRegression(C=_REGULARISATION, max_iter=5000, tol=1e-3)
        model.fit(given, kind.astype(str), sample_weight=weight)
        found: list[str] = [str(name) for name in model.classes_]
        weights, offsets = model.coef_, model.intercept_
        if len(found) == 2:  # scikit-learn keeps one row of two
            weights, offsets = np.concatenate([-weights, weights]) / 2, np.concatenate([-offsets, offsets]) / 2
        return cls(tuple(names), centre, scale, tuple(found), np.asarray(weights), np.asarray(offsets))

    @property
    def classes(self) -> tuple[str, ...]:
        """Those that it knows."""
        there = {KIND_CLASS[kind] for kind in self.kinds}
        return tuple(name for name in CLASSES if name in there)

    def probabilities(self, features: FloatArray, flags: npt.NDArray[np.int64]) -> FloatArray:
        """(n, 5) in the order of ``CLASSES``, of (n, F) features and (n,) flags; 0 for a class that it does not know.

        A feature that is NaN counts as the held-out objects' median; an object without any gets NaN.
        """
        logits = _expanded(features, self.centre, self.scale) @ self.weights.T + self.offsets
        each = np.exp(logits - logits.max(axis=1, keepdims=True))
        found = np.zeros((len(features), len(CLASSES)))
        for number, kind in enumerate(self.kinds):
            found[:, CLASSES.index(KIND_CLASS[kind])] += each[:, number]
        for which, name, odds in FLAG_ODDS:
            found[has_flag(flags, which), CLASSES.index(name)] *= odds
        found /= found.sum(axis=1, keepdims=True)
        found[~np.isfinite(features).any(axis=1)] = np.nan
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        arrays = {name: getattr(self, name).tolist() for name in ("centre", "scale", "weights", "offsets")}
        return {"names": list(self.names), "kinds": list(self.kinds), **arrays}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Triage:
        """The inverse of ``to_json``."""
        centre, scale, weights, offsets = (np.array(value[n]) for n in ("centre", "scale", "weights", "offsets"))
        return cls(tuple(value["names"]), centre, scale, tuple(value["kinds"]), weights, offsets)


def fitted_triage(evidence: Mapping[str, Any]) -> Triage | None:
    """The triage in a run's ranking product; None where nothing could be learnt."""
    found = evidence.get("triage")
    return None if found is None else Triage.from_json(found["model"])


def _kind_priors(kinds: Sequence[str]) -> dict[str, float]:
    """Kind -> share, sum 1: a class's prior in equal parts to its kinds."""
    members: dict[str, list[str]] = {}
    for kind in kinds:
        members.setdefault(KIND_CLASS[kind], []).append(kind)
    total = sum(PRIORS[name] for name in members)
    return {kind: PRIORS[name] / total / len(of) for name, of in members.items() for kind in of}


def _expanded(features: FloatArray, centre: FloatArray, scale: FloatArray) -> FloatArray:
    """(n, 2 F): arcsinh of scaled features, so that no outlier decides alone, and their squares."""
    scaled = np.arcsinh(np.nan_to_num((features - centre) / scale, nan=0.0, posinf=1e6, neginf=-1e6))
    scaled = scaled.clip(-_FARTHEST, _FARTHEST)
    return np.concatenate([scaled, scaled**2 / 2], axis=1)
