"""WGAN-GP: its losses against hand computations, its scores and their orientation."""

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.gan_networks import on_sphere
from galflow.models.wgan import WGAN


def images(n: int, seed: int, channels: int = 1, size: int = 8) -> Tensor:
    """Round blobs of varied brightness on a noisy sky, stretched units."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.arange(size) - (size - 1) / 2
    blob = torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / 6)
    brightness = 0.4 + 0.6 * torch.rand(n, channels, 1, 1, generator=generator)
    return brightness * blob + 0.05 * torch.randn(n, channels, size, size, generator=generator)


def holed(pixels: Tensor, filler: float) -> Batch:
    """The upper left quarter of every image missing and holding ``filler``."""
    observed = torch.ones_like(pixels, dtype=torch.bool)
    observed[:, :, :4, :4] = False
    return Batch(torch.where(observed, pixels, torch.tensor(filler)), observed)


@pytest.fixture
def model() -> WGAN:
    torch.manual_seed(3)
    return WGAN.tiny()


@pytest.fixture(scope="module")
def trained(train: Callable[..., None]) -> WGAN:
    """A tiny WGAN after a short training."""
    torch.manual_seed(0)
    model = WGAN(channels=1, size=8, latent=8, width=8, critic_steps=5, learning_rate=2e-3, refine_rate=0.05)
    train(model, Batch.of(images(256, seed=1)), rounds=150)
    return model


def drawn(model: WGAN, n: int) -> Tensor:
    """n images, latents and noise drawn side by side, as ``loss`` draws them."""
    numbers = torch.randn(n, model.latent + model.generator.noise_size)
    return model.generator(on_sphere(numbers[:, : model.latent]), numbers[:, model.latent :])


class LinearCritic(nn.Module):
    """C(x) = w . x, whose gradient is w everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1) @ self.weight


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_critic_loss_of_a_linear_critic_by_hand(share: float) -> None:
    model = WGAN(channels=1, size=8, latent=8, width=8, penalty_share=share)
    weight = torch.randn(64, generator=torch.Generator().manual_seed(5)) * 0.3
    model.critic = LinearCritic(weight)  # type: ignore[assignment]
    real = images(6, seed=2)
    torch.manual_seed(11)
    loss = model.loss(Batch.of(real), "critic")
    torch.manual_seed(11)
    with torch.no_grad():
        fake = drawn(model, 6)
    gap = (fake.flatten(1) @ weight).mean() - (real.flatten(1) @ weight).mean()
    expected = gap + 10.0 * (math.sqrt(float(weight.square().sum())) - 1) ** 2
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    norm = weight.norm()
    slope = (fake.flatten(1).mean(0) - real.flatten(1).mean(0)) + 20.0 * (norm - 1) * weight / norm
    torch.testing.assert_close(model.critic.weight.grad, slope, rtol=1e-4, atol=1e-5)


def test_gradient_penalty_against_the_jacobian(model: WGAN) -> None:
    model.gradient_penalty = 1.0
    real = images(1, seed=4)
    torch.manual_seed(7)
    loss = model.loss(Batch.of(real), "critic")
    torch.manual_seed(7)
    with torch.no_grad():
        fake = drawn(model, 1)
        share = torch.rand(1, 1, 1, 1)
        gap = model.critic(fake) - model.critic(real)
    jacobian = torch.autograd.functional.jacobian(model.critic, share * real + (1 - share) * fake)
    expected = gap + (jacobian.norm() - 1) ** 2
    torch.testing.assert_close(loss.detach(), expected[0], rtol=1e-5, atol=1e-6)


def test_slope_is_measured_over_observed_pixels() -> None:
    model = WGAN.tiny()
    weight = torch.ones(64)
    model.critic = LinearCritic(weight)  # type: ignore[assignment]
    batch = holed(torch.zeros(2, 1, 8, 8), 0.0)
    norm = model.diagnostics(batch)["gradient_norm"]
    assert norm == pytest.approx(math.sqrt(48))


