"""Tables of the report as figures: which kinds of anomaly each score finds, and the evidence for what ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from galflow.report.evidence import evidence_table
from galflow.report.planted import KindRecall
from galflow.report.plots import STYLE

_CELL, _LINE = 0.62, 0.26
"""Inches of a cell."""
_NAME = 48
"""Letters of a rule's name: some are of many terms."""
_LETTER, _FOOT, _SCALE = 0.075, 0.55, 0.9
"""Inches of a letter, and of room below and at the right."""


def planted_figure(recall: Sequence[KindRecall], scores: Sequence[str]) -> Figure:
    """A row a score, a column a kind of planted anomaly: the mean percentage of real objects that score lower.

    50 is chance; in brackets how many copies are in the top 5%. A score that no copy of a kind has is left blank.
    """
    kinds = [f"{of.kind.replace('_', ' ')} ({of.planted})" for of in recall]
    values = np.array([[_number(of.percentile[score]) for of in recall] for score in scores])
    texts = []
    for score in scores:
        found = [of.by_score[score] for of in recall]
        texts.append([f" ({round(one.value * one.n)})" if one is not None else "" for one in found])
    words = "percent of real objects that score lower\n(in brackets: copies in the top 5%)"
    return _heat(values, scores, kinds, texts, words)


def evidence_figure(evidence: Mapping[str, Any]) -> Figure | None:
    """A row a rule, the one that ranks in bold, a column a kind of anomaly: AUROC in percent; None without any."""
    table = evidence_table(evidence)
    if table is None:
        return None
    verdicts = {verdict["rule"]["name"]: verdict for verdict in evidence["verdicts"]}
    kinds = list(evidence["verdicts"][0]["by_kind"])
    own = [verdicts[row.name] for row in table.rows]
    values = 100 * np.array([[of["auroc"], *(of["by_kind"][kind] for kind in kinds)] for of in own])
    columns = ["all kinds", *(kind.replace("_", " ") for kind in kinds)]
    names = [row.name if len(row.name) <= _NAME else f"{row.name[: _NAME - 1]}\u2026" for row in table.rows]
    figure = _heat(values, names, columns, None, "AUROC, percent")
    for name, row in zip(figure.axes[0].get_yticklabels(), table.rows, strict=True):
        name.set_fontweight("bold" if row.ranks else "normal")
    return figure


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _heat(
    values: npt.NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    beside: Sequence[Sequence[str]] | None,
    label: str,
) -> Figure:
    """Percentages as colours around 50, each with its number; ``beside``: more to each cell's number."""
    left = 0.2 + _LETTER * max(map(len, rows), default=1)
    head = 0.15 + 0.7 * _LETTER * max(map(len, columns), default=1)
    wide, high = _CELL * len(columns), _LINE * len(rows)
    size = (left + wide + _SCALE, head + high + _FOOT)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size)
        axes = figure.add_axes((left / size[0], _FOOT / size[1], wide / size[0], high / size[1]))
        # Blue and orange: told apart without red and green.
        image = axes.imshow(values, cmap="PuOr_r", norm=TwoSlopeNorm(50, 0, 100), aspect="auto", alpha=0.75)
        for y, x in zip(*np.nonzero(np.isfinite(values)), strict=True):
            more = "" if beside is None else beside[y][x]
            axes.text(x, y, f"{values[y, x]:.0f}{more}", ha="center", va="center", fontsize=7)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="left", rotation_mode="anchor")
        axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        scale = figure.add_axes(((left + wide + 0.12) / size[0], _FOOT / size[1], 0.1 / size[0], high / size[1]))
        figure.colorbar(image, cax=scale)
        axes.set_xlabel(label)
        return figure
