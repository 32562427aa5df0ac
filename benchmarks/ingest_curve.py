"""What cutting costs with the number of objects of one tile: whole processes of `galflow cut`, time and peak memory.

The tile is one band of 10,000 x 10,000 pixels, its cutouts 32 x 32: time should grow as the objects do once there are
many, and memory not at all beyond the tile, its catalogue and some shards.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cutana import Processes, make_field, require_all, timed
from benchmarks.scratch import scratch

OBJECTS = (1_000, 10_000, 100_000, 1_000_000)
SIDE = 10_000
SIZE = 32


def run() -> Iterator[Processes]:
    """One table: a row a number of objects."""
    yield measure(OBJECTS, SIDE)


def measure(numbers: tuple[int, ...], side: int) -> Processes:
    """Each number of objects once, the smallest first; all on tiles of the same size."""
    command = str(Path(sys.executable).parent / "galflow")
    rows = {}
    with scratch() as work:
        for objects in numbers:
            folder = work / "tile"
            field = make_field(folder, "", ("r",), side, objects)
            specification = json.loads((folder / "spec.json").read_text())
            specification["cutouts"]["size"] = SIZE
            (folder / "spec.json").write_text(json.dumps(specification))
            os.sync()
            wall, cpu, peak = timed([command, "cut", str(folder / "spec.json")])
            require_all(field, "galflow")
            rows[f"{objects:,} objects"] = {
                "wall s": round(wall, 2),
                "cpu s": round(cpu, 2),
                "us/object": round(1e6 * wall / objects, 1),
                "objects/s": round(objects / wall),
                "peak MB": round(peak),
                "plane MB": round(side * side * 4 / 2**20),
            }
            shutil.rmtree(folder)
    return Processes(f"galflow cut, one band of {side:,} x {side:,}, cutouts of {SIZE} px", rows)
