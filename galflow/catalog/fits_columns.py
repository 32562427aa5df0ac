"""A catalogue's column as FITS holds it: its format in the header, and its values as bytes of a fixed width.

FITS knows a missing number as NaN (floats) or as one declared value (whole numbers), and no missing truth value nor
text: nullable truth values become the numbers 0 and 1, a missing text is an empty one. Nothing is refused for the sake
of a cell: what a cell loses is counted and said.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.carried import as_text, free_name
from galflow.catalog.votable import array_shape

LONGEST_TEXT = 1024
"""Bytes. Every row has room for the longest text of a column, so that one long cell would swell the whole file."""
_INT64_LOWEST = np.iinfo(np.int64).min
_PLAIN = {
    pa.int16(): "I", pa.int32(): "J", pa.int64(): "K", pa.uint8(): "B", pa.float32(): "E", pa.float64(): "D",
    pa.bool_(): "L",
}  # fmt: skip
_WITH_NULL = {
    pa.int16(): "I", pa.int32(): "J", pa.int64(): "K", pa.uint8(): "I", pa.uint16(): "J", pa.uint32(): "K",
    pa.uint64(): "K", pa.bool_(): "I", pa.int8(): "I",
}  # fmt: skip
"""Unsigned types are widened to a signed one: for a null astropy compares values with what is stored, unscaled."""
_UNSIGNED = {pa.uint16(): ("I", 2**15), pa.uint32(): ("J", 2**31), pa.uint64(): ("K", 2**63)}
_DTYPES = {"I": ">i2", "J": ">i4", "K": ">i8", "B": "u1", "E": ">f4", "D": ">f8", "L": "u1"}

NON_ASCII, CUT, TAKEN_FOR_NULL = "not ASCII", "cut", "taken for null"
"""What may befall a cell."""


def text_widths(table: pa.Table) -> dict[str, int]:
    """Bytes that the longest text takes in FITS, by column, for the columns of a conformed table that are text there.

    A nullable uint64 column is among them if a value is beyond int64: FITS has no such numbers with a null beside them.
    """
    widths = {}
    for field in table.schema:
        column = table[field.name]
        if field.nullable and pa.types.is_uint64(field.type):
            if (pc.max(column).as_py() or 0) > np.iinfo(np.int64).max:
                widths[field.name] = len(str(2**64))
        elif is_text(field.type):
            longest = pc.max(pc.binary_length(_ascii(as_text(column)))).as_py() or 0
            widths[field.name] = min(max(1, longest), LONGEST_TEXT)
    return widths


def merged_widths(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The widths that both tables fit into."""
    return {name: max(one.get(name, 1), other.get(name, 1)) for name in {**one, **other}}


def is_text(kind: pa.DataType) -> bool:
    """Whether FITS has columns of this type as text: text itself, dates, bytes, lists of varying length, structures."""
    element, shape = array_shape(kind)
    return (element not in _PLAIN and element not in _WITH_NULL) or 0 in shape


