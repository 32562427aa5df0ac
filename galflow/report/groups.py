"""The ranking score by groups of objects, side by side: the layers of a survey, its fields, its seasons.

Groups are the values of a catalogue's column of the user's choice. The catalogue goes by column by column and file by
file; of each group a histogram and a few counts are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import matplotlib
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from galflow.catalog.files import each_file
from galflow.catalog.published import column_names
from galflow.catalog.ranking import ANOMALY
from galflow.report.plots import BLUE, GREY, ORANGE, STYLE, panels, svg
from galflow.scores.distributions import Histogram
from galflow.scores.fractions import Fraction
from galflow.scores.part_columns import floats
from galflow.storage.store import Store

TOP = 0.05
"""The table says which share of a group is among this share of all objects that score highest."""
MOST_GROUPS = 12
MOST_VALUES = 200
"""A column with more different values is no column of groups."""
NO_VALUE = "no value"
_RANK, _SIGMA = "anomaly_rank", f"{ANOMALY}_sigma"
_LINEAR = 10.0
"""The axis is linear up to so many sigmas and logarithmic beyond."""
_EDGES = np.concatenate([np.linspace(-10, 20, 3001), np.geomspace(20, 2000, 401)[1:]])
"""A median is right to 0.01 sigma."""
_TICKS = (-10.0, -5.0, 0.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


@dataclass
class Group:
    """What is counted of one group."""

    name: str
    scores: Histogram = field(default_factory=lambda: Histogram.empty(_EDGES))
    """Of the ranking score, in robust sigmas."""
    top: int = 0
    """How many are among the ``TOP`` of all objects."""

    @property
    def objects(self) -> int:
        """How many are ranked."""
        return int(self.scores.counts.sum())

    @property
    def share(self) -> Fraction:
        """Share that is among the ``TOP`` of all objects, with its 95% Wilson interval."""
        return Fraction.of(self.top, self.objects)

    def quantile(self, q: float) -> float:
        """Of the score, in sigmas, interpolated within a bin; the end of the bins for what lies beyond them."""
        wanted, below = q * self.objects, np.cumsum(self.scores.counts)
        place = int(np.searchsorted(below, wanted))
        if place == 0 or place > len(_EDGES) - 1:
            return float(_EDGES[0] if place == 0 else _EDGES[-1])
        within = (wanted - below[place - 1]) / max(1, self.scores.counts[place])
        return float(_EDGES[place - 1] + within * (_EDGES[place] - _EDGES[place - 1]))

    def joined(self, other: Group, name: str) -> Group:
        """Both as one."""
        return Group(name, self.scores.merge(other.scores), self.top + other.top)


@dataclass(frozen=True)
class Grouped:
    """The groups of a column, or why there are none."""

    column: str
    groups: tuple[Group, ...] = ()
    """The largest first; the smallest together at the end where there are too many."""
    level: float = math.nan
    """The score, in sigmas, from which on objects are among the ``TOP``."""
    reason: str | None = None


def group_scores(store: Store, catalog: str, column: str) -> Grouped:
    """The ranking score of the catalogue at key ``catalog`` by the values of ``column``."""
    known = column_names(store, catalog)
    if column not in known:
        return Grouped(column, reason=f"no tile's catalogue has a column {column!r}; there are {', '.join(known)}")
    ranked = sum(int(np.isfinite(floats(table, _RANK)).sum()) for table in each_file(store, catalog, [_RANK]))
    found: dict[str, Group] = {}
    level = math.inf
    for table in each_file(store, catalog, list(dict.fromkeys([column, _RANK, _SIGMA]))):
        rank, sigma = floats(table, _RANK), floats(table, _SIGMA)
        there = np.isfinite(rank) & np.isfinite(sigma)
        high = there & (rank <= TOP * ranked)
        level = min(level, float(sigma[high].min(initial=math.inf)))
        encoded = _encoded(table.column(column).filter(pa.array(there)))
        if encoded is None:
            kind = table.schema.field(column).type
            return Grouped(column, reason=f"its values are of type {kind}; groups are texts, numbers or flags")
        names, number = encoded
        if len(found.keys() | set(names)) > MOST_VALUES:
            return Grouped(column, reason=f"it has more than {MOST_VALUES} different values; give one of few")
        for i, name in enumerate(names):
            rows = number == i
            group = found.setdefault(name, Group(name))
            group.scores = group.scores.add(sigma[there][rows])
            group.top += int(np.count_nonzero(high[there][rows]))
    if not found:
        return Grouped(column, reason="no object was ranked")
    return Grouped(column, _few(list(found.values())), level)


def _encoded(values: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]] | None:
    """The different values as texts, and (n,) which of them each is; None for what is no text, number or flag."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_integer,
             pa.types.is_floating)  # fmt: skip
    if not any(test(kind) for test in tests):
        return None
    texts = pc.fill_null(pc.cast(pc.cast(values, kind), pa.string()), NO_VALUE)
    encoded = pa.chunked_array(texts).combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _few(groups: list[Group]) -> tuple[Group, ...]:
    """At most ``MOST_GROUPS``, the largest first, the others as one."""
    ordered = sorted(groups, key=lambda group: (-group.objects, group.name))
    if len(ordered) <= MOST_GROUPS:
        return tuple(ordered)
    shown, rest = ordered[: MOST_GROUPS - 1], ordered[MOST_GROUPS - 1 :]
    together = rest[0]
    for group in rest[1:]:
        together = together.joined(group, "")
    together.name = f"{len(rest)} other groups"
    return (*shown, together)


