"""A Parquet table with what it declares about its columns: field metadata, VOParquet's VOTable, or astropy's header.

A column whose pages cannot be read is left out and told; all others are kept. Row order is the file's.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pyarrow as pa
import yaml
from astropy.table.meta import get_header_from_yaml

from galflow.errors import DataError
from galflow.surveys.reading.table_metadata import DESCRIPTIVE, assembled, note_of, notes, with_reasons

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_VOTABLE = b"IVOA.VOTable-Parquet.content"
_ASTROPY = b"table_meta_yaml"
_DECODING_FAILED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)


def read_parquet_table(content: bytes, uri: str, head: int | None = None) -> pa.Table:
    """The table in ``content``, or its first ``head`` rows. Raises DataError where no column can be read."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        schema = file.schema_arrow
    except _DECODING_FAILED as error:
        raise DataError(f"{uri} cannot be read as parquet: {error}; fetch it again") from error
    reasons: list[str] = []
    try:
        table = _rows(file, None, head)
    except _DECODING_FAILED as whole:
        readable = []
        for name in dict.fromkeys(schema.names):
            try:
                readable.append(_rows(file, [name], head))
            except _DECODING_FAILED as error:
                reasons.append(
                    f"{uri}: column {name!r} is left out, it cannot be read ({type(error).__name__}: {error})"
                )
        if not readable:
            raise DataError(f"{uri} cannot be read as parquet: {whole}; fetch it again") from whole
        parts = [(part.schema.field(i), column) for part in readable for i, column in enumerate(part.columns)]
        table = assembled(parts)
    declared, problem = _declared(schema.metadata or {})
    if problem:
        reasons.append(f"{uri}: {problem}; units and descriptions in it are not taken over")
    columns = []
    for i, column in enumerate(table.columns):
        field = table.schema.field(i)
        own = [note_of(field, name) or declared.get(field.name, {}).get(name) for name in DESCRIPTIVE]
        columns.append((pa.field(field.name, column.type, metadata=notes(*own)), _plain(column)))
    return with_reasons(assembled(columns), reasons)


def _rows(file: pq.ParquetFile, columns: list[str] | None, head: int | None) -> pa.Table:
    if head is None:
        return file.read(columns=columns)
    batch = next(file.iter_batches(batch_size=max(1, head), columns=columns), None)
    return file.read(columns=columns) if batch is None else pa.Table.from_batches([batch]).slice(0, head)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as string, categories as what they are."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column


def _declared(metadata: dict[bytes, bytes]) -> tuple[dict[str, dict[str, Any]], str]:
    """Unit, description and UCD by column, as the file's metadata say, and what was wrong with them."""
    try:
        if _VOTABLE in metadata:
            return _votable(metadata[_VOTABLE]), ""
        if _ASTROPY in metadata:
            header = get_header_from_yaml(metadata[_ASTROPY].decode().split("\n"))
            columns = {entry["name"]: dict(entry) for entry in header["datatype"]}
            return {n: c | {"ucd": dict(c.get("meta") or {}).get("ucd")} for n, c in columns.items()}, ""
    except (*_DECODING_FAILED, ElementTree.ParseError, yaml.YAMLError, AttributeError) as error:
        return {}, f"the description of columns in it cannot be read ({type(error).__name__}: {error})"
    return {}, ""


def _votable(content: bytes) -> dict[str, dict[str, Any]]:
    """Attributes of a VOTable's FIELDs, whatever its namespace."""
    found = {}
    for element in ElementTree.fromstring(content).iter():
        if element.tag.rsplit("}", 1)[-1] != "FIELD" or "name" not in element.attrib:
            continue
        texts = [child.text for child in element if child.tag.rsplit("}", 1)[-1] == "DESCRIPTION"]
        unit = element.get("unit")
        found[element.attrib["name"]] = {
            "unit": None if unit == "None" else unit,
            "ucd": element.get("ucd"),
            "description": texts[0] if texts else None,
        }
    return found
