"""The autoregressive models with each of their heads: exact, normalised, strictly causal, and sampled as they score."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.pixelcnn import PixelCNN
from galflow.models.pixelcnn_pp import PixelCNNPP
from galflow.models.shared.autoregressive import Autoregressive

HEADS: dict[str, Callable[..., Autoregressive]] = {
    "softmax": PixelCNN,
    "logistic": partial(PixelCNNPP, mixtures=2),
    "gaussian": partial(PixelCNNPP, head="gaussian"),
}


def random_model(head: str, **options: Any) -> Autoregressive:
    """An untrained float64 model whose predictions depend strongly on the context."""
    torch.manual_seed(0)
    model = HEADS[head](**{"width": 8, "layers": 2, **options}).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("head", "band_logits")) and parameter.ndim > 1:
                parameter.mul_(6 if isinstance(model, PixelCNN) else 4)
        if head == "gaussian":  # wide enough for every level to be likely somewhere
            first = 1 + model.channels
            model.get_parameter("head.3.bias")[first : first + model.channels] += 1.5
    return model


@pytest.fixture(params=list(HEADS))
def head(request: pytest.FixtureRequest) -> str:
    return request.param


def all_images(model: Autoregressive) -> Tensor:
    """Every image of the model's bins, as bin centres."""
    dims = model.channels * model.size**2
    level = torch.cartesian_prod(*[torch.arange(model.bins.levels)] * dims)
    return model.bins.centre(level, torch.float64).view(-1, model.channels, model.size, model.size)


@pytest.fixture(params=[(1, 3), (1, 4), (2, 2)], ids=["1 band, 3 levels", "1 band, 4 levels", "2 bands, 2 levels"])
def small(request: pytest.FixtureRequest, head: str) -> Autoregressive:
    """A 2 x 2 world of 81 or 256 images."""
    channels, levels = request.param
    return random_model(head, channels=channels, size=2, levels=levels)


def test_probabilities_of_all_images_sum_to_one(small: Autoregressive) -> None:
    with torch.no_grad():
        probability = small.log_prob(Batch.of(all_images(small))).exp()
        in_single = small.float().log_prob(Batch.of(all_images(small).float())).exp()
    assert len(probability) == small.bins.levels ** (4 * small.channels)
    assert float(probability.sum()) == pytest.approx(1.0, abs=1e-10)
    assert float(in_single.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(probability.max() / probability.min()) > 3


def test_probabilities_of_two_bands_of_three_levels_sum_to_one(head: str) -> None:
    """6,561 images."""
    model = random_model(head, channels=2, size=2, levels=3, layers=1)
    with torch.no_grad():
        assert float(model.log_prob(Batch.of(all_images(model))).exp().sum()) == pytest.approx(1.0, abs=1e-10)


def test_probabilities_of_the_observed_pixels_sum_to_one(small: Autoregressive) -> None:
    images = all_images(small)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[:, 0, 0, 1] = False
    one_of_each = images[:, 0, 0, 1] == images[0, 0, 0, 1]
    with torch.no_grad():
        probability = small.log_prob(Batch(images, observed)[one_of_each]).exp()
    assert float(probability.sum()) == pytest.approx(1.0, abs=1e-10)


def test_samples_follow_the_probabilities(small: Autoregressive) -> None:
    """Chi-square over all images, the rare ones as one; 99.99% of fair draws lie below the bound."""
    n, images = 10_000, all_images(small)
    with torch.no_grad():
        expected = small.log_prob(Batch.of(images)).exp() * n
    drawn = small.bins.level(small.sample(n, torch.Generator().manual_seed(1))).flatten(1)
    place = small.bins.levels ** torch.arange(drawn.shape[1] - 1, -1, -1)
    counts = torch.bincount((drawn * place).sum(1), minlength=len(images))
    common = expected > 5
    observed, expected = (torch.cat([x[common], x[~common].sum()[None]]) for x in (counts.double(), expected))
    observed, expected = observed[expected > 0], expected[expected > 0]
    assert len(observed) > 25
    assert float(((observed - expected).square() / expected).sum()) < chi2.isf(1e-4, len(observed) - 1)


@pytest.mark.parametrize(("channels", "size", "layers"), [(1, 10, 1), (2, 7, 4)])
def test_cached_sampling_draws_the_very_pixels_of_naive_sampling(
    head: str, channels: int, size: int, layers: int
) -> None:
    """Of single-precision models, in images taller than the reach as well."""
    model = random_model(head, channels=channels, size=size, layers=layers).float()
    drawn = model.sample(6, torch.Generator().manual_seed(3))
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, model.sample_naive(6, torch.Generator().manual_seed(3)))
    assert not torch.equal(drawn, model.sample_naive(6, torch.Generator().manual_seed(4)))
    assert len(drawn.unique()) > 10


