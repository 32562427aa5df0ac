"""What is wrong with a survey's files, or with what a specification says of them, as it is told before any work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a specification or with a tile that headers, names and first rows show before any work.

    Faults of one field with one problem are one kind: where every tile has it the specification is refused, where some
    have it they are named and the run goes on.
    """

    field: str
    """Of the specification, such as "survey.options.zero_point_keyword"."""
    problem: str
    """The same words for every tile that has it."""
    mend: str
    file: str | None = None
    """URI of one file that shows it."""
    tile: str | None = None
    """Which tile has it; None: it concerns the whole specification."""
    refuses: bool = True
    """Whether it refuses the run where every tile has it; else it is only said."""

    def __str__(self) -> str:
        at = f" ({self.file})" if self.file else ""
        return f"{self.field}: {self.problem}{at}; {self.mend}"
