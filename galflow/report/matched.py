"""Samples against the sky at equal properties, as the report shows it: in a sentence, in numbers, cell by cell.

A sentence never says more than the p-value and the interval together allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from galflow.compare.classifier import ClassifierTwoSample
from galflow.compare.two_sample import Interval, TwoSample
from galflow.report.likelihoods import with_interval
from galflow.report.pictures import SVG, data_uri
from galflow.report.plots import STYLE, panels, svg
from galflow.report.sample_words import objects_of
from galflow.report.tables import count_text
from galflow.report.verdicts import ALIKE, verdict
from galflow.spec.models import Ratio

LEVEL = 0.05
"""A p-value above it does not tell a sample from the sky."""
_MOST_PANELS = 6
_SCALE_INCHES = 0.55
"""Room for the scale of colours with its numbers."""


@dataclass(frozen=True)
class MatchedRow:
    """One sample under one column."""

    column: str
    auroc: str
    p: str
    ks: str
    halves: str
    """KS of two halves of the sky, with its p."""


@dataclass(frozen=True)
class ShownSample:
    """What the report says of one matched sample."""

    name: str
    sentence: str
    pairs: str
    left_out: list[tuple[str, str, str]]
    """Why, and how many of the survey's and of the sample's objects."""
    rows: list[MatchedRow]
    classifier: str
    explained: list[tuple[str, str, str]]
    """Property, and its importance before and after matching."""
    explained_auroc: tuple[str, str]
    figure: str | None
    """The map of cells; None where no cell has enough objects."""
    figure_column: str


def shown_samples(comparison: Mapping[str, Any] | None, ratios: Sequence[Ratio]) -> list[ShownSample]:
    """Of every sample that was matched; ``ratios`` first, since they are what remains of likelihoods."""
    matched = (comparison or {}).get("matched", {})
    first = [ratio.column for ratio in ratios]
    return [_shown(name, found, first) for name, found in matched.items()]


def by_weight(columns: Iterable[str], ratios: Sequence[str]) -> list[str]:
    """Ratios first, since they are what remains of likelihoods, then bits per dimension, then the rest by name."""
    return sorted(columns, key=lambda c: (c not in ratios, not c.startswith("bpd_"), c))


def _shown(name: str, found: Mapping[str, Any], first: Sequence[str]) -> ShownSample:
    columns = by_weight(found["columns"], first)
    leading = columns[0]
    left = found["left_out"]
    before, after = found["explained"]["all"], found["explained"]["matched"]
    later = {one["column"]: one for one in after["properties"]}
    return ShownSample(
        name,
        _sentence(name, leading, found),
        count_text(found["pairs"]),
        [(why, count_text(left["survey"][why]), count_text(left["sample"][why])) for why in left["survey"]],
        [_row(column, found["columns"][column]) for column in columns],
        _classifier_words(found["classifier"]),
        [(one["column"], _drop(one), _drop(later[one["column"]])) for one in before["properties"]],
        (f"{before['auroc']:.2f}", f"{after['auroc']:.2f}"),
        None if (cells := cells_figure(found, leading)) is None else data_uri(svg(cells), SVG),
        leading,
    )


def _sentence(name: str, column: str, found: Mapping[str, Any]) -> str:
    by, one = ", ".join(of["column"] for of in found["matched_by"]), found["columns"][column]
    statistics, p = TwoSample.from_json(one["statistics"]), one["p"]["auroc"]
    numbers = f"P({column} of {name} > sky) = {with_interval(statistics.auroc, '.2f')}, p = {p:.2g}"
    of = f"{count_text(found['pairs'])} pairs of {objects_of(name)} and galaxies of the sky of equal {by}"
    alike = f"{column} alone does not tell them apart"
    alone = verdict(
        statistics.auroc.low,
        statistics.auroc.high,
        above=f"{objects_of(name)} have higher {column}",
        below=f"{objects_of(name)} have lower {column}",
        alike=alike,
    )
    alone = alone if p <= LEVEL else alike
    together = found["classifier"]
    tells = "does not tell them apart" + " either" * (alone == alike)
    if together["p"] <= LEVEL and together["auroc"]["low"] > ALIKE:
        tells = "tells them apart"
    return f"In {of}, {alone} ({numbers}); a classifier of all scores {tells} ({_classifier_words(together)})."


def _row(column: str, one: Mapping[str, Any]) -> MatchedRow:
    statistics, halves = TwoSample.from_json(one["statistics"]), one["halves"]
    of_halves = "–" if halves is None else f"{halves['statistics']['ks']:.2f} (p = {halves['p']['ks']:.2g})"
    return MatchedRow(
        column,
        with_interval(statistics.auroc, ".2f"),
        f"{one['p']['auroc']:.2g}",
        f"{with_interval(statistics.ks, '.2f')} (p = {one['p']['ks']:.2g})",
        of_halves,
    )


def _classifier_words(found: Mapping[str, Any]) -> str:
    result = ClassifierTwoSample.from_json(dict(found))
    return f"AUROC {with_interval(result.auroc, '.2f')}, p = {result.p:.2g}"


def _drop(one: Mapping[str, Any]) -> str:
    return f"{one['drop']:.3f} ± {one['scatter']:.3f}"


def cells_figure(found: Mapping[str, Any], column: str) -> Figure | None:
    """AUROC of a sample's ``column`` in each cell; None where no cell has enough objects.

    ``found``: what was found of the sample, as galflow.compare.samples gives it under "matched". Cells lie along the
    first property, a row a bin of the second, a panel a bin of the others.
    """
    cells, edges = found["cells"], [of["edges"] for of in found["matched_by"]]
    if not cells:
        return None
    names = [of["column"] for of in found["matched_by"]]
    shape = [len(e) - 1 for e in edges] + [1] * max(0, 2 - len(edges))
    values = np.full(shape, np.nan)
    for cell in cells:
        values[tuple(cell["bins"] + [0] * (len(shape) - len(cell["bins"])))] = cell["columns"][column]["auroc"]
    values = values.reshape(shape[0], shape[1], -1)
    filled = [i for i in range(values.shape[2]) if np.isfinite(values[:, :, i]).any()][:_MOST_PANELS]
    with matplotlib.rc_context(STYLE):
        figure, axes = panels(len(filled), 3.4 if len(filled) > 1 else 4.6, 2.5 if len(edges) > 1 else 1.5)
        for panel, number in zip(axes, filled, strict=True):
            # Blue and orange: told apart without red and green.
            image = panel.pcolormesh(
                np.arange(shape[0] + 1), np.arange(shape[1] + 1), values[:, :, number].T,
                cmap="PuOr_r", norm=TwoSlopeNorm(0.5, 0.0, 1.0),
            )  # fmt: skip
            _ticks(panel.set_xticks, edges[0])
            panel.set_xlabel(names[0])
            if len(edges) > 1:
                _ticks(panel.set_yticks, edges[1])
                panel.set_ylabel(names[1])
            else:
                panel.set_yticks([])
            if len(edges) > 2:
                panel.set_title(_place(names[2:], edges[2:], number, shape[2:]))
        figure.colorbar(image, cax=_beside(figure, axes), ticks=[0, 0.25, 0.5, 0.75, 1], format="%.2f")
        return figure


def _beside(figure: Figure, panels_drawn: Sequence[Axes]) -> Axes:
    """Axes for a scale of colours at the right of the panels, for which the figure grows wider."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + _SCALE_INCHES, height)
    share = width / (width + _SCALE_INCHES)
    for panel in panels_drawn:
        x, y, dx, dy = panel.get_position().bounds
        panel.set_position((x * share, y, dx * share, dy))
    return figure.add_axes((share + 0.01, y, 0.1 / width, dy))


