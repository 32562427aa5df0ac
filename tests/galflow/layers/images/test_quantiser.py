"""The codebook: moving averages against the plain formula and another library, revival, perplexity, gradients."""

from __future__ import annotations

import math

import pytest
import safetensors.torch
import torch
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from galflow.errors import SpecError
from galflow.layers.images.quantiser import SMOOTHING, Quantiser, code_counts, perplexity


def vectors_of(n: int, dimensions: int, seed: int = 0, side: int = 4) -> Tensor:
    return torch.randn(n, dimensions, side, side, generator=torch.Generator().manual_seed(seed))


def step(quantiser: Quantiser, vectors: Tensor, counted: Tensor | None = None) -> None:
    """One training step: forwards and backwards."""
    quantiser(vectors.clone().requires_grad_(), counted).vectors.sum().backward()


def plain_nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Distances written out, cell by cell."""
    distance = (vectors[:, None] - codebook[None, :, :, None, None]).square().sum(2)
    return distance.argmin(1)


def test_every_vector_gets_its_nearest_code() -> None:
    torch.manual_seed(1)
    quantiser = Quantiser(codes=12, dimensions=3)
    vectors = vectors_of(5, 3)
    found = quantiser(vectors)
    assert torch.equal(found.codes, plain_nearest(vectors, quantiser.codebook))
    expected = quantiser.codebook[found.codes].permute(0, 3, 1, 2)
    torch.testing.assert_close(found.vectors, expected)
    assert torch.equal(quantiser.lookup(found.codes), expected)
    torch.testing.assert_close(found.commitment, (vectors - expected).square().mean((1, 2, 3)))


def test_moving_averages_follow_the_plain_formula() -> None:
    """Code by code in a Python loop, in double precision."""
    torch.manual_seed(2)
    quantiser = Quantiser(codes=6, dimensions=3, decay=0.9, revive_below=0.0).double()
    quantiser.train()
    counts, sums, codebook = ([*book.clone()] for book in (quantiser.counts, quantiser.sums, quantiser.codebook))
    for seed in range(4):
        vectors = vectors_of(8, 3, seed).double()
        codes = plain_nearest(vectors, torch.stack(codebook))
        step(quantiser, vectors)
        rows = vectors.permute(0, 2, 3, 1)
        for k in range(6):
            counts[k] = 0.9 * counts[k] + 0.1 * (codes == k).sum()
            sums[k] = 0.9 * sums[k] + 0.1 * rows[codes == k].sum(0)
        total = sum(float(count) for count in counts)
        for k in range(6):
            codebook[k] = sums[k] / ((counts[k] + SMOOTHING) / (total + 6 * SMOOTHING) * total)
    torch.testing.assert_close(quantiser.counts, torch.stack(counts))
    torch.testing.assert_close(quantiser.sums, torch.stack(sums))
    torch.testing.assert_close(quantiser.codebook, torch.stack(codebook))


def test_it_learns_as_vector_quantize_pytorch_does() -> None:
    torch.manual_seed(3)
    quantiser = Quantiser(codes=10, dimensions=4, decay=0.8, revive_below=0.0)
    theirs = VectorQuantize(
        dim=4, codebook_size=10, decay=0.8, accept_image_fmap=True, threshold_ema_dead_code=0, rotation_trick=False
    )
    theirs.codebook = quantiser.codebook.clone()
    theirs._codebook.embed_avg.copy_(quantiser.codebook)
    quantiser.train()
    theirs.train()
    for seed in range(5):
        vectors = vectors_of(6, 4, seed)
        ours = quantiser(vectors.clone().requires_grad_())
        ours.vectors.sum().backward()
        chosen, codes, _ = theirs(vectors)
        assert torch.equal(ours.codes, codes)
        torch.testing.assert_close(ours.vectors.detach(), chosen)
    torch.testing.assert_close(quantiser.codebook, theirs.codebook)


def test_a_dead_code_is_put_on_a_vector_of_the_batch() -> None:
    torch.manual_seed(4)
    quantiser = Quantiser(codes=4, dimensions=2, decay=0.5, revive_below=0.1)
    with torch.no_grad():
        quantiser.codebook[3] = 1000.0
        quantiser.sums[3] = 1000.0
    quantiser.train()
    vectors = vectors_of(8, 2)
    for _ in range(20):
        step(quantiser, vectors)
        if quantiser.codebook[3, 0] < 100:
            break
    rows = vectors.permute(0, 2, 3, 1).reshape(-1, 2)
    assert (rows == quantiser.codebook[3]).all(1).any(), "the dead code stands on no vector of the batch"
    # From here on it counts as a code in average use, so that it is not dead again at once.
    torch.testing.assert_close(quantiser.counts[3], quantiser.counts[:3].sum() / 3, rtol=0.35, atol=0)
    step(quantiser, vectors)
    assert (quantiser(vectors).codes == 3).any(), "the revived code is still unused"


def test_no_code_is_revived_while_all_are_in_use() -> None:
    """The threshold is relative: a small batch of a large codebook kills nobody who has their share."""
    torch.manual_seed(5)
    quantiser = Quantiser(codes=16, dimensions=2, revive_below=0.1)
    vectors = torch.randn(16, 2, 1, 1)
    with torch.no_grad():
        quantiser.codebook.copy_(vectors[:, :, 0, 0])
        quantiser.sums.copy_(quantiser.codebook)
    quantiser.train()
    for _ in range(10):
        step(quantiser, vectors)
    torch.testing.assert_close(quantiser.codebook, vectors[:, :, 0, 0])


def test_revival_keeps_a_collapsed_codebook_in_use() -> None:
    """All codes start far off in one place; one of them would win everything for ever."""
    uses = {}
    for revive_below in (0.0, 0.1):
        torch.manual_seed(6)
        quantiser = Quantiser(codes=32, dimensions=2, decay=0.8, revive_below=revive_below)
        with torch.no_grad():
            quantiser.codebook.fill_(50.0).add_(torch.randn(32, 2))
            quantiser.sums.copy_(quantiser.codebook)
        quantiser.train()
        for seed in range(60):
            step(quantiser, vectors_of(32, 2, seed))
        codes = quantiser(vectors_of(128, 2, 999)).codes
        uses[revive_below] = float(perplexity(code_counts(codes, 32)))
    assert uses[0.0] < 4
    assert uses[0.1] > 20


def test_perplexity_by_hand() -> None:
    assert float(perplexity(torch.tensor([5, 5, 5, 5]))) == pytest.approx(4)
    assert float(perplexity(torch.tensor([7, 0, 0]))) == pytest.approx(1)
    # Half, a quarter, a quarter: entropy 1.5 bits.
    assert float(perplexity(torch.tensor([2.0, 1.0, 1.0, 0.0]))) == pytest.approx(2**1.5)
    assert float(perplexity(torch.zeros(3))) == 0
    assert code_counts(torch.tensor([[[0, 2], [2, 2]]]), 4).tolist() == [1, 0, 3, 0]
    quantiser = Quantiser(codes=2, dimensions=1)
    quantiser.counts.copy_(torch.tensor([3.0, 1.0]))
    assert quantiser.usage() == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def test_gradients_go_straight_through() -> None:
    torch.manual_seed(7)
    quantiser = Quantiser(codes=8, dimensions=3)
    vectors = vectors_of(2, 3).requires_grad_()
    weight = vectors_of(2, 3, seed=1)
    found = quantiser(vectors)
    chosen = quantiser.lookup(found.codes)
    (gradient,) = torch.autograd.grad((weight * found.vectors).sum(), vectors, retain_graph=True)
    assert torch.equal(gradient, weight)
    (pull,) = torch.autograd.grad(found.commitment.sum(), vectors)
    torch.testing.assert_close(pull, 2 * (vectors - chosen).detach() / vectors[0].numel())


def test_only_a_backward_pass_in_training_moves_the_codebook() -> None:
    torch.manual_seed(8)
    quantiser = Quantiser(codes=8, dimensions=3)
    before = {key: value.clone() for key, value in quantiser.state_dict().items()}
    vectors = vectors_of(4, 3)

    def unmoved() -> bool:
        return all(torch.equal(value, before[key]) for key, value in quantiser.state_dict().items())

    quantiser.eval()
    step(quantiser, vectors)
    assert unmoved(), "evaluation moved the codebook"
    quantiser.train()
    state = torch.get_rng_state()
    with torch.no_grad():
        quantiser(vectors)
    first = quantiser(vectors.clone().requires_grad_())
    second = quantiser(vectors.clone().requires_grad_())
    assert torch.equal(first.vectors, second.vectors)
    assert unmoved(), "a forward pass moved the codebook"
    assert torch.equal(torch.get_rng_state(), state), "a forward pass drew random numbers"
    second.vectors.sum().backward()
    assert not unmoved()


def test_objects_that_do_not_count_teach_nothing() -> None:
    books = []
    for strange in (0.0, 30.0):
        torch.manual_seed(9)
        quantiser = Quantiser(codes=8, dimensions=3)
        quantiser.train()
        vectors = vectors_of(4, 3)
        vectors[2] = strange
        step(quantiser, vectors, torch.tensor([True, True, False, True]))
        books.append(quantiser.codebook)
    assert torch.equal(*books)
    before = books[1].clone()
    step(quantiser, vectors, torch.zeros(4, dtype=torch.bool))
    assert torch.equal(quantiser.codebook, before)


def test_start_puts_the_codes_on_the_data() -> None:
    torch.manual_seed(10)
    quantiser = Quantiser(codes=20, dimensions=2)
    vectors = 5 + vectors_of(3, 2)
    quantiser.start(vectors)
    rows = vectors.permute(0, 2, 3, 1).reshape(-1, 2)
    assert all((rows == code).all(1).any() for code in quantiser.codebook)
    assert len(quantiser.codebook.unique(dim=0)) == 20
    unchanged = quantiser.codebook.clone()
    quantiser.start(vectors[:0])
    assert torch.equal(quantiser.codebook, unchanged)


def test_saved_and_loaded_it_goes_on_the_same() -> None:
    torch.manual_seed(11)
    quantiser = Quantiser(codes=8, dimensions=3, decay=0.7)
    quantiser.train()
    step(quantiser, vectors_of(4, 3))
    stored = safetensors.torch.save(quantiser.state_dict())
    other = Quantiser(codes=8, dimensions=3, decay=0.7)
    other.load_state_dict(safetensors.torch.load(stored), strict=True)
    for each in (quantiser, other):
        torch.manual_seed(12)
        each.train()
        step(each, vectors_of(4, 3, seed=1))
    assert torch.equal(quantiser.codebook, other.codebook)


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
def test_it_keeps_to_the_precision_it_is_given(precision: torch.dtype) -> None:
    torch.manual_seed(13)
    quantiser = Quantiser(codes=8, dimensions=3)
    quantiser.train()
    vectors = vectors_of(4, 3).to(precision).requires_grad_()
    found = quantiser(vectors)
    assert found.vectors.dtype == precision
    found.vectors.sum().backward()
    assert quantiser.codebook.dtype == torch.float32
    assert quantiser.codebook.isfinite().all()


def test_autocast_changes_no_code() -> None:
    """Distances in bfloat16 would send every tenth vector or so to a wrong code."""
    torch.manual_seed(14)
    quantiser = Quantiser(codes=64, dimensions=8)
    quantiser.train()
    other = Quantiser(codes=64, dimensions=8)
    other.load_state_dict(quantiser.state_dict())
    vectors = vectors_of(32, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantiser(vectors).codes, plain_nearest(vectors, other.codebook))
        torch.manual_seed(15)
        step(quantiser, vectors)
    torch.manual_seed(15)
    step(other, vectors)
    assert torch.equal(quantiser.codebook, other.codebook)


def test_refuses_what_tells_nothing_apart() -> None:
    with pytest.raises(SpecError, match=r"a codebook of 1 codes of 4 numbers tells nothing apart"):
        Quantiser(codes=1, dimensions=4)
    with pytest.raises(SpecError, match=r"decay is 1\.0 and revive_below 0\.1; both must lie in \[0, 1\)"):
        Quantiser(codes=4, dimensions=4, decay=1.0)
