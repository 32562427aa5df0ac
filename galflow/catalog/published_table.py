"""Tables that a run publishes beside its catalogue: of any score parts, a part at a time, held to one schema.

Each is a folder of Parquet files as the catalogue is, written by workers, and counts only once its run has a manifest.
What the rows are, a subclass says. This file knows no cluster.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from galflow.catalog.parquet import read_catalog, to_parquet
from galflow.catalog.schema import conform
from galflow.cutouts.flags import Flag, has_flag
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.scores.part_columns import SCHEMA_DETAIL, unpacked_schema
from galflow.storage.checksums import FileSum
from galflow.storage.layout import catalog_file
from galflow.storage.receipts import Receipt, read_sound
from galflow.storage.store import Store

PartFiles = dict[str, FileSum]
LIKELIHOODS, MATCHES = "likelihoods", "matches"
"""As a manifest names the likelihood catalogue, and who was compared at equal properties."""
_CATALOG_OF = "catalog of "


def sample_catalog_name(sample: str) -> str:
    """As a manifest names the catalogue of a comparison sample."""
    return f"{_CATALOG_OF}{sample}"


def tables_among(products: Iterable[str]) -> list[str]:
    """Of the names in a manifest those of tables beside the catalogue."""
    return [name for name in products if name == LIKELIHOODS or name.startswith(_CATALOG_OF)]


@dataclass(frozen=True)
class SourcePart:
    """A score part that gives rows, and what lies beside it."""

    key: str
    file: FileSum
    rows: int
    sample: str | None
    """Whose objects; None: the survey's own."""
    measured: PartFiles = field(default_factory=dict)
    """What was measured on the same cutouts, if anything was."""


@dataclass(frozen=True, eq=False)
class PublishedTable(ABC):
    """What all files of one table have in common."""

    schema: pa.Schema

    @abstractmethod
    def rows_of(self, store: Store, source: SourcePart, part: pa.Table) -> pa.Table:
        """The rows that a score part gives, without planted copies."""

    def write_file(
        self, store: Store, product: str, index: int, sources: Sequence[SourcePart]
    ) -> tuple[dict[str, FileSum], int]:
        """Write file ``index`` of the table at key ``product``; what was written, and its rows.

        One part is read at a time.

        TakenError if other bytes lie there.
        """
        tables = []
        for source in sources:
            (data,) = read_sound(store, {source.key: source.file}).values()
            part = read_catalog(data)
            tables.append(conform(self.rows_of(store, source, _real(part)), self.schema))
        name, whole = catalog_file(index), pa.concat_tables(tables)
        return {name: store.put_once(f"{product}/{name}", to_parquet(whole, self.schema))}, len(whole)


def _real(part: pa.Table) -> pa.Table:
    planted = has_flag(part.column("flags").to_numpy(), Flag.PLANTED)
    plain = part.drop_columns([PLANTED_COLUMN] if PLANTED_COLUMN in part.column_names else [])
    return plain.filter(pa.array(~planted)) if planted.any() else plain


def carried_schemas(parts: Iterable[Receipt]) -> list[pa.Schema]:
    """The different schemas of what score parts carry, from their whole receipts."""
    return [unpacked_schema(text) for text in dict.fromkeys(str(r.details["carried"][SCHEMA_DETAIL]) for r in parts)]


def grouped(sources: Sequence[SourcePart], rows_per_file: int) -> list[list[SourcePart]]:
    """Parts in files of about so many of their rows; a part is never divided."""
    groups: list[list[SourcePart]] = []
    rows = rows_per_file
    for source in sources:
        if rows >= rows_per_file:
            groups.append([])
            rows = 0
        groups[-1].append(source)
        rows += source.rows
    return groups
