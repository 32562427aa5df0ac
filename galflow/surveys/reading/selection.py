"""Which rows of a catalogue a selection takes, and why the others are left out, counted by reason.

It looks at columns alone. Which rows are stars by their size in the image is told by whoever has measured it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa

from galflow.spec.selection import SelectionSpec
from galflow.surveys.reading.regions import inside
from galflow.surveys.reading.rule_values import RuleError
from galflow.surveys.reading.rules import judge

NO_POSITION, BEYOND = "no position on the sky", "outside the regions"
STAR, NO_STAR = "a star by its size", "no star by its size"
_COUNTS = b"galflow_left_out"
"""Schema metadata: JSON of what was left out of a survey-wide catalogue before its rows were given to tiles."""


@dataclass(frozen=True)
class LeftOut:
    """How many rows a catalogue had, and how many of them were left out for which reason. Counts merge in any order."""

    rows: int = 0
    reasons: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Reason -> rows of which it is the first that holds, and rows of which it holds at all; in the order applied."""

    @property
    def total(self) -> int:
        """Rows that were left out."""
        return sum(first for first, _ in self.reasons.values())

    def add(self, other: LeftOut) -> LeftOut:
        """Both together."""
        names = _merged(list(self.reasons), list(other.reasons))
        pairs = {name: (self.reasons.get(name, (0, 0)), other.reasons.get(name, (0, 0))) for name in names}
        return LeftOut(self.rows + other.rows, {name: (a[0] + b[0], a[1] + b[1]) for name, (a, b) in pairs.items()})

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        reasons = [{"reason": name, "objects": first, "alone": alone} for name, (first, alone) in self.reasons.items()]
        return {"rows": self.rows, "selected": self.rows - self.total, "left_out": reasons}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """What ``to_json`` gave."""
        return cls(plain["rows"], {r["reason"]: (r["objects"], r["alone"]) for r in plain["left_out"]})


def _merged(names: list[str], others: list[str]) -> list[str]:
    """All names, each once; one that only ``others`` have stands before what follows it there."""
    found = list(names)
    for i, name in enumerate(others):
        if name not in found:
            after = next((found.index(later) for later in others[i + 1 :] if later in found), len(found))
            found.insert(after, name)
    return found


class Sieve:
    """Lets rows through; the others by the first reason that leaves them out, and by each reason alone."""

    def __init__(self, rows: int) -> None:
        self.kept = np.ones(rows, bool)
        """(N,) bool: the rows that no reason has left out until now."""
        self._first: dict[str, int] = {}
        self._alone: dict[str, np.ndarray] = {}

    def leave_out(self, reason: str, rows: np.ndarray) -> None:
        """Leave out these rows, (N,) bool."""
        before = self._alone.get(reason)
        self._alone[reason] = rows if before is None else before | rows
        self._first[reason] = self._first.get(reason, 0) + int(np.count_nonzero(rows & self.kept))
        self.kept &= ~rows

    @property
    def left_out(self) -> LeftOut:
        """What was left out until now."""
        alone = {reason: int(np.count_nonzero(rows)) for reason, rows in self._alone.items()}
        return LeftOut(len(self.kept), {reason: (self._first[reason], alone[reason]) for reason in alone})


def sieve(table: pa.Table, selection: SelectionSpec) -> Sieve:
    """What regions and rules let through of a table with ra_deg and dec_deg. RuleError where a rule does not fit it.

    A row without a position is in no region, and a row that lacks a value that a rule needs does not fulfil it: such
    rows are counted apart from those that are elsewhere, or fail the rule.
    """
    found = Sieve(len(table))
    if selection.regions:
        ra, dec = (
            np.array(table.column(name).to_numpy(zero_copy_only=False), np.float64) for name in ("ra_deg", "dec_deg")
        )
        nowhere = ~(np.isfinite(ra) & np.isfinite(dec))
        if nowhere.any():
            found.leave_out(NO_POSITION, nowhere)
        found.leave_out(BEYOND, ~nowhere & ~inside(selection.regions, ra, dec))
    for rule in selection.where:
        verdict = judge(rule.expression, table)
        fails = ~verdict.true
        for column, rows in verdict.missing.items():
            found.leave_out(f"{column} is missing" if column else f"{rule.reason}: no number comes out", rows)
            fails = fails & ~rows
        found.leave_out(rule.reason, fails)
    return found


def selected(table: pa.Table, selection: SelectionSpec | None) -> tuple[pa.Table, LeftOut | None]:
    """The rows that regions and rules let through, and what they left out; all, and None, without a selection."""
    if selection is None:
        return table, None
    found = sieve(table, selection)
    return table.filter(pa.array(found.kept)), found.left_out


def rule_faults(selection: SelectionSpec, schema: pa.Schema) -> Iterator[tuple[str, RuleError]]:
    """(field of the specification, what is wrong) of each rule that does not fit a catalogue of these columns."""
    empty = schema.empty_table()
    for i, rule in enumerate(selection.where):
        try:
            judge(rule.expression, empty)
        except RuleError as error:
            yield f"where[{i}]", error


def with_left_out(table: pa.Table, left_out: LeftOut) -> pa.Table:
    """The table with what was left out before, which travels with it until the run has recorded it."""
    metadata = dict(table.schema.metadata or {}) | {_COUNTS: json.dumps(left_out.to_json()).encode()}
    return table.replace_schema_metadata(metadata)


def left_out_of(table: pa.Table) -> LeftOut | None:
    """What was left out before; None: nothing is said of it."""
    stored = (table.schema.metadata or {}).get(_COUNTS)
    return None if stored is None else LeftOut.from_json(json.loads(stored))


def without_left_out(table: pa.Table) -> pa.Table:
    """The table as it is published."""
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != _COUNTS}
    return table.replace_schema_metadata(metadata or None)


def together(counts: Iterable[LeftOut]) -> LeftOut:
    """All counts in one."""
    whole = LeftOut()
    for one in counts:
        whole = whole.add(one)
    return whole
