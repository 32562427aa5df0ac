from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure

from galflow.report import curves as drawing
from galflow.report.curves import curve_plots, panels_of
from galflow.training.learning_curve import CurvePoint


def points(losses, player="network", phase=0, validation=None, **diagnostics) -> list[CurvePoint]:
    return [
        CurvePoint(
            phase=phase, epoch=i + 1, player=player, train_loss=loss,
            validation_loss=None if validation is None else validation[i], seconds=1.0,
            diagnostics={name: values[i] for name, values in diagnostics.items()},
        )
        for i, loss in enumerate(losses)
    ]  # fmt: skip


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure drawn, besides its bytes."""
    drawn: list[Figure] = []
    original = drawing.svg

    def noted(figure: Figure) -> bytes:
        drawn.append(figure)
        return original(figure)

    monkeypatch.setattr(drawing, "svg", noted)
    return drawn


def test_every_player_phase_and_diagnostic_is_shown():
    gap = [None, 1.0, 1.5]
    curves = [
        *points([3.0, 2.0, 1.0], "critic", 0, [1.0, 1.0, 1.0], critic_gap=gap),
        *points([1.0, 2.0, 3.0], "generator", 0, [1.0, 1.0, 1.0], critic_gap=gap),
        *points([1.0], "encoder", 1),
    ]
    (svg,) = curve_plots(curves)
    ET.fromstring(svg)
    text = svg.decode()
    for expected in (
        "critic", "generator", "losses, phase 1 (dashed: validation)", "losses, phase 2", "critic gap", "epoch",
        "loss, in its own unit",
    ):  # fmt: skip
        assert f"<!-- {expected} -->" in text
    assert panels_of(curves) == 3


def test_a_lone_player_has_its_training_and_validation_named(figures):
    curve_plots(points([3.0, 2.0, 1.0], validation=[3.0, 2.5, 2.0]))
    legend = figures[0].axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["network, training", "network, validation"]


def test_many_panels_go_into_several_figures(figures):
    names = {f"number_{i}": [1.0, 2.0] for i in range(6)}
    assert len(curve_plots(points([1.0, 0.5], **names))) == 2
    assert [len(f.axes) for f in figures] == [4, 3]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        (np.linspace(1.0, 0.4, 30), "linear"),
        (0.015 + 0.075 * np.exp(-np.arange(60) / 2), "log"),  # half of it crowded at the bottom
        (np.linspace(10.0, 1.0, 30), "linear"),  # a factor of ten, evenly
        (np.geomspace(1e3, 1.0, 30), "log"),
        (np.linspace(1.0, -3.0, 30), "linear"),  # no logarithm of it
    ],
)
def test_the_axis_is_logarithmic_only_where_that_helps(figures, losses, scale):
    curve_plots(points(losses))
    assert figures[0].axes[0].get_yscale() == scale


def test_early_outliers_are_cut_off_and_said_to_be(figures):
    losses = np.concatenate([[900.0, 80.0], -np.linspace(1.0, 2.0, 38)])
    curve_plots(points(losses))
    axes = figures[0].axes[0]
    low, high = axes.get_ylim()
    assert -2.3 < low < -2.0
    assert -1.1 < high < 0.0
    assert axes.get_title("left") == "losses - 2 points off the axis"


def test_a_late_explosion_is_never_cut_off(figures):
    losses = np.concatenate([-np.linspace(1.0, 2.0, 38), [80.0, 900.0]])
    curve_plots(points(losses))
    axes = figures[0].axes[0]
    assert axes.get_ylim()[1] > 900
    assert axes.get_title("left") == "losses"


def test_a_very_long_training_stays_small_and_keeps_its_trend():
    rng = np.random.default_rng(0)
    losses = np.exp(-np.arange(20_000) / 5000) + rng.normal(0, 0.05, 20_000) + 1
    (svg,) = curve_plots(points(losses))
    assert len(svg) < 60_000
    smooth = drawing._running_median(losses, 500)
    assert np.abs(smooth - 1 - np.exp(-np.arange(20_000) / 5000)).max() < 0.06


def test_the_running_median_passes_over_missing_values():
    values = np.array([np.nan, 1.0, 5.0, np.nan, 3.0, 9.0])
    np.testing.assert_array_equal(drawing._running_median(values, 3), [1.0, 3.0, 3.0, 4.0, 6.0, 6.0])
    assert np.isnan(drawing._running_median(np.full(4, np.nan), 3)).all()


def test_whole_numbers_get_whole_ticks(figures):
    curve_plots(points([2.0, 1.5, 1.2], active_latents=[15.0, 16.0, 16.0]))
    ticks = figures[0].axes[1].get_yticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_equal_numbers_give_equal_bytes():
    assert curve_plots(points([3.0, 2.0, 1.0])) == curve_plots(points([3.0, 2.0, 1.0]))
