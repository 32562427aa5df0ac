"""The catalogue of a run on the store: written once, of whole tiles, readable only when the run has a manifest."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from galflow.catalog.columns import concat_parts, order_columns
from galflow.catalog.write import read_catalog, to_parquet_bytes, write_fits, write_hats
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.errors import StoreError
from galflow.receipts import Receipt, read_manifest, read_sound, to_json
from galflow.scores.calibration import PValueCounts
from galflow.scores.summary import PartSummary
from galflow.store import Store
from galflow.sums import FileSum

ROWS_PER_FILE = 500_000
"""A catalogue file holds whole tiles, and a new one is begun at this many rows."""
_SUMMARY = "summary.json"


def catalog_product(name: str, run: str) -> str:
    """Key of a run's catalogue: a folder."""
    return f"catalogs/{name}/{run}"


def write_summary(store: Store, product: str, summary: PartSummary) -> dict[str, FileSum]:
    """Put the summary of all parts beside the catalogue's files, for those who write these."""
    return {_SUMMARY: store.put(f"{product}/{_SUMMARY}", to_json(summary.to_json()))}


def read_summary(store: Store, product: str) -> PartSummary:
    """What ``write_summary`` put."""
    return PartSummary.from_json(json.loads(store.get(f"{product}/{_SUMMARY}")))


PartFiles = dict[str, FileSum]
"""Keys of score parts, and what their files must be."""


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
    """The score parts behind these receipts in one table, by tile and row; IntegrityError if one was altered."""
    return _read_files(store, {p.product: p.files[""] for p in parts if p.rows})


def _read_files(store: Store, parts: PartFiles) -> pa.Table:
    return concat_parts([read_catalog(data) for data in read_sound(store, parts).values()])


def carried_columns(table: pa.Table) -> list[str]:
    """Columns that come from the survey or from planting rather than from scoring."""
    return [PLANTED_COLUMN] if PLANTED_COLUMN in table.column_names else []


def file_name(index: int) -> str:
    """Of the catalogue's file ``index``, below its folder."""
    return f"part-{index:05d}.parquet"


def write_catalog_file(
    store: Store, product: str, index: int, parts: PartFiles, run: str, primary: str, p_counts: PValueCounts
) -> dict[str, FileSum]:
    """Write file ``index`` of a catalogue from these score parts, with q-values over the whole run."""
    table = _read_files(store, parts)
    p = pc.fill_null(table.column(f"{primary}_p"), np.nan).to_numpy()
    scored = np.isfinite(p)
    q = np.full(len(table), np.nan)
    q[scored] = p_counts.q_values(p[scored])
    table = table.append_column("anomaly_q", pa.array(q, mask=~scored))
    table = table.append_column("run_id", pa.array([run] * len(table), pa.string()))
    carried = carried_columns(table)
    name = file_name(index)
    return {name: store.put(f"{product}/{name}", to_parquet_bytes(order_columns(table, carried), carried))}


def _file_keys(store: Store, product: str) -> list[str]:
    keys = [k for k in store.list(product) if k.endswith(".parquet") and k.count("/") == product.count("/") + 1]
    if not keys:
        raise StoreError(
            f"no catalogue at {store.uri(product)}; publish it before its report (`galflow runs` lists what has been "
            "published)"
        )
    return keys


def read_files(store: Store, product: str) -> pa.Table:
    """All Parquet files of a catalogue in one table, which must fit into memory."""
    tables = [read_catalog(store.get(key)) for key in _file_keys(store, product)]
    # A file of tiles without planted copies lacks their column: it is null there.
    return pa.concat_tables(tables, promote_options="default")


def each_file(store: Store, product: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of one Parquet file of a catalogue after another; no more than one is in memory.

    ``planted_kind`` is null in files of tiles without planted copies, which lack it.
    """
    for key in _file_keys(store, product):
        table = pq.ParquetFile(pa.BufferReader(store.get(key))).read(list(columns))
        if PLANTED_COLUMN in columns and PLANTED_COLUMN not in table.column_names:
            table = table.append_column(PLANTED_COLUMN, pa.nulls(len(table), pa.string()))
        yield table.select(list(columns))


def read_published(uri: str) -> pa.Table:
    """The catalogue at ``.../catalogs/<name>/<run>``; StoreError unless its run has finished."""
    root, separator, rest = uri.rstrip("/").rpartition("/catalogs/")
    if not separator or rest.count("/") != 1:
        raise StoreError(f"{uri} is not the URI of a catalogue; expected ROOT/catalogs/NAME/RUN")
    store, (name, run) = Store.open(root), rest.split("/")
    if read_manifest(store, run) is None:
        raise StoreError(f"run {run} has no manifest at {store.root}, so its catalogue does not count as published")
    return read_files(store, catalog_product(name, run))


def write_other_formats(store: Store, product: str, name: str, formats: Sequence[str]) -> dict[str, FileSum]:
    """The catalogue once more as ``<name>.fits`` or as a HATS folder ``<name>_hats``."""
    written: dict[str, FileSum] = {}
    if not {"fits", "hats"} & set(formats):
        return written
    table = read_files(store, product)
    carried = carried_columns(table)
    with tempfile.TemporaryDirectory() as folder:
        if "fits" in formats:
            write_fits(table, Path(folder, f"{name}.fits"), carried)
        if "hats" in formats:
            positioned = table.filter(pc.is_valid(table.column("ra_deg")))
            write_hats(positioned, Path(folder, f"{name}_hats"), carried)
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            key = path.relative_to(folder).as_posix()
            written[key] = store.put(f"{product}/{key}", path.read_bytes())
    return written