@pytest.mark.parametrize("player", ["critic", "generator", "encoder"])
def test_losses_under_no_grad_equal_those_in_training(model: WGAN, player: str) -> None:
    batch = Batch.of(images(4, seed=4))
    torch.manual_seed(1)
    training = model.loss(batch, player).detach()
    for off in (torch.no_grad, torch.inference_mode):
        torch.manual_seed(1)
        with off():
            validation = model.loss(batch, player)
        assert not validation.requires_grad
        assert float(validation) == pytest.approx(float(training), rel=1e-6)


@pytest.mark.parametrize("player", ["critic", "generator", "encoder"])
def test_a_loss_reaches_its_own_players_parameters_only(model: WGAN, player: str) -> None:
    model.loss(Batch.of(images(4, seed=4)), player).backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {player}


@pytest.mark.parametrize("player", ["critic", "generator", "encoder"])
def test_what_missing_pixels_hold_changes_no_loss(model: WGAN, player: str) -> None:
    losses = []
    for filler in (0.0, 1e6, math.nan):
        torch.manual_seed(2)
        losses.append(float(model.loss(holed(images(4, seed=4), filler), player).detach()))
    assert losses[0] == losses[1] == losses[2]


def test_the_critic_cannot_tell_masks(model: WGAN) -> None:
    """With real images equal to the fakes, a mask on the real ones alone must not open a gap."""
    torch.manual_seed(9)
    with torch.no_grad():
        real = drawn(model, 4)
    model.gradient_penalty = 0.0
    torch.manual_seed(9)
    assert float(model.loss(holed(real, 0.0), "critic").detach()) == pytest.approx(0.0, abs=1e-6)


def test_unknown_player_and_bad_options_are_refused(model: WGAN) -> None:
    with pytest.raises(ModelError, match="no player 'judge'; its players are critic, generator, encoder"):
        model.loss(Batch.of(images(2, seed=1)), "judge")
    with pytest.raises(SpecError, match=r"a WGAN needs latent of at least 2.*got latent=1"):
        WGAN(channels=1, size=8, latent=1)
    with pytest.raises(SpecError, match=r"generator is 'fractal'; expected one of convolutional, style"):
        WGAN(channels=1, size=8, generator="fractal")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"penalty_share must lie in 0\.\.1"):
        WGAN(channels=1, size=8, penalty_share=0.0)
    with pytest.raises(SpecError, match=r"mix is 2\.0"):
        WGAN(channels=1, size=8, mix=2.0)


def test_published_training_schedule() -> None:
    players = WGAN(channels=1, size=8, critic_steps=5).players
    schedule = {p.name: (p.steps, p.phase, p.learning_rate, p.betas) for p in players}
    assert schedule["critic"] == (5, 0, 1e-4, (0.5, 0.9))
    assert schedule["generator"] == (1, 0, 1e-4, (0.5, 0.9))
    assert schedule["encoder"][1] == 1


def test_scores_are_their_formulas(trained: WGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "mix", 0.7)
    batch = Batch.of(images(5, seed=8))
    scores = trained.score(batch)
    redrawn = trained.reconstruct(batch)
    with torch.no_grad():
        rebuilt = trained.generator(trained.encode(batch))
        feature = (trained.critic.features(batch.pixels) - trained.critic.features(redrawn)).abs().mean((1, 2, 3))
    residual = (batch.pixels - redrawn).abs().mean((1, 2, 3))
    torch.testing.assert_close(rebuilt, redrawn)
    torch.testing.assert_close(scores["residual"], residual)
    torch.testing.assert_close(scores["feature"], feature)
    medians = trained.scale.residual_median, trained.scale.feature_median
    torch.testing.assert_close(scores["anomaly"], 0.7 * residual / medians[0] + 0.3 * feature / medians[1])


def test_a_typical_training_object_scores_one_in_both(trained: WGAN) -> None:
    scores = trained.score(Batch.of(images(256, seed=1)))
    assert float(scores["residual"].median() / trained.scale.residual_median) == pytest.approx(1.0, abs=1e-4)
    assert float(scores["feature"].median() / trained.scale.feature_median) == pytest.approx(1.0, abs=1e-4)
    assert trained.scale.residual_median != trained.scale.feature_median


