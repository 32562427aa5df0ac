"""Who the rows of a cutout set are: objects of the sky, of which each has one primary row.

A cutout set knows its own tile alone. What other tiles have of the same objects is found by galflow.cutouts.joins and
kept beside the set; without it every row is an object of its own. This file reads no pixels.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from galflow.cutouts.flags import Flag, has_flag
from galflow.errors import DataError, IntegrityError

if TYPE_CHECKING:
    from galflow.cutouts.cutout_set import CutoutSet

PRIMARY_COLUMN = "is_primary"
"""A survey's own primary flag in its catalogue; it decides where it is given."""


@dataclass(frozen=True, eq=False)
class Identities:
    """One entry for each row of a cutout set, in its order."""

    object_id: np.ndarray
    """(N,) int64 or uint64: the object of the sky, the same for all its rows in all tiles."""
    is_primary: np.ndarray
    """(N,) bool. Only primary rows are ranked, counted and learnt from."""
    split_hash: np.ndarray
    """(N,) in [0, 1): decides whether an object trains, validates or calibrates (galflow.cutouts.splits)."""
    neighbour_hash: np.ndarray
    """(N,) the least ``split_hash`` of other objects that lie so close that both must be on one side; inf: none."""

    @classmethod
    def of_one_tile(cls, cutouts: CutoutSet) -> Identities:
        """As the set itself says, where no join is known."""
        object_id = cutouts.read("object_id")
        primary = can_be_primary(cutouts.read("flags"))
        if (own := own_primary(cutouts)) is not None:
            primary &= own
        return cls(object_id, primary, split_hash(cutouts, object_id), np.full(len(object_id), np.inf))

    @classmethod
    def parse(cls, data: bytes, what: str) -> Identities:
        """From the bytes of a join; IntegrityError if they are none."""
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(io.BytesIO(data))
            columns = [table.column(name).to_numpy() for name in cls.__dataclass_fields__]
        except (pa.ArrowException, KeyError, OSError) as error:
            raise IntegrityError(
                f"{what} is no table of joined objects ({error}); `galflow verify --discard` lets the next run make it "
                "anew"
            ) from error
        return cls(*columns)


def can_be_primary(flags: np.ndarray) -> np.ndarray:
    """(N,) bool: no planted copy, and no row that repeats an earlier one's id."""
    return ~has_flag(flags, Flag.PLANTED | Flag.DUPLICATE_ID)


def own_primary(cutouts: CutoutSet) -> np.ndarray | None:
    """(N,) bool: the survey's own primary flags; None where it has none. A row without a flag is primary."""
    if not cutouts.has(PRIMARY_COLUMN):
        return None
    column = cutouts.column(PRIMARY_COLUMN)
    flags: np.ndarray = column.fill_null(True).cast(pa.bool_()).to_numpy(zero_copy_only=False)
    return flags


def hashed_unit(key: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each 64-bit integer, by the finaliser of splitmix64 (Steele+14). The same everywhere."""
    with np.errstate(over="ignore"):
        z = key.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / float(2**53)


def split_hash(cutouts: CutoutSet, object_id: np.ndarray) -> np.ndarray:
    """(N,) in [0, 1): the hash of each row's identity, or of its group of near-duplicates where the catalogue has one.

    A column ``group`` holds whole numbers or texts; an object without a group is on its own.
    """
    alone = hashed_unit(object_id)
    if not cutouts.has("group"):
        return alone
    group = cutouts.column("group")
    if pa.types.is_string(group.type):
        # Codes differ from tile to tile; the text does not.
        coded = group.dictionary_encode()
        texts = [hashlib.sha256(t.encode()).digest()[:8] for t in coded.dictionary.to_pylist()]
        names = np.frombuffer(b"".join(texts) or bytes(8), dtype="<u8")
        key = names[coded.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    else:
        key = group.fill_null(0).to_numpy(zero_copy_only=False)
        if key.dtype.kind == "f" and (key == np.floor(key)).all():
            key = key.astype(np.int64)  # whole numbers, some of them null
    if key.dtype.kind not in "iu":
        raise DataError(
            f"column 'group' of {cutouts.product} is {group.type}; near-duplicate groups must be whole numbers or texts"
        )
    return np.where(group.is_null().to_numpy(zero_copy_only=False), alone, hashed_unit(key))
