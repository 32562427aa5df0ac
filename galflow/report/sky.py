"""The sky as a figure: where a run's tiles lie, how odd their objects are, and where the most interesting ones are."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from galflow.report.plots import ORANGE, STYLE, svg


def sky_figure(tiles: Sequence[tuple[float, float, float]], objects: Sequence[tuple[float, float]]) -> Figure | None:
    """North up, east left; None where nothing has a position.

    ``tiles``: (ra, dec, share of its objects among the most anomalous), degrees. ``objects``: (ra, dec) of some.
    """
    if not tiles and not objects:
        return None
    everything = np.array([*(tile[:2] for tile in tiles), *objects], dtype=float)
    middle = _middle_ra(everything[:, 0])
    figure = Figure(figsize=(6.2, 3.3), layout="constrained")
    axes = figure.add_subplot()
    if tiles:
        ra, dec, share = np.array(tiles, dtype=float).T
        size = np.clip(9000 / len(tiles), 4, 420)
        shown = axes.scatter(
            _around(ra, middle), dec, c=100 * share, s=size, marker="s", cmap="cividis", linewidths=0, vmin=0
        )
        figure.colorbar(shown, label="objects in the top 1%, %", shrink=0.85)
    if objects:
        ra, dec = np.array(objects, dtype=float).T
        axes.scatter(_around(ra, middle), dec, s=46, facecolors="none", edgecolors=ORANGE, linewidths=1.6)
    axes.set_xlabel("right ascension (deg)")
    axes.set_ylabel("declination (deg)")
    axes.invert_xaxis()
    axes.set_aspect(1 / max(0.05, float(np.cos(np.radians(everything[:, 1].mean())))), adjustable="datalim")
    axes.locator_params(nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value % 360:.6g}")
    axes.ticklabel_format(axis="y", useOffset=False)
    return figure


def sky_plot(tiles: Sequence[tuple[float, float, float]], objects: Sequence[tuple[float, float]]) -> bytes | None:
    """The figure as SVG; the same numbers give the same bytes."""
    with matplotlib.rc_context(STYLE):
        figure = sky_figure(tiles, objects)
        return None if figure is None else svg(figure)


def _middle_ra(ra: np.ndarray) -> float:
    """The direction around which right ascensions lie, so that a field at 0 h is not torn apart."""
    angles = np.radians(ra)
    return float(np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())))


def _around(ra: np.ndarray, middle: float) -> np.ndarray:
    return (ra - middle + 180) % 360 - 180 + middle