@dataclass(frozen=True)
class FitsColumn:
    """Format of one column."""

    field: pa.Field
    code: str
    """Of FITS: one of the letters of TFORM."""
    shape: tuple[int, ...]
    """Of an array in each row, slowest axis first."""
    width: int
    """Bytes of a text; 0 for all else."""
    null: int | None
    """The stored value that stands for null (TNULL)."""
    zero: int
    """What is added to the stored value (TZERO), for unsigned numbers."""

    @classmethod
    def of(cls, field: pa.Field, width: int | None) -> FitsColumn:
        """The format of a field; ``width`` is that of ``text_widths``, None where it gives none."""
        element, shape = array_shape(field.type)
        if width is not None or is_text(field.type):
            return cls(field, "A", (), width or 1, None, 0)
        # Within arrays any element may be null.
        if element in _WITH_NULL and (field.nullable or shape or element not in {**_PLAIN, **_UNSIGNED}):
            code = _WITH_NULL[element]
            return cls(field, code, shape, 0, int(np.iinfo(np.dtype(_DTYPES[code])).min), 0)
        code, zero = _UNSIGNED[element] if element in _UNSIGNED else (_PLAIN[element], 0)
        return cls(field, code, shape, 0, None, zero)

    @property
    def form(self) -> str:
        """TFORM."""
        return f"{self.width}A" if self.code == "A" else f"{int(np.prod(self.shape))}{self.code}"

    @property
    def dim(self) -> str | None:
        """TDIM, fastest axis first, for arrays of several axes."""
        return f"({','.join(str(n) for n in reversed(self.shape))})" if len(self.shape) > 1 else None

    @property
    def dtype(self) -> tuple[str, tuple[int, ...]]:
        """Of the stored values in numpy's words: big-endian."""
        return (f"S{self.width}", ()) if self.code == "A" else (_DTYPES[self.code], self.shape)

    def encode(self, column: pa.ChunkedArray, lost: Counter[str]) -> np.ndarray:
        """(n, ...) stored values; ``lost`` counts the cells that lose something, by what they lose."""
        if self.code == "A":
            return self._encode_text(as_text(column), lost)
        values = column.combine_chunks()
        values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        flat = array_elements(values, self.shape)
        if pa.types.is_floating(flat.type):
            out = pc.fill_null(flat, np.nan).to_numpy(zero_copy_only=False)
        elif self.code == "L":
            out = np.where(pc.fill_null(flat, False).to_numpy(zero_copy_only=False), ord("T"), ord("F"))
        elif self.null is not None:
            out = self._encode_nullable(flat, lost)
        else:
            whole = flat.to_numpy(zero_copy_only=False)
            # Less 2^(bits-1), as the highest bit turned over: exact for all 64 bits.
            flip = whole.dtype.type(self.zero)
            out = (whole ^ flip).view(f"i{whole.dtype.itemsize}") if self.zero else whole
        return np.asarray(out).reshape(len(values), *self.shape)

    def _encode_nullable(self, flat: pa.Array, lost: Counter[str]) -> np.ndarray:
        stored = flat.cast(pa.int64())
        lost[TAKEN_FOR_NULL] += pc.sum(pc.equal(stored, self.null)).as_py() or 0
        filled: np.ndarray = pc.fill_null(stored, self.null).to_numpy(zero_copy_only=False)
        return filled

    def _encode_text(self, column: pa.ChunkedArray, lost: Counter[str]) -> np.ndarray:
        lost[NON_ASCII] += pc.sum(_foreign(column)).as_py() or 0
        text = pc.fill_null(_ascii(column), "")
        long = pc.greater(pc.binary_length(text), self.width)
        cut = pc.sum(long).as_py() or 0
        if cut:
            lost[CUT] += cut
            text = pc.if_else(long, pc.utf8_replace_slice(text, max(0, self.width - 3), LONGEST_TEXT**3, "..."), text)
            text = pc.utf8_slice_codeunits(text, 0, self.width)
        padded = pc.ascii_rpad(text, self.width, padding="\0")
        if not len(padded):
            return np.zeros(0, f"S{self.width}")
        return np.concatenate([_fixed_width(chunk, self.width) for chunk in padded.chunks if len(chunk)])


def _fixed_width(padded: pa.Array, width: int) -> np.ndarray:
    start = padded.offset * width  # every text is as wide, so the bytes lie one after another
    first = np.frombuffer(padded.buffers()[1], np.int32, 1, padded.offset * 4)[0]
    if first != start:
        start = int(first)
    return np.frombuffer(padded.buffers()[2], f"S{width}", len(padded), start)


def array_elements(values: pa.Array, shape: tuple[int, ...]) -> pa.Array:
    """All elements of an array column, null where a whole array is."""
    for size in shape:
        inner = values.values.slice(values.offset * size, len(values) * size)
        if values.null_count:
            absent = np.repeat(values.is_null().to_numpy(zero_copy_only=False), size)
            inner = inner.take(pa.array(np.arange(len(inner)), mask=absent))
        values = inner
    return values


def _foreign(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which texts FITS cannot hold as they are: it knows ASCII from blank to tilde."""
    return pc.invert(pc.fill_null(pc.ascii_is_printable(column), True))


def _ascii(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text with everything beyond printable ASCII written out, as \\xe9 or \\n."""
    foreign = _foreign(column)
    if not pc.any(foreign).as_py():
        return column
    written = pa.array([_written_out(text) for text in column.filter(foreign).to_pylist()], pa.string())
    return pc.replace_with_mask(column, foreign.combine_chunks(), written)


def _written_out(text: str) -> str:
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def ascii_text(text: str) -> str:
    """A unit or description for a header."""
    return _written_out(text)


def fits_names(names: Iterable[str]) -> dict[str, str]:
    """Columns by name -> their names in FITS: ASCII letters, digits and underscores, all different in any case."""
    plain = {name: re.sub(r"\W", "_", _without_accents(name), flags=re.ASCII) for name in names}
    # A name that can stay as it is stays.
    given = {name: name for name in plain if name and plain[name] == name}
    for name in plain:
        if name not in given:
            given[name] = free_name(plain[name], {other.lower() for other in given.values()})
    return {name: given[name] for name in plain}


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
