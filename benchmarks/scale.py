"""A survey of a million chunks through plan, score, aggregate and publish: a simulation on one machine.

Simulated is the work on pixels: no tile is cut (benchmarks.scale_store lays links to one real cutout set, with receipts
of the real size), and no pixel is read nor model called when scoring (benchmarks.simulated_survey draws the raw
scores). All else is what a user runs: `galflow run` as a process of its own, with a Prefect server, its own Dask
cluster of two workers, planning, score parts with their summaries and receipts, catalogue, report and manifest, all of
the sizes that a survey in six bands with cutouts of 64 pixels has. A tile is 50 chunks of the default 5 MB of flux.

Each size is one run that is killed (SIGKILL) when half of its parts are scored, and started again. Times are wall-clock
times of these two starts; memory is the peak of the process that runs the flow, its Dask scheduler included; calls are
lines in the log of the Prefect server's HTTP access.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.scale_store import CHUNKS_PER_TILE, Masters, lay_out, make_masters
from benchmarks.scratch import scratch
from benchmarks.simulated_survey import MARKS
from benchmarks.tables import Figures, Finding, Findings
from galflow.catalog.published import group_parts
from galflow.runs.plan import plan_run
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import find_receipts
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey

TILES = (200, 2_000, 20_000)
CUTOUTS: Mapping[str, object] = {"size": 64}
CALLS = 120
"""Eight tasks of some five calls each, of which six tell their progress at most 22 times; no term in chunks."""
_PATIENCE_SECONDS = 7200.0
_REFERENCE_PARTS = 200
_ACCESS = re.compile(r'"(?:GET|POST|PUT|PATCH|DELETE) /api/')


def specification(tiles: int, root: Path, cutouts: Mapping[str, object] = CUTOUTS) -> RunSpec:
    """Two small models on a survey of so many tiles."""
    return parse_spec(
        {
            "name": f"scale-{tiles}",
            "survey": {
                "kind": "benchmarks.simulated_survey.SimulatedSurvey",
                "name": "simulated",
                "options": {"tiles": tiles},
            },
            "cutouts": dict(cutouts),
            "models": [
                {"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 8}},
                {"name": "realnvp", "model": "realnvp.RealNVP", "options": {"width": 4, "steps": 2, "levels": 1}},
            ],
            "training": {"epochs": 1, "batch_size": 32},
            "cluster": {"workers": 2},
            "store": {"root": str(root)},
        }
    )


@dataclass(frozen=True)
class Start:
    """One start of the run."""

    seconds: float
    """Until its end, or its being killed."""
    first_unit_seconds: float
    """Until a worker began the first unit that was to do."""
    peak_bytes: int
    calls: int
    units: int
    """Handed out."""


@dataclass(frozen=True)
class Planning:
    """One plan_run, in a process that does nothing else."""

    seconds: float
    cpu_seconds: float
    """Of which it computed; the rest it waited, for the disk or for others on a busy machine."""
    peak_bytes: int


@dataclass(frozen=True)
class Size:
    """What one size of survey took."""

    tiles: int
    plan: dict[str, Planning]
    """By what is scored: nothing, half, all."""
    first: Start
    second: Start
    stages: dict[str, float]
    """Prefect task -> seconds in the second start."""
    reference_seconds: float
    """Writing the same parts and the same catalogue with pyarrow and nothing else."""
    part_bytes: float
    receipt_bytes: float

    @property
    def chunks(self) -> int:
        """Of all tiles."""
        return self.tiles * CHUNKS_PER_TILE

    @property
    def seconds(self) -> float:
        """Of both starts together."""
        return self.first.seconds + self.second.seconds


def run(sizes: tuple[int, ...] = TILES) -> Iterator[Figures | Findings]:
    """One table a size's stages; then all of them, and what was asked."""
    with scratch() as work, prefect_server(work / "prefect") as server:
        masters = make_masters(work / "masters", specification(1, work / "masters"))
        measured = [measure(tiles, work / f"store-{tiles}", masters, server) for tiles in sizes]
        yield overview(measured, masters)
        yield asked(measured)


