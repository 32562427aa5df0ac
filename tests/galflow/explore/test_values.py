"""Columns as arrays: integers as they are, NaN where a value is missing, and no longer in memory than they are used."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from galflow.explore.columns import ExploredColumns
from galflow.explore.database import TABLE, connect
from galflow.explore.values import Values

COUNT = 300_000


def resident_kib(path: Path) -> int:
    """Of a mapped file, in this process."""
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    return sum(int(found[1]) for part in parts if str(path) in part and (found := re.search(r"Rss:\s+(\d+)", part)))


@pytest.mark.parametrize("in_files", [True, False])
def test_an_array_is_the_column_and_leaves_memory_when_it_was_gone_through(in_files: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    missing = rng.random(COUNT) < 0.1
    table = pa.table({
        "id": pa.array(np.arange(COUNT) + 2**62), "flux": pa.array(rng.normal(0, 1, COUNT), mask=missing),
        "small": pa.array(rng.normal(0, 1, COUNT), pa.float32()), "rank": pa.array(np.arange(COUNT), mask=missing),
    })  # fmt: skip
    columns = ExploredColumns(table.schema)
    connection = connect()
    connection.register("incoming", table.rename_columns([column.sql for column in columns.values()]))
    connection.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM incoming")
    values = Values(tmp_path if in_files else None, COUNT)
    for name, kind in (("id", np.int64), ("flux", np.float64), ("small", np.float32), ("rank", np.float64)):
        column = columns[name]
        found = values.of(column, connection.cursor())
        assert found.dtype == kind
        wanted = table.column(name).to_numpy() if kind == np.int64 else table.column(name).to_pandas().to_numpy(kind)
        np.testing.assert_array_equal(found, wanted)
        file = tmp_path / f"{column.sql}.npy"
        assert file.exists() == in_files
        if in_files:
            assert resident_kib(file) > 1000
        values.release(column)
        assert resident_kib(file) == 0
        np.testing.assert_array_equal(found, wanted)  # it is read again
    connection.close()
