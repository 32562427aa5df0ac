"""10^6 objects with drawn scores ranked, calibrated and written as a catalogue: time and memory, against fewer.

Score parts of 50,000 rows with six scores lie on disk as ``galflow.scores.score`` writes them. A fresh process ranks
them by a rule of three scores (``rank_objects``: conformal p, q-values, tail), writes the catalogue's basis, then each
of its files from its score parts (``write_catalog_file``), and counts what a person would look at: objects with a
q-value by the extrapolated tail of 10% or less, and those of them that no flag explains away. Models, pixels and
workers have no part in it, and in a run the files are written side by side.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.scratch import scratch
from benchmarks.tables import Figures, Finding, Findings
from galflow.catalog.files import each_file
from galflow.catalog.published import group_parts, plan_catalog, read_basis, write_basis, write_catalog_file
from galflow.catalog.ranking import RunRanking, rank_objects
from galflow.cutouts.flags import Flag, outcome_text
from galflow.report.findings import FALSE_DISCOVERY_RATE
from galflow.scores.calibration import Reference, calibrated
from galflow.scores.mask_levels import MaskLevels
from galflow.scores.part_columns import SCHEMA_DETAIL, packed_schema
from galflow.scores.rule import RankingRule, Term
from galflow.scores.summary import PartSummary, merge_summaries
from galflow.storage.layout import catalog_product, scores_product
from galflow.storage.receipts import Receipt, find_receipts, write_receipt
from galflow.storage.store import Store

ROWS_PER_PART = 50_000
PARTS = (5, 10, 20)
SCORES = ("wgan_anomaly", "kmeans_distance", "pca_residual", "vae_neg_elbo", "lof_factor", "features_distance")
RULE = RankingRule(tuple(Term(name) for name in SCORES[:3]))
REFERENCES = 10_000
"""Held-out objects of each model."""
ANOMALIES = 0.002
SHARES = {"train": 0.7, "validation": 0.1, "reference": 0.2}
SECONDS = 300.0
"""Asked for at 10^6."""
GROWTH = 1.25
"""Asked for: peak memory of 10^6 objects over that of a quarter."""
_PRODUCT = catalog_product("drawn", "million")


def draw_part(number: int, rows: int = ROWS_PER_PART) -> pa.Table:
    """One tile: six scores that agree in part, a few anomalies, masked or unscored rows; what trained has no p."""
    rng = np.random.default_rng([7, number])
    split = rng.choice(np.array(list(SHARES)), size=rows, p=list(SHARES.values()))
    flags = np.zeros(rows, np.int64)
    flags[rng.random(rows) < 0.01] = int(Flag.NO_DATA)
    flags[rng.random(rows) < 0.02] |= int(Flag.TRAIL)
    missing = (flags & int(Flag.NO_DATA)) != 0
    common = rng.normal(size=rows) + 6.0 * (rng.random(rows) < ANOMALIES)
    texts = {"survey": "drawn", "release": "1", "tile": f"t{number:03d}", "cutout": f"cutouts/drawn/1/t{number:03d}"}
    columns: dict[str, Any] = {"object_id": np.arange(rows) + number * rows, "id_in_tile": np.arange(rows)}
    columns |= {"ra": rng.uniform(0, 360, rows), "dec": rng.uniform(-90, 90, rows)}
    columns |= {name: pa.array([text] * rows) for name, text in texts.items()}
    columns |= {"row": np.arange(rows), "x": rng.uniform(0, 4000, rows), "y": rng.uniform(0, 4000, rows)}
    columns |= {"is_primary": rng.random(rows) > 0.03, "split": pa.array(split, pa.string())}
    for name in SCORES:
        raw = np.exp(0.3 * (0.7 * common + 0.7 * rng.normal(size=rows)))
        sigma, p, _ = calibrated(np.where(missing, np.nan, raw), _reference(name))
        columns[name] = pa.array(raw, mask=missing)
        columns[f"{name}_sigma"] = pa.array(sigma, mask=missing)
        columns[f"{name}_p"] = pa.array(p, mask=missing | (split == "train"))
    gone = rng.random(rows) < 0.02
    columns |= {f"observed:{i}": np.where(gone, 0.8, 1.0).astype(np.float32) for i in range(6)}
    columns |= {"flags": flags, "outcome": pa.array(outcome_text(flags), pa.string())}
    return pa.table(columns | {"carried:magnitude": rng.uniform(19, 24, rows)})


def _reference(name: str) -> Reference:
    rng = np.random.default_rng(SCORES.index(name))
    return Reference(name, np.exp(0.3 * rng.normal(size=REFERENCES)))


def lay_parts(root: Path, parts: int, rows: int = ROWS_PER_PART) -> None:
    """Score parts and their receipts, as scoring leaves them."""
    store = Store.open(str(root))
    for number in range(parts):
        table = draw_part(number, rows)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        key = scores_product("drawn", "1", f"t{number:03d}", f"{number:016x}")
        carried = pa.schema([table.schema.field(name) for name in ("object_id", "carried:magnitude")])
        details = {
            "carried": {SCHEMA_DETAIL: packed_schema(carried)},
            "summary": PartSummary.of(table, list(SCORES)).to_json(),
        }
        files = {"": store.put(key, sink.getvalue().to_pybytes())}
        receipt = Receipt(product=key, fingerprint=f"{number:016x}", files=files, rows=rows, details=details)
        write_receipt(store, receipt)


@dataclass(frozen=True)
class Publication:
    """What one process took, and what it found."""

    rows: int
    discoveries: int
    unflagged: int
    """Discoveries that no flag explains away."""
    seconds: dict[str, float]
    """By step."""
    processor_seconds: float
    """Of all steps."""
    peak_mib: dict[str, float]
    """Most resident memory until the end of each step."""


def publish(root: Path) -> Publication:
    """All steps, in this process."""
    store, seconds, peaks = Store.open(str(root)), {}, {"start": _peak_mib()}
    busy = time.process_time()

    def timed(step: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        seconds[step], peaks[step] = time.perf_counter() - begun, _peak_mib()
        return result

    receipts = list(find_receipts(store, "scores").values())
    ranking = timed("rank", lambda: _rank(store, receipts))
    timed("basis", lambda: _write_basis(store, receipts, ranking.pop()))

    def write() -> None:
        basis = read_basis(store, _PRODUCT)
        for index, files in enumerate(group_parts(receipts)):
            write_catalog_file(store, _PRODUCT, index, files, *basis)

    timed("write", write)
    discoveries, unflagged = timed("triage", lambda: triage(store))
    rows = sum(r.rows for r in receipts)
    return Publication(rows, discoveries, unflagged, seconds, time.process_time() - busy, peaks)


def _rank(store: Store, receipts: Sequence[Receipt]) -> list[RunRanking]:
    """The ranking in a list, so that whoever takes it out holds it alone: the files' writers read it anew."""
    levels = np.random.default_rng(3).normal(size=(2, 400))
    masks = MaskLevels.of(np.full((400, 6), 0.8), *levels)
    return [rank_objects(store, receipts, RULE, None, masks)[0]]


