"""The objects that the page of anomalies has: the highest-ranked rows of the catalogue, as columns in script files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.carried import DESCRIPTION, UCD, UNIT
from galflow.catalog.files import each_file
from galflow.catalog.published import read_plan
from galflow.catalog.triage import TRIAGE
from galflow.photometry import AB_ZERO_NJY, NJY
from galflow.report.site.columns import kind_of, magnitude_column, told_columns
from galflow.report.site.data_files import data_file, data_name
from galflow.storage.store import Store

CHUNK_ROWS = 1000
"""Rows of one data file."""
MOST_COLUMNS = 120
"""A gallery has no more: the survey's own columns beyond that stay in the catalogue."""
_NOT_SHOWN = {"run_id", "survey", "release", "cutout", "is_primary", "id_in_tile", "x", "y"}
"""Equal in all rows, or of no use to a reader of pictures."""
_RANK = "anomaly_rank"
_POSITIONS = {"ra", "dec"}
_DIGITS, _POSITION_DIGITS = 6, 7
"""Significant digits of a number; decimals of a position in degrees: 0.4 mas."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Rows of the catalogue in the order of their rank."""

    rows: pa.Table
    left_out: tuple[str, ...]
    """Columns for which there was no room."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def places(self) -> list[tuple[str, int]]:
        """(tile, row in its cutout set) of each."""
        return list(zip(self.rows.column("tile").to_pylist(), self.rows.column("row").to_pylist(), strict=True))

    def columns(self) -> list[dict[str, str]]:
        """Name, unit, description, UCD and kind of each, as the scripts know them."""
        return told_columns(self.rows.schema)

    def magnitude(self, bands: Sequence[str]) -> str | None:
        """The column by which brightness is chosen: a magnitude, of the first of these bands that has one."""
        return magnitude_column(self.columns(), bands)

    def with_magnitude(self, bands: Sequence[str], unit: str) -> Gallery:
        """With a magnitude from a band's flux where the catalogue has none, and the flux is in nJy."""
        names = [f"flux_{band}" for band in bands if f"flux_{band}" in self.rows.column_names]
        if unit != NJY or not names or self.magnitude(bands) is not None:
            return self
        flux = pc.cast(self.rows.column(names[0]), pa.float64())
        positive = pc.if_else(pc.greater(flux, 0), flux, None)
        values = pc.multiply(pc.log10(pc.divide(positive, AB_ZERO_NJY)), -2.5)
        said = {UNIT: b"mag", DESCRIPTION: f"AB magnitude of {names[0]}".encode(), UCD: b"phot.mag"}
        field = pa.field(names[0].replace("flux", "mag", 1), pa.float64(), metadata=said)
        return replace(self, rows=self.rows.append_column(field, values))

    def present(self, column: str) -> list[str]:
        """The texts that a column has, sorted."""
        if column not in self.rows.column_names:
            return []
        return sorted(text for text in pc.unique(self.rows.column(column)).to_pylist() if text)

    def flags(self) -> int:
        """All bits that any row has."""
        return _or(self.rows.column("flags").to_pylist())

    def files(self) -> Iterator[tuple[str, bytes]]:
        """(path below the report's folder, content) of the data files, in the order of rank."""
        for index in range(max(1, math.ceil(len(self.rows) / CHUNK_ROWS))):
            part = self.rows.slice(index * CHUNK_ROWS, CHUNK_ROWS)
            name = data_name("rows", index)
            yield f"data/{name}.js", data_file(name, {n: _values(n, part.column(n)) for n in part.column_names})


def read_gallery(store: Store, catalog: str, count: int) -> Gallery:
    """The ``count`` highest-ranked objects of the catalogue at this key, read file by file."""
    fields = [f for f in read_plan(store, catalog).schema if f.name not in _NOT_SHOWN and kind_of(f) is not None]
    kept, left_out = fields[:MOST_COLUMNS], fields[MOST_COLUMNS:]
    names = [field.name for field in kept]
    tables = [t.filter(pc.less_equal(t.column(_RANK), count)) for t in each_file(store, catalog, names)]
    found = pa.concat_tables(tables).sort_by([(_RANK, "ascending"), ("object_id", "ascending")])
    return Gallery(found.cast(pa.schema(kept)).slice(0, count), tuple(field.name for field in left_out))


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    """A column as JSON: ids as text, numbers as short as they are exact enough, what is not finite as null."""
    values = column.to_pylist()
    if name == "object_id":
        return [str(value) for value in values]
    if pa.types.is_floating(column.type):
        digits = _POSITION_DIGITS if name in _POSITIONS else None
        return [_short(value, digits) for value in values]
    return values


def _short(value: float | None, decimals: int | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return round(value, decimals) if decimals is not None else float(f"{value:.{_DIGITS}g}")


def _or(flags: Sequence[int]) -> int:
    found = 0
    for value in flags:
        found |= value
    return found


def classes_of(gallery: Gallery) -> list[str]:
    """What the triage takes the gallery's objects for."""
    return gallery.present(TRIAGE)
