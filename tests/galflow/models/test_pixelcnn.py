"""PixelCNN: an exact, normalised, strictly causal probability without a blind spot."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from galflow.errors import ModelError, SpecError
from galflow.models.base import Batch
from galflow.models.logistic_mixture import LogisticMixture
from galflow.models.pixelcnn import PixelCNN


def random_model(**options: int) -> PixelCNN:
    """An untrained float64 model whose predictions depend strongly on the context."""
    torch.manual_seed(0)
    model = PixelCNN(width=8, mixtures=2, **options).double()
    with torch.no_grad():
        model.head.weight.mul_(15)
    return model


def all_images(model: PixelCNN) -> Tensor:
    """Every image of the model's bins, as bin centres."""
    dims = model.channels * model.size**2
    level = torch.cartesian_prod(*[torch.arange(model.bins.levels)] * dims)
    return model.bins.centre(level, torch.float64).view(-1, model.channels, model.size, model.size)


@pytest.fixture(scope="module", params=[(1, 4), (2, 2)], ids=["1 band, 4 levels", "2 bands, 2 levels"])
def small(request: pytest.FixtureRequest) -> PixelCNN:
    """A 2 x 2 world of 256 images."""
    channels, levels = request.param
    return random_model(channels=channels, size=2, levels=levels, layers=2)


def test_probabilities_of_all_images_sum_to_one(small: PixelCNN) -> None:
    with torch.no_grad():
        probability = small.log_prob(Batch.of(all_images(small))).exp()
    assert len(probability) == 256
    assert float(probability.sum()) == pytest.approx(1.0, abs=1e-10)
    assert float(probability.max() / probability.min()) > 3


def test_probabilities_of_the_observed_pixels_sum_to_one(small: PixelCNN) -> None:
    images = all_images(small)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[:, 0, 0, 1] = False
    one_of_each = images[:, 0, 0, 1] == images[0, 0, 0, 1]
    with torch.no_grad():
        probability = small.log_prob(Batch(images, observed)[one_of_each]).exp()
    assert float(probability.sum()) == pytest.approx(1.0, abs=1e-10)


def test_samples_follow_the_probabilities(small: PixelCNN) -> None:
    """Chi-square over the 256 images, the rare ones as one; 99.99% of fair draws lie below the bound."""
    n, images = 10_000, all_images(small)
    with torch.no_grad():
        expected = small.log_prob(Batch.of(images)).exp() * n
    drawn = small.bins.level(small.sample(n, torch.Generator().manual_seed(1))).flatten(1)
    place = small.bins.levels ** torch.arange(drawn.shape[1] - 1, -1, -1)
    counts = torch.bincount((drawn * place).sum(1), minlength=256)
    common = expected > 3
    observed, expected = (torch.cat([x[common], x[~common].sum()[None]]) for x in (counts.double(), expected))
    assert len(observed) > 25
    assert float(((observed - expected).square() / expected).sum()) < chi2.isf(1e-4, len(observed) - 1)


def test_each_draw_uses_the_very_mixture_that_scores_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """In images taller than the reach, whose upper rows sampling leaves out."""
    model = random_model(channels=2, size=9, layers=1)
    used: list[LogisticMixture] = []
    draw = LogisticMixture.draw

    def remember(mixture: LogisticMixture, generator: torch.Generator | None) -> Tensor:
        used.append(mixture)
        return draw(mixture, generator)

    monkeypatch.setattr(LogisticMixture, "draw", remember)
    drawn = model.sample(3, torch.Generator().manual_seed(0))
    assert model.reach[0] < 8
    with torch.no_grad():
        scoring = model.predict(drawn, torch.ones_like(drawn, dtype=torch.bool))
    for name in ("logits", "means", "log_scales", "coefficients"):
        together = torch.cat([getattr(mixture, name) for mixture in used], dim=-1)
        torch.testing.assert_close(together, getattr(scoring, name).flatten(-2).unsqueeze(-2))


