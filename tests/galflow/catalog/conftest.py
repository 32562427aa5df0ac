from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest


@pytest.fixture
def make_part() -> Callable[..., pa.Table]:
    """A score part of one tile with ids at the end of their range, where a float64 would merge neighbours."""

    def make(
        tile: str, n: int, *, score: str | None = None, survey: str = "hsc", id_type: pa.DataType | None = None
    ) -> pa.Table:
        kind = id_type or pa.int64()
        top = np.iinfo(kind.to_pandas_dtype()).max
        rng = np.random.default_rng(n)
        columns = {
            "object_id": pa.array([int(top) - n + i for i in range(n)], kind),
            "ra_deg": pa.array(rng.uniform(149, 151, n)),
            "dec_deg": pa.array(rng.uniform(1, 3, n)),
            **{
                name: pa.array([value] * n) for name, value in (("survey", survey), ("release", "pdr3"), ("tile", tile))
            },
            "row": pa.array(range(n), pa.int64()),
            "run_id": pa.array(["r1"] * n),
        }
        if score:
            columns[score] = pa.array(rng.normal(size=n))
        columns |= {"flags": pa.array([0] * n, pa.uint32()), "outcome": pa.array(["scored"] * n)}
        return pa.table(columns)

    return make
