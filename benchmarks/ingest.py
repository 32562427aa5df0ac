"""Ingest of one tile: galflow.cutouts.cut.cut_tile, beside the least that any such ingest must do, and a Cutout2D loop.

The floor knows the pixel positions already, and does three things. It reads each band's pixels with astropy as native
float32. For each band and each array that is stored (flux, inverse variance, mask) it gathers all objects with one
fancy index into a sliding window view, then sets what lies beyond the image; where the survey brings no images of
inverse variance and mask, it gathers from planes of constants. And it writes the three arrays as galflow lays them out,
with the same chunks, shards and codec. It opens no catalogue and no WCS, measures no sky, subtracts and scales nothing,
sets no flags, stores no columns, takes no checksums, notices no damage and writes no receipt: all of that is galflow's
overhead. Two lower floors stand beside it: "constants filled" gathers the flux alone and fills the other two arrays,
"flux alone" neither makes nor writes them.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import zarr
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.utils.exceptions import AstropyWarning
from numpy.lib.stride_tricks import sliding_window_view
from zarr.codecs import BloscCodec

from benchmarks.scratch import scratch
from benchmarks.tile import SKY_SIGMA, BenchTile, Kind, kids_tile, make_tile
from benchmarks.timing import Table, interleaved, table
from galflow.cutouts.cut import cut_tile, cutouts_fingerprint
from galflow.cutouts.set_writing import objects_per_chunk
from galflow.spec.run import CutoutSpec
from galflow.storage.receipts import Outcome
from galflow.storage.store import Store

SPEC = CutoutSpec(size=64, defects=False)  # what looking for them costs stands in benchmarks.defects
KINDS: tuple[Kind, ...] = ("plain", "patch", "weights", "rice", "gzip")
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "kids_viking_tile"
Arrays = dict[str, np.ndarray]
DTYPES: dict[str, type[np.generic]] = {"flux": np.float32, "ivar": np.float32, "mask": np.uint16}
CONSTANTS = {"ivar": SKY_SIGMA**-2, "mask": 0}


def run() -> Iterator[Table]:
    """One table a kind of tile; the slow Cutout2D loop on one made tile and on the real one."""
    with scratch() as work:
        for kind in KINDS:
            yield measure(make_tile(work / kind, kind), work / "out", with_loop=kind == "plain")
            shutil.rmtree(work / kind)
        if REAL_DATA.is_dir():
            yield measure(kids_tile(REAL_DATA, work / "kids"), work / "out", with_loop=True)


def measure(tile: BenchTile, out: Path, *, with_loop: bool) -> Table:
    """The ways to ingest one tile, in turns."""
    [described] = tile.survey.tiles()
    fingerprint = cutouts_fingerprint(tile.survey, described, SPEC)

    def galflow_way() -> None:
        receipt = cut_tile(Store.open(out), tile.survey, described, SPEC, fingerprint)
        if receipt.outcome is not Outcome.DONE or receipt.rows != len(tile.x):
            raise RuntimeError(f"the benchmark's tile gave {receipt.outcome}, {receipt.rows} rows: {receipt.reasons}")

    cases: dict[str, Callable[[], object]] = {
        "galflow": galflow_way,
        "floor": lambda: write(out, floor_arrays(tile, ("flux", "ivar", "mask"))),
        "floor, flux alone": lambda: write(out, {"flux": floor_arrays(tile, ("flux",))["flux"]}),
    }
    if not tile.weights:
        cases["floor, constants filled"] = lambda: write(out, floor_arrays(tile, ("flux",)) | constants(tile))
    if with_loop:
        cases["Cutout2D loop"] = lambda: write(out, cutout2d_arrays(tile))
    timings = interleaved(cases, between=lambda: shutil.rmtree(out, ignore_errors=True))
    return table(
        f"ingest, {tile.title}: {len(tile.x)} objects, {len(tile.files)} bands, {SPEC.size} px", "floor", timings
    )


def read_plane(path: Path, extension: int, dtype: type[np.generic]) -> np.ndarray:
    """The pixels of an image in the machine's own byte order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        return np.asarray(fits.getdata(path, extension, memmap=False)).astype(dtype, copy=False)


def floor_arrays(tile: BenchTile, names: tuple[str, ...]) -> Arrays:
    """The named arrays, (N, band, y, x): one fancy index a band and array."""
    x0, y0 = (np.floor(v + 0.5).astype(np.int64) - SPEC.size // 2 for v in (tile.x, tile.y))
    shape = (len(x0), len(tile.files), SPEC.size, SPEC.size)
    out = {name: np.empty(shape, DTYPES[name]) for name in names}
    for i, (band, path) in enumerate(tile.files.items()):
        flux = read_plane(path, tile.extension, np.float32)
        for name, array in out.items():
            if name == "flux":
                plane = flux
            elif tile.weights:
                companion = {"ivar": tile.weights, "mask": tile.masks}[name][band]
                plane = read_plane(companion, tile.extension, DTYPES[name])
            else:
                plane = np.full(flux.shape, CONSTANTS[name], DTYPES[name])
            gather_into(array[:, i], plane, x0, y0, np.nan if name == "flux" else 0)
    return out


def constants(tile: BenchTile) -> Arrays:
    """ivar and mask as they are where nothing is missing."""
    shape = (len(tile.x), len(tile.files), SPEC.size, SPEC.size)
    return {name: np.full(shape, value, DTYPES[name]) for name, value in CONSTANTS.items()}


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
    return {"flux": flux} | constants(tile)


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
            config={"write_empty_chunks": True},
        )
        array[:] = pixels
