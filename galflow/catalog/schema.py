"""The catalogue's one schema: every column with type, unit, description and UCD, and the check that holds tables to it.

``conform`` is the door to every written file: what does not fit the schema is refused here. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.carried import DESCRIBED, DESCRIPTION, FROM_CATALOG, ORIGIN, UCD, UNIT, as_text, unified_type
from galflow.catalog.columns import ID_TYPES, require_finite
from galflow.cutouts.flags import Flag
from galflow.errors import DataError, SpecError
from galflow.scores.triage import CLASS_WORDS

_TEXT, _NUMBER, _INTEGER = pa.string(), pa.float64(), pa.int64()
SPLITS = ("train", "validation", "reference")
HEALPIX_COLUMN = "_healpix_29"
"""The column that a HATS catalogue has besides: it is galflow's too."""


@dataclass(frozen=True)
class Column:
    """One column of galflow's own."""

    name: str
    type: pa.DataType
    description: str
    unit: str | None = None
    """As astropy writes it; None: a pure number, or text."""
    ucd: str | None = None
    """Words of the IVOA's UCD1+ vocabulary."""
    nullable: bool = True

    def field(self) -> pa.Field:
        """The column as Arrow has it, with all that is said of it as the field's metadata."""
        said = {UNIT: self.unit or "", DESCRIPTION: self.description, UCD: self.ucd or "", ORIGIN: "galflow"}
        return pa.field(self.name, self.type, self.nullable, {key: text.encode() for key, text in said.items()})


def _identity_columns(id_type: pa.DataType, with_names: bool) -> list[Column]:
    named = Column(
        "source_name", _TEXT, "identifier of the object as the user's own catalogue writes it", ucd="meta.id"
    )
    return [
        Column("object_id", id_type, "identifier of the object", ucd="meta.id;meta.main", nullable=False),
        *([named] if with_names else []),
        Column(
            "id_in_tile",
            id_type,
            "identifier under which the tile's own catalogue or detection has the row",
            ucd="meta.id",
            nullable=False,
        ),
        Column("ra", _NUMBER, "right ascension (ICRS)", "deg", "pos.eq.ra;meta.main"),
        Column("dec", _NUMBER, "declination (ICRS)", "deg", "pos.eq.dec;meta.main"),
        Column("survey", _TEXT, "name of the survey", ucd="meta.dataset", nullable=False),
        Column("release", _TEXT, "data release of the survey", ucd="meta.version", nullable=False),
        Column(
            "tile", _TEXT, "tile of the survey in which the row was measured", ucd="meta.id;obs.field", nullable=False
        ),
        Column("row", _INTEGER, "number of the row in its tile, from 0", ucd="meta.record", nullable=False),
        Column("cutout", _TEXT, "key of the row's cutout set below the root of the store", ucd="meta.ref;meta.file"),
        Column("x", _NUMBER, _pixel("column", "second"), "pix", "pos.cartesian.x;instr.det"),
        Column("y", _NUMBER, _pixel("row", "first"), "pix", "pos.cartesian.y;instr.det"),
        Column(
            "is_primary",
            pa.bool_(),
            "whether this row stands for its object; an object seen in several tiles has one such row",
            ucd="meta.code",
            nullable=False,
        ),
        Column("split", _TEXT, f"what the row served for: {', '.join(SPLITS)}, or null", ucd="meta.code.class"),
    ]


def _pixel(of: str, axis: str) -> str:
    return (
        f"pixel {of} of the object in its tile, from 0 at the centre of the first ({axis} axis), in the reference band"
    )


def _score_columns(score: str) -> list[Column]:
    return [
        Column(score, _NUMBER, f"score {score} as computed; higher is more anomalous", ucd="stat.value;meta.modelled"),
        Column(
            f"{score}_sigma",
            _NUMBER,
            f"robust standard deviations of {score} above the median of the reference rows",
            ucd="stat.value",
        ),
        Column(
            f"{score}_p",
            _NUMBER,
            f"conformal p-value of {score}: fraction of held-out normal objects that score as high or higher; null "
            "where the model has learnt from the object",
            ucd="stat.probability",
        ),
    ]


