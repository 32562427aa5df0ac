"""10^7 rows in the explorer: how long each thing takes that a person does, and how much memory the service needs.

A made catalogue of 20 files, with the columns of a run of six scores, lies on disk with cutout sets and a manifest. A
first process builds the explorer's folder of it; a fresh one serves it, as `galflow explore` does on its second start,
and is asked by HTTP's own path (the ASGI application, with the answers' JSON) for expressions, orders and areas that it
has not seen before, so that nothing is answered out of what it keeps. Beside the time that passes stands the
processors' own: on a machine that others use too only that says what an idle one would take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

from benchmarks.scratch import scratch
from benchmarks.tables import Figures, Finding, Findings
from benchmarks.untrained import made_cutouts
from galflow.catalog.own_columns import SPLITS
from galflow.catalog.parquet import to_parquet
from galflow.catalog.schema import catalog_schema
from galflow.cutouts.set_writing import write_cutout_set
from galflow.explore.explored import ExploredRun
from galflow.explore.service import create_app
from galflow.spec.run import CutoutSpec
from galflow.storage.layout import catalog_product, cutouts_product
from galflow.storage.receipts import RunManifest, publish_manifest, read_manifest
from galflow.storage.store import Store

FILES, ROWS_PER_FILE = 20, 500_000
ROWS_PER_TILE, SETS, OBJECTS, SIDE = 20_000, 10, 500, 64
SCORES = ("wgan_anomaly", "kmeans_distance", "pca_residual", "vae_neg_elbo", "lof_factor", "features_distance")
RUN, TOKEN = "made-explorer", "benchmark"
MILLISECONDS, MEBIBYTES = 300.0, 2048.0
"""Asked for: the slowest of the repeated answers to each question, and the service's memory."""
TIMES = 5
_RANKED = "anomaly_rank"


@dataclass(frozen=True)
class Measured:
    """One question, asked ``TIMES`` times with words of its own each."""

    name: str
    median_ms: float
    slowest_ms: float
    processor_ms: float
    """Median, of all threads."""


def lay_run(root: Path, files: int = FILES, rows: int = ROWS_PER_FILE) -> None:
    """A published run with its catalogue and cutout sets."""
    store = Store.open(root)
    sets = [cutouts_product("made", "1", f"t{i}", f"{i:016x}") for i in range(SETS)]
    spec = CutoutSpec(size=SIDE)
    for key in sets:
        write_cutout_set(store, key, made_cutouts(OBJECTS, SIDE), spec)
    schema = catalog_schema(SCORES, [], pa.schema([pa.field("mag_r", pa.float64())]), pa.int64(), False)
    product = catalog_product("made", RUN)
    ranks = np.random.default_rng(1).permutation(files * rows) + 1
    for number in range(files):
        part = _draw(schema, number, rows, ranks[number * rows : (number + 1) * rows], sets)
        store.put_once(f"{product}/part-{number:05d}.parquet", to_parquet(part, schema))
    manifest = RunManifest(
        run=RUN, name="made", finished="2026-01-01T00:00:00+00:00", code_version="", models={}, products={},
        specification={
            "name": "explored", "survey": {"kind": "synthetic"}, "models": [{"name": "pca", "model": "pca.PCA"}],
        }, catalog=product, report=None, summary={},
    )  # fmt: skip
    publish_manifest(store, manifest)


