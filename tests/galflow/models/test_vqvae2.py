"""VQ-VAE-2: grids, losses and scores written out, the bound against an exact sum, noise, phases, missing pixels."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.quantiser import Quantised, code_counts, perplexity
from galflow.layers.images.vqvae2_networks import Levels
from galflow.models.vqvae2 import VQVAE2


@pytest.fixture(scope="module")
def trained(blobs: Callable[..., Batch], train: Callable[..., None]) -> Callable[[], VQVAE2]:
    """``trained()``: a copy of a tiny model after a short training."""
    torch.manual_seed(21)
    model = VQVAE2.tiny()
    train(model, blobs(model, 96), rounds=24)
    return lambda: copy.deepcopy(model)


def loss_of(model: VQVAE2, batch: Batch, player: str) -> float:
    return model.loss(batch, player).item()


@pytest.mark.parametrize(("size", "bottom"), [(8, 8), (12, 12), (16, 8), (24, 12), (32, 8), (48, 12), (96, 24)])
def test_grids(size: int, bottom: int) -> None:
    torch.manual_seed(1)
    model = VQVAE2(channels=1, size=size, codes=8, dimensions=2, width=4, prior_width=4, prior_layers=1)
    batch = Batch.of(torch.rand(2, 1, size, size))
    levels = model.quantise(batch)
    assert levels.bottom.codes.shape == (2, bottom, bottom)
    assert levels.top.codes.shape == (2, bottom // 2, bottom // 2)
    assert model.codes_per_object == bottom**2 + (bottom // 2) ** 2
    assert model.reconstruct(batch).shape == batch.pixels.shape
    assert model.encode(batch).shape == (2, 4)


def test_refuses_sizes_and_options_that_do_not_fit() -> None:
    for size in (4, 9, 18, 36, 50):
        with pytest.raises(SpecError, match=rf"cutouts of {size} pixels on a side have no whole number of cells"):
            VQVAE2(channels=1, size=size)
    with pytest.raises(SpecError, match=r"commitment is 0; it must be positive"):
        VQVAE2(channels=1, size=16, commitment=0)
    with pytest.raises(SpecError, match=r"prior_layers of a VQ-VAE-2 must be at least 1; got 48, 1, 48, 0"):
        VQVAE2(channels=1, size=16, prior_layers=0)
    with pytest.raises(ModelError, match=r"VQVAE2 has no player 'critic'; its players are autoencoder and prior"):
        VQVAE2.tiny().loss(Batch.of(torch.zeros(1, 2, 8, 8)), "critic")


def test_the_autoencoders_loss_written_out(trained: Callable[[], VQVAE2], blobs: Callable[..., Batch]) -> None:
    model = trained()
    batch = blobs(model, 5, seed=1)
    observed = torch.rand(batch.pixels.shape, generator=torch.Generator().manual_seed(2)) > 0.2
    batch = replace(batch, observed=observed)
    levels = model.quantise(batch)
    decoded = model.decode(levels.top.codes, levels.bottom.codes)
    squares = [((batch.pixels[:, c] - decoded[:, c])[observed[:, c]] / model.scale[c]).square().sum() for c in range(2)]
    expected = sum(squares) / observed.sum()
    expected = expected + 0.25 * (levels.top.commitment.mean() + levels.bottom.commitment.mean())
    torch.testing.assert_close(model.loss(batch, "autoencoder"), expected)


def test_scores_written_out(trained: Callable[[], VQVAE2], blobs: Callable[..., Batch]) -> None:
    model = trained()
    batch = blobs(model, 4, seed=3)
    levels = model.quantise(batch)
    decoded = model.reconstruct(batch)
    code_bits = (
        torch.nn.functional.cross_entropy(
            model.top_prior.logits(levels.top.codes).movedim(-1, 1), levels.top.codes, reduction="none"
        ).sum((1, 2))
        + torch.nn.functional.cross_entropy(
            model.bottom_prior.logits(levels.bottom.codes, levels.top.codes).movedim(-1, 1),
            levels.bottom.codes,
            reduction="none",
        ).sum((1, 2))
    ) / math.log(2)
    normal = torch.distributions.Normal(decoded, model.noise[:, None, None])
    pixel_bits = -normal.log_prob(batch.pixels).sum((1, 2, 3)) / math.log(2)
    scores = model.score(batch)
    torch.testing.assert_close(scores["description"], ((code_bits + pixel_bits) / 128).detach())
    torch.testing.assert_close(scores["code_nll"], (code_bits / 80).detach())
    torch.testing.assert_close(scores["reconstruction"], (decoded - batch.pixels).square().mean((1, 2, 3)))
    assert loss_of(model, batch, "prior") == pytest.approx(float(scores["code_nll"].mean()), rel=1e-5)


def test_description_is_one_term_of_the_exact_density(
    trained: Callable[[], VQVAE2], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen grids hold all probability: the terms 2^-description add up to the density, and none exceeds it.

    The priors are made to allow nothing but grids that differ in their first top code, with known probabilities.
    """
    model = trained()
    free = torch.linspace(-1, 1, 16).log_softmax(0)
    learnt = model.top_prior.logits

    def logits(codes: Tensor, coarse: Tensor | None = None) -> Tensor:
        found = learnt(codes, coarse).clone()
        found[:, 0, 0] = free
        return found

    with torch.no_grad():
        for prior in (model.top_prior, model.bottom_prior):
            for parameter in prior.parameters():
                parameter.zero_()
            prior.head[-1].bias[0] = 60.0
        monkeypatch.setattr(model.top_prior, "logits", logits)
        top = torch.zeros(16, 4, 4, dtype=torch.int64)
        top[:, 0, 0] = torch.arange(16)
        bottom = torch.zeros(16, 8, 8, dtype=torch.int64)
        images = model.decode(top, bottom)
        pixels = images[3:4] + 0.1 * torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(1))
        normal = torch.distributions.Normal(images, model.noise[:, None, None])
        exact = torch.logsumexp(free + normal.log_prob(pixels).sum((1, 2, 3)), 0)
        chosen = Levels(
            *(
                Quantised(book.lookup(codes), codes, torch.zeros(16))
                for book, codes in ((model.levels.top, top), (model.levels.bottom, bottom))
            )
        )
        monkeypatch.setattr(model, "quantise", lambda _: chosen)
        bound = model.score(Batch.of(pixels.expand(16, -1, -1, -1)))["description"] * 128 * math.log(2)
    torch.testing.assert_close(torch.logsumexp(-bound, 0), exact)
    assert (bound > -exact).all()
    assert bound.min() + exact < 3, "no grid says much about the image: the test would pass for any model"


