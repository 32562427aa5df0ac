"""Learning curves as SVG: a panel for each phase's losses, then one for each of the model's own diagnostics.

However long the training was, a curve is drawn from at most ``POINTS_DRAWN`` points over a smoothed line. An axis is
logarithmic only where that helps; else a few outliers at the start are cut off, and said to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

from galflow.report.plots import BLUE, COLOURS, STYLE, panels, plain_ticks, svg
from galflow.training.learning_curve import CurvePoint

FloatArray = npt.NDArray[np.float64]

DIAGNOSTICS_SHOWN = 6
POINTS_DRAWN = 300
MANY_EPOCHS = 80
"""From so many epochs on, the points themselves are pale and a running median is drawn over them."""
LOG_FACTOR, LOG_CROWDED, LOG_MEDIAN = 100.0, 3.0, 0.15
"""Positive values get a logarithmic axis if they span the first factor, or the second one with half of them crowded
into so small a part of a linear axis."""
_START, _SPREAD = 0.1, 5.0
"""Outliers are cut off if leaving out this share of the epochs makes the range so many times smaller."""
_PANEL = (2.98, 2.15)
"""Width and height in inches: four panels fill the page."""
PANELS_PER_FIGURE = 4
_LEGEND: dict[str, Any] = {"frameon": True, "framealpha": 0.8, "edgecolor": "none", "fontsize": 7, "borderpad": 0.2}


@dataclass(frozen=True, eq=False)
class _Line:
    label: str | None
    colour: str
    style: str
    epochs: FloatArray
    values: FloatArray
    """NaN where there is none."""


def curve_plots(curves: Sequence[CurvePoint]) -> list[bytes]:
    """``curve_figures`` as SVG."""
    return [svg(figure) for figure in curve_figures(curves)]


def curve_figures(curves: Sequence[CurvePoint]) -> list[Figure]:
    """Figures of up to four panels: losses against epochs, a panel a phase, then the model's own diagnostics."""
    phases, names = _phases(curves), _diagnostics(curves)
    contents: list[tuple[str, str, list[_Line]]] = [
        (_title(curves, phase, phases), "loss, in its own unit", _losses(curves, phase)) for phase in phases
    ]
    contents += [("", name.replace("_", " "), _diagnostic(curves, name, phases)) for name in names]
    figures: list[Figure] = []
    for start in range(0, len(contents), PANELS_PER_FIGURE):
        part = contents[start : start + PANELS_PER_FIGURE]
        with matplotlib.rc_context(STYLE):
            figure, axes = panels(len(part), *_PANEL)
            for panel, content in zip(axes, part, strict=True):
                _panel(panel, *content)
            figures.append(figure)
    return figures


def panels_of(curves: Sequence[CurvePoint]) -> int:
    """How many panels these curves fill."""
    return len(_phases(curves)) + len(_diagnostics(curves))


def _phases(curves: Sequence[CurvePoint]) -> list[int]:
    return sorted({p.phase for p in curves})


def _diagnostics(curves: Sequence[CurvePoint]) -> list[str]:
    return list(dict.fromkeys(n for p in curves for n in p.diagnostics))[:DIAGNOSTICS_SHOWN]


def _title(curves: Sequence[CurvePoint], phase: int, phases: Sequence[int]) -> str:
    title = "losses" if len(phases) == 1 else f"losses, phase {phase + 1}"
    game = len({p.player for p in curves if p.phase == phase}) > 1
    return f"{title} (dashed: validation)" if game else title


def _losses(curves: Sequence[CurvePoint], phase: int) -> list[_Line]:
    """Training losses solid, validation losses dashed; in a game the legend names the players alone."""
    points = [p for p in curves if p.phase == phase]
    players = list(dict.fromkeys(p.player for p in points))
    lines: list[_Line] = []
    for i, player in enumerate(players):
        own = [p for p in points if p.player == player]
        colour = (BLUE, *COLOURS)[i % (len(COLOURS) + 1)]
        names = (player, None) if len(players) > 1 else (f"{player}, training", f"{player}, validation")
        lines.append(_line(names[0], colour, "-", own, [p.train_loss for p in own]))
        lines.append(_line(names[1], colour, "--", own, [p.validation_loss for p in own]))
    return [line for line in lines if np.isfinite(line.values).any()]