def influence(model: PixelCNN, y: int, x: int) -> Tensor:
    """(C, H, W) bool: which values the parameters of pixel (y, x) depend on, by gradients summed over 3 images."""
    generator = torch.Generator().manual_seed(5)
    values = torch.rand(3, model.channels, model.size, model.size, generator=generator, dtype=torch.float64)
    values.requires_grad_()
    mixture = model.predict(values, torch.ones_like(values, dtype=torch.bool))
    outputs = torch.cat([mixture.means[..., y, x].flatten(1), mixture.log_scales[..., y, x].flatten(1)], dim=1)
    weights = torch.randn(outputs.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((outputs * weights).sum(), values)
    return (gradient != 0).any(0)


@pytest.mark.parametrize("kind", ["random", "tiny"])
def test_no_blind_spot_and_no_look_ahead(kind: str) -> None:
    """Each pixel's parameters depend on every earlier pixel in reach, those up-right included, and on no other."""
    model = PixelCNN.tiny().double() if kind == "tiny" else random_model(channels=2, size=8, layers=3)
    order = torch.arange(64).view(8, 8)
    assert min(model.reach) >= 7
    for y, x in [(0, 0), (0, 7), (3, 0), (4, 3), (4, 7), (7, 0), (7, 7)]:
        assert torch.equal(influence(model, y, x), (order < order[y, x]).expand(2, -1, -1)), (y, x)


def test_nothing_beyond_the_stated_reach() -> None:
    model = random_model(channels=1, size=12, layers=1)
    rows, columns = model.reach
    assert (rows, columns) == (5, 4)
    y, x = torch.meshgrid(torch.arange(12) - 8, torch.arange(12) - 6, indexing="ij")
    above = (y < 0) & (y >= -rows) & (x.abs() <= columns)
    left = (y == 0) & (x < 0) & (x >= -5)
    assert torch.equal(influence(model, 8, 6)[0], above | left)


def test_the_bands_of_a_pixel_are_visited_in_order() -> None:
    """d log P(band c) / d value of band j of the same pixel, through the conditional means."""
    model = random_model(channels=3, size=4, layers=1)
    values = torch.rand(1, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    observed = torch.ones_like(values, dtype=torch.bool)

    def means(values: Tensor) -> Tensor:
        return model.predict(values, observed).conditional_means(values, observed)[0, 0, :, 2, 1]

    slope = torch.autograd.functional.jacobian(means, values)[:, 0, :, 2, 1]
    assert torch.equal(slope != 0, torch.ones(3, 3).tril(-1).bool())


def test_missing_pixels_look_like_those_beyond_the_edge() -> None:
    """Missing values change nothing at all; whether a pixel is missing does."""
    model = random_model(channels=2, size=8, layers=2)
    pixels = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    observed = torch.ones_like(pixels, dtype=torch.bool)
    observed[:, 0, 2:5, 3] = False
    observed[1] = False
    results = []
    for filler in (0.0, 0.9, -1e30, math.nan):
        batch = Batch(torch.where(observed, pixels, torch.tensor(filler)), observed)
        with torch.no_grad():
            results.append((model.log_prob(batch), model.loss(batch, "network"), model.reconstruct(batch)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert float(results[0][0][1]) == pytest.approx(0.0, abs=1e-12)
    assert model.score(batch)["bits_per_dim"][1] == pytest.approx(0.0, abs=1e-12)
    assert not torch.isclose(model.log_prob(Batch.of(pixels))[0], results[0][0][0])


def test_bits_per_dim_count_observed_dimensions() -> None:
    model = random_model(channels=1, size=4, layers=1)
    observed = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    observed[1, :, :2] = False
    batch = Batch(torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(2)), observed)
    with torch.no_grad():
        log_prob, loss = model.log_prob(batch), model.loss(batch, "network")
    expected = -log_prob / math.log(2) / torch.tensor([16, 8])
    torch.testing.assert_close(model.score(batch)["bits_per_dim"], expected)
    assert float(loss) == pytest.approx(float(-log_prob.sum() / math.log(2) / 24))
    assert model.bin_width == 1.6 / 256


def test_reconstruction_is_the_expectation_over_the_bins() -> None:
    """Against the enumeration of the last pixel's bins, everything before it being given."""
    model = random_model(channels=1, size=3, layers=1, levels=64)
    pixels = torch.rand(1, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    centres = model.bins.centre(torch.arange(64), torch.float64)
    variants = pixels.repeat(64, 1, 1, 1)
    variants[:, 0, 2, 2] = centres
    with torch.no_grad():
        weights = torch.softmax(model.log_prob(Batch.of(variants)), dim=0)
    found = model.reconstruct(Batch.of(pixels))[0, 0, 2, 2]
    assert float(found) == pytest.approx(float((weights * centres).sum()), abs=0.05 * model.bins.width)


def test_training_learns_what_neighbours_say(train: Callable[..., None]) -> None:
    """Images of one random level each, 4 levels: once learnt, only the first pixel costs 2 bits."""
    generator = torch.Generator().manual_seed(0)
    data = (torch.randint(4, (256, 1, 1, 1), generator=generator) * 0.4 - 0.1).expand(-1, 1, 8, 8)
    torch.manual_seed(0)
    model = PixelCNN(channels=1, size=8, width=8, layers=1, mixtures=4, levels=4, learning_rate=1e-2)
    train(model, Batch.of(data), rounds=200)
    ideal = 2 / 64
    assert ideal < float(model.score(Batch.of(data))["bits_per_dim"].mean()) < ideal + 0.05
    drawn = model.sample(64, torch.Generator().manual_seed(1))
    assert (drawn[..., 1:] == drawn[..., :-1]).float().mean() > 0.95
    assert (drawn[..., 1:, :] == drawn[..., :-1, :]).float().mean() > 0.8
    assert len(drawn[:, 0, 0, 0].unique()) == 4


def test_initial_mixture_is_near_the_data() -> None:
    pixels = 0.05 * torch.randn(16, 2, 8, 8, generator=torch.Generator().manual_seed(6))
    plain, prepared = PixelCNN.tiny(), PixelCNN.tiny()
    prepared.initialise(Batch.of(pixels))
    with torch.no_grad():
        assert prepared.loss(Batch.of(pixels), "network") < plain.loss(Batch.of(pixels), "network") - 0.5


def test_bad_options_and_shapes_are_refused() -> None:
    with pytest.raises(SpecError, match="width, layers and mixtures of at least 1; got 24, 0, 5"):
        PixelCNN(channels=1, size=8, layers=0)
    with pytest.raises(SpecError, match="at least 2 levels"):
        PixelCNN(channels=1, size=8, levels=1)
    with pytest.raises(ModelError, match=r"built for cutouts of shape \(2, 8, 8\)"):
        PixelCNN.tiny().log_prob(Batch.of(torch.zeros(1, 1, 8, 8)))
    with pytest.raises(ModelError, match="no player 'critic'"):
        PixelCNN.tiny().loss(Batch.of(torch.zeros(1, 2, 8, 8)), "critic")