def test_the_noise_is_the_residuals(trained: Callable[[], VQVAE2], blobs: Callable[..., Batch]) -> None:
    model = trained()
    batch = blobs(model, 40, seed=5)
    observed = torch.rand(batch.pixels.shape, generator=torch.Generator().manual_seed(6)) > 0.3
    batch = replace(batch, observed=observed)
    model.finish([batch[:25], batch[25:]])
    residual = model.reconstruct(batch) - batch.pixels
    expected = torch.stack([residual[:, c][observed[:, c]].square().mean().sqrt() for c in range(2)])
    torch.testing.assert_close(model.noise, expected)
    top, bottom = model.draw_codes(200, torch.Generator().manual_seed(7))
    scatter = model.sample(200, torch.Generator().manual_seed(7)) - model.decode(top, bottom).detach()
    torch.testing.assert_close(scatter.std((0, 2, 3)), expected, rtol=0.03, atol=0)
    model.finish([replace(batch, observed=torch.zeros_like(observed))])
    torch.testing.assert_close(model.noise, expected)


def test_the_start_measures_the_sky_and_puts_the_codes_on_the_data(blobs: Callable[..., Batch]) -> None:
    torch.manual_seed(8)
    model = VQVAE2(channels=2, size=16, codes=16, dimensions=4, width=8, prior_width=8, prior_layers=1)
    sky = torch.randn(64, 2, 16, 16) * torch.tensor([0.05, 0.2])[:, None, None]
    observed = torch.ones_like(sky, dtype=torch.bool)
    observed[0] = False
    sky[0] = torch.nan
    model.initialise(Batch(sky, observed))
    torch.testing.assert_close(model.scale, torch.tensor([0.05, 0.2]), rtol=0.05, atol=0)
    levels = model.quantise(Batch(sky, observed)[torch.arange(1, 64)])
    for level in (levels.top, levels.bottom):
        assert float(perplexity(code_counts(level.codes, 16))) > 8


def test_each_phase_leaves_the_other_alone(trained: Callable[[], VQVAE2], blobs: Callable[..., Batch]) -> None:
    model = trained()
    model.train()
    batch = blobs(model, 16, seed=9)
    books = [model.levels.top, model.levels.bottom]
    before = [book.codebook.clone() for book in books]
    loss_of(model, batch, "autoencoder")
    model.loss(batch, "prior").backward()
    assert all(torch.equal(book.codebook, old) for book, old in zip(books, before, strict=True))
    assert all(parameter.grad is None for parameter in model.levels.parameters())
    model.zero_grad()
    model.loss(batch, "autoencoder").backward()
    assert not any(torch.equal(book.codebook, old) for book, old in zip(books, before, strict=True))
    assert all(p.grad is None for prior in (model.top_prior, model.bottom_prior) for p in prior.parameters())


def test_an_unobserved_object_moves_no_codebook(trained: Callable[[], VQVAE2], blobs: Callable[..., Batch]) -> None:
    batch = blobs(trained(), 8, seed=10)
    observed = batch.observed.clone()
    observed[3] = False
    rest = torch.tensor([0, 1, 2, 4, 5, 6, 7])
    books = []
    for part in (replace(batch, observed=observed), batch[rest]):
        model = trained()
        model.train()
        for level in (model.levels.top, model.levels.bottom):
            level.revive_below = 0.0
        model.loss(part, "autoencoder").backward()
        books.append(model.levels.bottom.codebook)
    torch.testing.assert_close(*books)


def test_diagnostics_report_the_use_of_both_codebooks(
    trained: Callable[[], VQVAE2], blobs: Callable[..., Batch]
) -> None:
    model = trained()
    batch = blobs(model, 32, seed=11)
    levels = model.quantise(batch)
    found = model.diagnostics(batch)
    for name, level, book in (("top", levels.top, model.levels.top), ("bottom", levels.bottom, model.levels.bottom)):
        share = torch.stack([(level.codes == k).double().mean() for k in range(16)])
        expected = math.exp(-sum(float(p) * math.log(float(p)) for p in share if p > 0))
        assert found[f"perplexity_{name}"] == pytest.approx(expected)
        assert found[f"perplexity_{name}_training"] == pytest.approx(book.usage())
        assert found[f"perplexity_{name}"] > 8, "less than half the codebook is in use"


def test_samples_decode_grids_that_the_priors_drew(trained: Callable[[], VQVAE2]) -> None:
    model = trained()
    top, bottom = model.draw_codes(3, torch.Generator().manual_seed(12))
    assert torch.equal(top, model.top_prior.draw(3, torch.Generator().manual_seed(12)))
    expected = model.levels.decode(model.levels.top.lookup(top), model.levels.bottom.lookup(bottom))
    assert torch.equal(model.decode(top, bottom), expected)
    assert int(bottom.max()) < 16
