"""Distributions as SVG: each score over the run, and the tail that is fitted to what ranks.

Every axis says what it shows and in which unit. Figures are made and drawn here without pyplot, hence without global
state; the same numbers give the same bytes. Margins are fixed: finding them from the drawn texts would double the time.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullLocator

from galflow.scores.distributions import Histogram

BLUE, ORANGE, GREY = "#2f6690", "#d1720f", "#6b7280"
COLOURS = (ORANGE, "#009e73", "#b04a8f", "#56a8d8", "#222222", "#b59b00")
"""Told apart by those who do not see red or green, too (after Okabe & Ito)."""
LINEAR_SIGMA = 10.0
"""Score plots are linear up to so many sigmas and logarithmic beyond."""
MANY_OBJECTS = 3000
"""From so many on, score plots have their finest bins."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "galflow",
    "font.size": 8.5,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4b5563",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.7, 0.08, 0.42, 0.24
"""Margins of a panel, in inches."""


def panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels side by side, each ``width`` x ``height`` inches with room for its labels."""
    figure = Figure(figsize=(width * count, height))
    inner = ((width - _LEFT - _RIGHT) / (width * count), (height - _BOTTOM - _TOP) / height)
    corners = [((i * width + _LEFT) / (width * count), _BOTTOM / height) for i in range(count)]
    return figure, [figure.add_axes((*corner, *inner)) for corner in corners]


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file without a date."""
    sink = io.BytesIO()
    with matplotlib.rc_context(STYLE):  # its salt makes the names of shapes the same each time
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    return sink.getvalue()


def _steps(axes: Axes, edges: npt.ArrayLike, heights: npt.ArrayLike, label: str, colour: str, fill: bool) -> None:
    """A histogram's outline; empty bins are gaps on a logarithmic axis."""
    axes.stairs(heights, edges, color=colour, label=label, linewidth=1.3, fill=False)
    if fill:
        axes.stairs(heights, edges, color=colour, alpha=0.18, fill=True)


def score_plot(score: str, histogram: Histogram, planted: npt.NDArray[np.floating]) -> bytes:
    """``score_figure`` as SVG."""
    return svg(score_figure(score, histogram, planted))


def score_figure(score: str, histogram: Histogram, planted: npt.NDArray[np.floating]) -> Figure:
    """Objects per sigma against the score's sigma, real ones and planted ones; 0 is the reference median."""
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = panels(1, 4.6, 2.45)
        shown = _coarser(histogram, 0.25 if histogram.bins.sum() > MANY_OBJECTS else 0.5)
        heights = shown.bins / np.diff(shown.edges)
        _steps(axes, shown.edges, heights, f"real ({int(histogram.counts.sum())})", BLUE, True)
        if len(planted):
            few = _coarser(Histogram.empty(histogram.edges).add(planted), 1.0)
            _steps(axes, few.edges, few.bins / np.diff(few.edges), f"planted ({len(planted)})", ORANGE, False)
            heights = np.concatenate([heights, few.bins / np.diff(few.edges)])
        axes.axvline(0.0, color=GREY, linewidth=0.9, linestyle=":", label="reference median")
        axes.set_xscale("symlog", linthresh=LINEAR_SIGMA, linscale=1.6)
        if (heights > 0).any():
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.6 * float(heights[heights > 0].min()))
            if heights.max() > 100 * heights[heights > 0].min():  # decades suffice, and each minor tick costs time
                axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlim(_score_range(histogram, planted))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(_score_ticks(axes.get_xlim()))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.set_xlabel(f"{score}, robust sigmas above the reference median")
        axes.set_ylabel("objects per sigma")
        outside = histogram.underflow + histogram.overflow
        if outside:
            axes.set_title(f"{outside} beyond the bins ({histogram.edges[0]:g} to {histogram.edges[-1]:g})", loc="left")
        axes.legend(loc="upper right")
        return figure


def _coarser(histogram: Histogram, core: float) -> Histogram:
    """Neighbouring bins joined: ``core`` sigmas wide near the reference, wider where objects are few."""
    far = np.geomspace(20.0, 2000.0, 81)[::8]
    parts = (np.arange(-10, -3, 1.0), np.arange(-3, 3, core), np.arange(3, 10, 1.0), np.arange(10, 20, 2.5), far)
    wanted = np.concatenate(parts)
    distance = np.abs(histogram.edges[:, None] - wanted[None]).min(axis=1)
    distance[[0, -1]] = 0.0
    keep = np.flatnonzero(distance < 1e-6)
    joined = np.add.reduceat(histogram.bins, keep[:-1])
    return Histogram(histogram.edges[keep], np.concatenate([[0], joined, [0]]), 0)


def _score_range(histogram: Histogram, planted: npt.NDArray[np.floating]) -> tuple[float, float]:
    """From the lowest to the highest filled bin, at least -4 to 6 sigma."""
    filled = np.flatnonzero(histogram.bins)
    low, high = -4.0, 6.0
    if len(filled):
        low = min(low, float(histogram.edges[filled[0]]))
        high = max(high, float(histogram.edges[filled[-1] + 1]))
    if len(planted):
        high = max(high, float(min(planted.max(), histogram.edges[-1])))
    return low, high * 1.15


def _score_ticks(limits: tuple[float, float]) -> list[float]:
    ticks = (-10.0, -5.0, 0.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
    return [t for t in ticks if limits[0] <= t <= limits[1]]


def tail_figure(found: Mapping[str, Any]) -> Figure:
    """Held-out objects beyond the tail's threshold against where the fitted tail expects each; on the line: it fits."""
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = panels(1, 4.6, 2.65)
        seen, expected = (np.asarray(found[name]) for name in ("seen", "expected"))
        ends = [min(seen[0], expected[0]), max(seen[-1], expected[-1])]
        axes.plot(ends, ends, color=GREY, linewidth=0.9, linestyle=":", label="as fitted")
        axes.plot(expected, seen, "o", color=BLUE, markersize=3.0, label="held-out objects")
        axes.axvline(found["limit"], color=ORANGE, linewidth=0.9, label="values beyond take no part in the fit")
        axes.set_xlabel("what ranks, as the tail expects it")
        axes.set_ylabel("what ranks, as found")
        axes.legend(loc="upper left")
        return figure


def plain_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Tick labels on the y axis written out, without an offset or a common power of ten."""
    largest = max((abs(v) for v in values), default=1.0)
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.3g" if largest < 1e-3 or largest >= 1e5 else "%.5g"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
