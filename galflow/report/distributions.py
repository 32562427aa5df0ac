"""How a likelihood or a ratio is distributed in each sample, over the sky's own: a row a sample, told by no colour.

In every row the held-out galaxies of the sky lie behind, filled; the sample is the line before them. Both have bins as
wide as the smaller of the two can fill.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, MaxNLocator, NullLocator

from galflow.report.plots import BLUE, GREY, ORANGE, STYLE, svg
from galflow.scores.distributions import Histogram

FloatArray = npt.NDArray[np.float64]
_WIDTH, _ROW, _HEAD, _FOOT, _LEFT, _RIGHT = 4.8, 0.62, 0.12, 0.5, 1.25, 0.12
"""Inches."""
_FINE_BINS = ((600, 1), (250, 2), (100, 3), (0, 5))
"""From so many objects on, so many bins are joined into one."""


def likelihood_plot(
    label: str,
    reference: FloatArray,
    run: Histogram,
    samples: Mapping[str, FloatArray],
    linear_width: float | None = None,
) -> bytes:
    """``likelihood_figure`` as SVG."""
    return svg(likelihood_figure(label, reference, run, samples, linear_width))


def likelihood_figure(
    label: str,
    reference: FloatArray,
    run: Histogram,
    samples: Mapping[str, FloatArray],
    linear_width: float | None = None,
) -> Figure:
    """A row a sample over the held-out objects, and one of all this run's objects; ``label`` states the unit.

    ``run`` brings the bins. ``linear_width``: the axis is linear up to it on both sides of 0 and logarithmic beyond.
    """
    total = int(run.counts.sum())
    rows: dict[str, tuple[FloatArray, int]] = {
        name: (np.histogram(values, run.edges)[0] / max(1, len(values)), len(values))
        for name, values in samples.items()
    }
    if total or not rows:
        rows["whole survey"] = (run.bins / max(1, total), total)
    sky = np.histogram(reference, run.edges)[0] / max(1, len(reference))
    with matplotlib.rc_context(STYLE):
        height = _HEAD + _ROW * len(rows) + _FOOT + 0.2
        figure = Figure(figsize=(_WIDTH, height))
        for number, (name, (shares, objects)) in enumerate(rows.items()):
            bottom = _FOOT + _ROW * (len(rows) - 1 - number)
            box = (_LEFT / _WIDTH, bottom / height, 1 - (_LEFT + _RIGHT) / _WIDTH, 0.88 * _ROW / height)
            axes = figure.add_axes(box)
            colour, line = (ORANGE, "-") if name in samples else (GREY, "--")
            joined = _joined_bins(min(objects, len(reference)))
            _draw_row(axes, run.edges, joined, (sky, shares), colour, line)
            axes.set_ylabel(f"{name}\n({objects:,})", rotation=0, ha="right", va="center", labelpad=6)
            _scale(axes, run.edges, linear_width, last=number == len(rows) - 1)
        axes.set_xlabel(label)
        handles = [figure.axes[0].patches[0]]
        legend = f"filled: {len(reference):,} held-out galaxies of the sky; every row has a height of its own"
        figure.legend(handles, [legend], loc="upper left", fontsize=7, bbox_to_anchor=(0.0, 1.01), handlelength=1.2)
        return figure


def _joined_bins(objects: int) -> int:
    return next(joined for least, joined in _FINE_BINS if objects >= least)


def _draw_row(
    axes: Axes, edges: FloatArray, joined: int, shares: tuple[FloatArray, FloatArray], colour: str, line: str
) -> None:
    starts = np.arange(0, len(edges) - 1, joined)
    wide = edges[np.append(starts, len(edges) - 1)]
    sky, sample = (np.add.reduceat(values, starts) for values in shares)
    axes.stairs(sky, wide, color=BLUE, alpha=0.28, fill=True)
    axes.stairs(sample, wide, color=colour, linestyle=line, linewidth=1.5)
    axes.set_ylim(0, 1.08 * max(sky.max(), sample.max(), 1e-9))


def _scale(axes: Axes, edges: FloatArray, linear_width: float | None, *, last: bool) -> None:
    if linear_width is not None:
        axes.set_xscale("asinh", linear_width=linear_width)
        decades = linear_width * np.array([1, 3, 10, 30, 100, 300, 1000])
        ticks = np.array([*-decades[::-1], 0.0, *decades])
        axes.xaxis.set_major_locator(FixedLocator(ticks[(ticks >= edges[0]) & (ticks <= edges[-1])]))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.set_xlim(edges[0], edges[-1])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelbottom=last)
