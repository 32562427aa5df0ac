"""Coverage, density and copies against distributions of known relation, and on healthy and collapsed trainings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.layers.images.gan_networks import ImageGenerator
from galflow.models.base import GenerativeModel
from galflow.models.shared.gan_diagnostics import FEWEST_IMAGES, fidelity, fovea
from galflow.models.wgan import WGAN


def gaussian(n: int, seed: int, size: int = 2) -> Tensor:
    """Images of independent pixels: vectors, as far as the fovea is concerned, where size is at most 4."""
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def test_the_fovea_takes_means_of_nested_squares() -> None:
    images = gaussian(2, 0, size=16)
    expected = [
        images.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)),
        images[:, :, 4:12, 4:12].unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)),
        images[:, :, 6:10, 6:10],
    ]
    torch.testing.assert_close(fovea(images), torch.cat([part.flatten(1) for part in expected], 1))
    for size in (1, 2, 3, 5, 7, 9, 33, 96):
        assert fovea(gaussian(2, 0, size=size)).isfinite().all()
    assert torch.equal(fovea(gaussian(3, 0)), gaussian(3, 0).flatten(1))


def test_samples_of_the_same_distribution() -> None:
    """Naeem+20: E[density] = 1, and E[coverage] = 1 - (N-1)...(N-k) / (2N-1)...(2N-k), nearly 1 - 2^-k."""
    n, k, several = 128, 5, []
    for seed in range(20):
        samples = gaussian(n, 2 * seed + 1)
        several.append(fidelity(gaussian(n, 2 * seed), samples, samples))
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (n - i) / (2 * n - i)
    means = {name: sum(found[name] for found in several) / len(several) for name in several[0]}
    assert means["density"] == pytest.approx(1.0, abs=0.03)
    assert means["coverage"] == pytest.approx(1 - missed, abs=0.01)
    assert means["recall"] == pytest.approx(means["precision"], abs=0.03)
    assert means["near_duplicates"] < 0.1


def test_a_formula_by_hand() -> None:
    """On a line: five neighbours need more points, so k is 3 here, and each ball is counted by eye."""
    real = torch.tensor([0.0, 1.0, 2.0, 4.0]).view(4, 1, 1, 1)  # radii 4, 3, 2, 4
    samples = torch.tensor([-3.5, 0.5, 0.5, 9.0]).view(4, 1, 1, 1)  # real balls around each: 1, 4, 4, 0
    found = fidelity(real, samples, samples)
    assert found["density"] == pytest.approx(9 / (3 * 4))
    assert found["coverage"] == 1.0
    assert found["precision"] == 0.75
    assert found["recall"] == 1.0
    assert found["near_duplicates"] == 0.5


def test_a_lost_mode_shows_in_coverage_and_in_recall_alone() -> None:
    real, samples = gaussian(128, 0), gaussian(128, 1)
    real[:64, :, 0, 0] += 20.0
    found = fidelity(real, samples, samples)
    assert 0.4 < found["coverage"] < 0.52
    assert found["recall"] < 0.52
    assert found["precision"] > 0.85
    assert found["density"] > 0.7
    assert found["near_duplicates"] < 0.1


def test_samples_far_off_cover_nothing() -> None:
    samples = gaussian(64, 1) + 50
    found = fidelity(gaussian(64, 0), samples, samples)
    assert (found["coverage"], found["density"], found["precision"], found["recall"]) == (0.0, 0.0, 0.0, 0.0)


def test_copies_are_seen_through_their_noise() -> None:
    quiet = gaussian(64, 1)
    quiet[:40] = quiet[0]
    noisy = quiet + gaussian(64, 2)
    assert fidelity(gaussian(64, 0), noisy, quiet)["near_duplicates"] == pytest.approx(40 / 64, abs=0.05)
    assert fidelity(gaussian(64, 0), noisy, noisy)["near_duplicates"] < 0.1


class OneImage(ImageGenerator):
    """Whatever the latents, the same galaxy; noise as asked for."""

    def __init__(self, image: Tensor, noise: float) -> None:
        super().__init__()
        self.image = torch.nn.Parameter(image)
        self.strength = noise
        self.noise_shapes = ((1, *image.shape[1:]),)

    def forward(self, latents: Tensor, noise: Tensor | None = None) -> Tensor:
        """The image, and the noise over it."""
        image = self.image.expand(len(latents), -1, -1, -1)
        return image if noise is None else image + self.strength * noise.unflatten(1, self.noise_shapes[0])

    def start_from(self, centre: Tensor, scatter: Tensor) -> None:
        """Nothing to start."""


def make_model(average: float = 0.999) -> WGAN:
    torch.manual_seed(0)
    return WGAN(channels=1, size=8, latent=8, width=8, critic_steps=5, learning_rate=2e-3, average=average)


@pytest.fixture(scope="module")
def healthy(train: Callable[..., None], blobs: Callable[[GenerativeModel, int], Batch]) -> WGAN:
    model = make_model()
    train(model, blobs(model, 256), rounds=120)
    return model


@pytest.fixture(scope="module")
def crushed(train: Callable[..., None], blobs: Callable[[GenerativeModel, int], Batch]) -> WGAN:
    """Trained just so, but its generator is blind to its latents."""
    model = make_model()
    model.domain = lambda latents: 0 * latents  # type: ignore[method-assign]
    train(model, blobs(model, 256), rounds=60)
    return model


@pytest.mark.parametrize("images", [32, 64, 128])
def test_a_healthy_training_and_a_collapsed_one(
    images: int, healthy: WGAN, crushed: WGAN, blobs: Callable[..., Batch]
) -> None:
    held_out = blobs(healthy, images, seed=1)
    sound, sick = healthy.diagnostics(held_out), crushed.diagnostics(held_out)
    assert sound["coverage"] > 0.5
    assert sound["near_duplicates"] < 0.3
    assert sick["near_duplicates"] == 1.0
    assert sick["coverage"] < sound["coverage"]


def test_a_generator_of_one_image_is_seen_at_any_noise(healthy: WGAN, blobs: Callable[..., Batch]) -> None:
    held_out = blobs(healthy, 64, seed=1)
    model = make_model(average=0.0)
    for noise in (0.0, 0.05, 0.5):
        model.generator = OneImage(held_out.pixels[0], noise)
        assert model.diagnostics(held_out)["near_duplicates"] == 1.0


def test_diagnostics_repeat_and_draw_nothing(healthy: WGAN, blobs: Callable[..., Batch]) -> None:
    held_out = blobs(healthy, 64, seed=1)
    healthy.zero_grad()
    state = torch.get_rng_state()
    found = healthy.diagnostics(held_out)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert healthy.diagnostics(held_out) == found
    assert all(parameter.grad is None for parameter in healthy.parameters())


def test_too_few_images_are_not_judged(healthy: WGAN, blobs: Callable[..., Batch]) -> None:
    assert "coverage" not in healthy.diagnostics(blobs(healthy, FEWEST_IMAGES - 1))
    assert "coverage" in healthy.diagnostics(blobs(healthy, FEWEST_IMAGES))