def test_gaps_make_objects_neither_usual_nor_unusual(trained: WGAN) -> None:
    """Without a quarter at an edge, or a fifth of their pixels, objects score as the same ones do whole."""
    pixels = images(200, seed=33)
    whole = trained.score(Batch.of(pixels))
    edge, scattered = (torch.ones_like(pixels, dtype=torch.bool) for _ in range(2))
    edge[:, :, :, 6:] = False
    scattered[:, :, torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) < 0.2] = False
    for observed in (edge, scattered):
        gappy = trained.score(Batch(pixels * observed, observed))
        for name, values in whole.items():
            above = (gappy[name][:, None] > values).float().mean()
            assert 0.38 < above < 0.62, name


def test_outliers_score_higher(trained: WGAN) -> None:
    normal = images(64, seed=21)
    streaked = normal.clone()
    streaked[:, :, 1] += 0.8
    usual, unusual = trained.score(Batch.of(normal)), trained.score(Batch.of(streaked))
    for name in trained.scores:
        assert unusual[name].quantile(0.1) > usual[name].quantile(0.9), name


def test_training_brings_samples_to_the_data(trained: WGAN) -> None:
    data, drawn = images(256, seed=30), trained.sample(256, torch.Generator().manual_seed(0))
    untrained = WGAN.tiny().sample(256, torch.Generator().manual_seed(0))
    error = (drawn.mean(0) - data.mean(0)).abs().mean()
    assert error < 0.3 * (untrained.mean(0) - data.mean(0)).abs().mean()


