"""What the encryption of a local cluster costs: its start, and a small survey cut, learnt and scored on it.

Prefect is imported when it runs, not before: it reads its settings then, and the runs of other benchmarks set them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.timing import REPEATS, Table, Timing, table
from galflow.spec.run import RunSpec, parse_spec


@contextmanager
def _no_tls() -> Iterator[Any]:
    yield None


_CASES = ("without", "with certificates")


def run() -> Iterator[Table]:
    """Two tables: the start of a cluster, and the stages on it; with TLS and, as it once was, without."""
    import tasks.cluster

    begun: dict[str, list[tuple[float, float]]] = {name: [] for name in _CASES}
    done: dict[str, list[tuple[float, float]]] = {name: [] for name in _CASES}
    made = tasks.cluster.temporary_tls
    for repeat in range(REPEATS + 1):
        for name in _CASES:
            tasks.cluster.temporary_tls = made if name != _CASES[0] else _no_tls
            try:
                start, work = _once()
            finally:
                tasks.cluster.temporary_tls = made
            if repeat:  # the first warms up
                begun[name].append(start)
                done[name].append(work)
    for title, found in (("start of a local cluster of two workers", begun), ("a survey of 12 tiles on it", done)):
        timings = {n: Timing(tuple(w for w, _ in s), tuple(c for _, c in s)) for n, s in found.items()}
        yield table(title, _CASES[0], timings)


def _once() -> tuple[tuple[float, float], tuple[float, float]]:
    """Wall-clock and processor seconds of the start, and of the work."""
    import tasks.cluster
    from tasks import stages
    from tasks.run_record import RunRecord

    with tempfile.TemporaryDirectory() as folder:
        began = _now()
        with tasks.cluster.running_cluster(_specification(Path(folder))) as spec:
            started = _now()
            run = RunRecord(spec)
            run.cutouts[None] = stages.ingest.fn(run)
            run.joined[None] = stages.join.fn(run)
            run.models = stages.train_models.fn(run)
            stages.score_cutouts.fn(run)
            ended = _now()
    return (started[0] - began[0], started[1] - began[1]), (ended[0] - started[0], ended[1] - started[1])


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _specification(root: Path) -> RunSpec:
    survey: dict[str, Any] = {"tiles": 12, "tile_size": 256, "objects_per_tile": 60, "catalog": "tile_truth"}
    return parse_spec(
        {
            "name": "security",
            "survey": {"kind": "synthetic", "options": survey},
            "cutouts": {"size": 32},
            "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
            "cluster": {"workers": 2},
            "store": {"root": str(root)},
        }
    )
