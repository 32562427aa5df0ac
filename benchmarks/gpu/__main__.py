"""``python -m benchmarks.gpu --out FOLDER``: what one GPU does with galflow, in at most eight minutes.

Each step is a process of its own, which is killed at its limit; the others go on. ``results.json`` is written anew
after every step, so that a call that is cut off leaves what it had. ``--small --device cpu`` shows that all of it runs.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.gpu.figures import Settings, write_figures
from benchmarks.gpu.running import STEPS, run_steps


def main() -> int:
    """Run all steps, or the one that a process of them is for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json, table.txt and log.txt")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to compute (cuda)")
    parser.add_argument("--small", action="store_true", help="sizes that show that it works, not how fast it is")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], help="these steps alone")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --device cpu --small shows whether all of it runs")
    if given.step is None:
        given.out.mkdir(parents=True, exist_ok=True)
        return run_steps(given.out, given.device, given.small, given.only)
    step = next(step for step in STEPS if step.name == given.step)
    with tempfile.TemporaryDirectory(prefix="galflow-gpu-") as work:
        settings = Settings(given.device, given.small, Path(work))
        write_figures(given.out, importlib.import_module(step.module).measure(settings), given.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
