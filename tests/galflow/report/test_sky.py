"""Maps of the sky: tiles where their objects lie and as large as they are, and no more sky than there is."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from galflow.report.sky import TileOnSky, sky_figure, sky_plot, tiles_figure


def boxes(figure: Figure) -> np.ndarray:
    """(tiles, 4) of west, south, east, north, as drawn."""
    paths = figure.axes[0].collections[0].get_paths()
    return np.array([[*path.vertices.min(axis=0), *path.vertices.max(axis=0)] for path in paths])


def test_one_small_tile_fills_the_map() -> None:
    figure = sky_figure([TileOnSky(150.0, 60.0, 0.02, 0.01, 0.05)], [(150.001, 60.001)])
    assert figure is not None
    figure.canvas.draw()
    axes = figure.axes[0]
    np.testing.assert_allclose(boxes(figure), [[149.99, 59.995, 150.01, 60.005]])
    east, west = axes.get_xlim()
    assert east > west, "east is left"
    south, north = axes.get_ylim()
    filled = max(0.02 / (east - west), 0.01 / (north - south))
    assert 0.8 < filled < 1
    assert axes.get_aspect() == pytest.approx(2, rel=1e-3), "a degree of right ascension is half as wide at 60 degrees"


def test_a_field_at_0_h_is_not_torn_apart() -> None:
    figure = sky_figure([TileOnSky(359.9, 0.0, 0.1, 0.1, 0.0), TileOnSky(0.1, 0.0, 0.1, 0.1, 0.2)], [])
    assert figure is not None
    found = boxes(figure)
    assert found[:, 2].max() - found[:, 0].min() == pytest.approx(0.3)
    assert list(figure.axes[0].collections[0].get_array()) == [0.0, 20.0]


def test_what_has_no_place_or_no_value_is_not_drawn() -> None:
    assert sky_figure([], []) is None
    assert sky_plot([], []) is None
    assert tiles_figure([("depth", [TileOnSky(1, 2, 3, 4, None)])]) is None
    figure = tiles_figure([("depth", [TileOnSky(1, 2, 0, 0, None)]), ("objects", [TileOnSky(1, 2, 0, 0, 7)])])
    assert figure is not None
    assert len(figure.axes) == 2  # one map and its scale
    alone = boxes(figure)[0]
    assert alone[2] > alone[0], "of one object alone there is something to see, too"
    assert sky_plot([], [(1.0, 2.0)]) == sky_plot([], [(1.0, 2.0)])
