"""The catalogue as a VOTable file: units, UCDs and descriptions in its fields, the frame of the positions said.

Cells are written as text (TABLEDATA), a table at a time: no more than one is in memory, and every number is read back
as it was. What is missing is an empty cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.carried import as_text
from galflow.catalog.fits_columns import array_elements
from galflow.catalog.schema import conform
from galflow.catalog.votable import array_shape, votable_document
from galflow.errors import StoreError

_ROWS = 1 << 16
"""Made into text at a time."""
_LARGEST = 2**63 - 1
_NOT_IN_XML = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\x{FFFE}\\x{FFFF}]"
_ESCAPED = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;"))
_NOT_FINITE = {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}
"""As Arrow writes them -> as VOTable does."""
_AS_DOUBLE = {pa.int8(), pa.int16(), pa.uint16(), pa.uint8(), pa.int32(), pa.uint32()}


def write_votable(tables: Callable[[], Iterable[pa.Table]], schema: pa.Schema, path: Path, name: str) -> None:
    """Write all rows of ``tables()``, which is called twice at most, as one VOTable 1.4 with one table, ``name``.

    Beside numbers, truth values and arrays of numbers of fixed size all is text: dates (ISO 8601), bytes (hexadecimal),
    other lists and structures (JSON), and a column of whole numbers beyond 2^63, which VOTable does not have. Whole
    numbers in arrays are doubles, for VOTable has no null there. Raises StoreError if ``path`` exists.
    """
    held = _held(schema, _too_large(tables, schema))
    lengths = {field.name: 0 for field in held if pa.types.is_string(field.type)}
    head, end, tail = votable_document(held, lengths, name).partition(b"</TABLE>")
    try:
        with path.open("xb") as file:
            file.write(head.rstrip() + b"\n<DATA><TABLEDATA>\n")
            for table in tables():
                whole = conform(table, schema)
                for start in range(0, len(whole), _ROWS):
                    file.write(_rows(whole.slice(start, _ROWS), held))
            file.write(b"</TABLEDATA></DATA>\n" + end + tail)
    except FileExistsError as error:
        raise StoreError(f"{path} exists already; nothing is overwritten in place, write under a new name") from error


def _too_large(tables: Callable[[], Iterable[pa.Table]], schema: pa.Schema) -> set[str]:
    """Columns with whole numbers beyond those that VOTable has."""
    wide = [field.name for field in schema if pa.types.is_uint64(field.type)]
    found: set[str] = set()
    for table in tables() if wide else ():
        found |= {name for name in wide if (pc.max(table.column(name)).as_py() or 0) > _LARGEST}
    return found


def _held(schema: pa.Schema, too_large: set[str]) -> pa.Schema:
    """The columns as VOTable holds them."""
    return pa.schema([field.with_type(_held_type(field, field.name in too_large)) for field in schema])


def _held_type(field: pa.Field, too_large: bool) -> pa.DataType:
    element, shape = array_shape(field.type)
    test = pa.types
    if too_large or not (test.is_integer(element) or test.is_floating(element) or test.is_boolean(element)):
        return pa.string()
    if not shape or (test.is_floating(element) and 0 not in shape):
        return field.type
    if element not in _AS_DOUBLE or 0 in shape:
        return pa.string()
    kind = pa.float64()
    for size in reversed(shape):
        kind = pa.list_(kind, size)
    return kind


def _rows(table: pa.Table, held: pa.Schema) -> bytes:
    cells = [_cells(table.column(field.name), field.type) for field in held]
    joined = pc.binary_join_element_wise(*cells, "</TD><TD>")
    lines = pc.binary_join_element_wise("<TR><TD>", joined, "</TD></TR>", "")
    return ("\n".join(lines.to_pylist()) + "\n").encode()


def _cells(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column's values as they stand in the file; an empty text is none."""
    _, shape = array_shape(kind)
    if pa.types.is_string(kind):
        return _escaped(pc.fill_null(as_text(column), ""))
    if not shape:
        return pc.fill_null(_number_texts(column), "")
    count = 1
    for size in shape:
        count *= size
    values = column.combine_chunks()
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    texts = pc.fill_null(_number_texts(array_elements(values, shape)), "NaN")
    each = pa.FixedSizeListArray.from_arrays(texts, count).cast(pa.list_(pa.string()))
    return pa.chunked_array([pc.binary_join(each, " ")])


def _number_texts(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Numbers as text, the shortest that is read back as the same number."""
    texts = values.cast(pa.string())
    if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values)).as_py():
        for met, said in _NOT_FINITE.items():
            texts = pc.if_else(pc.equal(texts, met), said, texts)
    return texts


def _escaped(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """As XML holds them; control characters, which no XML document may hold, are replaced."""
    texts = pc.replace_substring_regex(texts, _NOT_IN_XML, "\ufffd")
    for met, written in _ESCAPED:
        texts = pc.replace_substring(texts, met, written)
    return texts
