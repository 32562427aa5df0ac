"""Labelling a published run: what people said of its objects, what follows for the others, and what is shown next.

One object of this class serves a notebook or all people at one service; others may label the same run elsewhere at the
same time, and what they say is seen at the next question. Labels stand in the store, never here alone.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.catalog.files import read_columns_of
from galflow.errors import SpecError
from galflow.labels.merging import Judgement, as_table, counts_of, merged
from galflow.labels.placing import place, radius_of
from galflow.labels.records import CLASSES, DISPUTED, INTERESTING, Label, LabelBook, now, require_class, require_person
from galflow.labels.reranking import Gain, Reranked
from galflow.runs.candidates import MOST, RANK, Candidates, catalog_files
from galflow.spec.run import parse_spec
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

PROBABILITY = "probability"


class Labelling:
    """The labels of one run's objects. Threads may share it.

    ``most``: how many of the objects that the run ranks first are ranked anew and shown; labelled ones come besides.
    """

    def __init__(self, store: Store, manifest: RunManifest, most: int = MOST) -> None:
        spec = parse_spec(manifest.specification)
        self.store, self.manifest, self.release = store, manifest, spec.survey.release
        self.book = LabelBook(store, spec.survey.survey_name)
        self._spec, self._lock = spec, threading.RLock()
        self._candidates = Candidates.first(store, spec, manifest, most)
        self._placed: dict[tuple[str, int], int | None] = {}
        """(Release, id there) -> id in this run; None: the run has no such object."""
        self._shown: dict[str, tuple[int, ...]] = {}
        """Person -> what they were shown last, which nobody else is shown meanwhile."""
        self._labels: list[Label] = []
        self.judgements: dict[int, Judgement] = {}
        self.refresh()

    def refresh(self) -> dict[int, Judgement]:
        """Object -> what people say of it by now, in the order in which they first did."""
        with self._lock:
            labels = self.book.read()
            if labels != self._labels:
                self._place(labels)
                of_run = ((self._placed[label.release, label.object_id], label) for label in labels)
                self.judgements = merged((found, label) for found, label in of_run if found is not None)
                self._candidates = self._candidates.with_objects(self.judgements)
                self._labels = labels
            return self.judgements

    def _place(self, labels: Sequence[Label]) -> None:
        new = [label for label in labels if (label.release, label.object_id) not in self._placed]
        for label in new:
            if label.release == self.release and label.object_id in self._candidates.row_of:
                self._placed[label.release, label.object_id] = label.object_id
        if far := [label for label in new if (label.release, label.object_id) not in self._placed]:
            radius = radius_of(self.store, self._spec.join, self._candidates_cutouts())
            found = place(far, self.store, catalog_files(self.store, self.manifest), radius)
            self._placed |= {(label.release, label.object_id): found.object_of(label) for label in far}

    def _candidates_cutouts(self) -> str:
        first = catalog_files(self.store, self.manifest)[0]
        return str(read_columns_of(self.store, first, ["cutout"]).column("cutout")[0].as_py())

    def label(self, ids: Sequence[int], label: str | None, by: str | None = None, note: str = "") -> list[Label]:
        """Say what these objects are, in one act; None takes back what one said. SpecError for an unknown object."""
        person, given, at = require_person(by), require_class(label), now()
        with self._lock:
            self._candidates = self._candidates.with_objects(ids)
            if unknown := [i for i in ids if i not in self._candidates.row_of]:
                raise SpecError(f"run {self.manifest.run} has no object {unknown[0]}; nothing was labelled")
            table = self._candidates.table
            places = [table.slice(self._candidates.row_of[i], 1).to_pylist()[0] for i in ids]
        said = [
            Label(
                object_id=i,
                label=given,
                by=person,
                at=at,
                survey=self.book.survey,
                release=self.release,
                run=self.manifest.run,
                ra=_known(found["ra"]),
                dec=_known(found["dec"]),
                note=note,
            )
            for i, found in zip(ids, places, strict=True)
        ]
        self.book.add(said)  # without the lock: a store is slow, and puts do not disturb each other
        self.refresh()
        return said

    def undo(self, by: str | None = None) -> list[int]:
        """Take back what a person last said and has not taken back; the objects, none if there is nothing."""
        person = require_person(by)
        with self._lock:
            self.refresh()
            mine: dict[int, Label] = {label.object_id: label for label in self._labels if label.by == person}
            standing = [label for label in mine.values() if label.label is not None and label.run == self.manifest.run]
            last = max((label.at for label in standing), default=None)
            ids = [label.object_id for label in standing if label.at == last]
        if ids:
            self.label(ids, None, person)
        return ids

    @property
    def classes(self) -> list[str]:
        """Those that everybody is offered, and whatever else people said."""
        return list(dict.fromkeys([*CLASSES, *sorted({str(label.label) for label in self._labels if label.label})]))

    @property
    def counts(self) -> dict[str, int]:
        """Class -> objects, the most frequent first."""
        return counts_of(self.judgements.values())

    @property
    def people(self) -> list[str]:
        """Who labelled."""
        return sorted({person for judgement in self.judgements.values() for person in judgement.votes})

    def probabilities(self, ids: Sequence[int], target: str = INTERESTING) -> list[float | None]:
        """How probable it is that each of these candidates is ``target``; None: the labels do not tell yet."""
        found = self.reranked(target).probability
        return [None if found is None else float(found[self._candidates.row_of[i]]) for i in ids]

    def reranked(self, target: str = INTERESTING) -> Reranked:
        """The candidates by what people call ``target`` and what they call otherwise."""
        with self._lock:
            row_of, scaled = self._candidates.row_of, self._candidates.scaled
            told = {row_of[i]: j.label == target for i, j in self.judgements.items() if j.label != DISPUTED}
        return Reranked(scaled, told)

    def next_objects(self, by: str | None = None, n: int = 1, target: str = INTERESTING) -> list[int]:
        """The ``n`` objects to show a person next: none that anybody labelled, or that somebody else is looking at."""
        person = require_person(by)
        with self._lock:
            self.refresh()
            ids = self._candidates.ids
            others = [i for who, shown in self._shown.items() if who != person for i in shown]
            hidden = np.isin(ids, np.array([*self.judgements, *others], dtype=ids.dtype))
            rows = self.reranked(target).next_rows(n, hidden, len(self.judgements))
            self._shown[person] = tuple(int(ids[row]) for row in rows)
            return list(self._shown[person])

    def gain(self, target: str = INTERESTING) -> Gain:
        """What labelling found so far, beside the run's own ranking."""
        return Gain.of(self.reranked(target))

    def table(self) -> pa.Table:
        """A row a labelled object: what galflow.labels.merging.TABLE has, position and rank beside."""
        with self._lock:
            found = as_table(self.judgements.values(), self._candidates.table.schema.field("object_id").type)
            rows = pa.array([self._candidates.row_of[i] for i in self.judgements], pa.int64())
            places = self._candidates.table.take(rows)
        for number, name in enumerate(("ra", "dec", RANK)):
            found = found.add_column(1 + number, name, places.column(name))
        return found

    def ranked_anew(self, n: int = 50, target: str = INTERESTING) -> pa.Table:
        """The ``n`` candidates that come first by the labels: id, position, probability, label, and the run's rank."""
        with self._lock:
            self.refresh()
            again, table = self.reranked(target), self._candidates.table
        rows = again.order[:n]
        found = table.take(pa.array(rows)).select(["object_id", "ra", "dec", RANK])
        value = np.full(len(again.scaled), np.nan) if again.probability is None else again.probability
        chance = pa.array(value[rows], pa.float64(), mask=~np.isfinite(value[rows]))
        words = [j.label if (j := self.judgements.get(i)) else None for i in found.column("object_id").to_pylist()]
        return found.append_column(PROBABILITY, chance).append_column("label", pa.array(words, pa.string()))


def _known(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
