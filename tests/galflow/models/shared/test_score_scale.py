"""Scores of objects with gaps against those of the same objects whole, where the answer is known."""

import pytest
import torch
from torch import Tensor

from galflow.models.shared.score_scale import ScoreScale


def residuals(n: int) -> Tensor:
    """Three times larger in the left half."""
    made = torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    made[..., :4] *= 3
    return made


def whole(n: int) -> Tensor:
    return torch.ones(n, 2, 8, 8, dtype=torch.bool)


def test_untouched_it_is_the_plain_means() -> None:
    scale, made = ScoreScale(2, 8), residuals(5)
    torch.testing.assert_close(scale.residual(made, whole(5)), made.abs().mean((1, 2, 3)))
    torch.testing.assert_close(scale.mixed(torch.tensor(2.0), torch.tensor(4.0), 0.25), torch.tensor(3.5))


def test_a_gap_where_residuals_are_large_does_not_lower_the_score() -> None:
    scale, made, observed = ScoreScale(2, 8), residuals(2000), whole(2000)
    scale.learn_residuals(made, observed)
    for columns in (slice(0, 4), slice(4, 8)):
        left = observed.clone()
        left[..., columns] = False
        ratio = scale.residual(made, left).mean() / scale.residual(made, observed).mean()
        assert float(ratio) == pytest.approx(1.0, abs=0.01)


def correlated(n: int) -> Tensor:
    """Residuals of which the second band is nine tenths of the first, and neighbours share a broad component."""
    draw = torch.Generator().manual_seed(2)
    broad = torch.randn(n, 1, 3, 3, generator=draw).repeat_interleave(4, 2).repeat_interleave(4, 3)[..., :8, :8]
    first = 0.8 * broad + 0.6 * torch.randn(n, 1, 8, 8, generator=draw)
    second = 0.9 * first + (1 - 0.81) ** 0.5 * torch.randn(n, 1, 8, 8, generator=draw)
    return torch.cat([first, second], 1) * torch.tensor([1.0, 5.0])[:, None, None]


def test_a_missing_band_is_painted_with_what_the_other_tells_of_it() -> None:
    scale, made, observed = ScoreScale(2, 8), correlated(500), whole(500)
    scale.learn_residuals(made, observed)
    scale.learn_typical(made[7])
    observed[:, 1] = False
    painted = scale.filled(torch.where(observed, made, torch.nan), observed)
    assert torch.equal(painted[:, 0], made[:, 0])
    missed = painted[:, 1] - made[:, 1]
    # Two draws around the same expectation: twice the variance that the other band leaves open.
    assert float(missed.square().mean() / made[:, 1].square().mean()) == pytest.approx(2 * (1 - 0.81), rel=0.15)
    assert float(painted[:, 1].std() / made[:, 1].std()) == pytest.approx(1.0, abs=0.1)


def test_a_missing_pixel_is_painted_with_what_its_neighbours_tell_of_it() -> None:
    scale, made, observed = ScoreScale(2, 8), correlated(500), whole(500)
    scale.learn_residuals(made, observed)
    assert float(scale.neighbours[0, 1]) == pytest.approx(0.64 * 0.75, abs=0.15)
    observed[:, :, 4, 5] = False
    painted = scale.filled(made * observed, observed)[:, 0, 4, 5]
    found = torch.corrcoef(torch.stack([painted, made[:, 0, 4, 5]]))[0, 1]
    assert float(found) > 0.6, "typical is 0 here: what neighbours tell, alone"


def test_a_lost_half_is_painted_as_the_typical_object_has_it() -> None:
    scale, made, observed = ScoreScale(2, 8), residuals(300), whole(300)
    scale.learn_residuals(made, observed)
    scale.learn_typical(made[3])
    observed[..., :4] = False
    painted = scale.filled(made * observed, observed)
    torch.testing.assert_close(painted[0, ..., :2], made[3, ..., :2], atol=0.6, rtol=0)
    assert torch.equal(painted[..., 4:], made[..., 4:])
    assert torch.equal(scale.filled(made, whole(300)), made)


def test_nothing_observed_scores_nothing_and_empty_data_teach_nothing() -> None:
    scale, made = ScoreScale(2, 8), residuals(3)
    assert scale.residual(made, ~whole(3)).tolist() == [0.0] * 3
    before = {name: value.clone() for name, value in scale.named_buffers()}
    scale.learn_residuals(made, ~whole(3))
    scale.learn_medians(torch.zeros(3), torch.zeros(3))
    assert all(torch.equal(value, before[name]) for name, value in scale.named_buffers())


def test_pixels_that_no_object_has_count_as_the_mean_of_others() -> None:
    scale, observed = ScoreScale(2, 8), whole(50)
    observed[:, 0] = False
    scale.learn_residuals(2 * torch.ones(50, 2, 8, 8), observed)
    torch.testing.assert_close(scale.residual_map, torch.full((2, 8, 8), 2.0))


def test_typical_objects_score_one() -> None:
    scale = ScoreScale(2, 8)
    residual, feature = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([50.0, 60.0, 70.0])
    scale.learn_medians(residual, feature)
    torch.testing.assert_close(scale.mixed(residual[1], feature[1], 0.3), torch.tensor(1.0))
