"""The mixed score's orientation and the refinement of latents."""

import pytest
import torch
from torch import Tensor

from galflow.errors import SpecError
from galflow.models.shared.inversion import check_mix, mean_per_object, mix_from_feature_weight, refine_latents


@pytest.mark.parametrize(("published", "ours"), [(0.3, 0.7), (0.1, 0.9), (0.0, 1.0)])
def test_published_weights_are_those_of_the_feature_term(published: float, ours: float) -> None:
    assert mix_from_feature_weight(published) == pytest.approx(ours)


@pytest.mark.parametrize("mix", [-0.1, 1.1, float("nan")])
def test_a_mix_beyond_its_range_is_refused(mix: float) -> None:
    with pytest.raises(SpecError, match=r"must lie in 0\.\.1 .*mix_from_feature_weight"):
        check_mix(mix)


def test_means_count_observed_entries_only() -> None:
    values = torch.tensor([[1.0, 3.0, 100.0], [5.0, 6.0, 7.0]])
    observed = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_per_object(values, observed).tolist() == [2.0, 0.0]
    assert mean_per_object(values)[1] == 6.0


def bowl(latents: Tensor) -> Tensor:
    """Lowest at (1, -2)."""
    return (latents - torch.tensor([1.0, -2.0])).square().sum(1)


def test_refinement_finds_the_minimum_and_never_ends_higher() -> None:
    start = torch.tensor([[0.0, 0.0], [1.0, -2.0], [30.0, 0.0]])
    refined = refine_latents(bowl, start, steps=200, rate=0.05)
    torch.testing.assert_close(refined[:2], torch.tensor([[1.0, -2.0], [1.0, -2.0]]), atol=1e-2, rtol=0)
    assert (bowl(refined) <= bowl(start)).all()
    # A step far too long: the start is the best that is met.
    torch.testing.assert_close(refine_latents(bowl, start[:1], steps=3, rate=50.0), start[:1])


def test_objects_are_refined_independently_of_their_batch() -> None:
    start = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    together = refine_latents(bowl, start, steps=20, rate=0.05)
    apart = torch.cat([refine_latents(bowl, part, steps=20, rate=0.05) for part in start.split([1, 2, 3])])
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=0)
    assert not torch.equal(together, start)


def test_refinement_works_where_gradients_are_off() -> None:
    start = torch.zeros(2, 2)
    with torch.inference_mode():
        inside = refine_latents(bowl, start, steps=5, rate=0.1)
    torch.testing.assert_close(inside, refine_latents(bowl, start, steps=5, rate=0.1))