def _ticks(set_ticks: Any, edges: Sequence[float]) -> None:
    """Cells are drawn with one width each: labels at their edges, not at every one."""
    every = max(1, (len(edges) - 1) // 4)
    set_ticks(range(0, len(edges), every), labels=[f"{e:.3g}" for e in edges[::every]])


def _place(names: Sequence[str], edges: Sequence[Sequence[float]], number: int, shape: Sequence[int]) -> str:
    """Which bins of the further properties a panel shows."""
    bins = [int(i) for i in np.unravel_index(number, tuple(shape))]
    return "; ".join(f"{n} {e[i]:.3g}–{e[i + 1]:.3g}" for n, e, i in zip(names, edges, bins, strict=True))


@dataclass(frozen=True)
class OrderRow:
    """One sample's place in the order of realism."""

    sample: str
    distance: str
    ranks: str


def order_rows(comparison: Mapping[str, Any] | None, ratios: Sequence[Ratio]) -> tuple[str, str, list[OrderRow]] | None:
    """Column, how often the order holds, and the samples from the nearest on; None with fewer than two samples."""
    order = (comparison or {}).get("order", {})
    if not order:
        return None
    first = [ratio.column for ratio in ratios]
    column = by_weight(order, first)[0]
    rows = [
        OrderRow(
            one["sample"],
            f"{one['distance']:.3f} [{one['low']:.3f}, {one['high']:.3f}]",
            str(one["rank_low"]) if one["rank_low"] == one["rank_high"] else f"{one['rank_low']}–{one['rank_high']}",
        )
        for one in order[column]["samples"]
    ]
    return column, f"{order[column]['holds']:.0%}", rows


@dataclass(frozen=True)
class ShownPair:
    """Two samples of the same galaxies."""

    title: str
    pairs: str
    by: str
    rows: list[tuple[str, str, str, str]]
    """Column, mean difference, share of galaxies with the higher value in the first, p."""


def shown_pairs(comparison: Mapping[str, Any] | None, ratios: Sequence[Ratio]) -> list[ShownPair]:
    """Of every pair of samples that was compared galaxy by galaxy."""
    first = [ratio.column for ratio in ratios]
    return [
        ShownPair(
            f"{one['first']} minus {one['second']}",
            count_text(one["pairs"]),
            ", ".join(one["by"]),
            [_pair_row(column, one["columns"][column]) for column in by_weight(one["columns"], first)],
        )
        for one in (comparison or {}).get("pairs", [])
    ]


def _pair_row(column: str, of: Mapping[str, Any]) -> tuple[str, str, str, str]:
    higher = of["higher"]
    share = "\u2013" if higher is None else f"{higher['value']:.0%} [{higher['low']:.0%}, {higher['high']:.0%}]"
    return column, with_interval(Interval(**of["difference"])), share, f"{of['p']:.2g}"
