"""The sky as a figure: where a run's tiles lie, how odd their objects are, and where the most interesting ones are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from galflow.report.plots import ORANGE, STYLE, svg

_LEAST_SIDE = 0.008
"""A tile is drawn at least so large, as a share of the field: smaller ones could not be seen."""
_MARGIN = 0.06
"""Around all that there is, as a share of it."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TileOnSky:
    """Where a tile's objects lie, in degrees (ICRS)."""

    ra: float
    dec: float
    """Of the middle."""
    ra_range: float
    """In degrees of right ascension, not of the sky."""
    dec_range: float
    value: float | None
    """What its colour says; None: not known."""


def sky_figure(tiles: Sequence[TileOnSky], objects: Sequence[tuple[float, float]]) -> Figure | None:
    """North up, east left, as much of the sky as there is; None where nothing has a position.

    ``tiles``: with the share of their objects among the most anomalous. ``objects``: (ra, dec) of some, in degrees.
    """
    if not tiles and not objects:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.2, 3.3), layout="constrained")
        _draw(figure, figure.add_subplot(), tiles, objects, "objects in the top 1%, %", 100.0)
        return figure


def tiles_figure(panels: Sequence[tuple[str, Sequence[TileOnSky]]]) -> Figure | None:
    """A map a panel, whose label says what the colours are; None where no tile has a position."""
    shown = [(label, tiles) for label, tiles in panels if any(tile.value is not None for tile in tiles)]
    if not shown:
        return None
    across = min(2, len(shown))
    down = -(-len(shown) // across)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * across, 3.0 * down), layout="constrained")
        for number, (label, tiles) in enumerate(shown, 1):
            _draw(figure, figure.add_subplot(down, across, number), tiles, [], label, 1.0)
        return figure


def sky_plot(tiles: Sequence[TileOnSky], objects: Sequence[tuple[float, float]]) -> bytes | None:
    """``sky_figure`` as SVG; the same numbers give the same bytes."""
    figure = sky_figure(tiles, objects)
    return None if figure is None else svg(figure)


def _draw(
    figure: Figure,
    axes: Axes,
    tiles: Sequence[TileOnSky],
    objects: Sequence[tuple[float, float]],
    label: str,
    scale: float,
) -> None:
    corners = np.array([(t.ra, t.dec, t.ra_range / 2, t.dec_range / 2) for t in tiles], float).reshape(-1, 4)
    places = np.array(objects, float).reshape(-1, 2)
    middle = _middle_ra(np.concatenate([corners[:, 0], places[:, 0]]))
    corners[:, 0], places[:, 0] = _around(corners[:, 0], middle), _around(places[:, 0], middle)
    stretched = 1 / max(0.05, float(np.cos(np.radians(np.concatenate([corners[:, 1], places[:, 1]]).mean()))))
    low = np.concatenate([corners[:, :2] - corners[:, 2:], places]).min(axis=0)
    high = np.concatenate([corners[:, :2] + corners[:, 2:], places]).max(axis=0)
    # Degrees of declination; a single place has some room around it.
    extent = max(float((high[0] - low[0]) / stretched), float(high[1] - low[1])) or 1 / 60
    least = _LEAST_SIDE * extent / 2 * np.array([stretched, 1.0])
    halves = np.maximum(corners[:, 2:], least)
    values = np.array([np.nan if tile.value is None else scale * tile.value for tile in tiles], float)
    known = np.isfinite(values)
    if known.any():
        boxes = [
            Rectangle((x - w, y - h), 2 * w, 2 * h)
            for (x, y), (w, h) in zip(corners[known, :2], halves[known], strict=True)
        ]
        shown = PatchCollection(boxes, cmap="cividis", edgecolor="white", linewidth=0.3)
        shown.set_array(values[known])
        shown.set_clim(min(0.0, float(values[known].min())) if scale != 1.0 else None, None)
        axes.add_collection(shown)
        figure.colorbar(shown, label=label, shrink=0.85)
    if len(places):
        axes.scatter(places[:, 0], places[:, 1], s=46, facecolors="none", edgecolors=ORANGE, linewidths=1.6)
    axes.update_datalim([low - 2 * least, high + 2 * least])
    axes.margins(_MARGIN)
    axes.autoscale_view()
    axes.invert_xaxis()  # east is left
    axes.set_aspect(stretched, adjustable="datalim")
    axes.set_xlabel("right ascension (deg)")
    axes.set_ylabel("declination (deg)")
    axes.locator_params(nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value % 360:.8g}")
    axes.ticklabel_format(axis="y", useOffset=False)


def _middle_ra(ra: FloatArray) -> float:
    """The direction around which right ascensions lie, so that a field at 0 h is not torn apart."""
    angles = np.radians(ra)
    return float(np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())))


def _around(ra: FloatArray, middle: float) -> FloatArray:
    return np.asarray((ra - middle + 180) % 360 - 180 + middle)
