"""A table's columns as a VOTable document without data, which VOParquet files carry in their metadata.

The convention: IVOA Note "Parquet in the VO", version 1.0 of 2025-01-16. Names, units, UCDs, descriptions and the frame
of the positions are said here; values and their types are Parquet's.
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree

import pyarrow as pa

from galflow.catalog.carried import DESCRIPTION, UCD, UNIT

NAMESPACE = "http://www.ivoa.net/xml/VOTable/v1.3"
"""Of VOTable 1.3 and, for want of another, of 1.4 and 1.5."""
VERSION = "1.4"
_POSITIONS = ("ra", "dec")
_TYPES = {
    pa.bool_(): "boolean", pa.uint8(): "unsignedByte", pa.int8(): "short", pa.int16(): "short", pa.uint16(): "int",
    pa.int32(): "int", pa.uint32(): "long", pa.int64(): "long", pa.uint64(): "long", pa.float32(): "float",
    pa.float64(): "double",
}  # fmt: skip
"""VOTable has no unsigned types but the byte: wider ones stand in (readers take Parquet's own)."""


def said_of(field: pa.Field, key: bytes) -> str:
    """The field's unit, description or UCD; empty where it has none."""
    return (field.metadata or {}).get(key, b"").decode("utf-8", "replace")


def array_shape(kind: pa.DataType) -> tuple[pa.DataType, tuple[int, ...]]:
    """The type of the elements, and the shape of an array of fixed size, slowest axis first; () for a plain value."""
    shape: list[int] = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    return kind, tuple(shape)


def votable_document(schema: pa.Schema, text_lengths: Mapping[str, int], name: str = "catalogue") -> bytes:
    """The document as UTF-8 XML; the same columns give the same bytes.

    ``text_lengths`` are the longest texts, in characters, or bytes of each such column, 0 for text of any length. Truth
    values of which some are null are given as such text: else astropy could not put them together with the data.
    """
    root = ElementTree.Element("VOTABLE", version=VERSION, xmlns=NAMESPACE)
    resource = ElementTree.SubElement(root, "RESOURCE", type="results")
    ElementTree.SubElement(resource, "COOSYS", ID="icrs", system="ICRS")
    table = ElementTree.SubElement(resource, "TABLE", name=name)
    for field in schema:
        _add_field(table, field, text_lengths.get(field.name))
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _add_field(table: ElementTree.Element, field: pa.Field, length: int | None) -> None:
    element, shape = array_shape(field.type)
    sizes = [str(size) for size in reversed(shape)]
    while pa.types.is_list(element):
        element, sizes = element.value_type, ["*"]
    datatype = _TYPES.get(element)
    if datatype is None or length is not None:  # text, and what VOTable has no type for: dates, structures
        datatype, sizes = "char" if pa.types.is_binary(element) else "unicodeChar", [f"{length or ''}*"]
    attributes = {"name": field.name, "datatype": datatype}
    if sizes and 0 not in shape:
        attributes["arraysize"] = "x".join(sizes)
    if field.name in _POSITIONS:
        attributes["ref"] = "icrs"
    attributes |= {k: said_of(field, key) for k, key in (("unit", UNIT), ("ucd", UCD)) if said_of(field, key)}
    element_of = ElementTree.SubElement(table, "FIELD", {key: _printable(text) for key, text in attributes.items()})
    if said_of(field, DESCRIPTION):
        ElementTree.SubElement(element_of, "DESCRIPTION").text = _printable(said_of(field, DESCRIPTION))


def _printable(text: str) -> str:
    """Without control characters, which no XML document may hold."""
    return "".join(letter if letter.isprintable() or letter in "\t\n" else "\ufffd" for letter in text)
