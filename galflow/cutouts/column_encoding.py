"""How a catalogue's columns lie in Zarr, which knows arrays of numbers alone, and how they come back as they were.

Numbers stay as they are. What has nulls, is text or a list is encoded, and its attributes say how: no column of a
user's catalogue is left out because of its type.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

GIVEN_NAME = b"given_name"
"""Key of an Arrow field's metadata: the column's name in the user's catalogue, where Zarr has another."""
CATEGORIES = "categories"
"""Attribute of a text column: its values are places in this list, -1 for null."""
_TYPE = "arrow_type"
"""Attribute of whole numbers and booleans that lie as float64, with NaN for null: their own type."""
_SAID = {"units": b"unit", "description": b"description", "ucd": b"ucd", "given_name": GIVEN_NAME}
"""Attribute -> key of an Arrow field's metadata."""


def encode_column(field: pa.Field, column: pa.ChunkedArray | pa.Array) -> tuple[np.ndarray, dict[str, Any]]:
    """What Zarr holds of a column, (N,) or (N, elements), and the attributes to read it back by.

    Whole numbers and booleans with nulls become float64 with NaN; those that float64 cannot hold become texts. Texts,
    dates, lists of changing length and anything else become codes into the attribute ``categories``.
    """
    said = {name: text.decode() for name, key in _SAID.items() if (text := (field.metadata or {}).get(key))}
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind = array.type
    if pa.types.is_fixed_size_list(kind) and _is_number(kind.value_type) and not pa.types.is_boolean(kind.value_type):
        numbers, more = _numbers(_elements(array))
        if numbers is not None:
            return numbers.reshape(len(array), kind.list_size), more | said
    elif _is_number(kind):
        numbers, more = _numbers(array)
        if numbers is not None:
            return numbers, more | said
    codes, categories = _texts(array)
    return codes, categories | said


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _elements(array: pa.FixedSizeListArray) -> pa.Array:
    """All elements of lists of one length; a list that is null has null elements."""
    if not array.null_count:
        return array.flatten()
    nothing = [None] * array.type.list_size
    return pa.array([v for row in array.to_pylist() for v in row or nothing], array.type.value_type)


def _numbers(array: pa.Array) -> tuple[np.ndarray | None, dict[str, Any]]:
    """The numbers, and how to read them back; None where nulls go with numbers beyond 2^53."""
    if not array.null_count or pa.types.is_floating(array.type):
        return array.to_numpy(zero_copy_only=False), {}
    whole = array.cast(pa.int64()) if pa.types.is_boolean(array.type) else array
    try:
        return whole.cast(pa.float64()).to_numpy(zero_copy_only=False), {_TYPE: str(array.type)}
    except pa.ArrowInvalid:
        return None, {}


def _texts(array: pa.Array) -> tuple[np.ndarray, dict[str, Any]]:
    """Codes, (N,) int32, and the texts that they stand for."""
    try:
        texts = array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        plain = (
            None if v is None else v if isinstance(v, str) else json.dumps(v, default=str) for v in array.to_pylist()
        )
        texts = pa.array(plain, pa.string())
    coded = texts.dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return codes, {CATEGORIES: coded.dictionary.to_pylist()}


def decode_column(values: np.ndarray, attributes: dict[str, Any]) -> pa.Array:
    """The column as it was given to ``encode_column``; NaN of floats as null."""
    if CATEGORIES in attributes:
        categories = pa.array(list(attributes[CATEGORIES]), pa.string())
        indices = pa.array(values, pa.int32(), mask=values < 0)
        return pa.DictionaryArray.from_arrays(indices, categories).dictionary_decode()
    flat = np.ascontiguousarray(values).reshape(-1)
    array = pa.array(flat, from_pandas=flat.dtype.kind == "f")
    if _TYPE in attributes:
        own = pa.type_for_alias(attributes[_TYPE])
        array = array.cast(pa.int64()).cast(own) if pa.types.is_boolean(own) else array.cast(own)
    if values.ndim == 1:
        return array
    return pa.FixedSizeListArray.from_arrays(array, values.shape[1])


def said_of_column(attributes: dict[str, Any]) -> dict[bytes, bytes]:
    """Unit, description and UCD of a stored column as an Arrow field's metadata."""
    return {key: str(attributes[name]).encode() for name, key in _SAID.items() if name in attributes}
