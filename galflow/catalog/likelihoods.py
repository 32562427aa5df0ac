"""The likelihood catalogue: a row for each galaxy and model, of the survey and of every comparison sample alike.

So a likelihood stands beside its correction for complexity, its typicality, its ratio to a background and the cells in
which it was compared, and whoever reads the table needs no column named after a model. It has what a model states as a
log-density; bounds, such as a VAE's, are in the catalogues, for they are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from galflow.catalog.own_columns import Column, identity_columns, last_columns
from galflow.catalog.published_table import PublishedTable, SourcePart
from galflow.compare.cell_members import CELL, MATCHED, PART, ROW, SAMPLE
from galflow.cutouts.flags import has_flag
from galflow.cutouts.observed_shares import INCOMPLETE
from galflow.models.base import Density, find_model
from galflow.scores.part_columns import SOURCE_NAME
from galflow.scores.score import LIKELIHOODS, ScoreColumn
from galflow.spec.run import RunSpec
from galflow.storage.store import Store
from galflow.training.corrected_likelihood import COMPLEXITY, TYPICALITY

PIXELS, LATENTS = "pixels", "latents"
NOISE_MISFIT = "noise_misfit"
_KEPT = ("object_id", SOURCE_NAME, "ra", "dec", "survey", "release", "tile", "row", "is_primary", "split")
_NUMBERS = (
    Column("loglike", pa.float64(), "log-likelihood of the object under the model, in nats, as density_of says: of its "
           "observed pixels, or of its latents", ucd="stat.likelihood"),
    Column("bpd", pa.float64(), "negative log-likelihood per observed dimension; null of latents", "bit",
           "stat.likelihood"),
    Column("llr", pa.float64(), "log-likelihood of the model over that of background, of the same pixels, in nats; "
           "positive favours the model", ucd="stat.likelihood;arith.ratio"),
    Column(COMPLEXITY, pa.float64(), "bits per observed dimension beyond those that lossless compression needs; higher "
           "is more anomalous", "bit", "stat.value"),
    Column(TYPICALITY, pa.float64(), "distance of bpd from its mean over held-out objects of the survey; higher is "
           "more anomalous", "bit", "stat.value"),
    Column(NOISE_MISFIT, pa.float64(), "misfit of a flow's base values to the noise that they should be, in standard "
           "errors: 1 fits; null of models without such noise", ucd="stat.fit.goodness"),
)  # fmt: skip


@dataclass(frozen=True)
class StatedDensity:
    """What one model of the run states as a log-density, and where score parts have it."""

    model: str
    density_of: str
    background: str | None
    places: tuple[tuple[str, str], ...]
    """(column here, column of a score part)."""


def stated_densities(spec: RunSpec, models: Sequence[str]) -> list[StatedDensity]:
    """Of the run's ``models`` that were trained, those that state a log-density, in the specification's order."""
    found = []
    ratios = {ratio.model: ratio for ratio in spec.ratios if {ratio.model, ratio.background} <= set(models)}
    for model in (m for m in spec.trainings if m.name in models):
        kind, latent = find_model(model.model), find_model(model.model).latent_log_density
        if issubclass(kind, Density):
            ratio = ratios.get(model.name)
            places = [(score, ScoreColumn(model.name, score).name) for score in (*LIKELIHOODS, COMPLEXITY, TYPICALITY)]
            places += [(NOISE_MISFIT, ScoreColumn(model.name, NOISE_MISFIT).name)] * (NOISE_MISFIT in kind.scores)
            places += [] if ratio is None else [("llr", ratio.column)]
            found.append(StatedDensity(model.name, PIXELS, ratio.background if ratio else None, tuple(places)))
        elif latent is not None:
            place = ("loglike", ScoreColumn(model.name, latent).name)
            found.append(StatedDensity(model.name, LATENTS, None, (place,)))
    return found


@dataclass(frozen=True, eq=False)
class LikelihoodTable(PublishedTable):
    """The likelihood catalogue of a run."""

    densities: tuple[StatedDensity, ...]
    compared: tuple[str, ...]
    """Samples that a comparison matched with the survey."""
    cells: str | None
    """Key of the objects that were matched (galflow.compare.cell_members); None: nothing was matched."""

    @classmethod
    def of(
        cls, densities: Sequence[StatedDensity], id_types: Sequence[pa.DataType], *, named: bool,
        compared: Sequence[str] = (), cells: str | None = None,
    ) -> LikelihoodTable:  # fmt: skip
        """``id_types``: of the survey's and the samples' ids; where they differ, ids become texts."""
        kinds = set(id_types)
        id_type = kinds.pop() if len(kinds) == 1 else pa.string()
        identity = [column for column in identity_columns(id_type, named) if column.name in _KEPT]
        flags, outcome = last_columns()[:2]
        columns = [
            Column("sample", pa.string(), "name of the comparison sample; null: an object of the survey itself",
                   ucd="meta.dataset"),
            *identity,
            Column("model", pa.string(), "model of the run that states the likelihood", ucd="meta.modelled",
                   nullable=False),
            Column("density_of", pa.string(), f"what loglike is a density or probability of: {PIXELS} or {LATENTS}",
                   ucd="meta.code.class", nullable=False),
            Column("background", pa.string(), "model that llr compares with", ucd="meta.modelled"),
            *_NUMBERS,
            Column("complete", pa.bool_(), "whether every pixel is observed in every band: of others the likelihood is "
                   "one of fewer pixels, and not comparable", ucd="meta.code", nullable=False),
            *(column for sample in compared for column in _of_comparison(sample)),
            flags,
            outcome,
        ]  # fmt: skip
        return cls(pa.schema([c.field() for c in columns]), tuple(densities), tuple(compared), cells)

    def rows_of(self, store: Store, source: SourcePart, part: pa.Table) -> pa.Table:
        """A row for each object and model, model by model."""
        common = {name: part[name] for name in _KEPT if name in part.column_names and name in self.schema.names}
        if self.schema.field("object_id").type == pa.string():
            common["object_id"] = pc.cast(common["object_id"], pa.string())
        common |= {"flags": part["flags"], "outcome": part["outcome"]}
        common["sample"] = pa.array([source.sample] * len(part), pa.string())
        common["complete"] = pa.array(~has_flag(part["flags"].to_numpy(), INCOMPLETE))
        common |= self._matched(store, source.key, part["row"].to_numpy())
        return pa.concat_tables([self._of_model(one, part, common) for one in self.densities])

    def _of_model(self, one: StatedDensity, part: pa.Table, common: dict[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
        n = len(part)
        columns = dict(common)
        columns |= {name: pa.array([text] * n, pa.string()) for name, text in
                    (("model", one.model), ("density_of", one.density_of), ("background", one.background))}  # fmt: skip
        places = dict(one.places)
        for column in _NUMBERS:
            there = places.get(column.name)
            known = there is not None and there in part.column_names
            columns[column.name] = part[there] if known else pa.nulls(n, column.type)
        if one.density_of == LATENTS:
            columns["loglike"] = pc.negate(columns["loglike"])
        return pa.table({name: columns[name] for name in self.schema.names if name in columns})

    def _matched(self, store: Store, key: str, rows: np.ndarray) -> dict[str, pa.Array]:
        """Of each comparison that matched: the part's rows' cells, and whether they were drawn."""
        if self.cells is None:
            return {}
        with store.reading(self.cells) as file:
            members = pq.read_table(file, filters=[(PART, "=", key)])
        found: dict[str, pa.Array] = {}
        for sample in self.compared:
            own = members.filter(pc.equal(members[SAMPLE], sample))
            order = np.searchsorted(rows, own[ROW].to_numpy())
            cell, drawn, known = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool), np.zeros(len(rows), bool)
            cell[order], drawn[order], known[order] = own[CELL].to_numpy(), own[MATCHED].to_numpy(), True
            matched, number = (column.name for column in _of_comparison(sample))
            found[matched] = pa.array(drawn, mask=~known)
            found[number] = pa.array(cell, mask=~known)
        return found


def _of_comparison(sample: str) -> tuple[Column, Column]:
    of = f"the comparison of {sample} with the survey at equal properties"
    return (
        Column(f"matched_{sample}", pa.bool_(), f"whether the object was drawn for {of}; null: it lies in none of its "
               "cells, or may not be compared", ucd="meta.code"),
        Column(f"cell_{sample}", pa.int64(), f"cell of {of}, from 0, in row-major order of its properties' bins",
               ucd="meta.id"),
    )  # fmt: skip