def _draw(schema: pa.Schema, number: int, rows: int, ranks: np.ndarray, sets: list[str]) -> pa.Table:
    rng = np.random.default_rng([5, number])
    at = np.arange(rows) + number * rows
    texts = {"survey": "made", "release": "1", "outcome": "scored", "run_id": RUN}
    made: dict[str, Any] = {
        name: pa.array([text]).take(pa.array(np.zeros(rows, np.int64))) for name, text in texts.items()
    }
    made |= {"object_id": at * 911_382_323 % (1 << 62), "id_in_tile": at, "row": at % OBJECTS, _RANKED: ranks}
    made |= {"ra": 150 + 5 * rng.random(rows), "dec": number - FILES / 2 + rng.random(rows)}
    tiles = pa.array(
        [f"{9000 + i}" for i in range(number * rows // ROWS_PER_TILE, (number + 1) * rows // ROWS_PER_TILE + 1)]
    )
    made["tile"] = tiles.take(pa.array((at - at[0]) // ROWS_PER_TILE))
    made["cutout"] = pa.array(sets).take(pa.array(at // OBJECTS % SETS))
    made["is_primary"] = rng.random(rows) > 0.03
    made["split"] = pa.array(SPLITS).take(pa.array(rng.integers(0, len(SPLITS), rows)))
    classes = pa.array(["artefact", "blend", "star", "galaxy", "interesting"])
    made["triage"] = classes.take(pa.array(rng.choice(5, rows, p=[0.05, 0.1, 0.1, 0.7, 0.05])))
    made["flags"] = ((rng.random(rows) < 0.2) * (1 << rng.integers(0, 8, rows))).astype(np.uint32)
    for field in schema:
        if field.name not in made:
            made[field.name] = pa.array(rng.normal(20, 2, rows), mask=rng.random(rows) < 0.02)
    return pa.table({field.name: made[field.name] for field in schema})


def build(root: Path) -> dict[str, float]:
    """Build the explorer's folder; what it took."""
    began = time.perf_counter(), time.process_time()
    _open(root).close()
    seconds = time.perf_counter() - began[0]
    cache = sum(path.stat().st_size for path in (root / "cache").rglob("*") if path.is_file())
    return {"seconds": seconds, "processor_seconds": time.process_time() - began[1], "peak_mib": _peak_mib(),
            "folder_gib": cache / 2**30}  # fmt: skip


def _open(root: Path) -> ExploredRun:
    store = Store.open(root)
    manifest = read_manifest(store, RUN)
    assert manifest is not None
    return ExploredRun.open(store, manifest, root / "cache", lambda words: print(words, file=sys.stderr, flush=True))


def measure(root: Path) -> dict[str, Any]:
    """Ask everything, in this process; the answers' times, how long it took to open, and the peak of memory."""
    began = time.perf_counter()
    explored = _open(root)
    opened = time.perf_counter() - began
    found = asyncio.run(_ask_all(explored))
    rows = explored.rows.count
    explored.close()
    return {"rows": rows, "opened_s": opened, "peak_mib": _peak_mib(), "asked": [asdict(one) for one in found]}


async def _ask_all(explored: ExploredRun) -> list[Measured]:
    transport = httpx.ASGITransport(create_app(explored, TOKEN))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    found = []
    async with httpx.AsyncClient(transport=transport, base_url="http://explorer", headers=headers) as client:
        await client.get("/api/schema")
        for name, path, words in _questions(explored):
            passed, busy = [], []
            for i in range(TIMES):
                began = time.perf_counter(), time.process_time()
                answer = await client.get(f"/api/{path(i)}", params=words(i))
                passed.append(1e3 * (time.perf_counter() - began[0]))
                busy.append(1e3 * (time.process_time() - began[1]))
                answer.raise_for_status()
            found.append(Measured(name, float(np.median(passed)), max(passed), float(np.median(busy))))
            print(found[-1], file=sys.stderr, flush=True)
    return found


Words = Callable[[int], Mapping[str, Any]]


def _questions(explored: ExploredRun) -> list[tuple[str, Callable[[int], str], Words]]:
    """Name, path and words of each question, given which repetition it is."""
    count = explored.rows.count
    shown = ["object_id", "ra", "dec", "tile", _RANKED, "anomaly_score_sigma", "anomaly_q", "triage", "flags", "mag_r"]
    page: dict[str, Any] = {"limit": 50, "column": shown, "order": _RANKED}
    scores = [f"{name}_sigma" for name in SCORES]
    first, last = explored.rows.fetch([0, count - 1], ["object_id"]).column("object_id").to_pylist()
    ids = [
        first,
        last,
        *explored.rows.fetch([count // 3, count // 2, count // 5], ["object_id"])["object_id"].to_pylist(),
    ]
    sky = {"x": "ra", "y": "dec", "colour": "anomaly_score_sigma"}

    def rows_of(_: int) -> str:
        return "rows"

    faint, rare = "flags & 4 == 0 and triage != 'star'", "wgan_anomaly_sigma > 23"

    def lasso(i: int) -> str:
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        corners = np.stack([152.5 + 2.4 * np.cos(turn), (9 - i) * np.sin(turn)], axis=1)
        return json.dumps({"x": "ra", "y": "dec", "points": corners.round(4).tolist()})

    def points_of(_: int) -> str:
        return "points"

    return [
        ("first page by rank", rows_of, lambda i: page | {"offset": i}),
        ("next page", rows_of, lambda i: page | {"offset": 50 * (i + 1)}),
        ("page in the middle", rows_of, lambda i: page | {"offset": count // 2 + 77 * i}),
        ("other order", rows_of, lambda i: page | {"order": scores[i], "descending": True}),
        ("other order, last page", rows_of, lambda i: page | {"order": scores[i], "offset": count - 50}),
        ("expression", rows_of, lambda i: page | {"where": f"mag_r < {19 + i / 9} and {faint}"}),
        ("its next page", rows_of, lambda i: page | {"where": f"mag_r < 19.0 and {faint}", "offset": 50 * i}),
        ("rare expression", rows_of, lambda i: page | {"where": f"mag_r < {13 + i / 9} and {rare}"}),
        ("computed expression", rows_of, lambda i: page | {"where": f"sqrt(mag_r) + log10(mag_r) > {5.8 + i / 90}"}),
        ("expression, order, middle", rows_of,
         lambda i: page | {"where": f"mag_r < {21 + i / 9}", "order": scores[i], "offset": count // 9}),
        ("text", rows_of, lambda i: page | {"text": f"9{i}2"}),
        ("cone on the sky", rows_of, lambda i: page | {"cone": f"152.{i},0.5,0.2"}),
        ("lasso on the sky", rows_of, lambda i: page | {"lasso": lasso(i)}),
        ("map of all", points_of, lambda i: sky | {"cells": 250 + i}),
        ("map, magnified", points_of, lambda i: sky | {"bounds": f"152,153.{i},1,2"}),
        ("map of an expression", points_of, lambda i: sky | {"where": f"mag_r < {19 + i / 8}"}),
        ("map of a lasso", points_of, lambda i: sky | {"lasso": lasso(i)}),
        ("map of two scores", points_of, lambda i: {"x": scores[i], "y": "mag_r"}),
        ("one object", lambda i: f"objects/{ids[i]}", lambda i: {}),
        ("its pixels", lambda i: f"objects/{ids[i]}/pixels", lambda i: {}),
        ("its place in an order", lambda i: f"objects/{ids[i]}/place", lambda i: {"order": scores[i]}),
        ("50 pictures", lambda i: "sprite.png",
         lambda i: {"row": [(911 * i + count * k // 50) % count for k in range(50)]}),
    ]  # fmt: skip


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def run() -> Iterator[Figures | Findings]:
    """The run laid out, built and measured in three processes."""
    with scratch() as folder:
        lay_run(folder)
        yield from tables(_in_process(folder, "build"), _in_process(folder, "measure"))


def _in_process(root: Path, step: str) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.explorer", step, str(root)]
    told: dict[str, Any] = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, timeout=7200).stdout)
    return told


def tables(built: Mapping[str, float], measured: Mapping[str, Any]) -> Iterator[Figures | Findings]:
    """What everything took, and what was asked."""
    asked = [Measured(**one) for one in measured["asked"]]
    rows: dict[str, tuple[float | str, ...]] = {
        one.name: (one.median_ms, one.slowest_ms, one.processor_ms) for one in asked
    }
    yield Figures(f"The explorer at {measured['rows']:,} rows", ("median ms", "slowest ms", "processor ms"), rows)
    took = {**built, "opened_s": measured["opened_s"]}
    once: dict[str, tuple[float | str, ...]] = {name: (float(value),) for name, value in took.items()}
    yield Figures("Once a run: the explorer's folder", ("",), once)
    peak = measured["peak_mib"]
    yield Findings(
        f"asked of {measured['rows']:,} rows",
        (
            Finding("median ms of the slowest question", max(one.median_ms for one in asked), high=MILLISECONDS),
            Finding("peak memory of the service (MiB)", peak, high=MEBIBYTES),
            Finding("peak memory of the building (MiB)", built["peak_mib"], high=MEBIBYTES),
        ),
    )


def main() -> None:
    """One step in a process of its own, its figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer", description=__doc__)
    parser.add_argument("step", choices=("lay", "build", "measure"))
    parser.add_argument("root", type=Path)
    given = parser.parse_args()
    if given.step == "lay":
        lay_run(given.root)
    else:
        print(json.dumps((build if given.step == "build" else measure)(given.root), indent=1))


if __name__ == "__main__":
    main()