def influence(model: Autoregressive, y: int, x: int) -> Tensor:
    """(C, H, W) bool: which values the network's outputs at pixel (y, x) depend on, by gradients over 3 images."""
    generator = torch.Generator().manual_seed(5)
    values = torch.rand(3, model.channels, model.size, model.size, generator=generator, dtype=torch.float64)
    values.requires_grad_()
    outputs = model.outputs(values, torch.ones_like(values, dtype=torch.bool))[..., y, x]
    weights = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((outputs * weights).sum(), values)
    return (gradient != 0).any(0)


def test_no_blind_spot_and_no_look_ahead(head: str) -> None:
    """Each pixel's outputs depend on every earlier pixel in reach, those up-right included, and on no other."""
    model = random_model(head, channels=2, size=8, layers=3)
    order = torch.arange(64).view(8, 8)
    assert min(model.reach) >= 7
    for y, x in [(0, 0), (0, 7), (3, 0), (4, 3), (4, 7), (7, 0), (7, 7)]:
        assert torch.equal(influence(model, y, x), (order < order[y, x]).expand(2, -1, -1)), (y, x)


def test_the_bands_of_a_pixel_are_visited_in_order(head: str) -> None:
    """The distribution of band c changes with bands before c of the same pixel, and with no other band of it."""
    model = random_model(head, channels=3, size=4, levels=16)
    pixels = torch.rand(1, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for changed in range(3):
        other = pixels.clone()
        other[:, changed, 2, 1] += 0.5
        for band in range(3):
            before, after = (model.pixel_distribution(Batch.of(p), 2, 1, band)[1] for p in (pixels, other))
            assert torch.equal(before, after) == (changed >= band), (changed, band)


def test_missing_pixels_look_like_those_beyond_the_edge(head: str) -> None:
    """Missing values change nothing at all; whether a pixel is missing does."""
    model = random_model(head, channels=2, size=8, levels=32)
    pixels = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    observed = torch.ones_like(pixels, dtype=torch.bool)
    observed[:, 0, 2:5, 3] = False
    observed[1] = False
    results = []
    for filler in (0.0, 0.9, -1e30, math.nan):
        batch = Batch(torch.where(observed, pixels, torch.tensor(filler, dtype=torch.float64)), observed)
        with torch.no_grad():
            found = (model.log_prob(batch), model.loss(batch, "network"), model.reconstruct(batch))
        pdf = model.pixel_distribution(batch, 3, 3, 1)[1]
        results.append((*found, pdf, model.residual(batch)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert float(results[0][0][1]) == pytest.approx(0.0, abs=1e-12)
    assert model.score(batch)["bits_per_dim"][1] == pytest.approx(0.0, abs=1e-12)
    assert not torch.isclose(model.log_prob(Batch.of(pixels))[0], results[0][0][0])
    residual = results[0][4]
    assert (residual[~observed] == 0).all()
    torch.testing.assert_close((pixels - residual)[observed], results[0][2][observed])


def test_bits_per_dim_count_observed_dimensions(head: str) -> None:
    model = random_model(head, channels=1, size=4, levels=256)
    observed = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    observed[1, :, :2] = False
    batch = Batch(torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(2)).double(), observed)
    with torch.no_grad():
        log_prob, loss = model.log_prob(batch), model.loss(batch, "network")
    expected = -log_prob / math.log(2) / torch.tensor([16, 8])
    torch.testing.assert_close(model.score(batch)["bits_per_dim"], expected)
    assert float(loss) == pytest.approx(float(-log_prob.sum() / math.log(2) / 24))
    assert model.bin_width == 1.6 / 256


def test_distribution_of_one_pixel_against_the_likelihood(head: str) -> None:
    """Enumeration of the last pixel's last band: log_prob of the variants differs by that band's distribution alone."""
    model = random_model(head, channels=2, size=3, levels=24)
    pixels = torch.rand(3, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    variants = pixels.repeat_interleave(24, 0)
    variants[:, 1, 2, 2] = model.bins.centre(torch.arange(24), torch.float64).repeat(3)
    with torch.no_grad():
        expected = torch.softmax(model.log_prob(Batch.of(variants)).view(3, 24), dim=1)
    centres, found = model.pixel_distribution(Batch.of(pixels), 2, 2, 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(centres, variants[:24, 1, 2, 2])
    for band, y, x in [(0, 0, 0), (1, 1, 2)]:
        total = model.pixel_distribution(Batch.of(pixels), y, x, band)[1].sum(1)
        torch.testing.assert_close(total, torch.ones(3, dtype=torch.float64))
    with pytest.raises(ModelError, match=r"pixel \(y=3, x=0\) of band 0 does not exist; y and x run from 0 to 2"):
        model.pixel_distribution(Batch.of(pixels), 3, 0)


def test_reconstruction_is_the_expectation_over_the_bins(head: str) -> None:
    """Everywhere and in both bands, against the distribution of each pixel."""
    model = random_model(head, channels=2, size=3, levels=64)
    batch = Batch.of(torch.rand(2, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))
    found = model.reconstruct(batch)
    for band, y, x in [(0, 0, 0), (0, 2, 2), (1, 0, 2), (1, 2, 1)]:
        centres, masses = model.pixel_distribution(batch, y, x, band)
        expected = (masses * centres).sum(1)
        torch.testing.assert_close(found[:, band, y, x], expected, rtol=0, atol=0.05 * model.bins.width)


def test_completion_keeps_the_first_rows_and_draws_the_rest(head: str) -> None:
    """What is drawn given a sample's own first rows, with its own random numbers, is the sample."""
    model = random_model(head, channels=2, size=5, levels=16)

    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    sample = model.sample(4, seeded(1))
    assert torch.equal(model.complete(Batch.of(sample), 3, seeded(1)), sample)
    other = model.complete(Batch.of(sample), 3, seeded(2))
    assert torch.equal(other[:, :, :3], sample[:, :, :3])
    assert not torch.equal(other, sample)
    assert torch.equal(model.complete(Batch.of(sample), 0, seeded(2)), model.sample(4, seeded(2)))
    missing = Batch(torch.full_like(sample, math.nan), torch.zeros_like(sample, dtype=torch.bool))
    assert torch.equal(model.complete(missing, 5, seeded(2)), model.sample(4, seeded(2)))
    with pytest.raises(ModelError, match="rows is 6; a completion keeps between 0 and 5 rows"):
        model.complete(Batch.of(sample), 6)


def test_completions_follow_the_conditional_probabilities(head: str) -> None:
    """The second row of a 2 x 2 world given its first: chi-square over 9 outcomes, 99.99% of fair draws below."""
    model, n = random_model(head, channels=1, size=2, levels=3), 5000
    images = all_images(model)
    images = images[(images[:, 0, 0] == images[40, 0, 0]).all(1)]
    with torch.no_grad():
        expected = torch.softmax(model.log_prob(Batch.of(images)), 0) * n
    first_row = Batch.of(images[:1].repeat(n, 1, 1, 1))
    drawn = model.bins.level(model.complete(first_row, 1, torch.Generator().manual_seed(5)))[:, 0, 1]
    counts = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9)
    assert len(images) == 9
    assert float(((counts - expected).square() / expected).sum()) < chi2.isf(1e-4, 8)


def test_a_missing_band_is_completed_given_the_bands_before_it(head: str) -> None:
    """Band 1 of a one-pixel world given band 0, against the joint: chi-square, 99.99% of fair draws lie below."""
    model, n = random_model(head, channels=2, size=1, levels=5), 5000
    level = torch.stack([torch.full((5,), 3), torch.arange(5)], 1).view(5, 2, 1, 1)
    images = model.bins.centre(level, torch.float64)
    with torch.no_grad():
        expected = torch.softmax(model.log_prob(Batch.of(images)), 0) * n
    observed = torch.tensor([True, False]).view(1, 2, 1, 1).expand(n, -1, -1, -1)
    drawn = model.complete(Batch(images[:1].expand(n, -1, -1, -1), observed), 1, torch.Generator().manual_seed(6))
    counts = torch.bincount(model.bins.level(drawn)[:, 1].flatten(), minlength=5)
    assert (drawn[:, 0] == images[0, 0]).all()
    assert float(((counts - expected).square() / expected).sum()) < chi2.isf(1e-4, 4)


def test_dropout_acts_in_training_alone(head: str) -> None:
    model = random_model(head, channels=1, size=6, dropout=0.5)
    batch = Batch.of(torch.rand(4, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    torch.manual_seed(0)
    training = [float(model.train().loss(batch, "network").detach()) for _ in range(2)]
    evaluation = [float(model.eval().loss(batch, "network").detach()) for _ in range(2)]
    assert training[0] != training[1]
    assert evaluation[0] == evaluation[1]
    scores = [m.score(batch)["bits_per_dim"] for m in (model.train(), model.eval())]
    assert torch.equal(*scores)
    assert float(scores[0].mean()) == pytest.approx(evaluation[0])


def test_training_learns_what_neighbours_say(head: str, train: Callable[..., None]) -> None:
    """Images of one random level each, 4 levels: once learnt, only the first pixel costs 2 bits."""
    generator = torch.Generator().manual_seed(0)
    data = (torch.randint(4, (256, 1, 1, 1), generator=generator) * 0.4 - 0.1).expand(-1, 1, 6, 6)
    options = {"mixtures": 4} if head == "logistic" else {}
    torch.manual_seed(0)
    model = HEADS[head](channels=1, size=6, width=8, layers=1, levels=4, learning_rate=1e-2, **options)
    train(model, Batch.of(data), rounds=200)
    # One Gaussian cannot say "one of four": its first pixel costs more, its neighbours do not.
    ideal, slack = 2 / 36, 0.15 if head == "gaussian" else 0.06
    assert ideal < float(model.score(Batch.of(data))["bits_per_dim"].mean()) < ideal + slack
    drawn = model.sample(64, torch.Generator().manual_seed(1))
    assert (drawn[..., 1:] == drawn[..., :-1]).float().mean() > 0.85
    assert (drawn[..., 1:, :] == drawn[..., :-1, :]).float().mean() > 0.6
    assert len(drawn[:, 0, 0, 0].unique()) >= (3 if head == "gaussian" else 4)


def test_bad_options_and_shapes_are_refused(head: str) -> None:
    with pytest.raises(SpecError, match="at least 2 levels"):
        HEADS[head](channels=1, size=8, levels=1)
    with pytest.raises(SpecError, match=r"dropout is 1.0; it is a fraction"):
        HEADS[head](channels=1, size=8, dropout=1.0)
    model = HEADS[head](channels=2, size=8, width=4, layers=1)
    with pytest.raises(ModelError, match=r"built for cutouts of shape \(2, 8, 8\)"):
        model.log_prob(Batch.of(torch.zeros(1, 1, 8, 8)))
    with pytest.raises(ModelError, match="no player 'critic'"):
        model.loss(Batch.of(torch.zeros(1, 2, 8, 8)), "critic")
