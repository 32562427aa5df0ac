"""Ingest of one tile: galflow.cutouts.cut.cut_tile, beside the least that any such ingest must do, and a Cutout2D loop.

The floor knows the pixel positions already, and does three things: it reads each band's pixels with astropy as native
float32, gathers all objects' flux with one fancy index into a sliding window view (then sets what lies beyond the
image), and writes flux, inverse variance and mask as galflow lays them out, with the same chunks, shards and codec.
Inverse variance and mask are filled with constants; where the survey brings images of them, they are read and gathered
like the flux. It opens no catalogue and no WCS, measures no sky, subtracts and scales nothing, sets no flags, stores no
columns, takes no checksums, notices no damage and writes no receipt. All of that is galflow's overhead.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.utils.exceptions import AstropyWarning
from numpy.lib.stride_tricks import sliding_window_view
from zarr.codecs import BloscCodec

from benchmarks.tile import SKY_SIGMA, BenchTile, kids_tile, make_tile
from benchmarks.timing import Table, interleaved, table
from galflow.cutouts.cut import cut_tile, cutouts_fingerprint
from galflow.cutouts.cutout_set import objects_per_chunk
from galflow.receipts import Outcome
from galflow.spec import CutoutSpec
from galflow.store import Store

SPEC = CutoutSpec(size=64)
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "kids_viking_tile"
Arrays = dict[str, np.ndarray]


def run() -> list[Table]:
    """One table a kind of tile."""
    tables = []
    with tempfile.TemporaryDirectory(prefix="galflow-bench-") as name:
        work = Path(name)
        tiles = [make_tile(work / kind, kind) for kind in ("plain", "weights", "rice", "gzip")]
        if REAL_DATA.is_dir():
            tiles.append(kids_tile(REAL_DATA, work / "kids"))
        for tile in tiles:
            tables.append(measure(tile, work / "out"))
    return tables


def measure(tile: BenchTile, out: Path) -> Table:
    """The four ways for one tile, in turns."""
    [described] = tile.survey.tiles()
    fingerprint = cutouts_fingerprint(tile.survey, described, SPEC)

    def galflow_way() -> None:
        receipt = cut_tile(Store.open(out), tile.survey, described, SPEC, fingerprint)
        if receipt.outcome is not Outcome.DONE or receipt.rows != len(tile.x):
            raise RuntimeError(f"the benchmark's tile gave {receipt.outcome}, {receipt.rows} rows: {receipt.reasons}")

    cases: dict[str, Callable[[], object]] = {
        "galflow": galflow_way,
        "floor": lambda: write(out, floor_arrays(tile)),
        "floor, flux alone": lambda: write(out, {"flux": floor_arrays(tile, flux_alone=True)["flux"]}),
        "Cutout2D loop": lambda: write(out, cutout2d_arrays(tile)),
    }
    timings = interleaved(cases, between=lambda: shutil.rmtree(out, ignore_errors=True))
    return table(f"ingest, {tile.title}: {len(tile.x)} objects, {len(tile.files)} bands, {SPEC.size} px", "floor", timings)


def read_plane(path: Path, extension: int, dtype: type[np.generic]) -> np.ndarray:
    """The pixels of an image in the machine's own byte order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        return np.asarray(fits.getdata(path, extension, memmap=False)).astype(dtype, copy=False)


def floor_arrays(tile: BenchTile, *, flux_alone: bool = False) -> Arrays:
    """flux, ivar and mask, (N, band, y, x): one fancy index a band and array that there is to read."""
    x0, y0 = (np.floor(v + 0.5).astype(np.int64) - SPEC.size // 2 for v in (tile.x, tile.y))
    shape = (len(x0), len(tile.files), SPEC.size, SPEC.size)
    flux = np.empty(shape, np.float32)
    ivar = np.full(() if flux_alone else shape, SKY_SIGMA**-2, np.float32)
    mask = np.zeros(() if flux_alone else shape, np.uint16)
    for i, (band, path) in enumerate(tile.files.items()):
        gather_into(flux[:, i], read_plane(path, tile.extension, np.float32), x0, y0, np.nan)
        if tile.weights and not flux_alone:
            gather_into(ivar[:, i], read_plane(tile.weights[band], tile.extension, np.float32), x0, y0, 0)
            gather_into(mask[:, i], read_plane(tile.masks[band], tile.extension, np.uint16), x0, y0, 0)
    return {"flux": flux, "ivar": ivar, "mask": mask}


def gather_into(out: np.ndarray, plane: np.ndarray, x0: np.ndarray, y0: np.ndarray, fill: float) -> None:
    """Windows (N, size, size) of ``plane``; those that leave it come from a padded copy of their surroundings."""
    size, (height, width) = SPEC.size, plane.shape
    inside = (x0 >= 0) & (y0 >= 0) & (x0 + size <= width) & (y0 + size <= height)
    windows = sliding_window_view(plane, (size, size))
    out[...] = windows[np.clip(y0, 0, height - size), np.clip(x0, 0, width - size)]
    for i in np.flatnonzero(~inside):
        ys, xs = slice(max(y0[i], 0), y0[i] + size), slice(max(x0[i], 0), x0[i] + size)
        part = plane[ys, xs]
        out[i] = fill
        top, left = max(-y0[i], 0), max(-x0[i], 0)
        out[i, top : top + part.shape[0], left : left + part.shape[1]] = part


def cutout2d_arrays(tile: BenchTile) -> Arrays:
    """flux by astropy.nddata.Cutout2D, one call an object and band, at the position on the sky; the rest constant."""
    sky = tile.wcs.pixel_to_world(tile.x, tile.y)
    shape = (len(tile.x), len(tile.files), SPEC.size, SPEC.size)
    flux = np.empty(shape, np.float32)
    for i, path in enumerate(tile.files.values()):
        plane = read_plane(path, tile.extension, np.float32)
        for j, position in enumerate(sky):
            flux[j, i] = Cutout2D(plane, position, SPEC.size, wcs=tile.wcs, mode="partial", fill_value=np.nan).data
    return {"flux": flux, "ivar": np.full(shape, SKY_SIGMA**-2, np.float32), "mask": np.zeros(shape, np.uint16)}


def write(out: Path, arrays: Arrays) -> None:
    """One Zarr group, sharded, in the chunks and with the codec of galflow's own layout."""
    group = zarr.create_group(zarr.storage.LocalStore(out / "floor.zarr"))
    for name, pixels in arrays.items():
        per_chunk = objects_per_chunk(SPEC, pixels.shape[1], len(pixels))
        in_shard = min(SPEC.chunks_per_shard, -(-len(pixels) // per_chunk))
        array = group.create_array(
            name,
            shape=pixels.shape,
            dtype=pixels.dtype,
            chunks=(per_chunk, *pixels.shape[1:]),
            shards=(per_chunk * in_shard, *pixels.shape[1:]),
            compressors=BloscCodec(cname=SPEC.codec, clevel=5, shuffle="shuffle"),
            fill_value=0,
        )
        array[:] = pixels
