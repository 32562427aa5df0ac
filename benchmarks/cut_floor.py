"""The floor of benchmarks.cutana as a process: read each band, gather flux, write it in galflow's layout and codec.

``python -m benchmarks.cut_floor FOLDER BAND,BAND``: the folder holds BAND.fits and positions.npy, (2, N) x and y.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import zarr
from astropy.io import fits
from numpy.lib.stride_tricks import sliding_window_view
from zarr.codecs import BloscCodec

SIZE, CHUNK_BYTES, CHUNKS_IN_SHARD = 64, 5 << 20, 16


def main(folder: Path, bands: list[str]) -> None:
    """Everything at once: the floor does not bound its memory."""
    x, y = (np.floor(v + 0.5).astype(int) - SIZE // 2 for v in np.load(folder / "positions.npy"))
    flux = np.empty((len(x), len(bands), SIZE, SIZE), np.float32)
    for i, band in enumerate(bands):
        plane = fits.getdata(folder / f"{band}.fits", memmap=False).astype(np.float32, copy=False)
        flux[:, i] = sliding_window_view(plane, (SIZE, SIZE))[y, x]
    per_chunk = min(len(x), CHUNK_BYTES // (flux[0].nbytes))
    in_shard = min(CHUNKS_IN_SHARD, -(-len(x) // per_chunk))
    array = zarr.create_group(zarr.storage.LocalStore(folder / "floor.zarr")).create_array(
        "flux",
        shape=flux.shape,
        dtype=flux.dtype,
        chunks=(per_chunk, *flux.shape[1:]),
        shards=(per_chunk * in_shard, *flux.shape[1:]),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    array[:] = flux


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","))
