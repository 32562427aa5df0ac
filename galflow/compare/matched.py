"""A sample against the sky at equal brightness, size and form: what is left of a difference in matched samples.

Equal counts in each cell of the properties of ``comparison.match``; each statistic with its interval and its p-value,
the same between two halves of the sky, where nothing differs, a classifier, the cells one by one, and which properties
tell the two apart. Likelihoods are compared of complete objects alone (galflow.compare.populations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.compare.cell_members import BothSides, CellMembers, Members
from galflow.compare.classifier import classifier_two_sample, explain_difference
from galflow.compare.matching import Matched, cell_numbers, match_bootstraps, match_counts
from galflow.compare.pairs import compare_pairs
from galflow.compare.populations import Population
from galflow.compare.realism import order_of_samples
from galflow.compare.two_sample import STATISTICS, matched_draws, over_draws, permutation_p, point_statistics
from galflow.errors import DataError
from galflow.spec.comparison import MatchSpec, PairSpec

FloatArray = npt.NDArray[np.float64]
MINIMUM_MATCHED = 20
"""Fewer matched objects than this are reported as too few."""
MINIMUM_IN_CELL = 10
"""Of each side, for a cell to be shown on its own."""


@dataclass(frozen=True)
class Matching:
    """How samples are matched, and what explains a difference."""

    match: tuple[MatchSpec, ...]
    explain: tuple[str, ...] = ()
    bootstraps: int = 1000
    seed: int = 0
    pairs: tuple[PairSpec, ...] = ()
    """Samples of the same galaxies."""
    measured: tuple[str, ...] = ()
    """Fingerprints of what was measured on the cutouts of both sides."""

    @property
    def content(self) -> list[Any]:
        """What a comparison depends on, as plain values."""
        pairs = [spec.model_dump(mode="json") for spec in self.pairs]
        more: list[Any] = [pairs] if pairs else []
        more += [sorted(self.measured)] if self.measured else []
        return [[spec.model_dump(mode="json") for spec in self.match], list(self.explain), *more]

    @property
    def columns(self) -> list[str]:
        """Properties to read: those that match, then those that explain."""
        return list(dict.fromkeys([*(m.column for m in self.match), *self.explain]))


@dataclass(frozen=True, eq=False)
class MatchedComparison:
    """One sample against the sky."""

    found: dict[str, Any]
    """Plain values for the product."""
    draws: Mapping[str, FloatArray] = field(default_factory=dict)
    """Column -> (4, bootstraps) of ``STATISTICS``."""
    members: BothSides | None = None
    """Who lies in which cell, where it is known where objects lie."""


def compare_at_equal_properties(sky: Population, sample: Population, matching: Matching) -> MatchedComparison:
    """The comparison of every score column that both have. DataError where too few objects can be matched."""
    columns = [name for name in sky.scores if _is_there(sky, name) and _is_there(sample, name)]
    if not columns:
        raise DataError("no score is there for both the survey's held-out objects and the sample's")
    one, two = (_with_all(side, columns) for side in (sky, sample))
    width = len(matching.match)
    edges = shared_edges(matching.match, one.properties, two.properties)
    a, b = one.properties[:, :width], two.properties[:, :width]
    matched = match_counts(a, b, edges, np.random.default_rng(matching.seed))
    _require_enough(matched, one, two, matching)
    halves = _halves(one, matching.seed)
    rng = np.random.default_rng(matching.seed + 1)
    within = match_counts(halves[0].properties[:, :width], halves[1].properties[:, :width], edges, rng)
    resampled = match_bootstraps(a, b, edges, bootstraps=matching.bootstraps, seed=matching.seed)
    of_columns = matched_draws(one.stacked(columns).T, two.stacked(columns).T, resampled)
    draws = dict(zip(columns, of_columns, strict=True))
    found = {
        "matched_by": [
            {"column": spec.column, "edges": list(map(float, e))} for spec, e in zip(matching.match, edges, strict=True)
        ],
        "pairs": len(matched),
        "left_out": {"survey": _left_out(sky, one, matched, "a"), "sample": _left_out(sample, two, matched, "b")},
        "columns": {
            name: {
                "statistics": over_draws(draws[name]).to_json(),
                "p": _paired_p(one.scores[name], two.scores[name], matched, matching),
                "halves": _of_halves(halves, name, within, matching),
            }
            for name in columns
        },
        "cells": _cells(one, two, columns, edges),
        "classifier": _classifier(one, two, columns, matched, matching),
        "explained": _explained(one, two, matched, matching),
    }
    draws = {name: of[: len(STATISTICS)] for name, of in draws.items()}
    return MatchedComparison(found, draws, _members(one, two, edges, matched))


@dataclass(frozen=True, eq=False)
class MatchedSamples:
    """What is compared object by object: at equal properties, and in pairs of the same galaxy."""

    sky: Population | None
    """Held-out objects of the survey; None where nothing is matched."""
    samples: Mapping[str, Population]
    """With the keys of the pairs that they are in."""
    matching: Matching
    controls: frozenset[str] = frozenset()
    """Which of the samples are controls: they have no place in an order, and what cannot be compared costs nothing."""
    keep: Callable[[Members], object] = lambda members: None
    """Is given who was compared at equal properties, if anybody was."""

    def compare(self, reasons: list[str]) -> dict[str, Any]:
        """ "matched": sample -> comparison; "order": column -> the samples from the nearest to the sky on; "pairs".

        What cannot be compared is told in ``reasons``.
        """
        found = {} if self.sky is None else self._matched(self.sky, reasons)
        return found | ({"pairs": self._pairs(reasons)} if self.matching.pairs else {})

    def _pairs(self, reasons: list[str]) -> list[dict[str, Any]]:
        found = []
        bootstraps, seed = self.matching.bootstraps, self.matching.seed
        for spec in self.matching.pairs:
            first, second = self.samples[spec.first], self.samples[spec.second]
            try:
                result = compare_pairs(first, second, spec.by, bootstraps=bootstraps, seed=seed)
                found.append({"first": spec.first, "second": spec.second, "by": list(spec.by)} | result)
            except DataError as error:
                reasons.append(f"{spec.first} and {spec.second}, in pairs: {error}")
        return found

    def _matched(self, sky: Population, reasons: list[str]) -> dict[str, Any]:
        found: dict[str, MatchedComparison] = {}
        for name, sample in self.samples.items():
            try:
                found[name] = compare_at_equal_properties(sky, sample, self.matching)
            except DataError as error:
                if name not in self.controls:
                    reasons.append(f"{name}, matched: {error}")
        if members := {name: one.members for name, one in found.items() if one.members is not None}:
            self.keep(members)
        columns = [c for c in sky.scores if found and all(c in one.draws for one in found.values())]
        ks = STATISTICS.index("ks")
        ranked = {name: one for name, one in found.items() if name not in self.controls}
        order = {c: order_of_samples({name: one.draws[c][ks] for name, one in ranked.items()}) for c in columns}
        matched = {name: one.found for name, one in found.items()}
        return {"matched": matched} | ({"order": order} if len(ranked) > 1 else {})


def _members(one: Population, two: Population, edges: Sequence[FloatArray], matched: Matched) -> BothSides | None:
    if one.place is None or two.place is None:
        return None
    cells = [cell_numbers(side.properties[:, : len(edges)], edges) for side in (one, two)]
    return CellMembers.of(one.place, cells[0], matched.index_a), CellMembers.of(two.place, cells[1], matched.index_b)


def _is_there(side: Population, name: str) -> bool:
    return name in side.scores and bool(np.isfinite(side.scores[name]).any())


def _with_all(side: Population, columns: Sequence[str]) -> Population:
    """The objects that have all of these scores."""
    return side.of(np.flatnonzero(np.isfinite(side.stacked(columns)).all(axis=1)))


def shared_edges(match: Sequence[MatchSpec], one: FloatArray, two: FloatArray) -> list[FloatArray]:
    """Edges of each property's bins: those given, or such that each bin holds as many objects of both sides together.

    Over the range that both sides reach, so that no bin is one side's alone. DataError where a side has no value.
    """
    edges = []
    for number, spec in enumerate(match):
        sides = [side[np.isfinite(side[:, number]), number] for side in (one, two)]
        if not all(len(side) for side in sides):
            which = "the survey's objects" if not len(sides[0]) else "the sample's objects"
            raise DataError(f"none of {which} has a value in column {spec.column!r}; samples cannot be matched by it")
        if spec.edges is not None:
            edges.append(np.asarray(spec.edges, dtype=np.float64))
            continue
        low, high = max(side.min() for side in sides), min(side.max() for side in sides)
        both = np.concatenate([side[(side >= low) & (side <= high)] for side in sides])
        quantiles = np.unique(np.quantile(both, np.linspace(0, 1, spec.bins + 1))) if len(both) else np.empty(0)
        if len(quantiles) < 2:
            raise DataError(
                f"the values of column {spec.column!r} do not overlap: the survey's objects have "
                f"{sides[0].min():g} to {sides[0].max():g}, the sample's {sides[1].min():g} to {sides[1].max():g}"
            )
        edges.append(quantiles)
    return edges


def _require_enough(matched: Matched, one: Population, two: Population, matching: Matching) -> None:
    if len(matched) < MINIMUM_MATCHED:
        names = ", ".join(spec.column for spec in matching.match)
        raise DataError(
            f"only {len(matched)} of {len(one)} held-out objects of the survey and {len(two)} of the sample could be "
            f"matched by {names}; a comparison needs at least {MINIMUM_MATCHED}. Fewer "
            "bins (comparison.match) match more"
        )


def _left_out(before: Population, after: Population, matched: Matched, side: str) -> dict[str, int]:
    """Why objects of a side are not in the comparison."""
    missing, outside = getattr(matched, f"n_missing_{side}"), getattr(matched, f"n_outside_{side}")
    return {
        "defect or missing pixels": before.left_out,
        "without a score": len(before) - len(after),
        "without a property": missing,
        "outside the cells": outside,
        "more than the other side has in their cell": len(after) - missing - outside - len(matched),
    }


def _halves(sky: Population, seed: int) -> tuple[Population, Population]:
    """Two random halves of the survey's objects, which are of one population."""
    one, two = np.array_split(np.random.default_rng(seed).permutation(len(sky)), 2)
    return sky.of(one), sky.of(two)


