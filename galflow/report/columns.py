"""Columns of a catalogue as plain numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """(n,) of a nullable number column, null as NaN."""
    return pc.fill_null(pc.cast(table.column(name), pa.float64()), np.nan).to_numpy()
