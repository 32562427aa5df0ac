from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from galflow.catalog.schema import catalog_schema


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
            "ra": pa.array(rng.uniform(149, 151, n)),
            "dec": pa.array(rng.uniform(1, 3, n)),
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


@pytest.fixture
def catalog() -> tuple[pa.Schema, Callable[..., pa.Table]]:
    """A catalogue's schema with carried columns, and a function that makes n rows for it."""
    carried = pa.schema(
        [
            pa.field("mag_auto", pa.float64(), metadata={"unit": "mag", "description": "Kron", "ucd": "phot.mag"}),
            pa.field("n_exposures", pa.int32()),
            pa.field("file_name", pa.string()),
        ]
    )
    schema = catalog_schema(["wgan_anomaly"], ["loglike_glow", "bpd_glow"], carried, pa.int64(), with_names=True)

    def make(n: int, tile: str = "a", first: int = 2**62) -> pa.Table:
        rng = np.random.default_rng(n)
        texts = {"survey": "hsc", "release": "pdr3", "tile": tile, "outcome": "scored", "run_id": "r1"}
        columns = {
            "object_id": pa.array([first + i for i in range(n)], pa.int64()),
            "id_in_tile": pa.array(range(n), pa.int64()),
            "ra": pa.array(rng.uniform(149, 151, n)),
            "dec": pa.array(rng.uniform(1, 3, n)),
            **{name: pa.array([text] * n, pa.string()) for name, text in texts.items()},
            "row": pa.array(range(n), pa.int64()),
            "is_primary": pa.array([True] * n, pa.bool_()),
            "wgan_anomaly": pa.array(rng.normal(size=n)),
            "flags": pa.array([0] * n, pa.uint32()),
        }
        return pa.table(columns)

    return schema, make
