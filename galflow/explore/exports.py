"""A selection taken along: as a table in Parquet, FITS, VOTable or CSV, as FITS stamps, or as a sheet of pictures."""

# What formats need is imported where it is written: the explorer starts without.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.csv as csv

from galflow.errors import SpecError
from galflow.explore.explored import ExploredRun
from galflow.explore.query import Query

Format = Literal["parquet", "fits", "votable", "csv", "stamps", "png", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)
ENDINGS: dict[Format, str] = {
    "parquet": ".parquet", "fits": ".fits", "votable": ".vot", "csv": ".csv", "stamps": "-stamps.zip",
    "png": "-sheet.png", "pdf": "-sheet.pdf",
}  # fmt: skip
MOST: dict[Format, int] = {"stamps": 2_000, "png": 200, "pdf": 2_000}
"""Objects of a format that is written picture by picture; of the others there may be any number."""


@dataclass(frozen=True)
class Export:
    """What is taken along."""

    query: Query
    format: Format
    limit: int | None = None
    """Only the first so many."""
    columns: tuple[str, ...] | None = None
    """Of a table; None: all."""


def rows_of(explored: ExploredRun, export: Export) -> int:
    """How many rows will be written; SpecError where there is none, or too many for the format."""
    if export.limit is not None and export.limit < 1:
        raise SpecError(f"the first {export.limit} rows; give 1 or more, or no limit")
    for name in export.columns or ():
        explored.rows.columns.named(name)
    count = len(explored.rows.ordered(export.query))
    wanted = count if export.limit is None else min(count, export.limit)
    if not wanted:
        raise SpecError("no row is selected, so there is nothing to write; loosen the filters")
    most = MOST.get(export.format)
    if most is not None and wanted > most:
        raise SpecError(
            f"{wanted:,} objects as {export.format}: at most {most:,} are written so; give a limit, or narrow the "
            "selection"
        )
    return wanted


def write_export(explored: ExploredRun, export: Export, folder: Path) -> Path:
    """The file, in ``folder``, named after the run; SpecError as ``rows_of``."""
    wanted = rows_of(explored, export)
    path = folder / f"{explored.name}{ENDINGS[export.format]}"
    if export.format in ("stamps", "png", "pdf"):
        from galflow.explore.sheets import write_sheet
        from galflow.explore.stamps import write_stamps

        numbers = explored.rows.ordered(export.query)[:wanted]
        write: Callable[..., None] = write_stamps if export.format == "stamps" else write_sheet
        write(explored, numbers, path)
    else:
        _write_table(explored, export, wanted, path)
    return path


def _write_table(explored: ExploredRun, export: Export, wanted: int, path: Path) -> None:
    from galflow.catalog.fits_table import write_fits
    from galflow.catalog.parquet import write_parquet
    from galflow.catalog.schema import conform
    from galflow.catalog.votable_file import write_votable

    names = list(explored.rows.columns) if export.columns is None else list(dict.fromkeys(export.columns))
    schema = pa.schema([explored.rows.columns.schema.field(explored.rows.columns.named(n).name) for n in names])
    tables = partial(explored.rows.pieces, export.query, names, wanted)
    match export.format:
        case "parquet":
            write_parquet(tables, schema, path)
        case "fits":
            write_fits(tables, schema, path)
        case "votable":
            write_votable(tables, schema, path, explored.name)
        case _:
            with csv.CSVWriter(path, schema) as writer:
                for table in tables():
                    writer.write_table(conform(table, schema))
