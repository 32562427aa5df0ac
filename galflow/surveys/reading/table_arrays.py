"""A column of a numpy array as pyarrow: whole numbers exact, texts decoded, cells of several numbers as lists."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from galflow.surveys.reading.hdf5 import decoded_text


def column_of(values: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    """(n, ...) values as a column; ``missing``, (n,) bool, are null. Raises ValueError for a type that is no column's.

    Numbers keep their type, in the machine's byte order; cells of several dimensions become flat lists of one length.
    """
    if values.dtype.kind in "SUO":
        if values.ndim != 1:
            raise ValueError(f"its cells are texts of shape {values.shape[1:]}")
        texts = decoded_text(values)
        return pa.array([None if missing is not None and missing[n] else t for n, t in enumerate(texts)], pa.string())
    if values.dtype.kind not in "biuf":
        raise ValueError(f"its type is {values.dtype}")
    native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    if native.ndim == 1:
        return pa.array(native, mask=missing)
    width = int(np.prod(native.shape[1:]))
    flat = pa.FixedSizeListArray.from_arrays(pa.array(native.reshape(-1)), width)
    return flat if missing is None else pa.array(flat.to_pylist(), flat.type, mask=missing)
