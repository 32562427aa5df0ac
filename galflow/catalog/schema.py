"""The catalogue's one schema: every column with type, unit, description and UCD, and the check that holds tables to it.

``conform`` is the door to every written file: what does not fit the schema is refused here. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.carried import DESCRIBED, DESCRIPTION, FROM_CATALOG, ORIGIN, UCD, UNIT, as_text, unified_type
from galflow.catalog.columns import ID_TYPES, require_finite
from galflow.catalog.own_columns import (
    RANK_COLUMNS,
    Column,
    identity_columns,
    last_columns,
    likelihood_column,
    score_columns,
    triage_columns,
)
from galflow.errors import DataError, SpecError

HEALPIX_COLUMN = "_healpix_29"
"""The column that a HATS catalogue has besides: it is galflow's too."""


def catalog_schema(
    scores: Sequence[str],
    likelihoods: Sequence[str],
    carried: pa.Schema,
    id_type: pa.DataType,
    with_names: bool,
    measured: Sequence[Column] = (),
) -> pa.Schema:
    """The schema of a catalogue's files.

    ``scores`` are full names ("wgan_anomaly"), ``likelihoods`` full column names ("loglike_pixelcnn", "bpd_pixelcnn",
    "llr_pixelcnn_sersic"), ``carried`` the user's and the survey's columns under the names that
    ``carried.carried_names`` gives and with the types of ``carried.merged_carried``, ``measured`` what was measured on
    the cutouts (galflow.catalog.measured_columns). Raises SpecError for ids that are
    no 64-bit integers, and for names that occur twice.
    """
    if id_type not in ID_TYPES:
        raise SpecError(f"object ids cannot be {id_type}; galflow ids are int64 or uint64, never through a float")
    own = [
        *identity_columns(id_type, with_names),
        *(column for score in scores for column in score_columns(score)),
        *RANK_COLUMNS,
        *triage_columns(),
        *(likelihood_column(name) for name in likelihoods),
        *measured,
        *last_columns(),
    ]
    fields = [*(column.field() for column in own), *(_carried_field(field) for field in carried)]
    seen = {HEALPIX_COLUMN}
    for field in fields:
        if field.name.lower() in seen:
            raise SpecError(
                f"a catalogue cannot have a second column {field.name!r}: to SQL and FITS names that differ only in "
                "case are one. Rename the score, or carry the survey's column under the name that carried_names gives"
            )
        seen.add(field.name.lower())
    return pa.schema(fields)


def _carried_field(field: pa.Field) -> pa.Field:
    said = {key: text for key, text in (field.metadata or {}).items() if key in (UNIT, DESCRIPTION, UCD) and text}
    metadata = {DESCRIPTION: DESCRIBED.encode(), **said, ORIGIN: FROM_CATALOG}
    return pa.field(field.name, field.type, metadata=metadata)


def is_carried(field: pa.Field) -> bool:
    """Whether a column of a catalogue's schema is the user's or the survey's, and not galflow's."""
    return (field.metadata or {}).get(ORIGIN) == FROM_CATALOG


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns of ``schema``, in its order, each of its type.

    Values are cast where none is changed by it: whole numbers to float64, dictionaries decoded, narrow numbers to wide
    ones; in carried columns also to the type that ``merged_carried`` chose for all tiles, and NaN to null. A nullable
    column that the table lacks is null. Raises DataError for everything else, ModelError for a NaN or infinity in a
    column of galflow's own.
    """
    names = table.column_names
    repeated = sorted({name for name in names if names.count(name) > 1})
    unknown = [name for name in names if name not in set(schema.names)]
    if repeated or unknown:
        raise DataError(
            f"the table has the column(s) {', '.join(repeated)} twice; give each once"
            if repeated
            else f"the table has the column(s) {', '.join(unknown)}, which the catalogue's schema lacks; expected "
            f"{', '.join(schema.names)}. Carry survey columns through merged_carried"
        )
    columns = [_conform_column(table, field) for field in schema]
    out = pa.Table.from_arrays(columns, schema=schema)
    require_finite(out, [field.name for field in schema if is_carried(field)])
    return out


def _conform_column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        if not field.nullable:
            raise DataError(f"the table lacks column {field.name} ({field.type}), which may not be null; give it")
        return pa.chunked_array([pa.nulls(len(table), field.type)])
    column = table[field.name]
    given, wanted = column.type, field.type
    if isinstance(given, pa.BaseExtensionType):
        column = pa.chunked_array([c.storage for c in column.chunks], given.storage_type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        column = _cast(column, field)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(
            f"column {field.name} is {given} and does not fit the catalogue's {wanted} ({error}); expected {wanted}. "
            "Give it in that type, or state its type for all tiles"
        ) from error
    if column.null_count and not field.nullable:
        raise DataError(
            f"column {field.name} has {column.null_count} null(s), first in row "
            f"{pc.index(pc.is_null(column), True).as_py()}; expected a {wanted} in every row"
        )
    return column


def _element(kind: pa.DataType) -> pa.DataType:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null))


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    given, wanted, test = column.type, field.type, pa.types
    carried = is_carried(field)
    if not given.equals(wanted):
        whole = test.is_integer(given) and test.is_integer(wanted)
        if not whole and not unified_type(given, wanted).equals(wanted):
            raise pa.ArrowTypeError("that type is narrower, or another kind")
        if test.is_string(wanted) and not _is_text(given):
            if not carried:
                raise pa.ArrowTypeError("it is no text")
            column = as_text(column)
        elif test.is_duration(given):
            column = column.cast(pa.int64())
        else:
            # Of carried columns merged_carried has said that whole numbers beyond 2^53 are rounded.
            rounded = carried and test.is_floating(_element(wanted))
            column = column.cast(wanted, safe=not rounded)
    if carried and test.is_floating(wanted):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, wanted), column)
    return column