def group_plot(grouped: Grouped) -> bytes:
    """``group_figure`` as SVG."""
    return svg(group_figure(grouped))


def group_figure(grouped: Grouped) -> Figure:
    """The score's distribution in each group, one above the other on one axis; needs at least one group."""
    groups = grouped.groups
    low = min(-4.0, *(g.quantile(0.001) for g in groups))
    high = max(6.0, 1.15 * grouped.level, *(g.quantile(0.999) for g in groups))
    with matplotlib.rc_context(STYLE):
        figure, (axes,) = panels(1, 6.6, 0.75 + 0.5 * len(groups))
        axes.set_position((0.22, axes.get_position().y0, 0.76, axes.get_position().height))
        labels = [f"{_short(group.name)}\n({group.objects:,})" for group in groups]
        for i, group in enumerate(groups):
            _ridge(axes, group, len(groups) - 1 - i, grouped.level)
        axes.axvline(float(_along(grouped.level)), color=ORANGE, linewidth=1.0, linestyle="--")
        axes.set_xlim(float(_along(low)), float(_along(high * 1.1)))
        axes.set_ylim(-0.35, len(groups) - 0.1)
        axes.set_yticks([len(groups) - 1 - i for i in range(len(groups))], labels)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        ticks = [t for t in _TICKS if low <= t <= high * 1.1]
        axes.set_xticks([float(_along(t)) for t in ticks], [f"{t:g}" for t in ticks])
        axes.set_xlabel(f"{ANOMALY}, robust sigmas above the reference median")
        axes.set_title(f"by {grouped.column}; dashed: the run's top {TOP:.0%} lies to the right", loc="left")
        return figure


def _ridge(axes: Axes, group: Group, y: int, level: float) -> None:
    """The outline of a group's histogram on the line ``y``, its part above ``level`` orange; quartiles below."""
    step = 0.25 if group.objects > 2000 else 0.5 if group.objects > 200 else 1.0
    from_level = float(_along(level))  # where a bin begins, so that those above it are whole
    below, beyond = (math.ceil(abs(float(_along(end)) - from_level) / step) for end in (_EDGES[0], _EDGES[-1]))
    edges = from_level + step * np.arange(-below, beyond + 1)
    middle = _along((_EDGES[1:] + _EDGES[:-1]) / 2)
    counts = np.histogram(middle, edges, weights=group.scores.bins.astype(np.float64))[0]
    heights = 0.72 * counts / max(1.0, float(counts.max()))
    axes.stairs(y + heights, edges, baseline=y, fill=True, color=BLUE, alpha=0.35, linewidth=0)
    filled = np.flatnonzero(counts)
    if len(filled):
        inside = slice(filled[0], filled[-1] + 1)
        axes.stairs(y + heights[inside], edges[filled[0] : filled[-1] + 2], baseline=y, color=BLUE, linewidth=0.9)
    above = np.arange(len(counts)) >= below
    axes.stairs(np.where(above, y + heights, y), edges, baseline=y, fill=True, color=ORANGE, alpha=0.75, linewidth=0)
    quantiles = [float(_along(group.quantile(q))) for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
    axes.plot([quantiles[0], quantiles[-1]], [y - 0.1] * 2, color=GREY, linewidth=1.0)
    axes.plot(quantiles[1:4:2], [y - 0.1] * 2, color="#1f2937", linewidth=3.0, solid_capstyle="butt")
    axes.plot([quantiles[2]], [y - 0.1], marker="o", markersize=3.6, color="white", markeredgecolor="#1f2937")


def _along(sigma: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Where a score lies on the axis: itself up to ``_LINEAR`` on either side, logarithmic and as steep beyond."""
    values = np.asarray(sigma, dtype=np.float64)
    size = np.abs(values)
    beyond = _LINEAR * (1 + np.log(np.maximum(size, _LINEAR) / _LINEAR))
    return np.where(size <= _LINEAR, values, np.sign(values) * beyond)


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