def _diagnostic(curves: Sequence[CurvePoint], name: str, phases: Sequence[int]) -> list[_Line]:
    """One of the model's own numbers, a line a phase in which it changes."""
    lines: list[_Line] = []
    for i, phase in enumerate(phases):
        by_epoch = {p.epoch: p for p in curves if p.phase == phase and name in p.diagnostics}
        own = list(by_epoch.values())
        label = f"phase {phase + 1}" if len(phases) > 1 else None
        line = _line(label, (BLUE, *COLOURS)[i % 7], "-", own, [p.diagnostics[name] for p in own])
        # A player that a later phase leaves alone repeats its number: a flat line says nothing.
        if np.isfinite(line.values).any() and (not lines or np.nanmin(line.values) < np.nanmax(line.values)):
            lines.append(line)
    return lines


def _line(
    label: str | None, colour: str, style: str, points: Sequence[CurvePoint], values: Sequence[float | None]
) -> _Line:
    numbers = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return _Line(label, colour, style, np.array([p.epoch for p in points], dtype=np.float64), numbers)


def _panel(axes: Axes, title: str, unit: str, lines: Sequence[_Line]) -> None:
    for line in lines:
        _draw(axes, line)
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.margins(x=0.03)
    values = np.concatenate([line.values for line in lines]) if lines else np.zeros(0)
    values = values[np.isfinite(values)]
    cut = _scale(axes, lines, values)
    axes.set_title(" - ".join(text for text in (title, cut) if text), loc="left")
    if sum(line.label is not None for line in lines) > 1:
        # "best" compares with every point drawn; with very many the corner has to do.
        axes.legend(loc="best" if len(values) < 2000 else "upper right", **_LEGEND)


def _draw(axes: Axes, line: _Line) -> None:
    marker: dict[str, Any] = {"marker": "o", "ms": 3} if np.isfinite(line.values).sum() == 1 else {}
    look: dict[str, Any] = {"color": line.colour, "linestyle": line.style, "label": line.label, **marker}
    if len(line.values) < MANY_EPOCHS:
        axes.plot(line.epochs, line.values, linewidth=1.3, **look)
        return
    step = -(-len(line.values) // POINTS_DRAWN)
    axes.plot(line.epochs[::step], line.values[::step], color=line.colour, alpha=0.25, linewidth=0.6)
    window = max(3, len(line.values) // 40)
    kept = slice(None, None, max(step, window // 3))
    axes.plot(line.epochs[kept], _running_median(line.values, window)[kept], linewidth=1.4, **look)


def _running_median(values: FloatArray, window: int) -> FloatArray:
    """(n,) medians over the ``window`` values around each, fewer at the ends; NaN is passed over."""
    padded = np.pad(values, window // 2, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * (window // 2) + 1)
    found = np.full(len(values), np.nan)
    some = np.isfinite(windows).any(axis=1)
    found[some] = np.nanmedian(windows[some], axis=1)
    return found


def _scale(axes: Axes, lines: Sequence[_Line], values: FloatArray) -> str:
    """Choose the y axis: logarithmic where that helps, else without outliers at the start; what was cut, in words."""
    if not len(values):
        return ""
    if _log_helps(values):
        _log_ticks(axes, float(values.min()), float(values.max()))
        return ""
    plain_ticks(axes, values.tolist())
    if (values == values.round()).all():
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    later = np.concatenate([line.values[int(np.ceil(_START * len(line.values))) :] for line in lines])
    later = later[np.isfinite(later)]
    if len(later) < 5:
        return ""
    low, high = float(later.min()), float(later.max())
    if high > low and values.max() - values.min() > _SPREAD * (high - low):
        margin = 0.15 * (high - low)
        axes.set_ylim(low - margin, high + margin)
        outside = int(np.count_nonzero((values < low - margin) | (values > high + margin)))
        return f"{outside} point{'s' * (outside != 1)} off the axis" if outside else ""
    return ""


def _log_helps(values: FloatArray) -> bool:
    low, middle, high = float(values.min()), float(np.median(values)), float(values.max())
    crowded = middle - low < LOG_MEDIAN * (high - low)
    return low > 0 and high > (LOG_CROWDED if crowded else LOG_FACTOR) * low


def _log_ticks(axes: Axes, low: float, high: float) -> None:
    """Powers of ten, or 1, 2 and 5 of each where there are few, written out where that is short."""
    axes.set_yscale("log")
    few = np.log10(high / low) < 2.5
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    if low >= 1e-4 and high < 1e5:
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
