"""The sampling benchmark: what it compares is what it says, and cached sampling is as much faster as it must be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from benchmarks import sampling
from galflow.models.pixelcnn_pp import PixelCNNPP


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_replaying_finds_the_drawn_pixels_and_notices_another() -> None:
    model = sampling.network(9)
    drawn = model.sample(4, sampling.seeded())
    assert torch.equal(sampling.replayed(model, drawn), drawn)
    drawn[2, 0, 4, 3] += 5 * model.bins.width
    assert not torch.equal(sampling.replayed(model, drawn), drawn)


def test_a_table_states_the_rows_that_were_drawn_naively() -> None:
    found = sampling.measure(sampling.network(6), 2, images=3)
    assert "naive: 2 rows, times 3" in found.title
    assert [row.name for row in found.rows] == ["cached", "naive", "passes in float32"]
    assert sampling.ratio(found) > 1


def test_samplers_that_differ_have_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sampling.network(6)
    monkeypatch.setattr(model, "sample", lambda n, generator: PixelCNNPP.sample(model, n, generator).flip(0))
    with pytest.raises(RuntimeError, match="cached and naive sampling of 6 x 6 pixels drew different pixels"):
        sampling.measure(model, 2, images=3)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", list(sampling.LEAST_RATIO))
def test_cached_sampling_is_fast_enough(size: int) -> None:
    found = sampling.measure(sampling.network(size), sampling.NAIVE_ROWS[size])
    assert sampling.ratio(found) > sampling.LEAST_RATIO[size], found.text()
