from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from galflow.report.plots import score_plot
from galflow.scores.distributions import Histogram
from galflow.scores.summary import SIGMA_EDGES


def texts(svg: bytes) -> str:
    """Matplotlib keeps each text that it draws as a comment beside the outlines."""
    ET.fromstring(svg)
    return svg.decode()


@pytest.fixture
def histogram() -> Histogram:
    values = np.random.default_rng(0).standard_t(2, 4000)
    return Histogram.empty(SIGMA_EDGES).add(values)


def test_a_score_plot_names_axes_unit_and_both_groups(histogram):
    text = texts(score_plot("vae_kl", histogram, np.array([3.0, 40.0, 900.0])))
    for expected in (
        "vae_kl, robust sigmas above the reference median",
        "objects per sigma",
        "real (4000)",
        "planted (3)",
    ):
        assert f"<!-- {expected} -->" in text
    outside = histogram.underflow + histogram.overflow
    assert outside
    assert f"<!-- {outside} beyond the bins (-10 to 2000) -->" in text


def test_equal_numbers_give_equal_bytes(histogram):
    assert score_plot("a", histogram, np.array([])) == score_plot("a", histogram, np.array([]))


@pytest.mark.parametrize("values", [[], [0.1], [-3.0, 1e9], [15.0] * 5])
def test_a_score_plot_of_few_objects_is_drawn_without_a_warning(values):
    text = texts(score_plot("a", Histogram.empty(SIGMA_EDGES).add(values), np.asarray(values)))
    assert f"<!-- real ({len(values)}) -->" in text
