"""Figures of a comparison, for a paper or a notebook: what the report's page shows of the sky's and samples' galaxies.

>>> run = galflow.open_run("galflow-out")                                # doctest: +SKIP
>>> shown = run.side_by_side()
>>> save_figure(extremes_figure(shown, "loglike_pca"), "extremes")       # extremes.png and extremes.pdf

Figures are made without pyplot, hence without global state; a notebook shows what they return.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from galflow.errors import SpecError, StoreError
from galflow.report.distributions import likelihood_figure
from galflow.report.likelihoods import likelihood_edges, stated_likelihoods
from galflow.report.pixel_pdf import PredictedGalaxy, pixel_figure, pixel_pdfs
from galflow.report.plots import STYLE
from galflow.report.residuals import RESIDUAL_LIMIT
from galflow.report.side_by_side import SideBySide
from galflow.scores.distributions import Histogram

_CELL, _LABEL, _CAPTION, _HEAD = 1.0, 1.05, 0.3, 0.3
"""Inches of a picture, of the sides' names, of the text below a picture, and above the first row."""
_GAP = 0.25
"""Inches between the least and the most probable."""
MOST_PREDICTED = 4
"""Sides of which a galaxy's pixels are predicted."""
_DPI = 300


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write it as PATH.png (300 dpi) and PATH.pdf, whatever the ending of ``path``; StoreError where that fails."""
    written = [Path(path).with_suffix(suffix) for suffix in (".png", ".pdf")]
    try:
        with matplotlib.rc_context(STYLE | {"pdf.fonttype": 42}):  # texts stay texts, as journals ask
            for place in written:
                figure.savefig(place, dpi=_DPI, bbox_inches="tight")
    except OSError as error:
        raise StoreError(f"cannot write {place}: {error.strerror or error}; check the folder and its room") from error
    return written


def nats(value: float | None) -> str:
    """A log-likelihood or ratio as a person writes it, with a true minus."""
    if value is None:
        return "none"
    return (f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}").replace("-", "\u2212")


def distribution_figure(shown: SideBySide, column: str) -> Figure:
    """How a ratio or a likelihood is distributed in each sample, over the sky's held-out galaxies."""
    run = shown.run
    stated = {one.column: one for one in stated_likelihoods(run.models, run.comparison, run.spec.ratios)}
    if column not in stated:
        raise SpecError(
            f"no likelihood or ratio {column!r} was compared; expected one of {', '.join(stated) or 'none'}"
        )
    one = stated[column]
    bins = Histogram.empty(likelihood_edges([one])[column])
    return likelihood_figure(one.label, one.reference, bins, one.samples, one.linear_width)


def random_figure(shown: SideBySide) -> Figure:
    """A row a side: its random galaxies, all in one stretch, with their numbers."""
    columns = max(1, *(len(side.picked.random) for side in shown.sides))
    with matplotlib.rc_context(STYLE):
        figure, grid = _grid(shown, columns, 0.06)
        for axes, side in zip(grid, shown.sides, strict=True):
            for panel, galaxy in zip(axes, side.picked.random, strict=False):
                _draw(panel, shown.picture(side, galaxy), galaxy.name)
        return figure


def extremes_figure(shown: SideBySide, column: str) -> Figure:
    """A row a side: the least probable galaxies by ``column``, then the most probable, the farthest outside."""
    if column not in shown.columns:
        known = ", ".join(shown.columns) or "none"
        raise SpecError(f"no likelihood or ratio {column!r} is shown; expected one of {known}")
    each = max(1, *(len(side.picked.least[column]) for side in shown.sides))
    with matplotlib.rc_context(STYLE):
        figure, grid = _grid(shown, 2 * each, 0.06, apart=each)
        for axes, side in zip(grid, shown.sides, strict=True):
            least, most = side.picked.least[column], side.picked.most[column]
            for panel, galaxy in [*zip(axes, least, strict=False), *zip(axes[::-1], most, strict=False)]:
                _draw(panel, shown.picture(side, galaxy), nats(galaxy.values[column]))
        grid[0][0].set_title(f"least probable by {column} [nats]", loc="left")
        grid[0][each].set_title("most probable", loc="left")
        return figure


