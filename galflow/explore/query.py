"""What is asked for: which rows of a catalogue, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from galflow.errors import SpecError

MOST_VERTICES = 500


class Cone(NamedTuple):
    """A circle on the sky, in degrees (ICRS)."""

    ra: float
    dec: float
    radius: float


@dataclass(frozen=True)
class Lasso:
    """What lies within a polygon that was drawn on a map of two columns."""

    x: str
    y: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not 3 <= len(self.points) <= MOST_VERTICES:
            raise SpecError(f"a polygon of {len(self.points)} points; draw one of 3 to {MOST_VERTICES}")


@dataclass(frozen=True)
class Selection:
    """Which rows; what is left out demands nothing."""

    where: str = ""
    """An expression on columns (galflow.spec.expressions)."""
    text: str = ""
    """Part of an object's name or id, or of its tile's name; upper and lower case are one."""
    cone: Cone | None = None
    lasso: Lasso | None = None
    label: str | None = None
    """A class that people gave."""


EVERYTHING = Selection()


@dataclass(frozen=True)
class Query:
    """Which rows, in which order."""

    selection: Selection = EVERYTHING
    order: str | None = None
    """Column to sort by; None: the order of the files. Missing values come last either way."""
    descending: bool = False
