"""The same scores elsewhere: in bfloat16, within a stated tolerance, and on a GPU where there is one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.models.base import GenerativeModel, all_models

MODELS = all_models()

BF16_TOLERANCE = 0.2
"""Largest deviation of a main score under bfloat16 autocast, in standard deviations of normal objects' scores."""
BF16_LOOSER = {
    "glow.Glow": 0.5,  # a deep chain of maps, each of which passes its rounding on
    "pixelcnn_pp.PixelCNNPP": 0.4,  # the sky's logistics are narrow
    "vqvae2.VQVAE2": 1.0,  # a code that is nearly as near as another may flip
}


@pytest.mark.parametrize("name", list(MODELS))
def test_bfloat16_scores_are_near(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = trained(name)
    batch = blobs(model, 64, seed=6)
    exact = model.score(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model.score(batch)
    assert all(values.isfinite().all() for values in rounded.values())
    main = next(iter(model.scores))
    deviation = (rounded[main].float() - exact[main]).abs().max() / exact[main].std()
    assert deviation < BF16_LOOSER.get(name, BF16_TOLERANCE)


def gradients(model: GenerativeModel, batch: Batch, player: str, *, half: bool) -> Tensor:
    """All gradients of a player's loss, one after the other, for the same random numbers."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        loss = model.loss(batch, player).float()
    loss.backward()
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    assert all(gradient.dtype == torch.float32 for gradient in found)
    return torch.cat(found)


@pytest.mark.parametrize("name", list(MODELS))
def test_bfloat16_gradients_point_the_same_way(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = copy.deepcopy(trained(name)).train()
    batch = blobs(model, 32, seed=6)
    for player in model.players:
        exact, rounded = (gradients(model, batch, player.name, half=half) for half in (False, True))
        cosine = float(torch.nn.functional.cosine_similarity(exact, rounded, dim=0))
        assert cosine > 0.95, player.name


@pytest.mark.parametrize("name", list(MODELS))
def test_channels_last_changes_no_result(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    """The layout that a GPU takes with bfloat16 (galflow.training.fit); a view that it forbids would raise here too."""
    plain, last = trained(name), copy.deepcopy(trained(name)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = blobs(plain, 16, seed=6)
    for key, values in last.score(batch).items():
        torch.testing.assert_close(values, plain.score(batch)[key], rtol=1e-3, atol=1e-4)
    for player in last.players:
        exact, other = (gradients(model.train(), batch, player.name, half=False) for model in (plain, last))
        cosine = float(torch.nn.functional.cosine_similarity(exact, other, dim=0))
        assert cosine > 0.999, player.name
    assert last.sample(2, torch.Generator().manual_seed(1)).isfinite().all()


@pytest.mark.full  # a minute and a half for all models; after a change to a loss
@pytest.mark.filterwarnings("ignore")  # the compiler's own, which would be its failure if raised
@pytest.mark.parametrize("name", list(MODELS))
def test_losses_compile_but_for_those_that_say_they_do_not(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    """Traced and differentiated by the compiler, but without the machine code, which takes most of the time."""
    batch = blobs(trained(name), 12, seed=6)
    for player in trained(name).players:
        if not player.compiles:
            continue
        torch._dynamo.reset()
        plain, compiled = (copy.deepcopy(trained(name)).train() for _ in range(2))
        values = []
        for loss in (plain.loss, torch.compile(compiled.loss, backend="aot_eager")):
            torch.manual_seed(0)
            values.append(loss(batch, player.name))
            values[-1].backward()
        torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-6)
        for ours, theirs in zip(compiled.parameters(), plain.parameters(), strict=True):
            if theirs.grad is not None:
                scale = float(theirs.grad.abs().max())
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4 * scale + 1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("name", list(MODELS))
def test_a_gpu_gives_the_same_scores(
    name: str, trained: Callable[[str], GenerativeModel], blobs: Callable[..., Batch]
) -> None:
    model = trained(name)
    batch = blobs(model, 16, seed=6)
    exact = model.score(batch)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        there = model.to("cuda").score(batch.to("cuda"))
        drawn = model.sample(3, torch.Generator("cuda").manual_seed(1))
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    assert drawn.device.type == "cuda"
    for key, values in exact.items():
        assert there[key].device.type == "cuda"
        torch.testing.assert_close(there[key].cpu(), values, rtol=1e-3, atol=1e-3 * float(values.std()), msg=key)