def residuals_figure(shown: SideBySide, model: str) -> Figure:
    """A row a side: galaxy, reconstruction and residual, of half of its random galaxies."""
    if model not in shown.reconstructing:
        known = ", ".join(shown.reconstructing) or "none"
        raise SpecError(f"no model {model!r} is shown that reconstructs; expected one of {known}")
    count = max(1, max(len(side.picked.random) for side in shown.sides) // 2)
    with matplotlib.rc_context(STYLE):
        figure, grid = _grid(shown, 3 * count, 0.02)
        for row, side in zip(grid, shown.sides, strict=True):
            for number, found in enumerate(shown.residuals(side, model, count)):
                axes = row[3 * number : 3 * number + 3]
                _draw(axes[0], found.picture, found.galaxy.name)
                _draw(axes[1], found.reconstruction, "")
                axes[2].imshow(
                    found.residual, origin="lower", cmap="RdBu_r", vmin=-RESIDUAL_LIMIT, vmax=RESIDUAL_LIMIT,
                    interpolation="nearest",
                )  # fmt: skip
        ends = f"from \u2212{RESIDUAL_LIMIT:g} (blue) to +{RESIDUAL_LIMIT:g} sky sigmas (red)"
        grid[0][0].set_title(f"galaxy, reconstruction by {model}, residual {ends}", loc="left")
        return figure


def predicted_figure(shown: SideBySide, model: str) -> Figure:
    """A row a side: the first random galaxy, and what ``model`` predicts of a pixel of its core and of its sky."""
    if model not in predicting(shown):
        known = ", ".join(predicting(shown)) or "none"
        raise SpecError(f"no model {model!r} predicts pixel by pixel; expected one of {known}")
    trained = shown.run.models[model]
    galaxies = []
    for side in [side for side in shown.sides if side.picked.random][:MOST_PREDICTED]:
        galaxy = side.picked.random[0]
        pdfs = pixel_pdfs(trained, side.cutouts[galaxy])
        galaxies.append(PredictedGalaxy(f"{side.name}: {galaxy.name}", shown.picture(side, galaxy), pdfs))
    return pixel_figure(galaxies, shown.display.bands, shown.display.channels)


def predicting(shown: SideBySide) -> list[str]:
    """Models that predict pixel by pixel; none where there is no galaxy to predict."""
    if not any(side.picked.random for side in shown.sides):
        return []
    return shown.run.predicting


def _grid(shown: SideBySide, columns: int, gap: float, apart: int | None = None) -> tuple[Figure, list[list[Axes]]]:
    """A row of axes a side, with the side's name at the left; empty ones are not seen.

    The axes from number ``apart`` on stand apart from those before.
    """
    rows = len(shown.sides)
    width, height = _LABEL + columns * _CELL + _GAP * (apart is not None), _HEAD + rows * (_CELL + _CAPTION)
    figure = Figure(figsize=(width, height))
    grid = []
    for number, side in enumerate(shown.sides):
        bottom = (rows - 1 - number) * (_CELL + _CAPTION) + _CAPTION
        figure.text(0.05 / width, (bottom + _CELL / 2) / height, side.name, va="center", fontsize=9, weight="bold")
        row = []
        for column in range(columns):
            left = _LABEL + column * _CELL + _GAP * (apart is not None and column >= apart)
            box = (left / width, bottom / height, (_CELL - gap) / width, (_CELL - gap) / height)
            row.append(axes := figure.add_axes(box))
            axes.axis("off")
        grid.append(row)
    return figure, grid


def _draw(axes: Axes, picture: np.ndarray, caption: str) -> None:
    axes.imshow(picture, origin="lower", interpolation="nearest")
    axes.text(0.5, -0.06, caption, transform=axes.transAxes, ha="center", va="top", fontsize=7)
