"""What every model promises (galflow/models/base.py), held against every model that all_models() finds."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.errors import ModelError, SpecError
from galflow.models.base import (
    Density,
    Encodes,
    GenerativeModel,
    Player,
    Reconstructs,
    all_models,
    build_model,
    find_model,
)
from galflow.spec.run import TrainingSpec
from galflow.training.fit import fit

MODELS = all_models()

pytestmark = pytest.mark.parametrize("name", list(MODELS))


def generators() -> Tensor:
    """The states of all of torch's global generators that a test can draw from."""
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]
    return torch.cat(states)


def seeded_loss(model: GenerativeModel, batch: Batch, player: Player, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    return model.loss(batch, player.name)


def with_holes(batch: Batch, seed: int = 5) -> Batch:
    """A quarter of the pixels unobserved, in the last object all of them; the missing pixels hold 0."""
    draw = torch.Generator().manual_seed(seed)
    observed = (torch.rand(batch.pixels.shape, generator=draw) > 0.25).to(batch.pixels.device)
    observed[-1] = False
    ivar = None if batch.ivar is None else batch.ivar * observed
    return replace(batch, pixels=batch.pixels * observed, observed=observed, ivar=ivar)


def refilled(batch: Batch, value: float) -> Batch:
    """The same batch with another value where nothing was observed."""
    return replace(batch, pixels=torch.where(batch.observed, batch.pixels, torch.full_like(batch.pixels, value)))


def test_is_found_and_built_by_its_name(name: str) -> None:
    model = MODELS[name]
    assert find_model(name) is model
    assert find_model(f"galflow.models.{name}") is model
    assert list(inspect.signature(model.__init__).parameters)[1:3] == ["channels", "size"]
    with pytest.raises(SpecError, match=r"has no option 'colour'"):
        build_model(name, channels=1, size=16, colour="red")
    built = build_model(name, channels=3, size=32)
    assert (built.channels, built.size) == (3, 32)


def test_says_where_it_comes_from_and_what_its_scores_mean(name: str) -> None:
    model = MODELS[name]
    assert model.source
    assert model.__doc__
    assert model.source.split(",")[0].split("+")[0].split(" &")[0] in model.__doc__
    assert model.scores
    assert all(len(meaning) > 10 and "\n" not in meaning for meaning in model.scores.values())


def test_shapes(name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]) -> None:
    model = trained(name)
    batch = blobs(model, 5, seed=1)
    shape = batch.pixels.shape
    for player in model.players:
        loss = seeded_loss(model, batch, player)
        assert loss.shape == ()
        assert loss.isfinite()
    scores = model.score(batch)
    assert list(scores) == list(model.scores)
    assert all(values.shape == (5,) and not values.requires_grad for values in scores.values())
    if isinstance(model, Density):
        assert model.log_prob(batch).shape == (5,)
    if isinstance(model, Reconstructs):
        assert model.reconstruct(batch).shape == shape
        assert torch.equal(model.reconstruct(batch), model.reconstruct(batch))
    if isinstance(model, Encodes):
        latents = model.encode(batch)
        assert latents.ndim == 2
        assert len(latents) == 5
        assert torch.equal(latents, model.encode(batch))
    assert all(type(value) is float for value in model.diagnostics(batch).values())


def test_refuses_cutouts_of_another_shape(name: str, blobs: Callable[..., Batch]) -> None:
    model = MODELS[name].tiny()
    batch = blobs(model, 2)
    small = Batch.of(batch.pixels[:, :, 1:, 1:])
    for asked in (model.score, lambda b: model.loss(b, model.players[0].name)):
        with pytest.raises(ModelError, match=r"was built for cutouts of shape"):
            asked(small)


def test_each_player_has_a_gradient_everywhere(
    name: str,
    trained: Callable[[str], GenerativeModel],
    blobs: Callable[..., Batch],
    parameters_of: Callable[[GenerativeModel, tuple[str, ...]], list[nn.Parameter]],
) -> None:
    model = trained(name)
    model.train()
    named = {id(parameter): key for key, parameter in model.named_parameters()}
    orphans = set(named)
    for player in model.players:
        model.zero_grad()
        seeded_loss(model, blobs(model, 32, seed=2), player).backward()
        for parameter in parameters_of(model, player.modules):
            key = named[id(parameter)]
            assert parameter.grad is not None, f"{player.name}: {key} has no gradient"
            assert parameter.grad.isfinite().all(), f"{player.name}: {key}"
            assert parameter.grad.any(), f"{player.name}: the gradient of {key} is zero everywhere"
            orphans.discard(id(parameter))
    assert not orphans, f"no player owns {[named[key] for key in orphans]}"


