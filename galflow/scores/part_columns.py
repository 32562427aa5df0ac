"""What a score part says of a row beside its scores: who it is, where it lies, and all that the survey says of it.

The survey's and the user's own columns are carried under a prefix: which names they get in the catalogue depends on
all of a run's tiles and is decided when it is published.
"""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from galflow.cutouts.column_encoding import GIVEN_NAME
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.identities import PRIMARY_COLUMN
from galflow.cutouts.observed_shares import observed_shares
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.cutouts.splits import splits

CARRIED = "carried:"
"""Prefix of the survey's and the user's own columns."""
SHARES = "observed:"
"""Prefix of the observed shares of a row's cutout (galflow.cutouts.observed_shares), which no catalogue shows."""
SOURCE_NAME = "source_name"
"""The user's own name of an object, where it is a text."""
OBJECTS_DETAIL = "objects"
"""Where a part's receipt says how many objects have their primary row in it."""
SCHEMA_DETAIL = "schema"
"""Where a part's receipt says which columns are carried, and how its ids are stored."""
_OWN = frozenset({"object_id", "ra", "dec", "x_pixel", "y_pixel", "flags", PRIMARY_COLUMN, PLANTED_COLUMN, SOURCE_NAME})


def identity_columns(cutouts: CutoutSet, shares: tuple[float, float] | None) -> dict[str, pa.Array]:
    """Who the rows are and where they lie: the first columns of the catalogue."""
    n, attributes, join = len(cutouts), cutouts.attributes, cutouts.join
    columns: dict[str, pa.Array] = {"object_id": pa.array(join.object_id)}
    if cutouts.has(SOURCE_NAME):
        columns[SOURCE_NAME] = cutouts.column(SOURCE_NAME)
    columns["id_in_tile"] = cutouts.column("object_id")
    columns |= {name: cutouts.column(name) for name in ("ra", "dec")}
    columns |= {name: pa.array([attributes[name]] * n, pa.string()) for name in ("survey", "release", "tile")}
    columns["row"] = pa.array(np.arange(n))
    columns["cutout"] = pa.array([cutouts.product] * n, pa.string())
    columns |= {"x": cutouts.column("x_pixel"), "y": cutouts.column("y_pixel")}
    columns[PRIMARY_COLUMN] = pa.array(join.is_primary)
    columns["split"] = pa.nulls(n, pa.string()) if shares is None else pa.array(splits(cutouts, *shares), pa.string())
    if cutouts.has(PLANTED_COLUMN):
        columns[PLANTED_COLUMN] = cutouts.column(PLANTED_COLUMN)
    return columns


def share_columns(cutouts: CutoutSet) -> dict[str, pa.Array]:
    """The observed shares of each row's cutout: the run's ranking mends by them what a mask does to a score."""
    shares = observed_shares(cutouts)
    return {f"{SHARES}{number}": pa.array(shares[:, number]) for number in range(shares.shape[1])}


def floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """(N,) of a nullable column of numbers, null as NaN."""
    return pc.fill_null(pc.cast(table.column(name), pa.float64()), np.nan).to_numpy()


def numbered_columns(part: pa.Table, prefix: str) -> np.ndarray:
    """(N, K) float64 of a score part's columns ``prefix`` 0, 1, ...; (N, 0) where it has none."""
    names = sorted((n for n in part.column_names if n.startswith(prefix)), key=lambda n: int(n.removeprefix(prefix)))
    return np.stack([floats(part, name) for name in names], axis=1) if names else np.zeros((len(part), 0))


def shares_of_part(part: pa.Table) -> np.ndarray:
    """(N, 2 B) float64 of a score part; (N, 0) where it has none."""
    return numbered_columns(part, SHARES)


def with_carried(table: pa.Table, cutouts: CutoutSet) -> pa.Table:
    """The part's table with the survey's and the user's columns after its own, under the names they were given."""
    rows = cutouts.rows([name for name in cutouts.column_names if name not in _OWN])
    for field in rows.schema:
        said = dict(field.metadata or {})
        name = CARRIED + said.pop(GIVEN_NAME, field.name.encode()).decode()
        table = table.append_column(pa.field(name, field.type, metadata=said), rows.column(field.name))
    return table


def carried_schema(table: pa.Table) -> pa.Schema:
    """The type of a part's ids, whether objects have names, and the columns that it carries, without their prefix."""
    own = [table.schema.field(name) for name in ("object_id", SOURCE_NAME) if name in table.column_names]
    return pa.schema([*own, *(f for f in table.schema if f.name.startswith(CARRIED))])


def packed_schema(schema: pa.Schema) -> str:
    """A schema as text for a receipt."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def unpacked_schema(text: str) -> pa.Schema:
    """The inverse of ``packed_schema``."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
