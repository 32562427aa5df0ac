"""A table written as text: CSV, TSV, semicolons, and ECSV, whose header declares types, units and descriptions.

Every column is read as text first, so that the type of one does not hang on the rows that happen to come first. A row
with too many or too few fields is left out and told; all other rows are kept.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from astropy.table.meta import get_header_from_yaml

from galflow.errors import DataError
from galflow.surveys.reading.table_metadata import ROLE, assembled, notes, unique_names, with_reasons

_DELIMITERS = (",", ";", "\t", "|")
_NO_VALUE = ("--", "None", "none", "masked", "-", "...", "N.A.")
"""Beside pyarrow's own (NULL, NaN, NA, ...): what stands for a missing number, though it may be a text."""
_BLOCK = 1 << 24


@dataclass(frozen=True)
class _Layout:
    """How a text is to be read."""

    names: tuple[str, ...]
    delimiter: str
    rows: str
    """The lines after the header."""
    declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What an ECSV header says about each column."""


def read_text_table(content: bytes, uri: str, *, as_text: frozenset[str], head: int | None = None) -> pa.Table:
    """The table in ``content``, or its first ``head`` rows; columns of ``as_text`` stay text, others get their type.

    Raises DataError where there is no header, or no row fits it.
    """
    layout = _layout(_decoded(content), uri)
    bad: list[str] = []

    def left_out(row: pyarrow.csv.InvalidRow) -> str:
        if not row.text.lstrip().startswith("#"):
            bad.append(f"{row.text[:60]!r} ({row.actual_columns} fields)")
        return "skip"

    try:
        table = _read(layout, left_out, head)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{uri} cannot be read as csv: {error}; fetch it again") from error
    if bad and len(table) == 0:
        raise DataError(
            f"{uri} has no row of the {len(layout.names)} fields that its header names; its first is {bad[0]}"
        )
    decimal_comma = layout.delimiter == ";"
    columns = []
    for name, texts in zip(layout.names, table.columns, strict=True):
        declared = layout.declared.get(name, {})
        values = texts if name in as_text else _typed(texts, declared, decimal_comma)
        metadata = notes(declared.get("unit"), declared.get("description"), dict(declared.get("meta") or {}).get("ucd"))
        if declared.get("datatype") == "string":
            metadata[ROLE] = b"text"
        columns.append((pa.field(name, values.type, metadata=metadata), values))
    reasons = []
    if bad:
        reasons.append(
            f"{uri}: {len(bad)} rows are left out, which have not the {len(layout.names)} fields of the header, such "
            f"as {bad[0]}"
        )
    return with_reasons(assembled(columns), reasons)


def _decoded(content: bytes) -> str:
    """The text: UTF-16 or UTF-8 by its mark, else UTF-8, else Latin-1, in which every byte is a letter."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _layout(text: str, uri: str) -> _Layout:
    """Header, delimiter and what comments before the header say."""
    lines, comments, start = io.StringIO(text, newline=None), [], 0
    text = lines.getvalue()
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            break
        comments.append(line.strip())
        start += len(line)
    comments = [line for line in comments if line]
    declared, delimiter = _ecsv(comments, uri)
    body = text[start:]
    first = body.split("\n", 1)[0]
    if delimiter is None:
        counts = {mark: _outside_quotes(first).count(mark) for mark in _DELIMITERS}
        delimiter = "\t" if _ending(uri) == "tsv" and counts["\t"] else max(_DELIMITERS, key=lambda mark: counts[mark])
    reader = csv.reader(io.StringIO(body), delimiter=delimiter)
    header = next(reader, [])
    if not header:
        if not comments:
            raise DataError(f"{uri} is empty; expected a header line with the columns' names")
        header, rows = _fields(comments[-1].lstrip("# "), delimiter), ""
    elif (named := _commented(comments, header, delimiter)) and not declared:
        header, rows = named, body
    else:
        rows = body.split("\n", reader.line_num)[-1] if body.count("\n") >= reader.line_num else ""
        following = next(reader, [])
        if len(following) == len(header) + 1 and following[-1] == "":
            header.append("")  # each row ends with a delimiter, the header does not
    names = unique_names([name.strip() for name in header])
    return _Layout(tuple(names), delimiter, rows, declared)


def _ending(uri: str) -> str:
    return uri.lower().removesuffix(".gz").rsplit(".", 1)[-1]


def _outside_quotes(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line)


def _fields(line: str, delimiter: str) -> list[str]:
    return [entry.strip() for entry in next(csv.reader([line], delimiter=delimiter), [])]


