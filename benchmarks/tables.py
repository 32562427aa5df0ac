"""Two kinds of table that the benchmarks of the models fill: figures side by side, and findings beside what was asked.

Timings have their own (benchmarks.timing).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """A table of numbers and words: a row a case, in named columns."""

    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | str, ...]]

    def text(self) -> str:
        """The table as aligned text."""
        width = max(map(len, self.rows))
        spans = [max(len(c), 9) for c in self.columns]
        head = "  ".join(f"{c:>{span}}" for c, span in zip(self.columns, spans, strict=True))
        lines = [self.title, f"  {'':{width}}  {head}"]
        for name, values in self.rows.items():
            shown = [v if isinstance(v, str) else f"{v:.3f}" for v in values]
            cells = "  ".join(f"{v:>{span}}" for v, span in zip(shown, spans, strict=True))
            lines.append(f"  {name:{width}}  {cells}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        rows = {name: dict(zip(self.columns, values, strict=True)) for name, values in self.rows.items()}
        return {"title": self.title, "rows": rows}


@dataclass(frozen=True)
class Finding:
    """One number and what was asked of it."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool:
        """Whether the value lies within the bounds; True where none are."""
        return (self.low is None or self.value >= self.low) and (self.high is None or self.value <= self.high)

    def text(self) -> str:
        """The bounds in words."""
        limits = ((">=", self.low), ("<=", self.high))
        bounds = " and ".join(f"{sign} {limit:g}" for sign, limit in limits if limit is not None)
        return bounds if self.met else f"{bounds}   NOT MET"


@dataclass(frozen=True)
class Findings:
    """A table of them."""

    title: str
    rows: tuple[Finding, ...]

    def text(self) -> str:
        """The table as aligned text."""
        width = max(len(row.name) for row in self.rows)
        return "\n".join([self.title, *(f"  {r.name:{width}}  {r.value:9.4f}   {r.text()}" for r in self.rows)])

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        rows = {r.name: {"value": round(r.value, 5), "low": r.low, "high": r.high} for r in self.rows}
        return {"title": self.title, "rows": rows}
