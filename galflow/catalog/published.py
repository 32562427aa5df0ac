"""The catalogue of a run on the store: written once, of whole tiles, readable only when the run has a manifest."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.columns import concat_parts, order_columns
from galflow.catalog.write import read_catalog, to_parquet_bytes, write_fits, write_hats
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.errors import StoreError
from galflow.receipts import Receipt, read_manifest
from galflow.scores.calibration import PValueCounts
from galflow.store import Store
from galflow.sums import FileSum

ROWS_PER_FILE = 500_000
"""A catalogue file holds whole tiles, and a new one is begun at this many rows."""


def catalog_product(name: str, run: str) -> str:
    """Key of a run's catalogue: a folder."""
    return f"catalogs/{name}/{run}"


def group_parts(parts: Sequence[Receipt]) -> list[list[Receipt]]:
    """Score parts in the order of their keys, in groups of about ``ROWS_PER_FILE`` rows; empty ones left out."""
    groups: list[list[Receipt]] = []
    rows = ROWS_PER_FILE
    for part in sorted((p for p in parts if p.rows), key=lambda p: p.product):
        if rows >= ROWS_PER_FILE:
            groups.append([])
            rows = 0
        groups[-1].append(part)
        rows += part.rows
    return groups


def read_parts(store: Store, parts: Sequence[Receipt]) -> pa.Table:
    """The score parts behind these receipts in one table, by tile and row."""
    files = store.get_many([p.product for p in parts if p.rows])
    return concat_parts([read_catalog(data) for data in files.values()])


def carried_columns(table: pa.Table) -> list[str]:
    """Columns that come from the survey or from planting rather than from scoring."""
    return [PLANTED_COLUMN] if PLANTED_COLUMN in table.column_names else []


def write_catalog_file(
    store: Store, product: str, index: int, parts: Sequence[Receipt], run: str, primary: str, p_counts: PValueCounts
) -> dict[str, FileSum]:
    """Write file ``index`` of a catalogue from these score parts, with q-values over the whole run."""
    table = read_parts(store, parts)
    p = pc.fill_null(table.column(f"{primary}_p"), np.nan).to_numpy()
    scored = np.isfinite(p)
    q = np.full(len(table), np.nan)
    q[scored] = p_counts.q_values(p[scored])
    table = table.append_column("anomaly_q", pa.array(q, mask=~scored))
    table = table.append_column("run_id", pa.array([run] * len(table), pa.string()))
    carried = carried_columns(table)
    name = f"part-{index:05d}.parquet"
    return {name: store.put(f"{product}/{name}", to_parquet_bytes(order_columns(table, carried), carried))}


def read_files(store: Store, product: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All Parquet files of a catalogue in one table, optionally only some columns."""
    keys = [k for k in store.list(product) if k.endswith(".parquet") and k.count("/") == product.count("/") + 1]
    if not keys:
        raise StoreError(f"no catalogue at {store.uri(product)}; `galflow runs` lists what has been published")
    files = store.get_many(keys)
    tables = [read_catalog(files[key]) for key in keys]
    # A file of tiles without planted copies lacks their column: it is null there.
    whole = pa.concat_tables(tables, promote_options="default")
    return whole.select(list(columns)) if columns is not None else whole


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
