"""The catalogue as a table: which columns in which order, null for what was not scored, parts put together.

A number is a number or null ("not scored", with an outcome that says why). This file refuses NaN and infinities in the
columns galflow makes, and two rows for one object of a tile. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError, ModelError, SpecError

CATALOG_COLUMNS = ("object_id", "ra_deg", "dec_deg", "survey", "release", "tile", "row", "run_id")
"""The columns every catalogue begins with, in this order; scores follow, then ``LAST_COLUMNS``."""
LAST_COLUMNS = ("flags", "outcome")
RUN_COLUMNS = ("anomaly_q",)
LIKELIHOOD_PREFIXES = ("loglike_", "bpd_", "llr_")
SCORE_SUFFIXES = ("", "_sigma", "_p")
"""A score's three columns: raw, robust sigmas above the reference median, conformal p-value."""
ROW_KEY = ("survey", "tile", "row")
ID_TYPES = (pa.int64(), pa.uint64())


def catalog_schema(
    scores: Sequence[str] = (), likelihoods: Sequence[str] = (), id_type: pa.DataType = ID_TYPES[0]
) -> pa.Schema:
    """The catalogue's schema: ``scores`` are full names ("wgan_anomaly"), ``likelihoods`` full column names
    ("loglike_pixelcnn", "bpd_pixelcnn", "llr_pixelcnn_sersic"). Only scores, likelihoods and positions may be null.
    """
    if id_type not in ID_TYPES:
        raise SpecError(f"object ids cannot be {id_type}; galflow ids are int64 or uint64, never through a float")
    text, number = pa.string(), pa.float64()
    types = (id_type, number, number, text, text, text, pa.int64(), text)
    fixed = [pa.field(n, t, nullable=t == number) for n, t in zip(CATALOG_COLUMNS, types, strict=True)]
    measured = [f"{score}{suffix}" for score in scores for suffix in SCORE_SUFFIXES] + [*RUN_COLUMNS, *likelihoods]
    last = [pa.field("flags", pa.uint32(), nullable=False), pa.field("outcome", text, nullable=False)]
    return pa.schema([*fixed, *(pa.field(name, number) for name in measured), *last])


def order_columns(table: pa.Table, carried: Collection[str] = ()) -> pa.Table:
    """The same table with its columns in catalogue order; columns ``carried`` over from the survey's catalogue go last.

    Scores keep their order of first appearance, each followed by its ``_sigma`` and ``_p``. Raises DataError if a fixed
    column is missing.
    """
    names = table.column_names
    missing = [name for name in (*CATALOG_COLUMNS, *LAST_COLUMNS) if name not in names]
    if missing:
        raise DataError(
            f"catalogue lacks column(s) {', '.join(missing)}; expected {', '.join(CATALOG_COLUMNS)} and "
            f"{', '.join(LAST_COLUMNS)} in every part"
        )
    fixed = {*CATALOG_COLUMNS, *LAST_COLUMNS, *RUN_COLUMNS, *carried}
    measured = [name for name in names if name not in fixed]
    likelihoods = [name for prefix in LIKELIHOOD_PREFIXES for name in measured if name.startswith(prefix)]
    families = [name + suffix for name in measured for suffix in SCORE_SUFFIXES if not _is_calibration(name, measured)]
    scores = [name for name in dict.fromkeys([*families, *measured]) if name in measured and name not in likelihoods]
    run = [name for name in RUN_COLUMNS if name in names]
    extra = [name for name in names if name in set(carried)]
    return table.select([*CATALOG_COLUMNS, *scores, *run, *likelihoods, *LAST_COLUMNS, *extra])


def _is_calibration(name: str, columns: Collection[str]) -> bool:
    """Whether ``name`` is the ``_sigma`` or ``_p`` of a score among ``columns``."""
    return any(name.endswith(suffix) and name.removesuffix(suffix) in columns for suffix in SCORE_SUFFIXES[1:])


def nan_to_null(name: str, values: npt.ArrayLike, scored: npt.ArrayLike) -> pa.Array:
    """A float64 column: (n,) ``values`` where ``scored`` (bool), null elsewhere.

    Raises ModelError if a value that counts as scored is NaN or infinite.
    """
    numbers, known = np.asarray(values, dtype=np.float64), np.asarray(scored, dtype=bool)
    bad = np.flatnonzero(known & ~np.isfinite(numbers))
    if bad.size:
        raise ModelError(
            f"{name} is {numbers[bad[0]]} for {bad.size} object(s) that count as scored (first: row {bad[0]}); "
            "expected finite numbers. Mark such objects as not scored, with an outcome that says why"
        )
    return pa.array(numbers, mask=~known)


def require_finite(table: pa.Table, carried: Collection[str] = ()) -> None:
    """Raise ModelError if a float column, other than those ``carried`` from the survey, has a NaN or infinity."""
    for field in table.schema:
        if pa.types.is_floating(field.type) and field.name not in carried:
            finite = pc.fill_null(pc.is_finite(table[field.name]), True)
            bad = len(finite) - (pc.sum(finite).as_py() or 0)
            if bad:
                raise ModelError(
                    f"column {field.name} passes off {bad} NaN or infinite value(s) as numbers, first in row "
                    f"{pc.index(finite, False).as_py()}; expected a finite number or null (nan_to_null makes nulls)"
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