def overview(measured: list[Size], masters: Masters) -> Figures:
    """A row a size."""
    columns = (
        "rows", "plan s, nothing scored", "plan s, half", "plan s, all", "run s", "first unit s", "restart s",
        "score s a tile", "publish s a tile", "ms a chunk", "flow peak GiB", "calls, start", "calls, restart",
        "times pyarrow",
    )  # fmt: skip
    rows: dict[str, tuple[float | str, ...]] = {}
    for size in measured:
        rows[f"{size.chunks:,} chunks, {size.tiles:,} tiles"] = (
            float(size.tiles * masters.objects),
            size.plan["nothing"].seconds,
            size.plan["half"].seconds,
            size.plan["all"].seconds,
            size.seconds,
            size.first.first_unit_seconds,
            size.second.first_unit_seconds,
            size.stages["score"] / max(1, size.second.units),
            size.stages["publish"] / size.tiles,
            1e3 * size.seconds / size.chunks,
            max(size.first.peak_bytes, size.second.peak_bytes) / 2**30,
            float(size.first.calls),
            float(size.second.calls),
            size.seconds / size.reference_seconds,
        )
    return Figures(f"{CHUNKS_PER_TILE} chunks of {masters.objects // CHUNKS_PER_TILE} objects a tile", columns, rows)


def asked(measured: list[Size]) -> Findings:
    """The targets, held against the largest size."""
    last = measured[-1]
    found = [
        Finding("ms a chunk", 1e3 * last.seconds / last.chunks, high=3.0),
        Finding("GiB, flow process", max(last.first.peak_bytes, last.second.peak_bytes) / 2**30, high=2.0),
        Finding("seconds from a restart at half to its first unit", last.second.first_unit_seconds, high=120.0),
        Finding("calls to Prefect, the start that ends", float(last.second.calls), high=CALLS),
    ]
    if len(measured) > 1:
        chunks = np.log([size.chunks for size in measured])
        for state in last.plan:
            seconds = np.log([size.plan[state].cpu_seconds for size in measured])
            found.append(
                Finding(f"exponent of planning, {state} scored", float(np.polyfit(chunks, seconds, 1)[0]), high=1.1)
            )
    return Findings("asked of the largest survey", tuple(found))


