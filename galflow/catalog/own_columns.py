"""Every column of galflow's own, with type, unit, description and UCD; galflow.catalog.schema puts them in order."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from galflow.catalog.carried import DESCRIPTION, ORIGIN, UCD, UNIT
from galflow.cutouts.flags import Flag
from galflow.errors import SpecError
from galflow.scores.triage import CLASS_WORDS

_TEXT, _NUMBER, _INTEGER = pa.string(), pa.float64(), pa.int64()
SPLITS = ("train", "validation", "reference")


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


def identity_columns(id_type: pa.DataType, with_names: bool) -> list[Column]:
    """Who a row is and where it lies."""
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


def score_columns(score: str) -> list[Column]:
    """Of one anomaly score, as ``wgan_anomaly``."""
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


RANK_COLUMNS = (
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
    Column(
        "anomaly_alike_p",
        _NUMBER,
        "share of the held-out normal objects most like the row in light and size (64 of them) that rank as high or "
        "higher: how odd it is for its brightness and size; null where a model that ranks has learnt from the object",
        ucd="stat.probability",
    ),
    Column(
        "anomaly_tail_p",
        _NUMBER,
        "p-value of anomaly_score, EXTRAPOLATED beyond the held-out objects by a generalised Pareto tail fitted to "
        "them; equal to anomaly_score_p below the tail",
        ucd="stat.probability;meta.modelled",
    ),
    Column(
        "anomaly_tail_q",
        _NUMBER,
        "false discovery rate by anomaly_tail_p (Benjamini-Hochberg q-value); as good as the fitted tail, which the "
        "report shows",
        ucd="stat.falsePositive;meta.modelled",
    ),
)


def probability_column(name: str) -> str:
    """Of a triage's class, as ``artefact_p``."""
    return f"{name}_p"


def triage_columns() -> list[Column]:
    """What a row most probably is, and how probable each class is."""
    said = f"what the row most probably is: {', '.join(CLASS_WORDS)}; null where that is not known"
    of = "probability that the row is {}, by the run's own triage"
    ucd = "stat.probability"
    columns = [
        Column(probability_column(name), _NUMBER, of.format(words), ucd=ucd) for name, words in CLASS_WORDS.items()
    ]
    return [Column("triage", _TEXT, said, ucd="meta.code.class"), *columns]


def likelihood_column(name: str) -> Column:
    """Of one likelihood; SpecError for a name that is none."""
    kind, _, model = name.partition("_")
    if kind == "loglike" and model:
        return Column(name, _NUMBER, f"log-likelihood of the cutout under {model}, in nats", ucd="stat.likelihood")
    if kind == "bpd" and model:
        return Column(name, _NUMBER, f"negative log-likelihood under {model} per dimension", "bit", "stat.likelihood")
    if kind == "llr" and model:
        of = f"log-likelihood of the first model over the second ({model}), in nats; positive favours the first"
        return Column(name, _NUMBER, of, ucd="stat.likelihood;arith.ratio")
    raise SpecError(f"{name!r} names no likelihood; expected loglike_MODEL, bpd_MODEL or llr_MODEL_BACKGROUND")


def last_columns() -> list[Column]:
    """What is known of a row, and whose it is."""
    bits = ", ".join(f"{flag.value} {flag.name}" for flag in Flag)
    return [
        Column("flags", pa.uint32(), f"sum of bits: {bits}", ucd="meta.code.qual", nullable=False),
        Column("outcome", _TEXT, "scored, or why the row has no score", ucd="meta.code.status", nullable=False),
        Column("run_id", _TEXT, "run that published the row", ucd="meta.id;meta.software", nullable=False),
    ]
