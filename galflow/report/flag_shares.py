"""How the share of flagged objects changes with the anomaly score: are the most anomalous objects defects of the data?

The catalogue goes by column by column and file by file, and counts are kept. Objects without a rank are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galflow.catalog.files import each_file
from galflow.cutouts.flags import Flag
from galflow.report.flag_words import FLAG_WORDS
from galflow.report.plots import BLUE, GREY, STYLE, svg
from galflow.scores.fractions import Fraction
from galflow.scores.part_columns import floats
from galflow.storage.store import Store

RANK = "anomaly_rank"
TOP_FRACTIONS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0)
"""Bins lie between these shares of the most anomalous objects."""
LEAST_OBJECTS = 20
"""Of a bin; where a run has fewer objects its last bins are one."""
_COLUMNS, _WIDTH, _HEIGHT = 3, 3.0, 1.75
"""Panels in a row, and their size in inches."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FlagShares:
    """Counts of a catalogue's ranked objects between some shares of the most anomalous."""

    fractions: tuple[float, ...]
    """From 1 to 0: the most anomalous objects are in the last bin."""
    objects: IntArray
    """(bins,)."""
    flagged: Mapping[Flag, IntArray]
    """(bins,) of them that have a flag, of every flag that occurs."""

    @property
    def total(self) -> int:
        """All objects."""
        return int(self.objects.sum())

    def overall(self, flag: Flag) -> Fraction:
        """Share of all objects that have the flag."""
        return Fraction.of(int(self.flagged[flag].sum()), self.total)

    def shares(self, flag: Flag) -> list[Fraction]:
        """Share of each bin's objects that have the flag, with its 95% Wilson interval."""
        return [Fraction.of(int(k), int(n)) for k, n in zip(self.flagged[flag], self.objects, strict=True)]

    def top(self, flag: Flag, fraction: float) -> Fraction | None:
        """Share of the ``fraction`` most anomalous that have the flag; None where no bin ends there."""
        if fraction not in self.fractions[:-1]:
            return None
        first = self.fractions.index(fraction)
        return Fraction.of(int(self.flagged[flag][first:].sum()), int(self.objects[first:].sum()))


def count_flags(store: Store, catalog: str) -> FlagShares | None:
    """Of the catalogue at key ``catalog``; None where no object is ranked, or no ranked one has a flag."""
    ranked = sum(int(np.isfinite(floats(table, RANK)).sum()) for table in each_file(store, catalog, [RANK]))
    if not ranked:
        return None
    fractions = tuple(f for f in TOP_FRACTIONS if f in (0.0, 1.0) or f * ranked >= LEAST_OBJECTS)
    inner = np.array(fractions[1:-1])
    objects = np.zeros(len(fractions) - 1, np.int64)
    flagged = {flag: np.zeros(len(objects), np.int64) for flag in FLAG_WORDS}
    for table in each_file(store, catalog, [RANK, "flags"]):
        rank = floats(table, RANK)
        there = np.isfinite(rank)
        flags = table.column("flags").to_numpy()[there]
        # How many of the inner shares an object is within; the middle of its place, since ranks begin at 1.
        place = ((rank[there] - 0.5) / ranked)[:, None] < inner
        bins = place.sum(axis=1)
        objects += np.bincount(bins, minlength=len(objects))
        for flag, counts in flagged.items():
            counts += np.bincount(bins[flags & int(flag) != 0], minlength=len(objects))
    occurring = {flag: counts for flag, counts in flagged.items() if counts.any()}
    return _without_empty(fractions, objects, occurring) if occurring else None


def _without_empty(fractions: tuple[float, ...], objects: IntArray, flagged: Mapping[Flag, IntArray]) -> FlagShares:
    """Objects that tie have one rank, the first: an empty bin belongs to the one after it, where they are."""
    filled = np.flatnonzero(objects)
    kept = (fractions[0], *(fractions[i + 1] for i in filled[:-1]), 0.0)
    return FlagShares(kept, objects[filled], {flag: counts[filled] for flag, counts in flagged.items()})


def flag_plot(counts: FlagShares) -> bytes:
    """``flag_figure`` as SVG."""
    return svg(flag_figure(counts))


def flag_figure(counts: FlagShares) -> Figure:
    """A panel for each flag, its share of the objects against how anomalous they are, the most to the right."""
    rows = math.ceil(len(counts.flagged) / _COLUMNS)
    columns = min(_COLUMNS, len(counts.flagged))
    with matplotlib.rc_context(STYLE):
        size = (columns * _WIDTH, rows * _HEIGHT + 0.3)
        figure = Figure(figsize=size)
        by_share = sorted(counts.flagged, key=lambda flag: -counts.overall(flag).value)
        for i, flag in enumerate(by_share):
            row, column = divmod(i, columns)
            left, bottom = column * _WIDTH + 0.52, size[1] - (row + 1) * _HEIGHT + 0.32
            corner = (left / size[0], bottom / size[1])
            axes = figure.add_axes((*corner, (_WIDTH - 0.64) / size[0], (_HEIGHT - 0.72) / size[1]))
            _panel(axes, counts, flag)
        figure.text(0.5, 0.02, _AXIS_LABEL, ha="center", va="bottom")
        return figure


_AXIS_LABEL = "percent of all objects that score at least as high; the most anomalous lie to the right"


def _panel(axes: Axes, counts: FlagShares, flag: Flag) -> None:
    shares, overall = counts.shares(flag), counts.overall(flag)
    edges = np.arange(len(shares) + 1)
    axes.stairs([s.high for s in shares], edges, baseline=[s.low for s in shares], fill=True, color=BLUE, alpha=0.22,
                linewidth=0)  # fmt: skip
    axes.stairs([s.value for s in shares], edges, baseline=None, color=BLUE, linewidth=1.5)
    axes.axhline(overall.value, color=GREY, linewidth=1.0, linestyle="--")
    axes.set_xlim(0, len(shares))
    highest = max(s.high for s in shares)
    axes.set_ylim(0, min(1.02, 1.08 * highest))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.set_xticks(edges[:-1], [f"{100 * f:g}" for f in counts.fractions[:-1]], fontsize=7.5)
    told = f"{_percent(overall.value)} of all"
    last = next((f for f in (0.01, 0.05, 0.1) if counts.top(flag, f) is not None), None)
    if last is not None and (top := counts.top(flag, last)) is not None:
        told += f", {_percent(top.value)} of the top {_percent(last)}"
    axes.set_title(FLAG_WORDS[flag], loc="left", fontweight="bold", pad=14)
    axes.text(0.0, 1.03, told, transform=axes.transAxes, fontsize=7.5, color="#4b5563", va="bottom")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g}%" if fraction < 0.995 else "100%"
