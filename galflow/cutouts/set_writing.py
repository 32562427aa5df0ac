"""A cutout set on its way into the store, a chunk at a time: memory is that of some shards, whatever the tile holds.

Pixels that are the same all over a chunk (a constant inverse variance, an empty mask) are compressed once. The layout
is that of galflow.cutouts.cutout_set, which reads it. This file does not cut.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from galflow.cutouts.column_encoding import encode_column
from galflow.cutouts.cutout_set import LAYOUT_VERSION, PIXELS
from galflow.cutouts.group_writing import GroupWriter
from galflow.cutouts.zarr_writing import ChunkCodec, StagedArrays, put_objects
from galflow.spec.run import CutoutSpec
from galflow.storage.checksums import FileSum
from galflow.storage.store import Store
from galflow.surveys.base import Plane

_DTYPES: dict[str, np.dtype[Any]] = {
    "flux": np.dtype(np.float32),
    "ivar": np.dtype(np.float32),
    "mask": np.dtype(np.uint16),
}


@dataclass(frozen=True, eq=False)
class Pixels:
    """Cutouts of some objects. A plane of one value may have strides 0."""

    flux: np.ndarray
    """(N, band, y, x) float32; NaN where missing."""
    ivar: np.ndarray
    """(N, band, y, x) float32; 0 where missing."""
    mask: np.ndarray
    """(N, band, y, x) uint16 of Plane bits."""

    def __len__(self) -> int:
        return len(self.flux)

    def __getitem__(self, rows: slice | np.ndarray) -> Pixels:
        return Pixels(self.flux[rows], self.ivar[rows], self.mask[rows])

    @staticmethod
    def joined(parts: list[Pixels]) -> Pixels:
        """The cutouts of all parts, at least one, one after another."""
        if len(parts) == 1:
            return parts[0]
        return Pixels(*(np.concatenate([getattr(part, name) for part in parts]) for name in PIXELS))


@dataclass(frozen=True, eq=False)
class CutoutData(Pixels):
    """The cutouts of one tile in memory, and all that is stored with them: for what is small, such as a test."""

    rows: pa.Table
    """N rows: object_id, ra, dec, x_pixel, y_pixel, flags and the rest of the catalogue."""
    attributes: dict[str, Any]
    """survey, release, tile, bands, unit, pixel_scale_arcsec, sky_sigma, psf_fwhm_arcsec, ..."""
    psf: np.ndarray | None = None
    """(band, y, x): the tile's PSF images where the survey gives them."""
    likeness: dict[str, np.ndarray] = field(default_factory=dict)
    """Of ready-made images: by what copies of one image are found, (N,) and (N, elements)."""


def quantise(flux: np.ndarray, sky_sigma: np.ndarray, quantum_sigma: float) -> np.ndarray:
    """Flux (N, band, y, x) rounded to multiples of the largest power of two below ``quantum_sigma`` sky sigmas.

    A power of two leaves trailing zero bits in float32, which compress; the error is at most half a step (a rounding
    noise of step/sqrt(12), 7% of sigma in quadrature 0.3% at 1/4 sigma; White & Greenfield 2012).
    """
    out = flux.copy()
    for band, sigma in enumerate(sky_sigma):
        if np.isfinite(sigma) and sigma > 0:
            step = np.float32(2.0 ** math.floor(math.log2(quantum_sigma * sigma)))
            np.round(flux[:, band] / step, out=out[:, band])
            out[:, band] *= step
    return out


def objects_per_chunk(spec: CutoutSpec, n_bands: int, n_objects: int) -> int:
    """Objects whose float32 flux fills ``chunk_megabytes``, at least one and no more than there are."""
    per_object = n_bands * spec.size**2 * 4
    return max(1, min(n_objects, int(spec.chunk_megabytes * 2**20 / per_object)))


def objects_per_shard(spec: CutoutSpec, n_bands: int, n_objects: int) -> int:
    """Objects in one stored object of pixels: whole chunks."""
    per_chunk = objects_per_chunk(spec, n_bands, n_objects)
    return per_chunk * min(spec.chunks_per_shard, max(1, math.ceil(n_objects / per_chunk)))


