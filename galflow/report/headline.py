"""The result of a comparison in one sentence, which claims no more than its intervals and p-values together allow.

A sample is called different only where the 95% interval of its AUROC does not hold 0.5 and its p-value, corrected for
the number of samples (Holm 79), is at most 0.05: of many samples one would differ by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from galflow.compare.two_sample import Interval, TwoSample
from galflow.report.likelihoods import with_interval
from galflow.report.matched import LEVEL, by_weight
from galflow.report.verdicts import verdict
from galflow.spec.models import Ratio


@dataclass(frozen=True)
class _Result:
    """One sample under the column that the sentence is about."""

    sample: str
    auroc: Interval
    p: float


def headline(
    comparison: Mapping[str, Any] | None,
    ratios: Sequence[Ratio],
    primary: str,
    controls: frozenset[str] = frozenset(),
) -> str | None:
    """Of matched samples where there are any, by a ratio where there is one, else by bits per dimension or ``primary``.

    Samples that are ``controls`` are not spoken of. None where nothing was compared.
    """
    first = [ratio.column for ratio in ratios]
    brought = {
        kind: {name: found for name, found in (comparison or {}).get(kind, {}).items() if name not in controls}
        for kind in ("matched", "samples")
    }
    matched: Mapping[str, Any] = brought["matched"]
    of_samples = {name: found["columns"] for name, found in matched.items()} or brought["samples"]
    of_samples = {name: columns for name, columns in of_samples.items() if columns}
    if not of_samples:
        return None
    column = _leading([*of_samples.values()], first, primary)
    results = [
        _Result(name, TwoSample.from_json(found[column]["statistics"]).auroc, float(found[column]["p"]["auroc"]))
        for name, found in of_samples.items()
        if column in found
    ]
    properties = [of["column"] for of in next(iter(matched.values()))["matched_by"]] if matched else []
    basis = f"At equal {_listed(properties)}" if matched else "With brightness and size not held equal"
    return f"{basis}, {_findings(results, column, first)}."


def _leading(found: Sequence[Mapping[str, Any]], ratios: Sequence[str], primary: str) -> str:
    """The column that says most, of those that all samples have, else of those that any has."""
    common = set.intersection(*(set(columns) for columns in found)) or {c for columns in found for c in columns}
    best = by_weight(common, ratios)[0]
    return primary if primary in common and best not in ratios and not best.startswith("bpd_") else best


def _findings(results: Sequence[_Result], column: str, ratios: Sequence[str]) -> str:
    """What the column says of each sample: those below the sky, those above it, those that it cannot tell from it."""
    differing = _differing(results)
    sides: dict[str, list[_Result]] = {"below": [], "above": [], "alike": []}
    for one in results:
        side = verdict(one.auroc.low, one.auroc.high, above="above", below="below", alike="alike")
        sides[side if one.sample in differing else "alike"].append(one)
    if column in ratios:
        words = {"below": "less like the survey", "above": "more like the survey"}
    elif column.startswith("bpd_"):
        words = {"below": "more probable", "above": "less probable"}
    else:
        words = {"below": "less anomalous", "above": "more anomalous"}
    said = [f"finds {_named(sides[side])} {words[side]}" for side in words if sides[side]]
    if said:
        said[-1] += " than the sky's own galaxies"
    if sides["alike"]:
        others = "them" if said else "the sky's"
        said.append(f"cannot tell {_named(sides['alike'])} from {others}")
    return f"{column} {', and '.join(said)}"


def _differing(results: Sequence[_Result]) -> set[str]:
    """Samples that Holm's procedure calls different at the level, from the smallest p-value on."""
    found: set[str] = set()
    ordered = sorted(results, key=lambda one: one.p)
    for number, one in enumerate(ordered):
        if one.p * (len(ordered) - number) > LEVEL:
            break
        found.add(one.sample)
    return found


def _named(results: Sequence[_Result]) -> str:
    return _listed([f"{one.sample} (AUROC {with_interval(one.auroc, '.2f')})" for one in results])


def _listed(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
