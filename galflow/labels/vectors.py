"""Parts of latents as they are stored, read without any model: a list of numbers an object, in the rows' order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.errors import IntegrityError
from galflow.storage.store import Store

ROW, LATENT, RESIDUAL, TEXTURE = "row", "latent", "residual", "texture"


def read_vectors(store: Store, product: str, name: str = LATENT) -> np.ndarray:
    """(N, D) float32 of a part, by row, NaN where there are none; (N, 0) where the model gives none of that name."""
    with store.reading(product) as file:
        try:
            opened = pq.ParquetFile(file)
            if name not in opened.schema_arrow.names:
                return np.zeros((opened.metadata.num_rows, 0), np.float32)
            column = opened.read([name]).column(name).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(
                f"{store.uri(product)} is no table of latents ({error}); `galflow verify --discard` lets the next run "
                "make it anew"
            ) from error
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    width = column.type.list_size
    start = column.offset * width
    values = np.array(column.values.to_numpy(zero_copy_only=False)[start : start + len(column) * width])
    values = values.reshape(len(column), width).astype(np.float32)
    values[column.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values