def _commented(comments: Sequence[str], first: Sequence[str], delimiter: str) -> list[str] | None:
    """The names in a header that is a comment ("# id,ra,dec"), where the first line is numbers; None: it is not."""
    if not comments or not any(re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", entry) for entry in first):
        return None
    names = _fields(comments[-1].lstrip("# "), delimiter)
    return names if len(names) == len(first) else None


def _ecsv(comments: Sequence[str], uri: str) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The columns' declarations by name and the delimiter of an ECSV header; nothing and None for other comments."""
    if not comments or not comments[0].startswith("# %ECSV"):
        return {}, None
    try:
        header = get_header_from_yaml([line.removeprefix("#").removeprefix(" ") for line in comments[1:]])
        return {column["name"]: dict(column) for column in header["datatype"]}, header.get("delimiter", " ")
    except Exception as error:  # yaml and astropy raise all kinds on a damaged header
        raise DataError(
            f"{uri}: its ECSV header cannot be read ({type(error).__name__}: {error}); write it again"
        ) from error


def _read(layout: _Layout, left_out: Any, head: int | None) -> pa.Table:
    """The rows, all of them text; a missing value is null."""
    kinds = dict.fromkeys(layout.names, pa.string())
    if not layout.rows.strip():
        return pa.table({name: pa.array([], pa.string()) for name in layout.names})
    rows = layout.rows
    if head is not None:
        rows = "\n".join(rows.split("\n", max(64, 2 * head))[:-1]) or rows
    table = pyarrow.csv.read_csv(
        io.BytesIO(rows.encode("utf-8", errors="replace")),
        read_options=pyarrow.csv.ReadOptions(column_names=list(layout.names), block_size=_BLOCK),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=layout.delimiter, newlines_in_values='"' in rows, invalid_row_handler=left_out
        ),
        convert_options=pyarrow.csv.ConvertOptions(column_types=kinds, strings_can_be_null=True),
    )
    return table if head is None else table.slice(0, head)


def _typed(texts: pa.ChunkedArray, declared: dict[str, Any], decimal_comma: bool) -> pa.ChunkedArray:
    """The column in the type that an ECSV header declares, else in the narrowest that takes every value."""
    kind, subtype = str(declared.get("datatype", "")), declared.get("subtype")
    try:
        if subtype:
            return pa.chunked_array([[None if v is None else json.loads(v) for v in texts.to_pylist()]])
        if kind == "string":
            return texts
        if kind == "bool":
            return pc.utf8_lower(texts).cast(pa.bool_())
        if kind:
            return texts.cast(pa.from_numpy_dtype(np.dtype(kind)))
    except (pa.ArrowException, ValueError, TypeError):
        pass  # it is not what it says to be: its values decide, below
    return natural(texts, decimal_comma=decimal_comma)


def natural(texts: pa.ChunkedArray, *, decimal_comma: bool = False) -> pa.ChunkedArray:
    """Text as integers, floats, booleans, dates or times, whichever first takes every value; else as it is.

    Integers beyond 64 bits stay text: a float would not hold their digits.
    """
    if texts.null_count == len(texts):
        return pa.chunked_array([pa.nulls(len(texts))])
    trimmed = pc.utf8_trim_whitespace(texts)
    no_value = pc.is_in(trimmed, value_set=pa.array([*_NO_VALUE, ""]))
    numbers = pc.if_else(no_value, pa.scalar(None, pa.string()), trimmed)
    if numbers.null_count == len(numbers):
        return texts
    return _as_numbers(numbers, decimal_comma) or _as_others(trimmed) or texts


def _as_numbers(numbers: pa.ChunkedArray, decimal_comma: bool) -> pa.ChunkedArray | None:
    """int64, uint64 or float64; None where a value is no number, or an integer that none of them holds."""
    if decimal_comma:
        numbers = pc.replace_substring_regex(numbers, r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$", r"\1.\2")
    numbers = pc.replace_substring_regex(numbers, r"^\+", "")
    for kind in (pa.int64(), pa.uint64(), pa.float64()):
        if kind == pa.float64() and _any(pc.match_substring_regex(numbers, r"^-?\d{19,}$")):
            return None
        try:
            found = numbers.cast(kind)
        except pa.ArrowInvalid:
            continue  # the next kind is wider
        hexadecimal = _any(pc.match_substring_regex(numbers, r"^-?0[xX]"))  # which pyarrow takes for numbers
        return None if hexadecimal else found
    return None


def _any(mask: pa.ChunkedArray) -> bool:
    return bool(pc.any(mask).as_py())


def _as_others(texts: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Booleans, dates or times (ISO 8601 without a zone); None where a value is none of these."""
    lower = pc.utf8_lower(texts)
    if pc.all(pc.is_in(lower.drop_null(), value_set=pa.array(["true", "false"]))).as_py():
        return lower.cast(pa.bool_())
    if not pc.all(pc.match_substring_regex(texts, r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?$")).as_py():
        return None
    for kind in (pa.date32(), pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns")):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue  # the next kind is finer
    return None
