"""Learning curves as SVG: a panel for each phase's losses, then one for each of the model's own diagnostics.

However long the training was, a curve is drawn from at most ``POINTS_DRAWN`` points over a smoothed line. An axis is
logarithmic only where values span more than a factor ``LOG_FACTOR``; a few outliers at the start are cut off, and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, MaxNLocator

from galflow.report.plots import BLUE, COLOURS, STYLE, panels, plain_ticks, svg
from galflow.training.learning_curve import CurvePoint

FloatArray = npt.NDArray[np.float64]

DIAGNOSTICS_SHOWN = 6
POINTS_DRAWN = 300
MANY_EPOCHS = 80
"""From so many epochs on, the points themselves are pale and a running median is drawn over them."""
LOG_FACTOR = 30.0
_START, _SPREAD = 0.1, 3.0
"""Outliers are cut off if leaving out this share of the epochs makes the range so many times smaller."""
_PANEL = (2.98, 2.15)
"""Width and height in inches: four panels fill the page."""
PANELS_PER_FIGURE = 4


@dataclass(frozen=True, eq=False)
class _Line:
    label: str | None
    colour: str
    style: str
    epochs: FloatArray
    values: FloatArray
    """NaN where there is none."""


def curve_plots(curves: Sequence[CurvePoint]) -> list[bytes]:
    """Figures of up to four panels: losses against epochs, a panel a phase, then the model's own diagnostics."""
    phases = sorted({p.phase for p in curves})
    names = list(dict.fromkeys(n for p in curves for n in p.diagnostics))[:DIAGNOSTICS_SHOWN]
    contents = [(_title(phase, phases), "loss (model's own unit)", _losses(curves, phase)) for phase in phases]
    contents += [("", name.replace("_", " "), _diagnostic(curves, name, phases)) for name in names]
    figures = []
    for start in range(0, len(contents), PANELS_PER_FIGURE):
        part = contents[start : start + PANELS_PER_FIGURE]
        with matplotlib.rc_context(STYLE):
            figure, axes = panels(len(part), *_PANEL)
            for panel, (title, unit, lines) in zip(axes, part, strict=True):
                _panel(panel, title, unit, lines)
            figures.append(svg(figure))
    return figures


def _title(phase: int, phases: Sequence[int]) -> str:
    return "losses" if len(phases) == 1 else f"losses, phase {phase + 1}"


def _losses(curves: Sequence[CurvePoint], phase: int) -> list[_Line]:
    points = [p for p in curves if p.phase == phase]
    lines = []
    for i, player in enumerate(dict.fromkeys(p.player for p in points)):
        own = [p for p in points if p.player == player]
        colour = (BLUE, *COLOURS)[i % (len(COLOURS) + 1)]
        lines.append(_line(f"{player}, training", colour, "-", own, [p.train_loss for p in own]))
        lines.append(_line(f"{player}, validation", colour, "--", own, [p.validation_loss for p in own]))
    return [line for line in lines if np.isfinite(line.values).any()]


def _diagnostic(curves: Sequence[CurvePoint], name: str, phases: Sequence[int]) -> list[_Line]:
    """One of the model's own numbers, a line a phase in which it changes."""
    lines = []
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
    if any(line.label for line in lines):
        axes.legend(loc="best" if len(values) < 2000 else "upper right")


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
    if values.min() > 0 and values.max() > LOG_FACTOR * values.min():
        axes.set_yscale("log")
        if values.max() < 1e5 and values.min() >= 1e-3:
            axes.yaxis.set_major_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.4)))
        return ""
    plain_ticks(axes, values.tolist())
    later = np.concatenate([line.values[int(np.ceil(_START * len(line.values))) :] for line in lines])
    later = later[np.isfinite(later)]
    if len(later) < 5:
        return ""
    low, high = float(later.min()), float(later.max())
    if high > low and values.max() - values.min() > _SPREAD * (high - low):
        margin = 0.15 * (high - low)
        axes.set_ylim(low - margin, high + margin)
        outside = int(np.count_nonzero((values < low - margin) | (values > high + margin)))
        return f"{outside} early value{'s' * (outside != 1)} beyond the axis" if outside else ""
    return ""
