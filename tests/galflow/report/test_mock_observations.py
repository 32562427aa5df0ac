"""The row of pictures of a mock observation, and what a run's cutout sets say of it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from galflow.report.mock_observations import mock_observations, steps_figure
from galflow.storage.store import Store
from galflow.surveys.mock_tile import ObservationStep


def step(name: str, side: int, scale: float, noise: float) -> ObservationStep:
    """A bright square in the middle, of a fifth of the side."""
    light = np.random.default_rng(0).normal(0, noise, (2, side, side))
    middle = slice(2 * side // 5, 3 * side // 5)
    light[:, middle, middle] += 100.0
    return ObservationStep(name, light, scale)


def test_all_steps_show_one_square_of_sky_in_one_stretch() -> None:
    """A finer and wider image of the same light covers the same square."""
    steps = [step("as simulated", 150, 0.1, 0.0), step("with its noise", 50, 0.3, 1.0)]
    figure = steps_figure(steps, ("g", "r"))
    assert [axes.get_title() for axes in figure.axes] == ["as simulated", "with its noise"]
    assert {axes.get_xlim() for axes in figure.axes} == {(-7.5, 7.5)}
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=100)
    picture = np.asarray(Image.open(sink).convert("L"), dtype=float)
    half = picture.shape[1] // 2
    bright = [part > 200 for part in (picture[:, :half], picture[:, half:])]
    # White margins are of equal size; what differs is noise alone.
    assert abs(int(bright[0].sum()) - int(bright[1].sum())) < 0.05 * bright[0].sum()


def test_a_run_without_a_simulation_has_none(local_store: Store) -> None:
    assert mock_observations(local_store, {"cutouts": (), "cutouts of mocks": (), "scores": ()}) == {}