def test_refinement_lowers_the_objective_whatever_the_batches(trained: WGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch.of(images(12, seed=22))
    plain = trained.score(batch)["anomaly"]
    monkeypatch.setattr(trained, "refine", 10)
    refined = trained.score(batch)["anomaly"]
    with torch.inference_mode():
        apart = torch.cat([trained.score(batch[i : i + n])["anomaly"] for i, n in ((0, 1), (1, 4), (5, 7))])
    assert (refined <= plain + 1e-7).all()
    assert (refined < 0.98 * plain).float().mean() > 0.5
    torch.testing.assert_close(refined, apart, atol=1e-5, rtol=0)


def test_diagnostics_see_the_gap(trained: WGAN, model: WGAN) -> None:
    batch = Batch.of(images(64, seed=23))
    assert trained.diagnostics(batch) == trained.diagnostics(batch)
    kept = {"critic_gap", "gradient_norm", "coverage", "density", "near_duplicates", "recall", "precision"}
    assert set(trained.diagnostics(batch)) == kept
    assert 0.5 < trained.diagnostics(batch)["gradient_norm"] < 2.0
    with torch.no_grad():
        fake = Batch.of(model.sample(64, torch.Generator().manual_seed(0)))
    assert model.diagnostics(fake)["critic_gap"] == pytest.approx(0.0, abs=1e-6)


def test_it_starts_from_the_sky_of_the_observed_pixels(model: WGAN) -> None:
    pixels = 0.3 + 0.05 * torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    model.initialise(holed(pixels, math.nan))
    made = model.sample(200, torch.Generator().manual_seed(2))
    quiet = model.reconstruct(Batch.of(pixels))
    assert float(made.median()) == pytest.approx(0.3, abs=0.15)
    assert 0.02 < float((made - made.mean((2, 3), keepdim=True)).std()) < 0.3
    assert quiet.isfinite().all()
    unseen = Batch(torch.full((2, 1, 8, 8), math.nan), torch.zeros(2, 1, 8, 8, dtype=torch.bool))
    model.initialise(unseen)
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_samples_have_noise_and_reconstructions_have_none(trained: WGAN) -> None:
    batch = Batch.of(images(8, seed=31))
    with torch.no_grad():
        latents = trained.encode(batch)
        quiet = trained.generator(latents)
        noisy = trained.generator(latents, torch.randn(8, trained.generator.noise_size))
        torch.testing.assert_close(trained.reconstruct(batch), quiet)
    assert ((noisy - quiet).flatten(1).std(1) > 1e-3).all()
    torch.manual_seed(4)
    with torch.no_grad():
        expected = drawn(trained, 5)
    assert torch.equal(trained.sample(5, torch.Generator().manual_seed(4)), expected)


def test_latents_count_by_direction_only_where_they_are_spherical() -> None:
    for spherical in (True, False):
        model = WGAN(channels=1, size=8, latent=8, width=4, spherical=spherical)
        latents = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
        same = torch.allclose(model.domain(latents), model.domain(50 * latents), rtol=1e-4)
        assert same is spherical


@pytest.mark.full
def test_images_of_one_pixel(train: Callable[..., None]) -> None:
    """A line of two points: dense networks learn both."""
    torch.manual_seed(0)
    model = WGAN(
        channels=2, size=1, latent=2, width=8, spherical=False, critic_steps=5, gradient_penalty=0.1, learning_rate=5e-3
    )
    side = torch.randint(2, (512, 1, 1, 1), generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0
    points = side.expand(512, 2, 1, 1) + 0.05 * torch.randn(512, 2, 1, 1, generator=torch.Generator().manual_seed(2))
    train(model, Batch.of(points), rounds=150, batch_size=64)
    found = model.sample(1000, torch.Generator().manual_seed(3)).flatten(1)
    near = [(found - sign).norm(dim=1) < 0.4 for sign in (-1.0, 1.0)]
    assert all(0.25 < float(part.float().mean()) < 0.75 for part in near)
    scores = model.score(Batch.of(torch.tensor([[1.0, 1.0], [1.0, -1.0]]).view(2, 2, 1, 1)))
    assert scores["residual"][1] > scores["residual"][0]


@pytest.mark.parametrize("kind", ["convolutional", "style"])
def test_half_precision_scores_nearly_the_same(kind: Literal["convolutional", "style"]) -> None:
    torch.manual_seed(0)
    model = WGAN(channels=1, size=8, latent=8, width=8, generator=kind)
    pixels = images(16, seed=5)
    exact = model.score(Batch.of(pixels))
    halved = model.to(torch.bfloat16).score(Batch.of(pixels.bfloat16()))
    for name, values in halved.items():
        assert values.dtype == torch.bfloat16
        torch.testing.assert_close(values.float(), exact[name], rtol=0.1, atol=0.02)
    assert model.sample(2, torch.Generator().manual_seed(0)).dtype == torch.bfloat16
    for player in model.players:
        assert model.loss(Batch.of(pixels.bfloat16()), player.name).isfinite()


@pytest.fixture(scope="module")
def trained_style(train: Callable[..., None], blobs: Callable[..., Batch]) -> WGAN:
    torch.manual_seed(0)
    model = WGAN(channels=1, size=8, latent=8, width=8, critic_steps=5, learning_rate=5e-4, generator="style")
    train(model, blobs(model, 256), rounds=120)
    return model


@pytest.mark.full
def test_the_wasserstein_losses_train_a_style_generator(trained_style: WGAN, blobs: Callable[..., Batch]) -> None:
    data, drawn = blobs(trained_style, 256, seed=1).pixels, trained_style.sample(256, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), data.mean(0), atol=0.12, rtol=0)
    corner = (slice(None), slice(None), slice(0, 2), slice(0, 2))
    assert 0.5 < drawn[corner].std() / data[corner].std() < 2.0
    found = trained_style.diagnostics(blobs(trained_style, 64, seed=2))
    assert found["coverage"] > 0.4
    assert found["near_duplicates"] < 0.3


@pytest.mark.full
def test_every_parameter_of_a_style_generator_learns(trained_style: WGAN, blobs: Callable[..., Batch]) -> None:
    trained_style.zero_grad()
    trained_style.loss(blobs(trained_style, 16, seed=3), "generator").backward()
    for name, parameter in trained_style.generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    trained_style.zero_grad()
