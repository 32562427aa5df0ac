"""Each number rises with its fault, and is finite whatever is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from galflow.layers.images.surroundings import SURROUNDINGS, measure_surroundings

COUNT, SIDE = 60, 32


def _light(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    source = rng.uniform(10, 30, (COUNT, 1, 1, 1)) * np.exp(-(y**2 + x**2) / 12)
    return (rng.normal(size=(COUNT, 2, SIDE, SIDE)) + source).astype(np.float32)


def _measured(light: np.ndarray, observed: np.ndarray | None = None) -> dict[str, np.ndarray]:
    known = np.ones_like(light, bool) if observed is None else observed
    found = measure_surroundings(torch.from_numpy(light), torch.from_numpy(known))
    assert found.shape == (len(light), len(SURROUNDINGS))
    assert torch.isfinite(found).all()
    return dict(zip(SURROUNDINGS, found.numpy().T, strict=True))


def _low(light: np.ndarray) -> None:
    light[:, 0, 4:18, 25] -= 10


def _noisy(light: np.ndarray) -> None:
    light[:, 1, :, 22:] += np.random.default_rng(1).normal(0, 5, (COUNT, SIDE, 10))


def _moved(light: np.ndarray) -> None:
    light[:, 1] = np.roll(light[:, 1], 3, axis=2)


def _from_outside(light: np.ndarray) -> None:
    light += (8 * np.exp(-np.arange(SIDE) / 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [("lowest line", _low), ("noise change", _noisy), ("band shift", _moved), ("light from outside", _from_outside)],
)
def test_each_number_rises_with_its_fault(name: str, spoil) -> None:  # type: ignore[no-untyped-def]
    clean, spoilt = _light(), _light()
    spoil(spoilt)
    before, after = _measured(clean)[name], _measured(spoilt)[name]
    assert after.min() > np.quantile(before, 0.95)


@pytest.mark.parametrize("side", [4, 7, 16, 33])
def test_any_size_and_any_gap_gives_numbers(side: int) -> None:
    light = np.random.default_rng(0).normal(size=(6, 1, side, side)).astype(np.float32)
    observed = np.ones_like(light, bool)
    observed[0] = False
    observed[1, :, : side // 2] = False
    _measured(np.where(observed, light, 0), observed)
    _measured(np.zeros_like(light))
