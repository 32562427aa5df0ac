"""Which objects of a run the labels of its survey are of: read off its score parts, or off its published catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.joins import match_radius
from galflow.errors import IntegrityError
from galflow.labels.merging import Placement
from galflow.labels.records import Label
from galflow.spec.run import JoinSpec
from galflow.storage.store import Store

_COLUMNS = ["object_id", "ra", "dec", "is_primary"]


def place(labels: Sequence[Label], store: Store, files: Iterable[str], radius_arcsec: float) -> Placement:
    """Find the labels' objects among the primary rows of these Parquet files, each read once, some columns of it."""
    placement = Placement(labels, radius_arcsec)
    for table in _read(store, files) if labels else ():
        kept = table.filter(table.column("is_primary"))
        ra, dec = (pc.fill_null(kept.column(name), np.nan).to_numpy() for name in ("ra", "dec"))
        placement.add(kept.column("object_id").to_numpy(), ra, dec)
    return placement


def radius_of(store: Store, join: JoinSpec, cutouts: str) -> float:
    """Arcsec within which a position is the same object, by the attributes of one of the run's cutout sets."""
    return match_radius(join, CutoutSet(store, cutouts).attributes)


def _read(store: Store, files: Iterable[str]) -> Iterator[pa.Table]:
    for key in files:
        with store.reading(key) as file:
            try:
                yield pq.read_table(file, columns=_COLUMNS)
            except (pa.ArrowException, OSError) as error:
                raise IntegrityError(
                    f"{store.uri(key)} cannot be read ({error}); `galflow verify` tells more"
                ) from error
