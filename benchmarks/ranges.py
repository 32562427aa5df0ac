"""What cutouts of a few objects move from an S3 server: galflow's ranges, astropy's ``section``, and the whole file.

The server is SeaweedFS on this machine, so that a request costs its software and no distance; bytes and requests are
counted at the client's calls. ``section`` reads each cutout through fsspec's file with a block cache, and none of the
sky's sample that galflow reads besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import s3fs
from astropy.io import fits

from benchmarks.cutana import Processes
from benchmarks.s3_server import s3_server
from benchmarks.scratch import scratch
from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.reading.fits_options import CatalogOptions, FitsTilesOptions
from galflow.surveys.reading.parts import part_of, square_pixels
from galflow.surveys.reading.transfers import counted
from galflow.surveys.reading.windows import corners

SIDE, OBJECTS, SIZE = 9_600, 25, 64
EUCLID_SIDE, EUCLID_OBJECTS = 19_200, 100
_BLOCK = 100
"""Pixels a side of the compressed tiles of Legacy Surveys; a row each is what fpack does unless told otherwise."""

_NAMES = {
    "plain": "plain",
    "rice": "rice (tiles of a row)",
    "rice blocks": f"rice (tiles of {_BLOCK} x {_BLOCK})",
}


@dataclass
class Moved:
    """Requests for content, and their bytes."""

    size: int
    requests: int = 0
    read: int = 0
    _call: Any = field(default=s3fs.S3FileSystem._call_s3)

    def watch(self) -> None:
        """Count from now on."""
        moved, call = self, self._call

        async def counting(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
            if method == "get_object":
                first, _, last = kwargs.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
                moved.requests += 1
                moved.read += (min(int(last), moved.size - 1) if last else moved.size - 1) + 1 - int(first)
            return await call(self, method, *args, **kwargs)

        s3fs.S3FileSystem._call_s3 = counting

    def end(self) -> None:
        """Count no more."""
        s3fs.S3FileSystem._call_s3 = self._call


def run() -> Iterator[Processes]:
    """One table a kind of file."""
    with scratch() as work, s3_server(work) as bucket:
        for kind in ("plain", "rice"):
            yield measure(kind, SIDE, OBJECTS, bucket)
        for kind in ("plain", "rice", "rice blocks"):
            yield measure(kind, EUCLID_SIDE, EUCLID_OBJECTS, bucket)


def measure(kind: str, side: int, objects: int, bucket: str) -> Processes:
    """Each way once, on one file."""
    with scratch() as work:
        rng = np.random.default_rng(1)
        x, y = rng.uniform(SIZE, side - SIZE, (2, objects))
        path = work / "vis.fits"
        _write(path, rng.standard_normal((side, side), np.float32), kind)
        pq.write_table(pa.table({"object_id": np.arange(objects), "x": x, "y": y}), work / "catalog.parquet")
        root, size = f"{bucket}/{kind}", path.stat().st_size
        for name in (path.name, "catalog.parquet"):
            s3fs.S3FileSystem().put(str(work / name), f"{root}/{name}")
        rows = {name: _timed(way, size) for name, way in _ways(root, x, y, side).items()}
    whole = rows["whole file"]
    for row in rows.values():
        row |= {"bytes / whole": round(row["MB"] / whole["MB"], 4), "s / whole": round(row["s"] / whole["s"], 2)}
    return Processes(f"{objects} cutouts of {SIZE} px from a {_NAMES[kind]} file of {side:,} x {side:,} in S3", rows)


def _ways(root: str, x: np.ndarray, y: np.ndarray, side: int) -> dict[str, Callable[[], object]]:
    options = FitsTilesOptions(
        root=root,
        bands={"vis": "vis.fits"},
        tile="t",
        catalog=CatalogOptions(path="catalog.parquet"),
        pixel_scale_arcsec=0.1,
    )
    survey = FitsTiles("ranges", "1", options)
    [tile] = survey.tiles()
    x0, y0 = (corners(v, SIZE) for v in (x, y))
    part = part_of((side, side), square_pixels((side, side), x0, y0, SIZE))

    def parts() -> None:
        with counted(tile.files):
            survey.read_part(tile, "vis", part)

    def whole() -> None:
        with counted(tile.files):
            survey.read(tile, "vis")

    def section(block: int) -> None:
        with s3fs.S3FileSystem().open(f"{root}/vis.fits", block_size=block, cache_type="blockcache") as file:
            hdus = fits.open(file, memmap=False, lazy_load_hdus=True)
            image = next(hdu for hdu in hdus if getattr(hdu, "shape", None))
            for a, b in zip(x0, y0, strict=True):
                _ = image.section[b : b + SIZE, a : a + SIZE]

    return {
        "galflow, ranges": parts,
        "section, blocks of 64 kB": lambda: section(1 << 16),
        "section, blocks of 5 MB": lambda: section(5 << 20),
        "whole file": whole,
    }


def _timed(way: Callable[[], object], size: int) -> dict[str, float]:
    moved = Moved(size)
    moved.watch()
    started = time.perf_counter()
    try:
        way()
    finally:
        moved.end()
    seconds = time.perf_counter() - started
    return {"requests": moved.requests, "MB": round(moved.read / 1e6, 2), "s": round(seconds, 2)}


def _write(path: Path, pixels: np.ndarray, kind: str) -> None:
    if kind != "plain":
        tile = (_BLOCK, _BLOCK) if kind == "rice blocks" else (1, pixels.shape[1])
        hdu = fits.CompImageHDU(
            pixels, compression_type="RICE_1", tile_shape=tile, quantize_level=16, quantize_method=1
        )
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    else:
        fits.PrimaryHDU(pixels).writeto(path)
