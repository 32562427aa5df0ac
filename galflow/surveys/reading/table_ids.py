"""Object ids out of a catalogue's column: integers of 64 bits as they are, text as a hash that stays the same.

Integers never pass through a float. A text id becomes 63 bits of its SHA-256, and the text stays beside it; two texts
with one hash are refused. Floating-point numbers are taken only where each is a whole number that a double holds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError, SpecError

_LARGEST_EXACT = 1 << 53
"""Beyond it a double skips integers."""


@dataclass(frozen=True, eq=False)
class Identified:
    """The ids of a catalogue's rows."""

    ids: pa.ChunkedArray
    """(n,) int64, or uint64 where they need it; null where a row has none."""
    names: pa.ChunkedArray | None = None
    """(n,) the texts that the ids are hashes of; None for integers."""
    reasons: tuple[str, ...] = ()


def hash63(text: str) -> int:
    """The first 8 bytes of the text's SHA-256, the top bit cleared: an id that fits int64 and is never negative."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") & ((1 << 63) - 1)


def ids_of_tile(table: pa.Table, tile: str) -> pa.Table:
    """A catalogue whose ids are numbers within its tile, with ids that no other tile has: hashes of tile and number.

    The column ``source_name`` then says "tile/number".
    """
    given = table["source_name"] if "source_name" in table.column_names else table["object_id"].cast(pa.string())
    names = [f"{tile}/{name}" for name in given.to_pylist()]
    ids = pa.array([hash63(name) for name in names], pa.int64())
    columns = [n for n in table.column_names if n not in ("object_id", "source_name")]
    named = table.select(columns).add_column(0, "source_name", pa.array(names, pa.string()))
    return named.add_column(0, "object_id", ids)


def identify(column: pa.ChunkedArray, name: str, uri: str, *, typed: bool) -> Identified:
    """The ids in ``column``, called ``name`` in the file at ``uri``. Repeated ones are recorded when cut.

    ``typed``: the file says that its text is text (FITS, Parquet); in CSV everything is text, and what are numbers in
    every row is numbers. So two files of one survey get ids of two kinds where one holds text and the other has not.
    Raises SpecError for a column that holds no ids, DataError where two texts have one hash.
    """
    kind = column.type
    if pa.types.is_integer(kind):
        return Identified(column if kind == pa.uint64() else column.cast(pa.int64()))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Identified(_whole(column, name, uri))
    if pa.types.is_null(kind):
        return Identified(column.cast(pa.int64()))
    if not pa.types.is_string(kind):
        raise SpecError(
            f"{uri}: the ids in column {name!r} are of type {kind}; expected integers of up to 64 bits or text. "
            "Map object_id to another column"
        )
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    if not typed:
        numbers = _parsed(text)
        if numbers is not None:
            whole = numbers if pa.types.is_integer(numbers.type) else _whole(numbers, name, uri)
            return Identified(whole)
    return _hashed(text, name, uri)


def _parsed(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Text as int64, uint64 or float64, whichever first holds every row; None where some are no numbers."""
    if pc.any(pc.match_substring_regex(text, r"^[+-]?0[xX]")).as_py():
        return None  # pyarrow takes hexadecimal numbers for numbers
    bare = pc.replace_substring_regex(text, r"^\+", "")
    for kind in (pa.int64(), pa.uint64(), pa.float64()):
        if kind == pa.float64() and pc.any(pc.match_substring_regex(bare, r"^-?\d{19,}$")).as_py():
            return None  # integers beyond 64 bits are names
        try:
            return bare.cast(kind)
        except pa.ArrowInvalid:
            continue  # the next kind is wider; text that is no number stays text
    return None


def _whole(column: pa.ChunkedArray, name: str, uri: str) -> pa.ChunkedArray:
    """Floating-point or decimal ids as int64, refused where one is not a whole number held exactly; NaN is null."""
    if pa.types.is_decimal(column.type):
        for kind in (pa.int64(), pa.uint64()):
            try:
                return column.cast(kind)
            except pa.ArrowInvalid:
                continue
        bad = str(column.drop_null()[0].as_py())
    else:
        values = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        missing = np.isnan(values)
        exact = missing | ((np.abs(values) <= _LARGEST_EXACT) & (values == np.floor(values)))
        if exact.all():
            whole = np.where(missing, 0.0, values).astype(np.int64)
            return pa.chunked_array([pa.array(whole, mask=missing)])
        bad = repr(float(values[~exact][0]))
    raise SpecError(
        f"{uri}: the ids in column {name!r} are floating-point ({column.type}) and not all whole numbers below 2^53, "
        f"such as {bad}; a float does not hold every 64-bit integer: store them as integers or text, or map object_id "
        "to another column"
    )


def _hashed(text: pa.ChunkedArray, name: str, uri: str) -> Identified:
    """Text ids as hashes, the texts beside them."""
    codes = text.combine_chunks().dictionary_encode()
    texts = codes.dictionary.to_pylist()
    hashes = [hash63(entry) for entry in texts]
    owner: dict[int, str] = {}
    for number, entry in zip(hashes, texts, strict=True):
        if number in owner:
            raise DataError(
                f"{uri}: the ids {owner[number]!r} and {entry!r} in column {name!r} have the same hash {number}; "
                "rename one of them"
            )
        owner[number] = entry
    ids = pa.array(hashes, pa.int64()).take(codes.indices)
    whole = int(pc.sum(pc.match_substring_regex(text, r"^[+-]?\d{1,19}$")).as_py() or 0)
    reasons = []
    if 0 < whole < len(text) - text.null_count:
        other = text.filter(pc.invert(pc.match_substring_regex(text, r"^[+-]?\d+$"))).drop_null()
        example = other[0].as_py() if len(other) else texts[0]
        reasons.append(
            f"{uri}: the ids in column {name!r} are integers in {whole} rows only, others are such as {example!r}: all "
            "are taken as text, object_id is its hash and source_name the text"
        )
    return Identified(pa.chunked_array([ids]), text, tuple(reasons))
