"""Median of five, taken in turns (A B C, B C A, ...), so that whatever drifts on the machine drifts for all alike.

Wall-clock time decides; processor time stands beside it and tells a busy machine from slow code.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

REPEATS = 5


@dataclass(frozen=True)
class Timing:
    """The repeats of one case."""

    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    """Of all threads of this process."""

    @property
    def wall_ms(self) -> float:
        """Median, in milliseconds."""
        return 1e3 * statistics.median(self.wall_s)

    @property
    def cpu_ms(self) -> float:
        """Median, in milliseconds."""
        return 1e3 * statistics.median(self.cpu_s)


@dataclass(frozen=True)
class Row:
    """One case beside the one it is measured against."""

    name: str
    timing: Timing
    ratio: float
    """Median of the wall time over that of the base case."""
    cpu_ratio: float


@dataclass(frozen=True)
class Table:
    """Cases that did the same work."""

    title: str
    base: str
    rows: tuple[Row, ...]
    objects: int | None = None
    """How many each case worked on; None: that is no measure of it."""

    def text(self) -> str:
        """The table as aligned text."""
        width = max(len(row.name) for row in self.rows)
        lines = [self.title, f"  {'':{width}}   wall ms    cpu ms   wall/{self.base}   cpu/{self.base}"]
        for row in self.rows:
            wall, cpu = row.timing.wall_ms, row.timing.cpu_ms
            gap = len(self.base) + 5
            rate = "" if self.objects is None else f"   {1e3 * self.objects / wall:9,.0f} objects/s"
            lines.append(
                f"  {row.name:{width}}  {wall:8.1f}  {cpu:8.1f}   {row.ratio:{gap}.2f}   {row.cpu_ratio:{gap - 1}.2f}"
                + rate
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain values, the single repeats included."""
        rows = {
            row.name: {
                "wall_ms": round(row.timing.wall_ms, 2),
                "cpu_ms": round(row.timing.cpu_ms, 2),
                "ratio": round(row.ratio, 3),
                "cpu_ratio": round(row.cpu_ratio, 3),
                "wall_ms_each": [round(1e3 * s, 2) for s in row.timing.wall_s],
            }
            for row in self.rows
        }
        said = {} if self.objects is None else {"objects": self.objects}
        return {"title": self.title, "base": self.base, "rows": rows, **said}


def interleaved(
    cases: Mapping[str, Callable[[], object]], *, between: Callable[[], None] = lambda: None, repeats: int = REPEATS
) -> dict[str, Timing]:
    """Each case once to warm up, then ``repeats`` rounds of all cases, each round beginning with the next one.

    ``between`` runs, untimed, before every case (it removes what the last one wrote). Garbage is collected before each
    case, not within it.
    """
    wall: dict[str, list[float]] = {name: [] for name in cases}
    cpu: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for turn in range(repeats + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            between()
            gc.collect()
            started, started_cpu = time.perf_counter(), time.process_time()
            cases[name]()
            seconds, seconds_cpu = time.perf_counter() - started, time.process_time() - started_cpu
            if turn > 0:
                wall[name].append(seconds)
                cpu[name].append(seconds_cpu)
    return {name: Timing(tuple(wall[name]), tuple(cpu[name])) for name in cases}


def table(
    title: str,
    base: str,
    timings: Mapping[str, Timing],
    names: Sequence[str] | None = None,
    objects: int | None = None,
) -> Table:
    """The cases in order, each beside ``base``."""
    floor = timings[base]
    rows = [
        Row(name, timings[name], timings[name].wall_ms / floor.wall_ms, timings[name].cpu_ms / floor.cpu_ms)
        for name in names or timings
    ]
    return Table(title, base, tuple(rows), objects)
