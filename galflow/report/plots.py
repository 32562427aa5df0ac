"""The plots of a report, as SVG: score distributions, likelihood distributions, learning curves.

Every axis says what it shows and in which unit. Figures are made and drawn here without pyplot, hence without global
state; the same numbers give the same bytes.
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
from matplotlib.ticker import MaxNLocator

from galflow.scores.distributions import Histogram
from galflow.training.learning_curve import CurvePoint

BLUE, ORANGE, GREY = "#2f6690", "#d1720f", "#6b7280"
COLOURS = (ORANGE, "#7b4ea3", "#2e8b57", "#b5446e", "#8a6d3b", "#1f9aa8")
LINEAR_SIGMA = 10.0
"""Score plots are linear up to so many sigmas and logarithmic beyond."""
DIAGNOSTICS_SHOWN = 6
MANY_OBJECTS = 3000
"""From so many on, score plots have their finest bins."""
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "galflow",
    "font.size": 8.5,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4b5563",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
}


def _svg(figure: Figure) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    return sink.getvalue()


def _steps(axes: Axes, edges: npt.ArrayLike, heights: npt.ArrayLike, label: str, colour: str, fill: bool) -> None:
    """A histogram's outline; empty bins are gaps on a logarithmic axis."""
    axes.stairs(heights, edges, color=colour, label=label, linewidth=1.3, fill=False)
    if fill:
        axes.stairs(heights, edges, color=colour, alpha=0.18, fill=True)


def score_plot(score: str, histogram: Histogram, planted: npt.NDArray[np.floating]) -> bytes:
    """Objects per sigma against the score's sigma, real ones and planted ones; 0 is the reference median."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 2.75), layout="constrained")
        axes = figure.add_subplot()
        shown = _coarser(histogram, 0.25 if histogram.bins.sum() > MANY_OBJECTS else 0.5)
        heights = shown.bins / np.diff(shown.edges)
        _steps(axes, shown.edges, heights, f"real ({int(histogram.counts.sum())})", BLUE, True)
        if len(planted):
            few = _coarser(Histogram.empty(histogram.edges).add(planted), 1.0)
            _steps(axes, few.edges, few.bins / np.diff(few.edges), f"planted ({len(planted)})", ORANGE, False)
            heights = np.concatenate([heights, few.bins / np.diff(few.edges)])
        axes.axvline(0.0, color=GREY, linewidth=0.9, linestyle=":", label="reference median")
        axes.set_xscale("symlog", linthresh=LINEAR_SIGMA, linscale=1.6)
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.6 * float(heights[heights > 0].min(initial=1.0)))
        axes.set_xlim(_score_range(histogram, planted))
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_xticks(_score_ticks(axes.get_xlim()))
        axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.set_xlabel(f"{score}, robust sigmas above the reference median")
        axes.set_ylabel("objects per sigma")
        outside = histogram.underflow + histogram.overflow
        if outside:
            axes.set_title(f"{outside} beyond the bins ({histogram.edges[0]:g} to {histogram.edges[-1]:g})", loc="left")
        axes.legend(loc="upper right")
        return _svg(figure)


def _coarser(histogram: Histogram, core: float) -> Histogram:
    """Neighbouring bins joined: ``core`` sigmas wide near the reference, wider where objects are few."""
    far = np.geomspace(20.0, 2000.0, 81)[::8]
    parts = (np.arange(-10, -3, 1.0), np.arange(-3, 3, core), np.arange(3, 10, 1.0), np.arange(10, 20, 2.5), far)
    wanted = np.concatenate(parts)
    same = np.isclose(histogram.edges[:, None], wanted[None], rtol=1e-9).any(axis=1)
    same[[0, -1]] = True
    keep = np.flatnonzero(same)
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


def likelihood_plot(
    label: str, reference: npt.NDArray[np.floating], run: Histogram, samples: Mapping[str, npt.NDArray[np.floating]]
) -> bytes:
    """Shares per bin of the held-out objects, of this run's objects and of each sample; ``label`` states the unit."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 2.75), layout="constrained")
        axes = figure.add_subplot()
        edges = run.edges
        groups = {"held-out real objects": (reference, BLUE)}
        groups |= {n: (v, COLOURS[i % len(COLOURS)]) for i, (n, v) in enumerate(samples.items())}
        for name, (values, colour) in groups.items():
            counts = np.histogram(values, edges)[0]
            _steps(axes, edges, counts / max(1, len(values)), f"{name} ({len(values)})", colour, colour == BLUE)
        total = int(run.counts.sum())
        if total:
            _steps(axes, edges, run.bins / total, f"all real objects of the run ({total})", GREY, False)
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_ylabel("share of objects per bin")
        axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * (1.1 + 0.09 * len(groups)))
        axes.legend(loc="upper right")
        return _svg(figure)


def curve_plot(curves: Sequence[CurvePoint]) -> bytes:
    """Losses of each player against epochs, a panel a phase, then the model's own diagnostics."""
    phases = sorted({p.phase for p in curves})
    names = list(dict.fromkeys(n for p in curves for n in p.diagnostics))[:DIAGNOSTICS_SHOWN]
    panels = len(phases) + len(names)
    columns = min(3, panels)
    with matplotlib.rc_context(_STYLE):
        rows = -(-panels // columns)
        figure = Figure(figsize=(3.7 * columns, 2.35 * rows), layout="constrained")
        axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
        for phase, panel in zip(phases, axes, strict=False):
            _losses(panel, [p for p in curves if p.phase == phase], phase, len(phases))
        for name, panel in zip(names, axes[len(phases) :], strict=True):
            _diagnostic(panel, curves, name, phases)
        return _svg(figure)


def _losses(axes: Axes, points: Sequence[CurvePoint], phase: int, phases: int) -> None:
    for i, player in enumerate(dict.fromkeys(p.player for p in points)):
        own = [p for p in points if p.player == player]
        colour = (BLUE, *COLOURS)[i % (len(COLOURS) + 1)]
        marker = "o" if len(own) == 1 else None
        epochs = [p.epoch for p in own]
        axes.plot(epochs, [p.train_loss for p in own], color=colour, marker=marker, ms=3, label=f"{player}, training")
        validation: list[Any] = [np.nan if p.validation_loss is None else p.validation_loss for p in own]
        if not all(np.isnan(v) for v in validation):
            axes.plot(
                epochs, validation, color=colour, marker=marker, ms=3, linestyle="--", label=f"{player}, validation"
            )
    axes.set_title("losses" if phases == 1 else f"losses, phase {phase + 1}", loc="left")
    axes.set_ylabel("loss (the model's own unit)")
    _epochs(axes)
    axes.legend()


def _diagnostic(axes: Axes, curves: Sequence[CurvePoint], name: str, phases: Sequence[int]) -> None:
    """One of the model's own numbers, a line a phase."""
    for i, phase in enumerate(phases):
        by_epoch = {p.epoch: p.diagnostics.get(name) for p in curves if p.phase == phase and name in p.diagnostics}
        values: list[Any] = [np.nan if v is None else v for v in by_epoch.values()]
        if not values:
            continue
        marker = "o" if len(values) == 1 else None
        label = f"phase {phase + 1}" if len(phases) > 1 else None
        axes.plot(list(by_epoch), values, color=(BLUE, *COLOURS)[i % 7], marker=marker, ms=3, label=label)
    axes.set_ylabel(name.replace("_", " "))
    _epochs(axes)
    if len(phases) > 1 and axes.get_legend_handles_labels()[0]:
        axes.legend()


def _epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.margins(x=0.03)
