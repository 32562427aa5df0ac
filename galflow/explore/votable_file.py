"""A table as a VOTable file: units, UCDs and descriptions in its fields, the frame of the positions said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io.votable import tree, writeto

from galflow.catalog.carried import DESCRIPTION, UCD, UNIT
from galflow.catalog.votable import said_of

_POSITIONS = ("ra", "dec")
_NULL = -(2**63)
"""What stands for a whole number that is missing; no id of galflow's is it."""


def write_votable(table: pa.Table, path: Path, name: str) -> None:
    """Write ``table`` whole, in VOTable 1.4 with binary data; missing values stay missing."""
    document = tree.VOTableFile(version="1.4")
    resource = tree.Resource(type="results")
    document.resources.append(resource)
    resource.coordinate_systems.append(tree.CooSys(ID="icrs", system="ICRS"))
    made = tree.TableElement(document, name=name)
    resource.tables.append(made)
    columns = [_values(table.column(field.name).combine_chunks()) for field in table.schema]
    made.fields.extend(
        _field(document, field, datatype) for field, (datatype, *_) in zip(table.schema, columns, strict=True)
    )
    made.create_arrays(len(table))
    for field, (_, values, missing) in zip(made.fields, columns, strict=True):
        made.array[field.ID] = values
        made.array.mask[field.ID] = missing
    made.format = "binary2"
    writeto(document, str(path))


def _field(document: tree.VOTableFile, field: pa.Field, datatype: str) -> tree.Field:
    text = datatype == "unicodeChar"
    made = tree.Field(
        document,
        name=field.name,
        datatype=datatype,
        arraysize="*" if text else None,
        unit=said_of(field, UNIT) or None,
        ucd=said_of(field, UCD) or None,
        ref="icrs" if field.name in _POSITIONS else None,
    )
    made.description = said_of(field, DESCRIPTION) or None
    if datatype == "long":
        made.values.null = _NULL
    return made


def _values(column: pa.Array) -> tuple[str, Any, np.ndarray]:
    """Datatype, values with something in place of what is missing, and (N,) which are missing."""
    missing = np.asarray(column.is_null())
    kind, test = column.type, pa.types
    if test.is_boolean(kind):
        return "boolean", np.asarray(column.fill_null(False)), missing
    if kind == pa.uint64():  # VOTable has none: readers see the same bits
        return "long", np.asarray(column.fill_null(0)).view(np.int64), missing
    if test.is_integer(kind):
        return "long", np.asarray(column.cast(pa.int64()).fill_null(_NULL)), missing
    if test.is_floating(kind):
        return "double", np.asarray(column.cast(pa.float64()).fill_null(np.nan)), missing
    texts = column.to_pylist()
    return (
        "unicodeChar",
        np.array(["" if v is None else v if isinstance(v, str) else str(v) for v in texts], object),
        missing,
    )
