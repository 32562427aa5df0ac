"""Priors over codes: all grids of a tiny case sum to 1, draws follow the probabilities, and cells see what they may."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from galflow.errors import ModelError, SpecError
from galflow.layers.pixels.code_prior import CodePrior


def prior_of(seed: int = 0, **options: int) -> CodePrior:
    """A prior with weights large enough that its probabilities are far from even."""
    torch.manual_seed(seed)
    prior = CodePrior(width=8, layers=2, **options)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return prior


def all_grids(codes: int, side: int) -> Tensor:
    return torch.tensor(list(product(range(codes), repeat=side**2))).view(-1, side, side)


def test_all_grids_together_have_probability_one() -> None:
    prior = prior_of(codes=3, grid=2)
    log_prob = prior.log_prob(all_grids(3, 2)).detach().double()
    assert float(log_prob.exp().sum()) == pytest.approx(1, abs=1e-5)
    assert log_prob.max() - log_prob.min() > 1, "the probabilities are all alike: the test would pass for any network"


def test_all_grids_given_any_coarser_one_have_probability_one() -> None:
    prior = prior_of(codes=3, grid=2, coarser_codes=4)
    grids = all_grids(3, 2)
    tables = []
    for coarse in range(4):
        log_prob = prior.log_prob(grids, torch.full((len(grids), 1, 1), coarse)).detach().double()
        assert float(log_prob.exp().sum()) == pytest.approx(1, abs=1e-5)
        tables.append(log_prob)
    assert (tables[0] - tables[1]).abs().max() > 0.1, "the coarser code makes no difference"


def test_draws_follow_the_probabilities() -> None:
    """10,000 draws over 81 grids: chi-square of 80 degrees of freedom, 0.999 quantile 124.8."""
    for coarser in (0, 4):
        prior = prior_of(seed=1, codes=3, grid=2, coarser_codes=coarser)
        grids = all_grids(3, 2)
        n = 10_000
        coarse = torch.full((n, 1, 1), 2) if coarser else None
        expected = n * prior.log_prob(grids, None if coarse is None else coarse[: len(grids)]).detach().exp()
        drawn = prior.draw(n, torch.Generator().manual_seed(3), coarse)
        place = (drawn.flatten(1) * 3 ** torch.arange(3, -1, -1)).sum(1)
        counts = torch.bincount(place, minlength=81)
        assert float(((counts - expected).square() / expected).sum()) < 124.8


def test_cached_draws_are_those_of_whole_grid_passes() -> None:
    prior = prior_of(seed=2, codes=7, grid=6, coarser_codes=5)
    coarse = torch.randint(5, (4, 3, 3), generator=torch.Generator().manual_seed(4))
    drawn = prior.draw(4, torch.Generator().manual_seed(5), coarse)
    draw = torch.Generator().manual_seed(5)
    naive = torch.zeros(4, 6, 6, dtype=torch.int64)
    with torch.no_grad():
        for y, x in product(range(6), repeat=2):
            share = prior.logits(naive, coarse)[:, y, x].softmax(1)
            naive[:, y, x] = torch.multinomial(share, 1, generator=draw)[:, 0]
    assert torch.equal(drawn, naive)
    assert len(drawn.flatten().unique()) > 3


def test_a_cell_knows_the_cells_before_it_and_all_coarse_codes_around_it() -> None:
    prior = prior_of(seed=3, codes=4, grid=4, coarser_codes=4)
    codes = torch.zeros(1, 4, 4, dtype=torch.int64)
    coarse = torch.zeros(1, 2, 2, dtype=torch.int64)
    before = prior.logits(codes, coarse)
    order = torch.arange(16).view(4, 4)
    for cell in range(16):
        changed = codes.clone()
        changed.view(-1)[cell] = 3
        moved = (prior.logits(changed, coarse) != before)[0].any(-1)
        assert not moved[order <= cell].any(), f"a cell at or before {cell} sees it"
        if cell < 15:
            assert moved[order == cell + 1].all(), f"cell {cell + 1} does not see the one before it"
    ahead = coarse.clone()
    ahead[0, 0, 1] = 2  # covers cells (0, 2) to (1, 3); cell (0, 1) comes before them
    assert (prior.logits(codes, ahead) != before)[0, 0, 1].any()


def test_places_differ() -> None:
    """Where nothing was drawn yet, the place alone can tell two cells' probabilities apart."""
    prior = prior_of(seed=4, codes=4, grid=2)
    codes = torch.zeros(1, 2, 2, dtype=torch.int64)
    before = prior.logits(codes)
    with torch.no_grad():
        prior.place[:, 1, 0] += 1
    moved = (prior.logits(codes) != before)[0].any(-1)
    assert moved[1, 0]
    assert not moved[0].any()


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(SpecError, match=r"a prior over 3 x 3 cells of 4 codes, given 4 coarser ones, cannot be built"):
        CodePrior(codes=4, grid=3, width=8, layers=1, coarser_codes=4)
    with pytest.raises(ModelError, match=r"built with coarser_codes=0 was given coarse codes"):
        prior_of(codes=3, grid=2).log_prob(torch.zeros(1, 2, 2).long(), torch.zeros(1, 1, 1).long())
    with pytest.raises(ModelError, match=r"built with coarser_codes=4 was given no coarse codes"):
        prior_of(codes=3, grid=2, coarser_codes=4).log_prob(torch.zeros(1, 2, 2).long())
