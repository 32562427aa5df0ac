"""The catalogue of a run on the store: written once, of whole tiles, readable only when the run has a manifest.

Its folder holds Parquet files of one schema and nothing else, so that any reader opens it as it is. What belongs to it
besides (planted copies, the summary, other formats, what changed since the last run) lies in its supplement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from galflow.catalog.carried import carried_names, merged_carried
from galflow.catalog.columns import concat_parts
from galflow.catalog.files import file_keys, read_columns_of
from galflow.catalog.label_columns import LABEL_COLUMNS, LABELS_FILE, label_columns, labels_file
from galflow.catalog.measured_columns import MeasuredColumns
from galflow.catalog.own_columns import Column
from galflow.catalog.parquet import read_catalog, to_parquet
from galflow.catalog.ranking import FILES as RANKING_FILES
from galflow.catalog.ranking import RunRanking
from galflow.catalog.schema import catalog_schema, conform
from galflow.catalog.triage import triage_columns
from galflow.cutouts.flags import Flag, has_flag
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.errors import DataError, StoreError
from galflow.scores.part_columns import CARRIED, SCHEMA_DETAIL, SHARES, SOURCE_NAME, packed_schema, unpacked_schema
from galflow.scores.summary import PartSummary
from galflow.scores.triage import Triage
from galflow.scores.triage_features import MEASURED
from galflow.storage.checksums import FileSum
from galflow.storage.layout import OWN, RECEIPT_SUFFIX, as_key, catalog_file, catalog_product, supplement_of
from galflow.storage.receipts import Receipt, read_manifest, read_sound, to_json
from galflow.storage.store import Store

ROWS_PER_FILE = 500_000
"""A catalogue file holds whole tiles, and a new one is begun at this many rows."""
_HIDDEN = (CARRIED, SHARES, MEASURED)
"""Prefixes of a score part's columns that are no columns of the catalogue."""
_SUMMARY, _PLAN, _PLANTED = "summary.json", "columns.json", "planted"
_KIND = Column(PLANTED_COLUMN, pa.string(), "kind of anomaly painted into this copy of a real cutout", nullable=False)

PartFiles = dict[str, FileSum]
"""Keys of score parts, and what their files must be."""


