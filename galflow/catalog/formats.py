"""The published catalogue once more as FITS, VOTable or HATS, table by table, so that no more than one is in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from galflow.catalog.files import file_keys
from galflow.catalog.fits_table import write_fits
from galflow.catalog.hats import write_hats
from galflow.catalog.parquet import read_catalog
from galflow.catalog.votable_file import write_votable
from galflow.storage.checksums import FileSum
from galflow.storage.layout import supplement_of
from galflow.storage.store import Store


def write_other_formats(
    store: Store, product: str, name: str, formats: Sequence[str], schema: pa.Schema
) -> tuple[dict[str, FileSum], tuple[str, ...]]:
    """The catalogue once more as ``<name>.fits``, ``<name>.vot`` or HATS folder ``<name>_hats`` with its margin.

    What was written below the supplement, and what could not be said in a format.
    """
    written: dict[str, FileSum] = {}
    reasons: tuple[str, ...] = ()
    if not set(formats) - {"parquet"}:
        return written, reasons
    tables = partial(_each_table, store, file_keys(store, product))
    with tempfile.TemporaryDirectory(prefix="galflow-formats-") as folder:
        if "fits" in formats:
            reasons += write_fits(tables, schema, Path(folder, f"{name}.fits"))
        if "votable" in formats:
            write_votable(tables, schema, Path(folder, f"{name}.vot"), name)
        if "hats" in formats:
            left_out = write_hats(tables, schema, Path(folder, f"{name}_hats"))
            reasons += (f"{name}_hats: {left_out} rows without a position are not in it",) if left_out else ()
        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            key = path.relative_to(folder).as_posix()
            written[key] = store.put_file_once(f"{supplement_of(product)}/{key}", path)
    return written, reasons


def _each_table(store: Store, keys: Sequence[str]) -> Iterator[pa.Table]:
    return (read_catalog(store.get(key)) for key in keys)
