"""Step 1: what every model promises (tests/galflow/models/test_contract.py), asked of it on the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.figures import Figure, Settings
from galflow.models.base import all_models

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests/galflow/models/test_contract.py"
SMALL_MODELS = ("kmeans.KMeans",)
MOST_PROCESSES = 10
SECONDS = 80
"""So long at the most, a little less than the whole step, so that what is known by then is told."""


def measure(settings: Settings) -> Iterator[Figure]:
    """A figure a model: tests passed; and which ones failed, with the first line of why."""
    models = settings.pick(tuple(all_models()), SMALL_MODELS)
    found = settings.work / "outcomes.jsonl"
    processes = min(MOST_PROCESSES, os.cpu_count() or 1)
    side_by_side = ["-n", str(processes), "--dist", "loadgroup", "--no-loadscope-reorder"] if len(models) > 1 else []
    chosen = ["-k", " or ".join(f"[{name}" for name in models)] if settings.small else []
    # A warning of some other version is no failure of a model.
    plain = ["-W", "default", "--tb", "short", "-p", "no:cacheprovider", "-p", "benchmarks.gpu.outcomes"]
    words = [sys.executable, "-m", "pytest", TESTS, *plain, *side_by_side, *chosen]
    own = {"GALFLOW_TEST_DEVICE": settings.device, "GALFLOW_OUTCOMES": str(found), "PYTHONPATH": _path()}
    late = ""
    try:
        subprocess.run(words, cwd=ROOT, env=os.environ | own, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        late = f"stopped after {SECONDS} s"
    yield from figures(models, found, late)


def _path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def figures(models: tuple[str, ...], found: Path, late: str) -> Iterator[Figure]:
    """A figure for each model, of the outcomes in ``found``; ``late`` says why there may be no more of them."""
    lines = found.read_text().splitlines() if found.exists() else []
    outcomes = [json.loads(line) for line in lines]
    for name in models:
        own = [outcome for outcome in outcomes if f"[{name}]" in outcome["test"]]
        count = Counter(outcome["outcome"] for outcome in own)
        failed = [
            f"{o['test'].partition('::')[2].partition('[')[0]}: {o['why']}" for o in own if o["outcome"] == "failed"
        ]
        passed = not failed and count["passed"] > 0 and not late
        note = "; ".join(filter(None, [late, *failed]))[:2000]
        yield Figure(name, count["passed"], f"of {len(own)} tests", passed, note)
