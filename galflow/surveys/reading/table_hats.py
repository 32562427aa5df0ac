"""A HATS catalogue: a folder of Parquet files, one for each HEALPix pixel (Norder=*/Dir=*/Npix=*).

Partitions are read one after another and joined; margins and indices beside the catalogue are left out. Where it is
known which places on the sky are asked for, only the partitions whose pixel comes near them are opened, and only the
rows near them are kept: in memory are one partition and these rows.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError
from galflow.surveys.reading.files import StoredFile, expand_root, list_entries, read_bytes
from galflow.surveys.reading.healpix import pixel_centres, pixel_reach_deg
from galflow.surveys.reading.places import Place
from galflow.surveys.reading.positions import unit_vectors
from galflow.surveys.reading.table_metadata import PART_OF_SKY, reasons_of, with_reasons
from galflow.surveys.reading.table_parquet import read_parquet_table

logger = logging.getLogger(__name__)

_PARTITION = re.compile(r"(?:dataset/)?Norder=(\d+)/(?:Dir=\d+/)?Npix=(\d+)(?:\.parquet|/[^/]+\.parquet)$")
_MADE_BY_HATS = ("_healpix_29", "_hipscat_index", "Norder", "Dir", "Npix")


@dataclass(frozen=True)
class Near:
    """What is asked for: rows whose position, in degrees in two columns, lies in one of some circles."""

    places: tuple[Place, ...]
    ra: str
    dec: str

    def opens(self, uri: str) -> bool:
        """Whether the partition's pixel comes near a circle."""
        found = _PARTITION.search(uri)
        if found is None:
            return True
        order, pixel = int(found[1]), int(found[2])
        centre = pixel_centres(order, np.array([pixel]))
        return any(bool(place.reaches(centre, pixel_reach_deg(order))[0]) for place in self.places)

    def kept(self, part: pa.Table) -> pa.Table:
        """The rows in the circles; all of a table that has no such columns of numbers."""
        if not {self.ra, self.dec} <= set(part.column_names):
            return part
        try:
            ra, dec = (pc.cast(part[name], pa.float64()).to_numpy(zero_copy_only=False) for name in (self.ra, self.dec))
        except pa.ArrowException:
            return part  # what is wrong with the columns is told where they are taken for positions
        directions, inside = unit_vectors(ra, dec), np.zeros(len(part), bool)
        for place in self.places:
            inside |= place.reaches(directions)
        return part.filter(pa.array(inside))


def partitions(uri: str) -> list[StoredFile]:
    """The files of the catalogue at ``uri``, by path; of a collection those of its main catalogue."""
    root = expand_root(uri)
    entries = [entry for entry in list_entries(root, "**.parquet") if not entry.dangling]
    found = [e for e in entries if _PARTITION.fullmatch(e.uri[len(root) + 1 :])]
    if found:
        return found
    nested: dict[str, list[StoredFile]] = {}
    for entry in entries:
        folder, _, path = entry.uri[len(root) + 1 :].partition("/")
        if _PARTITION.fullmatch(path):
            nested.setdefault(folder, []).append(entry)
    main = {folder: files for folder, files in nested.items() if "margin" not in folder and "index" not in folder}
    if len(main) == 1:
        return next(iter(main.values()))
    raise DataError(
        f"{uri} is no HATS catalogue: {'several lie below it: ' + ', '.join(sorted(main)) if main else 'no file'}"
        f"{'' if main else ' Norder=*/Dir=*/Npix=*.parquet lies below it'}; name the folder of one"
    )


def read_hats_table(uri: str, head: int | None = None, near: Near | None = None) -> pa.Table:
    """The rows of all partitions in the order of their paths, or the first ``head``, without HATS' own columns.

    ``near``: only the rows that it keeps, of the partitions that it opens.
    """
    entries = partitions(uri)
    opened = [entry for entry in entries if near is None or near.opens(entry.uri)]
    parts: list[pa.Table] = []
    rows = beyond = 0
    for entry in opened or entries[:1]:  # the first tells the columns, where no row is asked for
        part = read_parquet_table(read_bytes(entry.uri), entry.uri, None if head is None or near else head - rows)
        part = part.drop_columns([name for name in _MADE_BY_HATS if name in part.column_names])
        kept = part if near is None else near.kept(part)
        beyond += len(part) - len(kept)
        parts.append(kept)
        rows += len(kept)
        if head is not None and rows >= head:
            break
    try:
        joined = pa.concat_tables([part.replace_schema_metadata(None) for part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{uri}: its partitions do not join ({error}); fetch it again") from error
    joined = with_reasons(joined, [reason for part in parts for reason in reasons_of(part)])
    if near is None:
        return joined
    if head is not None:
        joined = joined.slice(0, head)
    logger.info(
        "%s: %d of %d partitions lie near tiles; %d of their rows do not", uri, len(opened), len(entries), beyond
    )
    return joined.replace_schema_metadata(dict(joined.schema.metadata or {}) | {PART_OF_SKY: b"true"})