def test_a_few_steps_lower_the_loss(
    name: str,
    blobs: Callable[..., Batch],
    parameters_of: Callable[[GenerativeModel, tuple[str, ...]], list[nn.Parameter]],
    device: torch.device,
) -> None:
    torch.manual_seed(7)
    model = MODELS[name].tiny().to(device)
    data = blobs(model, 64)
    model.initialise(data)
    phases = Counter(player.phase for player in model.players)
    for player in model.players:
        if phases[player.phase] > 1:  # players of one phase play against each other: neither loss has to fall
            continue
        before = seeded_loss(model, data, player).item()
        optimiser = torch.optim.Adam(parameters_of(model, player.modules), lr=player.learning_rate, betas=player.betas)
        for step in range(20):
            optimiser.zero_grad()
            seeded_loss(model, data, player, seed=step).backward()
            optimiser.step()
        assert seeded_loss(model, data, player).item() < before


def test_same_seed_same_loss(name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]) -> None:
    model = trained(name)
    model.train()
    batch = blobs(model, 8, seed=3)
    for player in model.players:
        assert torch.equal(seeded_loss(model, batch, player), seeded_loss(model, batch, player))


def test_score_is_deterministic_and_the_same_in_training_mode(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = trained(name)
    batch = blobs(model, 8, seed=4)
    state = generators()
    evaluated = model.score(batch)
    assert torch.equal(generators(), state), "score drew random numbers"
    torch.manual_seed(99)
    model.train()
    in_training = model.score(batch)
    for key, values in evaluated.items():
        assert values.isfinite().all(), key
        assert torch.equal(values, in_training[key]), key


def test_score_leaves_the_model_as_it_was(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = trained(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    model.score(blobs(model, 4, seed=4))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters()), "score left gradients behind"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_outliers_score_higher(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = trained(name)
    main = next(iter(model.scores))
    normal = model.score(blobs(model, 64, seed=6))[main]
    odd = blobs(model, 16, seed=7)
    draw = torch.Generator().manual_seed(8)
    noisy = odd.pixels + 0.5 * torch.randn(odd.pixels.shape, generator=draw).to(odd.pixels)
    lit = odd.pixels.clone()
    lit[:, :, :3, :3] += 1.0
    for kind, pixels in {"noise": noisy, "second source": lit}.items():
        found = model.score(replace(odd, pixels=pixels))[main]
        assert found.isfinite().all(), kind
        assert (found > normal.quantile(0.9)).all(), kind


def test_scores_do_not_depend_on_the_batch_split(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = trained(name)
    batch = blobs(model, 12, seed=9)
    whole = model.score(batch)
    for sizes in ([1] * 12, [5, 7]):
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        parts = [model.score(batch[start : start + n]) for start, n in zip(starts, sizes, strict=True)]
        for key, values in whole.items():
            together = torch.cat([part[key] for part in parts])
            # A score near 0 is a difference of terms as large as the largest score, each rounded to float32: which way
            # depends on the processor's kernels for a batch of that size; a GPU chooses among more of them.
            near = 1e-5 if values.device.type == "cpu" else 1e-4
            least = near * max(1.0, float(values.abs().max()))
            torch.testing.assert_close(together, values, rtol=near, atol=least, msg=lambda m, k=key: f"{k}: {m}")


def test_missing_pixels_are_never_data(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = trained(name)
    holes = with_holes(blobs(model, 6, seed=10))
    measures: dict[str, Callable[[Batch], Tensor]] = {
        f"score {key}": lambda b, k=key: model.score(b)[k] for key in model.scores
    }
    for player in model.players:
        measures[f"loss {player.name}"] = lambda b, p=player: seeded_loss(model, b, p).detach()
    if isinstance(model, Density):
        measures["log_prob"] = lambda b: model.log_prob(b).detach()
    for what, measure in measures.items():
        expected = measure(holes)
        assert expected.isfinite().all(), f"{what} with missing pixels, in one object all of them"
        for value in (0.7, -50.0, float("nan")):
            assert torch.equal(measure(refilled(holes, value)), expected), f"{what} read a missing pixel of {value}"


def test_an_object_without_pixels_does_not_spoil_the_gradient(
    name: str,
    trained: Callable[[str], GenerativeModel],
    blobs: Callable[..., Batch],
    parameters_of: Callable[[GenerativeModel, tuple[str, ...]], list[nn.Parameter]],
) -> None:
    model = trained(name)
    holes = refilled(with_holes(blobs(model, 6, seed=10)), float("nan"))
    for player in model.players:
        model.zero_grad()
        seeded_loss(model, holes, player).backward()
        gradients = [parameter.grad for parameter in parameters_of(model, player.modules)]
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients), player.name


def test_losses_of_parts_add_up_as_the_model_says(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    """What several ranks need to know; asked of losses that draw no random numbers, whose parts can be compared."""
    model = trained(name).eval()
    batch = with_holes(blobs(model, 7, seed=10))[:6]  # without the object that has no pixel: it counts nowhere
    parts = [batch[:4], batch[4:]]
    counts = [float(part.observed.sum()) if model.loss_per_pixel else len(part) for part in parts]
    for player in model.players:
        torch.manual_seed(3)
        state = generators()
        whole = model.loss(batch, player.name)
        if not torch.equal(generators(), state):
            continue
        sums = sum(count * model.loss(part, player.name) for count, part in zip(counts, parts, strict=True))
        # VQ-VAE-2 adds a mean over pixels and one over objects: with missing pixels its parts add up nearly.
        rtol = 0.02 if name == "vqvae2.VQVAE2" else 1e-4
        torch.testing.assert_close(sums / sum(counts), whole, rtol=rtol, atol=1e-5, msg=f"{player.name}: {whole}")


def test_samples(name: str, trained: Callable[[str], GenerativeModel]) -> None:
    model = trained(name)

    def draw(seed: int) -> Tensor:
        return model.sample(4, torch.Generator().manual_seed(seed))

    state = generators()
    first = draw(1)
    assert torch.equal(generators(), state), "sample with a generator touched the global one"
    assert first.shape == (4, model.channels, model.size, model.size)
    assert not first.requires_grad
    assert first.isfinite().all()
    assert torch.equal(first, draw(1))
    assert not torch.equal(first, draw(2))
    assert len(torch.unique(first.flatten(1), dim=0)) == 4, "samples of one call are copies of each other"
    assert model.sample(2).shape[0] == 2


def test_no_samples_are_an_empty_tensor(name: str, trained: Callable[[str], GenerativeModel]) -> None:
    model = trained(name)
    for generator in (None, torch.Generator().manual_seed(1)):
        nothing = model.sample(0, generator)
        assert nothing.shape == (0, model.channels, model.size, model.size)
        assert nothing.dtype == model.sample(1).dtype


def test_one_pass_sampling(name: str, trained: Callable[[str], GenerativeModel]) -> None:
    """An autoregressive model runs its network at least once a pixel; a one-pass model far less often."""
    model = trained(name)
    calls: Counter[nn.Module] = Counter()

    def count(module: nn.Module, _: tuple[Any, ...]) -> None:
        calls[module] += 1

    for module in model.modules():
        module.register_forward_pre_hook(count)
    model.sample(2, torch.Generator().manual_seed(1))
    most = max(calls.values(), default=0)
    assert (most < model.size**2) == model.one_pass_sampling


def test_saved_and_loaded_it_scores_bit_for_bit_the_same(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = trained(name)
    batch = blobs(model, 6, seed=12)
    stored = safetensors.torch.save({key: value.contiguous() for key, value in model.state_dict().items()})
    torch.manual_seed(1234)
    other = MODELS[name].tiny()
    other.load_state_dict(safetensors.torch.load(stored), strict=True)
    other.to(batch.pixels.device).eval()
    expected = model.score(batch)
    for key, values in other.score(batch).items():
        assert torch.equal(values, expected[key]), key
    seeds = (torch.Generator().manual_seed(2), torch.Generator().manual_seed(2))
    assert torch.equal(other.sample(3, seeds[0]), model.sample(3, seeds[1]))


class Held(TrainingSet):
    """A batch as a training set; every sixth object validates."""

    def __init__(self, objects: Batch, left_out: np.ndarray) -> None:
        self.objects, self.left_out = objects, left_out

    def _rows(self, split: Split) -> np.ndarray:
        validates = np.arange(len(self.objects)) % 6 == 0
        train = np.delete(np.flatnonzero(~validates), self.left_out)
        return {Split.TRAIN: train, Split.VALIDATION: np.flatnonzero(validates), Split.REFERENCE: train[:0]}[split]

    def count(self, split: Split) -> int:
        return len(self._rows(split))

    def without(self, numbers: np.ndarray) -> TrainingSet:
        return Held(self.objects, numbers)

    def batches(self, split: Split, batch_size: int, shuffle_seed: int | None = None) -> Iterator[Batch]:
        rows = self._rows(split)
        rows = rows if shuffle_seed is None else np.random.default_rng(shuffle_seed).permutation(rows)
        for start in range(0, len(rows), batch_size):
            yield self.objects[torch.from_numpy(rows[start : start + batch_size])]


def test_trained_anew_without_some_objects_nothing_is_left_of_them(
    name: str, blobs: Callable[..., Batch], device: torch.device
) -> None:
    """Neither in weights nor in what a model takes from its first batch or fits at its end (training.trim)."""
    if not MODELS[name].trains_on_data:
        pytest.skip("learns no objects")

    def made() -> GenerativeModel:
        torch.manual_seed(11)
        return MODELS[name].tiny()

    spec, trimmed, fresh = TrainingSpec(epochs=1, batch_size=20), made(), made()
    data = Held(blobs(trimmed, 48).to(device), np.zeros(0, np.int64))
    result = fit(trimmed, data, spec.model_copy(update={"trim": 0.25}), seed=3, device=device)
    assert len(result.left_out) == 10
    fit(fresh, data.without(result.left_out), spec, seed=3, device=device)
    for key, expected in fresh.state_dict().items():
        torch.testing.assert_close(trimmed.state_dict()[key], expected, rtol=0, atol=0, equal_nan=True, msg=key)
