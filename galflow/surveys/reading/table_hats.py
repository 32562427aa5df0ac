"""A HATS catalogue: a folder of Parquet files, one for each HEALPix pixel (Norder=*/Dir=*/Npix=*).

All partitions are read, one after another, and joined; margins and indices beside the catalogue are left out.
"""

from __future__ import annotations

import re

import pyarrow as pa

from galflow.errors import DataError
from galflow.surveys.reading.files import StoredFile, expand_root, list_entries, read_bytes
from galflow.surveys.reading.table_metadata import reasons_of, with_reasons
from galflow.surveys.reading.table_parquet import read_parquet_table

_PARTITION = re.compile(r"(?:dataset/)?Norder=\d+/(?:Dir=\d+/)?Npix=\d+(?:\.parquet|/[^/]+\.parquet)$")
_MADE_BY_HATS = ("_healpix_29", "_hipscat_index", "Norder", "Dir", "Npix")


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


def read_hats_table(uri: str, head: int | None = None) -> pa.Table:
    """The rows of all partitions in the order of their paths, or the first ``head``, without HATS' own columns."""
    parts: list[pa.Table] = []
    rows = 0
    for entry in partitions(uri):
        part = read_parquet_table(read_bytes(entry.uri), entry.uri, None if head is None else head - rows)
        parts.append(part.drop_columns([name for name in _MADE_BY_HATS if name in part.column_names]))
        rows += len(part)
        if head is not None and rows >= head:
            break
    try:
        joined = pa.concat_tables([part.replace_schema_metadata(None) for part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"{uri}: its partitions do not join ({error}); fetch it again") from error
    return with_reasons(joined, [reason for part in parts for reason in reasons_of(part)])
