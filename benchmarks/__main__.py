"""``python -m benchmarks [NAME ...]``: run the benchmarks named and print their tables.

Without a name those of the machinery run (twenty minutes on two idle cores); ``models`` stands for those that train,
which take two hours and more.

The tables also go to ``benchmarks/results/<name>.json`` with the machine they were taken on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from benchmarks import (
    allocator,
    closed_loop,
    compared,
    compiled,
    contamination,
    costs,
    cutana,
    defects,
    densities,
    digits,
    display_stretch,
    emulator,
    explorer,
    ffjord,
    gan25,
    gan_quality,
    gan_scores,
    ingest,
    ingest_curve,
    labelled,
    labelling,
    local_security,
    measured,
    mergers,
    neighbours,
    pixel_draws,
    ranges,
    ranked_million,
    ranking,
    report_site,
    sampling,
    scale,
    scoring,
    similar,
    simulations,
    training,
    vqvae2,
)
from benchmarks.timing import REPEATS

RESULTS = Path(__file__).with_name("results")


class Printed(Protocol):
    """What a benchmark finds: a table, as text and as plain values."""

    def text(self) -> str:
        """Aligned text."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""


MACHINERY: dict[str, Callable[[], Iterator[Printed]]] = {
    "ingest": ingest.run,
    "cutana": cutana.run,
    "ingest_curve": ingest_curve.run,
    "scoring": scoring.run,
    "training": training.run,
    "allocator": allocator.run,
    "costs": costs.run,
    "defects": defects.run,
    "compiled": compiled.run,
    "local_security": local_security.run,
    "measured": measured.run,
    "ranges": ranges.run,
    "ranked_million": ranked_million.run,
    "compared": compared.run,
    "similar": similar.run,
}
MODELS: dict[str, Callable[[], Iterator[Printed]]] = {
    "sampling": sampling.run,
    "densities": densities.run,
    "digits": digits.run,
    "ffjord": ffjord.run,
    "gan25": gan25.run,
    "gan_quality": gan_quality.run,
    "gan_scores": gan_scores.run,
    "pixel_draws": pixel_draws.run,
    "vqvae2": vqvae2.run,
    "emulator": emulator.run,
    "closed_loop": closed_loop.run,
    "labelled": labelled.run,
    "labelling": labelling.run,
    "mergers": mergers.run,
    "display_stretch": display_stretch.run,
    "ranking": ranking.run,
    "simulations": simulations.run,
    "contamination": contamination.run,
    "neighbours": neighbours.run,
}
LONG: dict[str, Callable[[], Iterator[Printed]]] = {
    "scale": scale.run,
    "explorer": explorer.run,
    "report_site": report_site.run,
}
"""Of the machinery too, but up to an hour and 20 GB of disk."""
BENCHMARKS = MACHINERY | LONG | MODELS
PACKAGES = ("numpy", "torch", "zarr", "numcodecs", "astropy")


def machine() -> dict[str, object]:
    """What the numbers depend on beside the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}; models: {', '.join(MODELS)}; by default {', '.join(MACHINERY)}",
    )  # fmt: skip
    names = parser.parse_args().names or list(MACHINERY)
    names = [each for name in names for each in (MODELS if name == "models" else (name,))]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no benchmark; there are {', '.join(BENCHMARKS)}")
    described = machine()
    print(", ".join(f"{key} {value}" for key, value in described.items()))
    print(f"medians of {REPEATS}, taken in turns; a busy machine shows as wall time above cpu time\n")
    for name in names:
        tables = []
        for table in BENCHMARKS[name]():
            tables.append(table.to_json())
            print(table.text(), end="\n\n", flush=True)
        content = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": described,
            "tables": tables,
        }
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