class CutoutWriter(GroupWriter):
    """Writes one cutout set: pixels chunk by chunk, then everything else. To be used as a context.

    No object that is there already is replaced: TakenError where other bytes lie.
    """

    def __init__(self, store: Store, product: str, spec: CutoutSpec, pixel_shape: tuple[int, int, int], most: int):
        """``pixel_shape``: (band, y, x). ``most``: no more objects than these will come."""
        super().__init__(store, product)
        self._pixel_shape = pixel_shape
        self.per_chunk = objects_per_chunk(spec, pixel_shape[0], most)
        """Objects of one chunk."""
        self._per_shard = objects_per_shard(spec, pixel_shape[0], most)
        self._codec = ChunkCodec(spec.codec)
        chunks_in_shard = self._per_shard // self.per_chunk
        self.open_shards(PIXELS, chunks_in_shard)
        self._count = 0
        self._waiting: list[Pixels] = []
        """Objects of a chunk that is not yet full."""
        self._known: dict[tuple[str, bytes], bytes] = {}
        self._knowing = threading.Lock()

    def encode(self, chunk: Pixels) -> dict[str, bytes]:
        """The bytes of one chunk of each array, filled up with zeros; in any thread."""
        return {name: self._encoded(name, getattr(chunk, name)) for name in PIXELS}

    def _encoded(self, name: str, values: np.ndarray) -> bytes:
        if len(values) == self.per_chunk and (one := _one_value_a_band(values)) is not None:
            key = (name, one.tobytes())
            with self._knowing:
                known = self._known.get(key)
            if known is None:
                known = self._codec.encode(np.ascontiguousarray(values, _DTYPES[name]))
                with self._knowing:
                    self._known = {key: known} | dict(list(self._known.items())[-_KNOWN:])
            return known
        if len(values) < self.per_chunk:
            full = np.zeros((self.per_chunk, *self._pixel_shape), _DTYPES[name])
            full[: len(values)] = values
            values = full
        return self._codec.encode(np.ascontiguousarray(values, _DTYPES[name]))

    def add_chunk(self, encoded: Mapping[str, bytes]) -> None:
        """The next ``per_chunk`` objects, encoded; only as long as no part of a chunk was added."""
        if self._waiting:
            raise ValueError("a whole chunk was given after a part of one")
        self._count += self.per_chunk
        with self._store.translate_errors("write", self._product):
            self._shards.add(encoded)

    def add(self, pixels: Pixels) -> None:
        """The next objects, any number of them."""
        self._waiting.append(pixels)
        if sum(len(part) for part in self._waiting) < self.per_chunk:
            return
        parts = Pixels.joined(self._waiting)
        self._waiting = []
        whole = len(parts) - len(parts) % self.per_chunk
        for start in range(0, whole, self.per_chunk):
            self.add_chunk(self.encode(parts[start : start + self.per_chunk]))
        if whole < len(parts):
            self._waiting = [parts[whole:]]

    def finish(
        self,
        rows: pa.Table,
        attributes: Mapping[str, Any],
        psf: np.ndarray | None = None,
        beside: Mapping[str, np.ndarray] | None = None,
        psf_stamps: np.ndarray | None = None,
    ) -> dict[str, FileSum]:
        """Write the rest of the pixels, the columns and the layout; what was written, for the receipt.

        ``psf``: (band, y, x). ``beside``: arrays of each object that are no columns, (N,) or (N, k). ``psf_stamps``:
        (k, y, x), where objects have PSFs of their own (galflow.cutouts.object_psfs).
        """
        with self._store.translate_errors("write", self._product):
            self._finish_pixels()
            if len(rows) != self._count:
                raise ValueError(f"{self._count} cutouts were written, and {len(rows)} rows are given for them")
            self._put_layout(
                {**attributes, "galflow_layout": LAYOUT_VERSION, "coordinates": " ".join(rows.column_names)},
                str(attributes["unit"]),
            )
            staged = StagedArrays()
            for name in rows.column_names:
                values, said = encode_column(rows.schema.field(name), rows.column(name))
                staged.add(name, values, ("object", f"{name}_element")[: values.ndim], said)
            for name, values in (beside or {}).items():
                staged.add(name, values, ("object", f"{name}_element")[: values.ndim])
            if psf is not None:
                staged.add("psf", psf, ("band", "psf_y", "psf_x"))
            if psf_stamps is not None:
                staged.add("psf_stamps", psf_stamps, ("psf_stamp", "psf_stamp_y", "psf_stamp_x"))
            staged.put_into(self._zarr)
        return self.written()

    def _finish_pixels(self) -> None:
        if self._waiting:
            rest, self._waiting = Pixels.joined(self._waiting), []
            if len(rest):  # an array of no objects has no chunk
                self._count += len(rest)
                self._shards.add(self.encode(rest))
        self._shards.finish()

    def _put_layout(self, attributes: dict[str, Any], unit: str) -> None:
        layout: dict[str, Buffer] = {}
        group = zarr.create_group(MemoryStore(layout), attributes=attributes)
        for name in PIXELS:
            group.create_array(
                name,
                shape=(self._count, *self._pixel_shape),
                dtype=_DTYPES[name],
                chunks=(self.per_chunk, *self._pixel_shape),
                shards=(self._per_shard, *self._pixel_shape) if self._count else None,
                compressors=self._codec.compressors,
                fill_value=0,
                dimension_names=("object", "band", "y", "x"),
                attributes=_pixel_attributes(name, unit),
            )
        put_objects(self._zarr, layout)


_KNOWN = 7
"""Chunks of one value a band whose bytes are kept: more kinds a tile hardly has."""


def _one_value_a_band(values: np.ndarray) -> np.ndarray | None:
    """(band,) what all pixels of each band are; None where they differ."""
    first = values[0, :, 0, 0]
    if values.strides[0] == values.strides[2] == values.strides[3] == 0:
        return first
    if (values[-1, :, -1, -1] != first).any() or not (values == first[:, None, None]).all():
        return None
    return first


def _pixel_attributes(name: str, unit: str) -> dict[str, Any]:
    if name == "mask":
        planes = list(Plane)
        return {
            "flag_masks": [int(p) for p in planes],
            "flag_meanings": " ".join(str(p.name) for p in planes),
            "long_name": "mask planes",
        }
    return {"units": unit if name == "flux" else f"{unit}^-2"}


def write_cutout_set(store: Store, product: str, data: CutoutData, spec: CutoutSpec) -> dict[str, FileSum]:
    """Write ``data`` under the key ``product``; what was written, for the receipt. TakenError where other bytes lie."""
    count, *shape = data.flux.shape
    with CutoutWriter(store, product, spec, (shape[0], shape[1], shape[2]), count) as writer:
        writer.add(data)
        return writer.finish(data.rows, data.attributes, data.psf, data.likeness)
