from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from galflow.report.distributions import likelihood_figure, likelihood_plot
from galflow.report.likelihoods import StatedLikelihood, likelihood_edges
from galflow.scores.distributions import Histogram

SAMPLES = ("tng", "illustris")


@pytest.fixture
def groups() -> tuple[np.ndarray, Histogram, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    run = Histogram.empty(np.linspace(0, 6, 61)).add(rng.normal(3, 1, 500))
    return rng.normal(3, 1, 90), run, {"tng": rng.normal(4, 1, 80), "illustris": np.ones(3)}


def test_a_likelihood_plot_names_every_sample(groups):
    svg = likelihood_plot("bits [bits]", *groups)
    ET.fromstring(svg)
    for expected in ("bits [bits]", "tng", "(80)", "illustris", "(3)", "whole survey", "(500)"):
        assert f"<!-- {expected} -->" in svg.decode() or f"{expected}\n" in svg.decode()
    assert "filled: 90 held-out galaxies of the sky" in svg.decode()
    assert likelihood_plot("bits [bits]", *groups) == svg


def test_a_row_a_sample_whose_bins_hold_all_its_objects(groups):
    reference, _, samples = groups
    figure = likelihood_figure("bits [bits]", *groups)
    assert len(figure.axes) == len(samples) + 1
    for axes, values in zip(figure.axes, samples.values(), strict=False):
        (_, sky), (edges, sample) = (
            (patch.get_data().edges, patch.get_data().values)
            for patch in axes.patches  # type: ignore[attr-defined]
        )
        assert sample.sum() == pytest.approx(np.mean((values >= 0) & (values <= 6)))
        assert sky.sum() == pytest.approx(np.mean((reference >= 0) & (reference <= 6)))
        assert len(edges) == 13, "few objects, wide bins"


def test_the_axis_of_a_ratio_is_linear_near_zero_and_logarithmic_beyond():
    values = np.concatenate([np.linspace(-100, 5000, 400), [0.0]])
    ratio = StatedLikelihood("llr", "ratio [nats]", values, {"a": values}, 100.0)
    edges = likelihood_edges([ratio])["llr"]
    np.testing.assert_allclose(np.diff(np.arcsinh(edges / 100), n=2), 0, atol=1e-9)
    figure = likelihood_figure("ratio [nats]", values, Histogram.empty(edges).add(values), {"a": values}, 100.0)
    assert figure.axes[0].get_xscale() == "asinh"
    assert [t for t in figure.axes[0].get_xticks() if t >= 0] == [0.0, 100.0, 300.0, 1000.0, 3000.0]