def _paired_p(a: FloatArray, b: FloatArray, matched: Matched, matching: Matching) -> dict[str, float]:
    return permutation_p(
        a[matched.index_a], b[matched.index_b], permutations=matching.bootstraps, seed=matching.seed, paired=True
    )


def _of_halves(
    halves: tuple[Population, Population], name: str, within: Matched, matching: Matching
) -> dict[str, Any] | None:
    """What the same statistics are between two halves of the sky; None where too few are matched."""
    if len(within) < MINIMUM_MATCHED:
        return None
    a, b = (half.scores[name] for half in halves)
    statistics = point_statistics(a[within.index_a], b[within.index_b])
    return {
        "pairs": len(within),
        "statistics": dict(zip(STATISTICS, statistics.tolist(), strict=True)),
        "p": _paired_p(a, b, within, matching),
    }


def _cells(
    one: Population, two: Population, columns: Sequence[str], edges: Sequence[FloatArray]
) -> list[dict[str, Any]]:
    """Where a sample differs: each cell with enough objects, both numbers of them, AUROC and p per column."""
    from scipy.stats import mannwhitneyu

    numbers = [cell_numbers(side.properties[:, : len(edges)], edges) for side in (one, two)]
    shape = [len(e) - 1 for e in edges]
    found = []
    for cell in np.intersect1d(numbers[0][numbers[0] >= 0], numbers[1][numbers[1] >= 0]):
        rows = [np.flatnonzero(n == cell) for n in numbers]
        if min(map(len, rows)) < MINIMUM_IN_CELL:
            continue
        place = [int(i) for i in np.unravel_index(cell, shape)]
        of_columns = {}
        for name in columns:
            a, b = one.scores[name][rows[0]], two.scores[name][rows[1]]
            test = mannwhitneyu(b, a)
            of_columns[name] = {"auroc": float(test.statistic / (len(a) * len(b))), "p": float(test.pvalue)}
        found.append({"bins": place, "n_a": len(rows[0]), "n_b": len(rows[1]), "columns": of_columns})
    return found


def _classifier(
    one: Population, two: Population, columns: Sequence[str], matched: Matched, matching: Matching
) -> dict[str, Any]:
    """All scores at once, of the matched objects."""
    features = [side.stacked(columns)[index] for side, index in ((one, matched.index_a), (two, matched.index_b))]
    result = classifier_two_sample(features[0], features[1], matching.seed, bootstraps=matching.bootstraps, paired=True)
    return result.to_json()


def _explained(one: Population, two: Population, matched: Matched, matching: Matching) -> dict[str, Any]:
    """Which properties tell the two apart before they are matched, and after."""
    sides = {"all": (one.properties, two.properties),
             "matched": (one.properties[matched.index_a], two.properties[matched.index_b])}  # fmt: skip
    found = {}
    for name, (a, b) in sides.items():
        auroc, importances = explain_difference(a, b, matching.columns, matching.seed)
        found[name] = {"auroc": auroc, "properties": [asdict(one_of) for one_of in importances]}
    return found
