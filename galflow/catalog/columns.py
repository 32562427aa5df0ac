"""What every table of rows is held to: ids of 64 bits, no NaN for a number, parts put together without a row twice.

A number is a number or null ("not scored", with an outcome that says why). This file refuses NaN and infinities in the
columns galflow makes, and two rows for one object of a tile. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError, ModelError, SpecError

ROW_KEY = ("survey", "tile", "row")
ID_TYPES = (pa.int64(), pa.uint64())


def require_finite(table: pa.Table, carried: Collection[str] = ()) -> None:
    """Raise ModelError if a float column, other than those ``carried`` from the survey, has a NaN or infinity."""
    for field in table.schema:
        if pa.types.is_floating(field.type) and field.name not in carried:
            finite = pc.fill_null(pc.is_finite(table[field.name]), True)
            bad = len(finite) - (pc.sum(finite).as_py() or 0)
            if bad:
                raise ModelError(
                    f"column {field.name} passes off {bad} NaN or infinite value(s) as numbers, first in row "
                    f"{pc.index(finite, False).as_py()}; expected a finite number, or null and an outcome that says why"
                )


def concat_parts(parts: Sequence[pa.Table]) -> pa.Table:
    """All rows of ``parts``, by (survey, tile, row); a column that a part lacks is null there.

    Raises DataError for two rows with one (survey, tile, row), or if ids are of different kinds.
    """
    if not parts:
        raise SpecError("no score parts to put together; give at least one table, which may be empty")
    for name in ("object_id", "row"):
        types = {str(part.schema.field(name).type) if name in part.column_names else "absent" for part in parts}
        if len(types) > 1 or "absent" in types:
            raise DataError(
                f"column {name} is {' and '.join(sorted(types))} in different parts; expected one 64-bit integer type "
                "in all, since joining different ones goes through floats"
            )
    bare = [part.replace_schema_metadata(None) for part in parts]
    table = pa.concat_tables(bare, promote_options="permissive")
    keys = [name for name in ROW_KEY if name in table.column_names]
    table = table.sort_by([(name, "ascending") for name in keys]).combine_chunks()
    repeated = np.ones(max(0, len(table) - 1), dtype=bool)
    for name in keys:
        column = table[name]
        repeated &= pc.equal(column.slice(0, max(0, len(table) - 1)), column.slice(1)).to_numpy()
    if repeated.any():
        first = {name: table[name][int(np.argmax(repeated))].as_py() for name in keys}
        raise DataError(
            f"{int(repeated.sum())} row(s) occur twice, first {first}; expected one row per object of a tile. "
            "Give each tile's part once, of one release"
        )
    return table