_RANK_COLUMNS = (
    Column(
        "anomaly_score",
        _NUMBER,
        "what ranks: the score, or the joined scores, that the run's evidence chose, in robust standard deviations "
        "(joined ones: in their arcsinh), less the level of its tile; higher is more anomalous",
        ucd="stat.value;meta.modelled",
    ),
    Column(
        "anomaly_score_sigma",
        _NUMBER,
        "robust standard deviations of anomaly_score above the median of the reference rows",
        ucd="stat.value",
    ),
    Column(
        "anomaly_score_p",
        _NUMBER,
        "conformal p-value of anomaly_score: fraction of held-out normal objects that rank as high or higher; null "
        "where a model that ranks has learnt from the object",
        ucd="stat.probability",
    ),
    Column("anomaly_rank", _INTEGER, "place among the ranked rows, 1 is the most anomalous", ucd="stat.rank"),
    Column(
        "anomaly_q",
        _NUMBER,
        "false discovery rate at which the row is reported (Benjamini-Hochberg q-value over the objects that have "
        "anomaly_score_p)",
        ucd="stat.falsePositive",
    ),
    Column(
        "anomaly_fdp",
        _NUMBER,
        "upper bound on the share of normal objects among those with anomaly_score_p that rank so high or higher; with "
        "95% confidence for all thresholds at once, so also for one that was chosen after looking",
        ucd="stat.falsePositive;stat.max",
    ),
)


def _triage_columns() -> list[Column]:
    said = f"what the row most probably is: {', '.join(CLASS_WORDS)}; null where that is not known"
    of = "probability that the row is {}, by the run's own triage"
    ucd = "stat.probability"
    columns = [Column(f"{name}_p", _NUMBER, of.format(words), ucd=ucd) for name, words in CLASS_WORDS.items()]
    return [Column("triage", _TEXT, said, ucd="meta.code.class"), *columns]


def _likelihood_column(name: str) -> Column:
    kind, _, model = name.partition("_")
    if kind == "loglike" and model:
        return Column(name, _NUMBER, f"log-likelihood of the cutout under {model}, in nats", ucd="stat.likelihood")
    if kind == "bpd" and model:
        return Column(name, _NUMBER, f"negative log-likelihood under {model} per dimension", "bit", "stat.likelihood")
    if kind == "llr" and model:
        of = f"log-likelihood of the first model over the second ({model}), in nats; positive favours the first"
        return Column(name, _NUMBER, of, ucd="stat.likelihood;arith.ratio")
    raise SpecError(f"{name!r} names no likelihood; expected loglike_MODEL, bpd_MODEL or llr_MODEL_BACKGROUND")


def _last_columns() -> list[Column]:
    bits = ", ".join(f"{flag.value} {flag.name}" for flag in Flag)
    return [
        Column("flags", pa.uint32(), f"sum of bits: {bits}", ucd="meta.code.qual", nullable=False),
        Column("outcome", _TEXT, "scored, or why the row has no score", ucd="meta.code.status", nullable=False),
        Column("run_id", _TEXT, "run that published the row", ucd="meta.id;meta.software", nullable=False),
    ]


def catalog_schema(
    scores: Sequence[str],
    likelihoods: Sequence[str],
    carried: pa.Schema,
    id_type: pa.DataType,
    with_names: bool,
) -> pa.Schema:
    """The schema of a catalogue's files.

    ``scores`` are full names ("wgan_anomaly"), ``likelihoods`` full column names ("loglike_pixelcnn", "bpd_pixelcnn",
    "llr_pixelcnn_sersic"), ``carried`` the user's and the survey's columns under the names that
    ``carried.carried_names`` gives and with the types of ``carried.merged_carried``. Raises SpecError for ids that are
    no 64-bit integers, and for names that occur twice.
    """
    if id_type not in ID_TYPES:
        raise SpecError(f"object ids cannot be {id_type}; galflow ids are int64 or uint64, never through a float")
    own = [
        *_identity_columns(id_type, with_names),
        *(column for score in scores for column in _score_columns(score)),
        *_RANK_COLUMNS,
        *_triage_columns(),
        *(_likelihood_column(name) for name in likelihoods),
        *_last_columns(),
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
