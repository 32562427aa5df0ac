"""What pages have to know of all rows before they ask for any: classes, tiles, flags, how scores are distributed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from galflow.explore.database import TABLE
from galflow.explore.rows import Rows
from galflow.explore.sky import RA, STEP, field_begins

_LOWEST, _HIGHEST, _STEP = -10.0, 40.0, 0.25
"""Of scores in sigmas: what lies beyond is counted at the ends."""
_SIGMA = "_sigma"


@dataclass(frozen=True)
class Described:
    """Facts of a whole catalogue."""

    objects: int
    """Primary rows."""
    classes: list[str]
    """Of the triage."""
    tiles: list[str]
    flags: int
    """All bits that any row has."""
    scores: list[str]
    """Columns of scores in sigmas, what ranks first."""
    edges: list[float]
    counts: dict[str, list[int]]
    """Score -> rows below the first edge, between edges, and above the last."""
    west: float
    """Right ascension in degrees at which the objects' field begins, of one that crosses 0 more than 180; else 0."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Described:
        """The inverse of ``to_json``."""
        return cls(**value)


def describe(rows: Rows) -> Described:
    """Go through all rows, a few columns at a time."""
    columns = rows.columns
    names = [n for n, c in columns.items() if n.endswith(_SIGMA) and c.value == "float"]
    names.sort(key=lambda name: name != f"anomaly_score{_SIGMA}")
    edges = np.arange(_LOWEST, _HIGHEST + _STEP / 2, _STEP)
    primary = f"SELECT count(*) FILTER ({columns['is_primary'].sql}) AS n FROM {TABLE}"
    objects = rows.masks.arrow(primary).to_pylist()[0]["n"] if "is_primary" in columns else rows.count
    bits = 0
    if "flags" in columns:
        bits = rows.masks.arrow(f"SELECT bit_or({columns['flags'].sql}) AS n FROM {TABLE}").to_pylist()[0]["n"] or 0
    counts = {name: _histogram(rows, name, len(edges) + 1) for name in names}
    classes, tiles = _present(rows, "triage"), _present(rows, "tile")
    return Described(objects, classes, tiles, int(bits), names, edges.round(6).tolist(), counts, _west(rows))


def _present(rows: Rows, name: str) -> list[str]:
    if name not in rows.columns:
        return []
    column = rows.columns[name].sql
    found = rows.masks.arrow(f"SELECT DISTINCT {column} AS text FROM {TABLE} WHERE {column} <> '' ORDER BY 1")
    texts: list[str] = found.column("text").to_pylist()
    return texts


def _west(rows: Rows) -> float:
    if RA not in rows.columns or rows.columns[RA].value != "float":
        return 0.0
    ra = rows.columns[RA].sql
    place = f"CAST(floor({ra} / $step) AS INTEGER)"
    sql = f"SELECT DISTINCT {place} AS bin FROM {TABLE} WHERE {ra} >= 0 AND {ra} < 360"
    return field_begins(rows.masks.arrow(sql, {"step": STEP}).column("bin").to_numpy())


def _histogram(rows: Rows, name: str, bins: int) -> list[int]:
    column = rows.columns[name].sql
    # Compared before it is cast: a score may be larger than any integer.
    place = f"floor((least(greatest({column}, $low), $high) - $lowest) / $step)"
    limits = {"lowest": _LOWEST, "low": _LOWEST - _STEP, "high": _HIGHEST + _STEP / 2, "step": _STEP}
    sql = f"SELECT CAST({place} AS INTEGER) + 1 AS bin, count(*) AS n FROM {TABLE} WHERE {column} IS NOT NULL"
    found = rows.masks.arrow(f"{sql} GROUP BY bin", limits)
    counts = np.zeros(bins, np.int64)
    np.add.at(counts, np.clip(found.column("bin").to_numpy(), 0, bins - 1), found.column("n").to_numpy())
    return [int(n) for n in counts]
