"""Where a training's random numbers come from: derived seeds, and torch's global generators put aside and restored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch

from galflow.spec.run import fingerprint


def derived_seed(*content: int | str) -> int:
    """A seed of 63 bits that depends on all of the content, the same on every machine."""
    return int(fingerprint(*content), 16) >> 1


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators of the CPU and of ``device`` start from ``seed`` inside, and are then as they were before.

    Those of other devices are left alone: ``torch.manual_seed`` would set them too, and nobody would put them back.
    """
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        set_seed(seed, device)
        yield


def set_seed(seed: int, device: torch.device) -> None:
    """The global generators of the CPU and of ``device`` start from ``seed``."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def generator_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of torch's global generators that a training on ``device`` draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Continue from ``generator_states``. A training that moved to a GPU from elsewhere keeps that GPU's own state."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
