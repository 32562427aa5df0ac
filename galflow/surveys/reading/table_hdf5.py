"""A table in an HDF5 file: one dataset of records, as astropy and h5py write it, or a group of columns of one length.

A group's other datasets (of another length, or of images) are no columns and left out. Tables of PyTables as pandas
writes them, in blocks of columns, are refused with the way to write them otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from astropy.table.meta import get_header_from_yaml

from galflow.errors import DataError
from galflow.surveys.reading.hdf5 import opened_hdf5
from galflow.surveys.reading.table_arrays import column_of
from galflow.surveys.reading.table_metadata import assembled, notes, with_reasons

_MOST_CELLS = 64
"""Numbers in a cell: more are an image, not a column."""
_ASTROPY = "__table_column_meta__"
_UNITS = ("unit", "units", "UNIT", "UNITS")
_BROKEN = (OSError, ValueError, TypeError, KeyError, RuntimeError, pa.ArrowException)


def read_hdf5_table(uri: str, place: str | int | None, head: int | None = None) -> pa.Table:
    """The table at ``place`` (a path in the file; None: the only one), or its first ``head`` rows.

    Raises SpecError without h5py, DataError where there is no table, or several and none is named.
    """
    with opened_hdf5(uri) as file:
        node = _node(file, place, uri)
        if hasattr(node, "keys"):
            if any(name.startswith("block0") or name == "_i_table" for name in node):
                raise DataError(
                    f"{uri}: {node.name} is a table of pandas in blocks; write it with format='table', data_columns="
                    "True, or as Parquet"
                )
            return _group(node, uri, head)
        return _records(file, node, uri, head)


def _node(file: Any, place: str | int | None, uri: str) -> Any:
    """The group or dataset that holds the table."""
    if place is not None:
        if str(place) not in file:
            raise DataError(f"{uri} has no {place!r}; it has {', '.join(sorted(file))}. Change catalog.extension")
        found = file[str(place)]
        within = hasattr(found, "keys") and "table" in found and _is_records(found["table"])
        return found["table"] if within else found
    records = [node for name, node in file.items() if _is_records(node) and not name.endswith(_ASTROPY)]
    if len(records) == 1:
        return records[0]
    if not records and any(_is_column(node) for node in file.values()):
        return file
    groups: list[Any] = [node for node in file.values() if hasattr(node, "keys")]
    if not records and len(groups) == 1:
        inner = groups[0]
        return inner["table"] if "table" in inner and _is_records(inner["table"]) else inner
    raise DataError(
        f"{uri} holds {len(records)} tables and {len(groups)} groups ({', '.join(sorted(file))}); name one with "
        "catalog.extension"
    )


def _is_records(node: Any) -> bool:
    return getattr(node, "dtype", None) is not None and node.dtype.names is not None


def _is_column(node: Any) -> bool:
    shape: tuple[int, ...] = getattr(node, "shape", ())
    return bool(shape) and node.dtype.names is None and int(np.prod(shape[1:], dtype=np.int64)) <= _MOST_CELLS


def _group(group: Any, uri: str, head: int | None) -> pa.Table:
    """Datasets of the length that most have."""
    columns = {name: node for name, node in group.items() if _is_column(node)}
    if not columns:
        raise DataError(f"{uri}: {group.name} holds no columns; it has {', '.join(sorted(group)) or 'nothing'}")
    lengths = [node.shape[0] for node in columns.values()]
    length = max(sorted(set(lengths)), key=lengths.count)
    found, reasons = [], []
    for name, node in columns.items():
        if node.shape[0] != length:
            reasons.append(f"{uri}: {name!r} is left out, it has {node.shape[0]} rows where others have {length}")
            continue
        unit = next((node.attrs[key] for key in _UNITS if key in node.attrs), None)
        unit = unit.decode("latin-1") if isinstance(unit, bytes) else unit
        try:
            array = column_of(np.asarray(node[: length if head is None else head]))
        except _BROKEN as error:
            reasons.append(f"{uri}: column {name!r} is left out, it cannot be read ({type(error).__name__}: {error})")
            continue
        found.append((pa.field(name, array.type, metadata=notes(unit)), array))
    if not found:
        raise DataError(f"{uri}: no column can be read: {reasons[0]}; fetch it again")
    return with_reasons(assembled(found), reasons)


def _records(file: Any, node: Any, uri: str, head: int | None) -> pa.Table:
    """One dataset of records."""
    described, reasons = {}, []
    meta = file.get(f"{node.name}.{_ASTROPY}")
    if meta is not None:
        try:
            header = get_header_from_yaml([line.decode() for line in meta[:]])
            described = {entry["name"]: entry for entry in header["datatype"]}
        except (*_BROKEN, yaml.YAMLError, AttributeError) as error:
            reasons.append(f"{uri}: what it says of its columns cannot be read ({type(error).__name__}: {error})")
    values = np.asarray(node[: len(node) if head is None else head])
    found = []
    for name in values.dtype.names or ():
        said = described.get(name, {})
        try:
            array = column_of(values[name])
        except _BROKEN as error:
            reasons.append(f"{uri}: column {name!r} is left out, it cannot be read ({type(error).__name__}: {error})")
            continue
        metadata = notes(said.get("unit"), said.get("description"), dict(said.get("meta") or {}).get("ucd"))
        found.append((pa.field(name, array.type, metadata=metadata), array))
    if not found:
        raise DataError(f"{uri}: no column can be read: {(reasons or ['it has none'])[0]}; fetch it again")
    return with_reasons(assembled(found), reasons)
