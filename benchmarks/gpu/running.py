"""Runs the steps one after another, each with its own limit of time, and writes what they found after each of them."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.figures import MIB, Figure, read_figures
from benchmarks.gpu.memory import MemoryWatch

TOTAL_SECONDS = 455.0
"""For all steps together, so that with the installation before them the call stays below eight minutes."""
SMALL_PATIENCE = 4
"""Times these limits that the small sizes may take: they are not about time, and the machine may be busy."""
NEEDED_BYTES = 8 << 30
"""Room that the steps' files need at the most."""
LAST_WORDS = 12
"""Lines of a failed step's output that the results hold."""


@dataclass(frozen=True)
class Step:
    """One question to the GPU, answered by ``measure`` of its module."""

    name: str
    title: str
    module: str
    limit_seconds: float


STEPS = (
    Step("contract", "what every model promises", "benchmarks.gpu.contract", 90),
    Step("survey", "a survey on LocalCUDACluster against a CPU", "benchmarks.gpu.survey", 70),
    Step("precision", "bfloat16 and channels last", "benchmarks.gpu.precision", 50),
    Step("compilation", "compiled training and scoring", "benchmarks.gpu.compilation", 115),
    Step("encoder", "encoder scores from Zarr", "benchmarks.gpu.encoder", 70),
    Step("likelihoods", "PixelCNN++ likelihoods", "benchmarks.gpu.likelihoods", 30),
    Step("adversarial", "WGAN-GP", "benchmarks.gpu.adversarial", 30),
)


@dataclass(frozen=True)
class StepResult:
    """How a step ended, and what it had found by then."""

    outcome: str
    """done, failed, killed, or not reached."""
    seconds: float = 0.0
    limit_seconds: float = 0.0
    figures: tuple[Figure, ...] = ()
    peak_mib: float | None = None
    """The most memory that was in use beyond what was before: on the whole GPU, or of the step's processes."""
    last_words: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it came to its end, and all that was asked of its figures holds."""
        return self.outcome == "done" and all(figure.passed is not False for figure in self.figures)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "outcome": self.outcome,
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            "limit_seconds": round(self.limit_seconds, 1),
            "peak_mib": self.peak_mib,
            "figures": [figure.to_json() for figure in self.figures],
            "last_words": list(self.last_words),
        }


_PROJECT = Path(__file__).resolve().parents[2]


def run_steps(
    out: Path,
    device: str,
    small: bool,
    only: Sequence[str] | None = None,
    steps: Sequence[Step] = STEPS,
    total_seconds: float = TOTAL_SECONDS,
) -> int:
    """Run them, write the results after each, and print the table; 0 if every step passed."""  # fmt: skip
    chosen = [step for step in steps if not only or step.name in only]
    described = machine(device) | {"small": small}
    results = {step.name: StepResult("not reached") for step in chosen}
    patience = SMALL_PATIENCE if small else 1
    deadline = time.monotonic() + total_seconds * patience
    (out / "log.txt").write_text("")
    for step in chosen:
        left = deadline - time.monotonic()
        if left > 1:
            print(f"== {step.name}: {step.title}", flush=True)
            limited = replace(step, limit_seconds=min(step.limit_seconds * patience, left))
            results[step.name] = _run(limited, out, device, small)
        _write(out, described, chosen, results)
    print((out / "table.txt").read_text())
    return 0 if all(result.passed for result in results.values()) else 1


def _run(step: Step, out: Path, device: str, small: bool) -> StepResult:
    with tempfile.TemporaryDirectory(prefix="galflow-gpu-step-", dir=_fast_folder()) as folder:
        found, printed = Path(folder, "figures.jsonl"), Path(folder, "output.txt")
        words = [sys.executable, "-m", "benchmarks.gpu", "--out", str(found), "--device", device, "--step", step.name]
        known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        own = {"PYTHONUNBUFFERED": "1", "TMPDIR": folder, "PYTHONPATH": os.pathsep.join([str(_PROJECT), *known])}
        if small:
            own["OMP_NUM_THREADS"] = "1"  # threads that wait for each other on a busy machine take most of the time
        began = time.monotonic()
        with printed.open("wb") as output, MemoryWatch(device) as memory:
            process = subprocess.Popen(
                [*words, *(["--small"] if small else [])],
                stdout=output, stderr=subprocess.STDOUT, env=os.environ | own, start_new_session=True,
            )  # fmt: skip
            memory.of(process.pid)
            try:
                code = process.wait(step.limit_seconds)
                outcome = "done" if code == 0 else "failed"
            except subprocess.TimeoutExpired:
                outcome = "killed"
            finally:
                _end(process)
        text = printed.read_text(errors="replace")
        with (out / "log.txt").open("a") as log:
            log.write(f"== {step.name}: {outcome}\n{text}\n")
        figures = tuple(read_figures(found))
    seconds = time.monotonic() - began
    last = () if outcome == "done" else tuple(text.splitlines()[-LAST_WORDS:])
    for line in (*(figure.line() for figure in figures), *last):
        print(line, flush=True)
    return StepResult(outcome, seconds, step.limit_seconds, figures, memory.peak_mib, last)


def _fast_folder() -> str | None:
    """Memory, where there is room for what the steps write: no disk's speed is asked for. Else the usual place."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > NEEDED_BYTES else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """The step and whatever it started."""
    with contextlib.suppress(ProcessLookupError):  # all have ended by themselves
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on beside the code."""
    on_gpu = device == "cuda"
    properties = torch.cuda.get_device_properties(0) if on_gpu else None
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": properties.name if properties else platform.processor() or platform.machine(),
        "device_memory_mib": round(properties.total_memory / MIB) if properties else None,
        "compute_capability": f"{properties.major}.{properties.minor}" if properties else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        **{name: _version(name) for name in ("galflow", "dask", "distributed", "dask-cuda", "zarr", "numpy", "triton")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _write(out: Path, described: dict[str, Any], steps: Sequence[Step], results: dict[str, StepResult]) -> None:
    content = {"machine": described, "steps": {name: result.to_json() for name, result in results.items()}}
    _put(out / "results.json", json.dumps(content, indent=1) + "\n")
    lines = [", ".join(f"{key} {value}" for key, value in described.items())]
    for step in steps:
        result = results[step.name]
        peak = "" if result.peak_mib is None else f", peak {result.peak_mib:,.0f} MiB"
        verdict = "passed" if result.passed else f"NOT PASSED ({result.outcome})"
        lines.append(
            f"\n{step.name}: {step.title}: {verdict}, {result.seconds:.0f} of {result.limit_seconds:.0f} s{peak}"
        )
        lines += [figure.line() for figure in result.figures] + [f"  | {line}" for line in result.last_words]
    _put(out / "table.txt", "\n".join(lines) + "\n")


def _put(path: Path, text: str) -> None:
    """Whole or not at all: a call may be cut off at any time."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)
