"""What the steps of the call share: their sizes, what they find, and how long something takes on a device."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from galflow.batch import Batch
from galflow.models.base import GenerativeModel, build_model
from galflow.spec.training import Precision
from galflow.training.players import PhaseOptimisers
from galflow.training.ranks import SINGLE_PROCESS

REPEATS = 5
MIB = 1 << 20
Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Settings:
    """Where it runs, and whether with the sizes that show whether it works or with those that fill a GPU."""

    device: str
    small: bool
    work: Path
    """A folder of the step's own, which is removed afterwards."""

    def pick(self, full: Choice, small: Choice) -> Choice:
        """One of two sizes."""
        return small if self.small else full


@dataclass(frozen=True)
class Figure:
    """One number that a step found."""

    what: str
    value: float
    unit: str
    passed: bool | None = None
    """Whether it is as it must be; None where nothing is asked of it."""
    note: str = ""
    peak_mib: float | None = None
    """The most that torch's allocator held on the GPU at once, since the figure before; None on a CPU."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def line(self) -> str:
        """The figure on one line of text."""
        verdict = {None: "", True: "  passed", False: "  FAILED"}[self.passed]
        peak = "" if self.peak_mib is None else f"  [{self.peak_mib:,.0f} MiB]"
        value = f"{self.value:,.0f}" if abs(self.value) >= 100 else f"{self.value:.4g}"
        return f"  {self.what:<62} {value:>12} {self.unit:<12}{verdict}{peak}{'  ' + self.note if self.note else ''}"


def write_figures(path: Path, figures: Iterator[Figure], device: str) -> None:
    """Append each figure to a file as soon as it is there: a step that is killed leaves those that it had."""
    reset_peak(device)
    with path.open("a") as file:
        for figure in figures:
            peak = torch.cuda.max_memory_allocated() / MIB if device == "cuda" else None
            file.write(json.dumps(figure.to_json() | {"peak_mib": figure.peak_mib or peak}) + "\n")
            file.flush()
            print(figure.line(), flush=True)
            reset_peak(device)


def read_figures(path: Path) -> list[Figure]:
    """What ``write_figures`` has written; of a last line that was cut off, nothing."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [Figure(**json.loads(line)) for line in lines if line.endswith("\n")]


def reset_peak(device: str) -> None:
    """Begin anew to note the most memory."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def wait(device: str) -> None:
    """Until the GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_each(settings: Settings, case: Callable[[], object], *, at_least: float = 1.0) -> float:
    """Median seconds of one call, of five rounds that together take ``at_least`` seconds, after a warm-up."""
    calls = 1
    case()
    wait(settings.device)
    least = settings.pick(at_least, 0.05) / REPEATS
    rounds: list[float] = []
    while len(rounds) < REPEATS:
        began = time.perf_counter()
        for _ in range(calls):
            case()
        wait(settings.device)
        taken = time.perf_counter() - began
        if taken < least and not rounds:
            calls = max(calls + 1, min(10 * calls, int(calls * 1.2 * least / max(taken, 1e-9))))
            continue
        rounds.append(taken / calls)
    return statistics.median(rounds)


def galaxies(model: GenerativeModel, n: int, device: str, seed: int = 3) -> Batch:
    """Round blobs of the model's shape in noise, completely observed."""
    draw = torch.Generator().manual_seed(seed)
    axis = torch.arange(model.size) - (model.size - 1) / 2
    blob = torch.exp(-(axis[:, None] ** 2 + axis**2) / (model.size / 3.5) ** 2 * 4)
    pixels = blob * torch.rand(n, model.channels, 1, 1, generator=draw)
    pixels = pixels + 0.05 * torch.randn(pixels.shape, generator=draw)
    return Batch.of(pixels).to(device)


@dataclass(frozen=True)
class Subject:
    """A model that is measured."""

    name: str
    channels: int
    size: int
    options: dict[str, Any]

    def made(self, device: str, *, channels_last: bool = False) -> GenerativeModel:
        """With its first weights, the same every time, on the device."""
        torch.manual_seed(0)
        model = build_model(self.name, channels=self.channels, size=self.size, **self.options)
        model.initialise(galaxies(model, 64, "cpu"))
        model = model.to(device)
        return model.to(memory_format=torch.channels_last) if channels_last else model  # type: ignore[call-overload]

    def __str__(self) -> str:
        return f"{self.name} {self.channels} x {self.size} x {self.size}"


def training_round(
    model: GenerativeModel, batch: Batch, *, precision: Precision = "float32", compiled: bool = False
) -> tuple[Callable[[], object], int]:
    """A round of the first phase as galflow.training.fit plays it, and how many optimiser steps it has."""
    first = min(player.phase for player in model.players)
    players = [player for player in model.players if player.phase == first]
    team = PhaseOptimisers(model.train(), players, None, SINGLE_PROCESS, precision=precision, compiled=compiled)
    batches: Sequence[Batch] = [batch] * team.steps_per_round
    return lambda: team.step_round(batches, augment=True), team.steps_per_round


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """A clock that starts now."""
    began = time.perf_counter()
    yield lambda: time.perf_counter() - began