def _write_basis(store: Store, receipts: Sequence[Receipt], ranking: RunRanking) -> None:
    plan, _ = plan_catalog("million", SCORES, [], receipts)
    summary = merge_summaries([PartSummary.from_json(receipt.details["summary"]) for receipt in receipts])
    write_basis(store, _PRODUCT, plan, summary, ranking)


def triage(store: Store) -> tuple[int, int]:
    """Discoveries, and those without a flag. By the tail: with anomalies held out too, conformal q-values find none."""
    discoveries = unflagged = 0
    for table in each_file(store, _PRODUCT, ["anomaly_tail_q", "flags"]):
        found = table.column("anomaly_tail_q").to_pandas().to_numpy(dtype=np.float64) <= FALSE_DISCOVERY_RATE
        discoveries += int(found.sum())
        unflagged += int((found & (table.column("flags").to_numpy() == 0)).sum())
    return discoveries, unflagged


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def run() -> Iterator[Figures | Findings]:
    """Each number of parts in a store and a process of its own."""
    done: dict[int, Publication] = {}
    for parts in PARTS:
        with scratch() as folder:
            lay_parts(folder, parts)
            words = [sys.executable, "-m", "benchmarks.ranked_million", str(folder)]
            out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, timeout=3600).stdout
            done[parts] = Publication(**json.loads(out))
    yield from tables(list(done.values()))


def tables(done: list[Publication]) -> Iterator[Figures | Findings]:
    """What each took, also over the smallest, and what was asked."""
    first, last = done[0], done[-1]
    rows: dict[str, tuple[float | str, ...]] = {}
    for each in done:
        total, peak = sum(each.seconds.values()), max(each.peak_mib.values())
        rows[f"{each.rows:,}"] = (
            *(each.seconds[step] for step in first.seconds), total, total / sum(first.seconds.values()),
            each.processor_seconds, each.processor_seconds / first.processor_seconds,
            each.peak_mib["start"], each.peak_mib["rank"], peak, peak / max(first.peak_mib.values()),
            float(each.discoveries), float(each.unflagged),
        )  # fmt: skip
    columns = (
        *(f"{step} s" for step in first.seconds), "all s", "ratio", "cpu s", "ratio ",
        "start MiB", "rank MiB", "peak MiB", "ratio  ", "discovered", "unflagged",
    )  # fmt: skip
    yield Figures(f"Drawn scores ranked, calibrated and published, {len(SCORES)} scores an object", columns, rows)
    asked = [Finding("seconds", sum(last.seconds.values()), high=SECONDS)]
    for each in done[:-1]:
        growth = max(last.peak_mib.values()) / max(each.peak_mib.values())
        asked.append(Finding(f"peak memory over that of {each.rows:,}", growth, high=GROWTH))
    yield Findings(f"asked of {last.rows:,} objects", tuple(asked))


def main() -> None:
    """Publish what lies in a folder and print what it took, for the process that measures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranked_million", description=__doc__)
    parser.add_argument("root", type=Path)
    print(json.dumps(vars(publish(parser.parse_args().root))))


if __name__ == "__main__":
    main()
