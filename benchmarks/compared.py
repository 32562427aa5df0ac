"""10^5 drawn objects compared with 10^5 others, matched and unmatched: time and memory, against a tenth of them.

Score parts lie on disk as ``galflow.scores.score`` writes them (``benchmarks.ranked_million.draw_part``). A fresh
process reads the columns that a comparison needs (``read_population``) and compares them as a run does, with 1,000
bootstraps and permutations: each of six scores alone, then all matched by magnitude. Nothing differs but by chance.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.ranked_million import SCORES, lay_parts
from benchmarks.scratch import scratch
from benchmarks.tables import Figures, Finding, Findings
from galflow.compare.matched import MatchedSamples, Matching
from galflow.compare.populations import read_population
from galflow.compare.two_sample import compare_scalars, permutation_p
from galflow.spec.comparison import MatchSpec
from galflow.storage.receipts import find_receipts
from galflow.storage.store import Store

ROWS = (10_000, 100_000)
"""Of the survey, and as many of the sample."""
PARTS = 4
BOOTSTRAPS = 1000
SECONDS = 600.0
"""Asked for at 10^5."""
MATCHING = Matching((MatchSpec(column="magnitude"),), bootstraps=BOOTSTRAPS)


def compare(root: Path) -> dict[str, float]:
    """Seconds of each step in this process, and its peak memory in MiB."""
    store, found = Store.open(str(root)), {}
    receipts = sorted(find_receipts(store, "scores").values(), key=lambda r: r.product)
    began = time.perf_counter()
    half = len(receipts) // 2
    sky, sample = (
        read_population(store, of, SCORES, MATCHING.columns, held_out=False)
        for of in (receipts[:half], receipts[half:])
    )
    found["read s"] = time.perf_counter() - began
    found["objects"] = float(len(sky))
    began = time.perf_counter()
    for name in SCORES:
        a, b = (side.scores[name][np.isfinite(side.scores[name])] for side in (sky, sample))
        compare_scalars(a, b, bootstraps=BOOTSTRAPS)
        permutation_p(a, b, permutations=BOOTSTRAPS)
    found["unmatched s"] = time.perf_counter() - began
    began = time.perf_counter()
    reasons: list[str] = []
    result = MatchedSamples(sky, {"sample": sample}, MATCHING).compare(reasons)
    if reasons:
        raise RuntimeError(f"nothing was compared: {reasons}")
    found["matched s"] = time.perf_counter() - began
    found["pairs"] = float(result["matched"]["sample"]["pairs"])
    found["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def run() -> Iterator[Figures | Findings]:
    """Each number of objects in a store and a process of its own."""
    done: dict[int, dict[str, float]] = {}
    for rows in ROWS:
        with scratch() as folder:
            lay_parts(folder, PARTS, 2 * rows // PARTS)
            words = [sys.executable, "-m", "benchmarks.compared", str(folder)]
            out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, timeout=3600).stdout
            done[rows] = json.loads(out)
    columns = tuple(done[ROWS[0]])
    yield Figures(
        f"Drawn scores of a sample against as many of the survey, {len(SCORES)} scores, {BOOTSTRAPS} bootstraps",
        columns,
        {f"{rows:,} a side": tuple(found[c] for c in columns) for rows, found in done.items()},
    )
    last = done[ROWS[-1]]
    seconds = last["read s"] + last["unmatched s"] + last["matched s"]
    yield Findings(f"asked of {ROWS[-1]:,} a side", (Finding("seconds", seconds, high=SECONDS),))


def main() -> None:
    """Compare what lies in a folder and print what it took, for the process that measures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compared", description=__doc__)
    parser.add_argument("root", type=Path)
    print(json.dumps(compare(parser.parse_args().root)))


if __name__ == "__main__":
    main()
