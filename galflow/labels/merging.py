"""What many labels of one object mean together, and which object of a run each of them is of.

A person's latest word counts, and nobody's replaces another's: an object's class is what strictly more people say than
anything else, and where there is no such class it is disputed. A label follows its object: by its id, or, where a
release gave its objects new ids, by its position. Nothing is written here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
from scipy.spatial import cKDTree

from galflow.cutouts.matching import chord
from galflow.labels.records import DISPUTED, Label
from galflow.surveys.reading.positions import separation_arcsec, unit_vectors

SAME_ID_ARCSEC = 30.0
"""An id that lies farther away than this from where it was labelled names another object now."""
TABLE = pa.schema(
    [
        ("object_id", pa.int64()),
        ("label", pa.string()),
        ("label_by", pa.string()),
        ("label_at", pa.timestamp("us", "UTC")),
        ("label_agreement", pa.float64()),
        ("label_votes", pa.string()),
    ]
)
"""Of ``as_table``; ids may be uint64, too."""


@dataclass(frozen=True)
class Judgement:
    """What people say of one object."""

    object_id: int
    """In the run that was asked for."""
    votes: Mapping[str, Label]
    """Person -> their latest word; nobody who took theirs back."""

    @property
    def counts(self) -> Counter[str]:
        """Class -> how many people say so."""
        return Counter(str(vote.label) for vote in self.votes.values())

    @property
    def label(self) -> str:
        """What strictly more people say than anything else; else ``DISPUTED``."""
        (first, most), *rest = self.counts.most_common(2)
        return DISPUTED if rest and rest[0][1] == most else first

    @property
    def by(self) -> tuple[str, ...]:
        """Who says so; all, where they disagree."""
        return tuple(sorted(p for p, vote in self.votes.items() if self.label in (vote.label, DISPUTED)))

    @property
    def at(self) -> datetime:
        """When one of these last did."""
        return max(self.votes[person].at for person in self.by)

    @property
    def agreement(self) -> float:
        """Share of the people who labelled it that say what most say."""
        return max(self.counts.values()) / len(self.votes)

    @property
    def told(self) -> str:
        """Everybody's word, as "interesting: ann, bob; normal: cy"."""
        people: dict[str, list[str]] = {}
        for person, vote in sorted(self.votes.items()):
            people.setdefault(str(vote.label), []).append(person)
        return "; ".join(f"{label}: {', '.join(who)}" for label, who in sorted(people.items()))


@dataclass(eq=False)
class Placement:
    """Finds the objects of a run that labels are of, a part of its catalogue after another."""

    labels: Sequence[Label]
    radius_arcsec: float
    """Within which a position is the same object: that of the survey's joining."""
    _nearest: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)
    """Labelled object -> how far off its best match is, which is -1 where the id tells; and that one's id."""

    def __post_init__(self) -> None:
        first = {(label.release, label.object_id): label for label in self.labels}
        self._names, known = list(first), list(first.values())
        self._ids = np.array([label.object_id for label in known], dtype=object)
        self._ra, self._dec = (
            np.array([np.nan if v is None else v for v in (getattr(label, axis) for label in known)], np.float64)
            for axis in ("ra", "dec")
        )

    def add(self, object_id: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> None:
        """See the primary rows of some of the run's objects: ids, and positions in degrees, NaN where unknown."""
        if not len(self._names) or not len(object_id):
            return
        order = np.argsort(object_id)
        ordered = object_id[order]
        least, most = int(ordered[0]), int(ordered[-1])
        for number in np.flatnonzero([least <= i <= most for i in self._ids]).tolist():
            # A whole number of the right type: int64 and uint64 compared would go through floats.
            at = order[np.searchsorted(ordered, ordered.dtype.type(self._ids[number]))]
            if int(object_id[at]) == self._ids[number] and self._is_near(number, ra[at], dec[at]):
                self._nearest[self._names[number]] = (-1.0, int(object_id[at]))
        self._by_position(object_id, ra, dec)

    def _is_near(self, number: int, ra: float, dec: float) -> bool:
        apart = float(separation_arcsec(self._ra[number], self._dec[number], ra, dec))
        return not apart > SAME_ID_ARCSEC  # nor where a position is unknown

    def _by_position(self, object_id: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> None:
        placed, here = np.flatnonzero(np.isfinite(self._ra)), np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        if not len(placed) or not len(here):
            return
        tree = cKDTree(unit_vectors(self._ra[placed], self._dec[placed]))
        limit = float(chord(self.radius_arcsec))
        distance, found = tree.query(unit_vectors(ra[here], dec[here]), distance_upper_bound=limit)
        for row in np.flatnonzero(np.isfinite(distance)):
            name = self._names[placed[found[row]]]
            if distance[row] < self._nearest.get(name, (np.inf, 0))[0]:
                self._nearest[name] = (float(distance[row]), int(object_id[here[row]]))

    def object_of(self, label: Label) -> int | None:
        """Id in the run of the object that a label is of; None if the run has it not."""
        found = self._nearest.get((label.release, label.object_id))
        return None if found is None else found[1]

    def judgements(self) -> dict[int, Judgement]:
        """Object of the run -> what people say of it, in the order in which they were first labelled."""
        return merged((found, label) for label in self.labels if (found := self.object_of(label)) is not None)

    @property
    def elsewhere(self) -> int:
        """Labelled objects that the run has not; their labels stay in the store."""
        return len(self._names) - len(self._nearest)


def merged(labels: Iterable[tuple[int, Label]]) -> dict[int, Judgement]:
    """Object -> judgement, of (object, label) in the order of time; objects of which nobody says anything are none."""
    votes: dict[int, dict[str, Label]] = {}
    for object_id, label in labels:
        votes.setdefault(object_id, {})[label.by] = label
    standing = ((o, {p: v for p, v in people.items() if v.label is not None}) for o, people in votes.items())
    return {o: Judgement(o, people) for o, people in standing if people}


def as_table(judgements: Iterable[Judgement], id_type: pa.DataType | None = None) -> pa.Table:
    """A row an object: columns of ``TABLE``."""
    found = list(judgements)
    schema = TABLE.set(0, pa.field("object_id", id_type or pa.int64()))
    return pa.table(
        [
            [j.object_id for j in found],
            [j.label for j in found],
            [", ".join(j.by) for j in found],
            [j.at for j in found],
            [j.agreement for j in found],
            [j.told for j in found],
        ],
        schema=schema,
    )


def counts_of(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Class -> objects, the largest first."""
    return dict(Counter(j.label for j in judgements).most_common())