def measure(tiles: int, root: Path, masters: Masters, server: PrefectServer) -> Size:
    """Lay the store out, run, kill, run again."""
    spec = specification(tiles, root)
    lay_out(spec, masters)
    plan = {"nothing": _plan(spec)}
    first = start(spec, server, kill_after=tiles // 2)
    plan["half"] = _plan(spec)
    second = start(spec, server)
    plan["all"] = _plan(spec)
    stages = server.task_seconds()
    print(f"  {tiles} tiles: {plan}, {first}, {second}, {stages}", flush=True)
    return Size(tiles, plan, first, second, stages, *_reference(spec, tiles))


def _plan(spec: RunSpec) -> Planning:
    """What the whole planning takes."""
    words = [sys.executable, "-m", "benchmarks.scale", yaml.safe_dump(spec.model_dump(mode="json"))]
    out = subprocess.run(words, check=True, capture_output=True, text=True, timeout=_PATIENCE_SECONDS).stdout
    seconds, cpu_seconds, peak = out.split()
    return Planning(float(seconds), float(cpu_seconds), int(peak))


def _peak_bytes(pid: int) -> int:
    """Most resident memory that the process has had; 0 if it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def start(spec: RunSpec, server: PrefectServer, kill_after: int | None = None) -> Start:
    """`galflow run`, to its end or until so many units have been handed out."""
    root = Path(spec.store.root)
    marks = root.with_name(f"{root.name}-marks-{time.time_ns()}")
    marks.mkdir()
    document = root.with_name(f"{root.name}.yaml")
    document.write_text(yaml.safe_dump(spec.model_dump(mode="json")))
    environment = server.environment | {
        MARKS: str(marks),
        "DASK_DISTRIBUTED__WORKER__PRELOAD": "benchmarks.simulated_survey",
    }
    calls, started, peak, killed = server.calls(), time.time(), 0, False
    log = root.with_name(f"{root.name}.log")
    with log.open("ab") as out:
        flow = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run", str(document)], env=environment, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
        try:
            while flow.poll() is None and time.time() - started < _PATIENCE_SECONDS:
                peak = max(peak, _peak_bytes(flow.pid))
                if kill_after is not None and len(_marked(marks)) >= kill_after:
                    killed = True
                    break
                time.sleep(0.2)
        finally:  # also of a run that takes too long, or whose watcher is interrupted
            seconds = time.time() - started
            flow.kill()
            code = flow.wait()
    if code and not killed:
        raise RuntimeError(f"the run ended with {code}: {log.read_text()[-3000:]}")
    handed = _marked(marks)
    return Start(seconds, min(handed) - started, peak, server.calls() - calls, len(handed))


def _marked(marks: Path) -> list[float]:
    """When each unit was handed out."""
    return [float(line) for path in marks.iterdir() for line in path.read_text().splitlines()]


def _reference(spec: RunSpec, tiles: int) -> tuple[float, float, float]:
    """Seconds to write all parts and the catalogue with plain pyarrow; bytes of a part and of its receipt.

    Some parts' rows, in memory, are written as parts and then as catalogue files, one after another; no score is
    calibrated, nothing summed up, sorted or receipted. Times the number of tiles.
    """
    store = Store.open(spec.store.root)
    receipts = list(find_receipts(store, "scores").values())[:_REFERENCE_PARTS]
    tables = [pq.read_table(pa.BufferReader(store.get(r.product))) for r in receipts]
    folder = Path(spec.store.root).with_name("reference")
    folder.mkdir(exist_ok=True)
    started = time.perf_counter()
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number}.parquet", compression="zstd")
    for number, group in enumerate(group_parts(receipts)):
        pq.write_table(pa.concat_tables(tables[: len(group)]), folder / f"catalog-{number}.parquet", compression="zstd")
    seconds = (time.perf_counter() - started) * tiles / len(receipts)
    sizes = [r.files[""].size for r in receipts]
    return seconds, float(np.mean(sizes)), float(np.mean([len(store.get(r.key)) for r in receipts]))


@dataclass(frozen=True)
class PrefectServer:
    """A running server, and what it was asked."""

    api: str
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """For whoever is to use it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GALFLOW_"))}
        return kept | {"PREFECT_API_URL": self.api, "PREFECT_HOME": str(self.log.parent), "DO_NOT_TRACK": "1"}

    def calls(self) -> int:
        """HTTP requests to its API so far."""
        return len(_ACCESS.findall(self.log.read_text(errors="replace")))

    def task_seconds(self) -> dict[str, float]:
        """Seconds of each task of the flow run that ended last, by name."""
        last = {"sort": "END_TIME_DESC", "limit": 1, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        (run,) = self._ask("flow_runs/filter", last)
        of_run = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        return {t["name"].rpartition("-")[0]: t["total_run_time"] for t in self._ask("task_runs/filter", of_run)}

    def _ask(self, path: str, question: Mapping[str, object]) -> list[dict[str, Any]]:
        """Prefect's REST API."""
        request = urllib.request.Request(
            f"{self.api}/{path}", json.dumps(question).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
        return found


@contextmanager
def prefect_server(home: Path) -> Iterator[PrefectServer]:
    """A server of its own in a folder, gone at the end of the block."""
    home.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = PrefectServer(f"http://127.0.0.1:{port}/api", home / "server.log")
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_UI_ENABLED": "false", "PREFECT_HOME": str(home)}
    words = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--log-level", "INFO"]
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=os.environ | quiet | {"DO_NOT_TRACK": "1"}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_healthy(process, server)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], server: PrefectServer) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{server.api}/health", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the Prefect server did not start: {server.log.read_text()[-3000:]}")


def _main() -> None:
    """One planning, for ``_plan``: the figures of ``Planning`` on standard output."""
    spec = parse_spec(yaml.safe_load(sys.argv[1]))
    open_survey(spec.survey)  # imports the plug-in, which is not planning
    started, started_cpu = time.perf_counter(), time.process_time()
    plan_run(spec, Store.open(spec.store.root))
    print(time.perf_counter() - started, time.process_time() - started_cpu, _peak_bytes(os.getpid()))


if __name__ == "__main__":
    _main()
