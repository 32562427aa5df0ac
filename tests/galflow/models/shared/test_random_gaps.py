"""Random gaps take what they say, from each object on its own."""

import torch

from galflow.models.shared.random_gaps import with_gaps


def test_gaps_of_all_kinds_are_drawn_and_nothing_is_given_back() -> None:
    torch.manual_seed(0)
    observed = torch.ones(400, 3, 15, 15, dtype=torch.bool)
    observed[:, :, :2] = False
    left = with_gaps(observed)
    assert not (left & ~observed).any()
    shares = left.float().mean((2, 3)) / observed.float().mean((2, 3))
    whole = (shares == 1).all(1)
    band = (shares == 0).any(1)
    assert (shares == 0).sum(1).max() == 1, "never more than one band"
    assert 0.2 < whole.float().mean() < 0.3
    assert 0.2 < band.float().mean() < 0.3
    same = (left == left[:, :1]).flatten(1).all(1) & ~whole
    assert 0.15 < same.float().mean() < 0.3, "beyond a line, all bands alike"
    assert left[same][:, :, 7, 7].all(), "a line leaves the centre"
    rest = ~(whole | band | same)
    assert 0.4 < shares.mean(1)[rest].min() < 0.6
    torch.manual_seed(0)
    assert torch.equal(with_gaps(observed), left)


def test_the_only_band_stays() -> None:
    torch.manual_seed(1)
    left = with_gaps(torch.ones(200, 1, 8, 8, dtype=torch.bool))
    assert left.flatten(1).float().mean(1).min() > 0.2