@dataclass(frozen=True, eq=False)
class CatalogPlan:
    """What every file of one catalogue has in common."""

    run: str
    schema: pa.Schema
    names: Mapping[str, str]
    """A carried column's name in score parts -> its name in the catalogue."""
    triage: Triage | None = None
    """What tells artefacts, stars and blends apart; None: nothing could be learnt."""
    measured: MeasuredColumns | None = None
    """What was measured on the cutouts; None: nothing."""
    labelled: bool = False
    """Whether people had labelled objects of it: what they said lies in the supplement."""

    @property
    def planted_schema(self) -> pa.Schema:
        """Of the planted copies' files: the catalogue's columns, and the kind of anomaly."""
        return self.schema.append(_KIND.field())

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        names, triage = dict(self.names), None if self.triage is None else self.triage.to_json()
        found: dict[str, object] = {"run": self.run, "schema": packed_schema(self.schema)}
        found |= {"names": names, "triage": triage}
        found |= {} if self.measured is None else {"measured": self.measured.to_json()}
        return found | ({"labelled": True} if self.labelled else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CatalogPlan:
        """The inverse of ``to_json``."""
        triage = None if value.get("triage") is None else Triage.from_json(value["triage"])
        measured = None if value.get("measured") is None else MeasuredColumns.from_json(value["measured"])
        return cls(
            value["run"],
            unpacked_schema(value["schema"]),
            value["names"],
            triage,
            measured,
            bool(value.get("labelled")),
        )


def plan_catalog(
    run: str,
    scores: Sequence[str],
    likelihoods: Sequence[str],
    parts: Iterable[Receipt],
    wanted: Sequence[str] | None = None,
    measured: MeasuredColumns | None = None,
    labelled: bool = False,
) -> tuple[CatalogPlan, tuple[str, ...]]:
    """The one schema of a run's catalogue from the receipts of its score parts, and what is to be said about it.

    ``wanted``: names of the survey's and the user's columns to carry; None: all. ``measured``: what else is known.
    ``labelled``: whether people labelled any object.
    """
    packed = dict.fromkeys(str(r.details["carried"][SCHEMA_DETAIL]) for r in parts if r.rows)
    schemas = [unpacked_schema(text) for text in packed]
    ids = {str(schema.field("object_id").type): schema.field("object_id").type for schema in schemas}
    if len(ids) != 1:
        raise DataError(
            f"object ids are {' and '.join(sorted(ids)) or 'absent'} in different tiles; expected one 64-bit integer "
            "type in all, since joining different ones goes through floats. Give all tiles' catalogues ids of one type"
        )
    named = any(SOURCE_NAME in schema.names for schema in schemas)
    given = [pa.schema([f.with_name(f.name.removeprefix(CARRIED)) for f in s if f.name.startswith(CARRIED)])
             for s in schemas]  # fmt: skip
    merged = merged_carried(given)
    reasons = list(merged.reasons)
    chosen = merged.schema
    if wanted is not None:
        absent = [name for name in wanted if name not in chosen.names]
        reasons += [f"output.columns: no tile's catalogue has a column {name!r}" for name in absent]
        chosen = pa.schema([field for field in chosen if field.name in set(wanted)])
    beside = [*(() if measured is None else measured.columns), *(LABEL_COLUMNS if labelled else ())]
    id_type = next(iter(ids.values()))
    own = catalog_schema(scores, likelihoods, pa.schema([]), id_type, named, beside)
    names = carried_names(chosen.names, [*own.names, PLANTED_COLUMN])
    carried = pa.schema([field.with_name(names[field.name]) for field in chosen])
    schema = catalog_schema(scores, likelihoods, carried, id_type, named, beside)
    return CatalogPlan(run, schema, {CARRIED + n: to for n, to in names.items()}, None, measured, labelled), tuple(
        reasons
    )


def write_basis(
    store: Store,
    product: str,
    plan: CatalogPlan,
    summary: PartSummary,
    ranking: RunRanking,
    labels: pa.Table | None = None,
) -> dict[str, FileSum]:
    """Put what the writers of the catalogue's files need into its supplement. TakenError if other bytes lie there."""
    contents = {_SUMMARY: to_json(summary.to_json()), _PLAN: to_json(plan.to_json()), **ranking.to_files()}
    contents |= {LABELS_FILE: labels_file(labels)} if labels is not None else {}
    return {name: store.put_once(f"{supplement_of(product)}/{name}", data) for name, data in contents.items()}


def read_summary(store: Store, product: str) -> PartSummary:
    """What all score parts of the catalogue at this key say together."""
    return PartSummary.from_json(json.loads(store.get(f"{supplement_of(product)}/{_SUMMARY}")))


def read_basis(store: Store, product: str) -> tuple[CatalogPlan, RunRanking]:
    """What ``write_basis`` put and a file's writer needs."""
    folder, plan = supplement_of(product), read_plan(store, product)
    return plan, RunRanking.from_files({name: store.get(f"{folder}/{name}") for name in RANKING_FILES})


def read_plan(store: Store, product: str) -> CatalogPlan:
    """What all files of the catalogue at this key have in common."""
    return CatalogPlan.from_json(json.loads(store.get(f"{supplement_of(product)}/{_PLAN}")))


def group_parts(parts: Sequence[Receipt]) -> list[PartFiles]:
    """Score parts, sorted by key, in groups of about ``ROWS_PER_FILE`` rows; empty parts left out."""
    groups: list[PartFiles] = []
    rows = ROWS_PER_FILE
    for part in sorted((p for p in parts if p.rows), key=lambda p: p.product):
        if rows >= ROWS_PER_FILE:
            groups.append({})
            rows = 0
        groups[-1][part.product] = part.files[""]
        rows += part.rows
    return groups


def read_parts(store: Store, parts: Sequence[Receipt]) -> pa.Table:
    """The scores behind these receipts in one table, by tile and row; IntegrityError if a part was altered."""
    files = {p.product: p.files[""] for p in parts if p.rows}
    tables = [read_catalog(data) for data in read_sound(store, files).values()]
    return concat_parts([t.select([n for n in t.column_names if not n.startswith(_HIDDEN)]) for t in tables])


def planted_name(index: int) -> str:
    """Of the planted copies that belong to file ``index``, below the supplement."""
    return f"{_PLANTED}/{catalog_file(index)}"


def write_catalog_file(
    store: Store,
    product: str,
    index: int,
    parts: PartFiles,
    plan: CatalogPlan,
    ranking: RunRanking,
    measured: Mapping[str, PartFiles] | None = None,
) -> tuple[dict[str, FileSum], dict[str, FileSum]]:
    """Write file ``index`` of a catalogue from these score parts, and their planted copies into the supplement.

    ``measured``: key of a score part -> what was measured on the same cutouts, if anything was.
    What was written: below the catalogue's folder, and below the supplement.
    """
    real: list[pa.Table] = []
    copies: list[pa.Table] = []
    found = read_sound(store, parts)
    labels = read_catalog(store.get(f"{supplement_of(product)}/{LABELS_FILE}")) if plan.labelled else None
    for key in parts:
        table = _ranked(read_catalog(found.pop(key)), plan, ranking)
        table = with_measured(store, table, plan, (measured or {}).get(key, {}))
        if labels is not None:
            for column, values in label_columns(table.column("object_id").to_numpy(), labels).items():
                table = table.append_column(column, values)
        planted = has_flag(table.column("flags").to_numpy(), Flag.PLANTED)
        plain = table.drop_columns([n for n in (PLANTED_COLUMN,) if n in table.column_names])
        real.append(conform(plain.filter(pa.array(~planted)), plan.schema))
        if planted.any():
            copies.append(conform(table.filter(pa.array(planted)), plan.planted_schema))
    name = catalog_file(index)
    written = {name: store.put_once(f"{product}/{name}", to_parquet(pa.concat_tables(real), plan.schema))}
    if not copies:
        return written, {}
    beside = planted_name(index)
    data = to_parquet(pa.concat_tables(copies), plan.planted_schema)
    return written, {beside: store.put_once(f"{supplement_of(product)}/{beside}", data)}


def with_names(part: pa.Table, plan: CatalogPlan) -> pa.Table:
    """A part's columns under their names in the catalogue, without those that no catalogue shows."""
    kept = [n for n in part.column_names if not n.startswith(_HIDDEN) or n in plan.names]
    return part.select(kept).rename_columns([plan.names.get(n, n) for n in kept])


def _ranked(part: pa.Table, plan: CatalogPlan, ranking: RunRanking) -> pa.Table:
    """A part with its rows' place among all objects of the run, and with what is carried under its name."""
    table = with_names(part, plan)
    for name, values in (*ranking.columns(part).items(), *triage_columns(part, plan.triage).items()):
        table = table.append_column(name, values)
    return table.append_column("run_id", pa.array([plan.run] * len(table), pa.string()))


def with_measured(store: Store, table: pa.Table, plan: CatalogPlan, part: PartFiles) -> pa.Table:
    """A part with what was measured on its rows."""
    if plan.measured is None:
        return table
    found = [read_catalog(data) for data in read_sound(store, part).values()]
    for name, values in plan.measured.beside(len(table), found[0] if found else None).items():
        table = table.append_column(name, values)
    return table


def read_files(store: Store, product: str) -> pa.Table:
    """All Parquet files of a catalogue in one table, which must fit into memory."""
    return pa.concat_tables([read_catalog(store.get(key)) for key in file_keys(store, product)])


def column_names(store: Store, product: str) -> list[str]:
    """Names of a catalogue's columns, in their order; StoreError if there is no such catalogue. No file is read."""
    file_keys(store, product)
    return list(read_plan(store, product).schema.names)


def has_names(store: Store, product: str) -> bool:
    """Whether objects have names of the user's own beside their ids; StoreError if there is no such catalogue."""
    return SOURCE_NAME in column_names(store, product)


def planted_copies(store: Store, product: str, columns: Sequence[str]) -> pa.Table | None:
    """These columns of all planted copies and ``planted_kind``; None if there are no copies. A few a tile."""
    keys = store.list(f"{supplement_of(product)}/{_PLANTED}")
    tables = [read_columns_of(store, key, [*columns, PLANTED_COLUMN]) for key in keys]
    return pa.concat_tables(tables) if tables else None


def read_published(uri: str) -> pa.Table:
    """The catalogue, or a table beside it, at ``.../catalogs/<name>/<run>``; StoreError unless its run has finished."""
    root, separator, rest = uri.rstrip("/").rpartition("/catalogs/")
    if not separator or rest.count("/") != 1:
        raise StoreError(f"{uri} is not the URI of a catalogue; expected ROOT/catalogs/NAME/RUN")
    store, run = Store.open(root), rest.rpartition("/")[2]
    product = catalog_product(*rest.split("/"))
    # Where two processes published at once, a catalogue may have a key that is longer than its run.
    manifests = [m for name in (run, re.sub(f"{OWN}$", "", run)) if (m := read_manifest(store, name)) is not None]
    tables = {key for m in manifests for keys in m.products.values() for key in keys}
    if not any(as_key(m.catalog) == product for m in manifests) and f"{product}{RECEIPT_SUFFIX}" not in tables:
        raise StoreError(f"run {run} has no manifest at {store.root}, so its catalogue does not count as published")
    return read_files(store, product)
