"""The Zarr layout of one tile's cutouts, written once and read chunk by chunk.

One Zarr v3 group: flux, ivar and mask with dims (object, band, y, x), and every catalogue column with dim (object,).
A shard holds whole chunks and is written whole, by one writer. This file does not cut, and knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.errors import GroupNotFoundError
from zarr.storage import MemoryStore

from galflow.cutouts.column_encoding import decode_column, encode_column, said_of_column
from galflow.cutouts.identities import Identities
from galflow.cutouts.zarr_writing import StagedArrays, direct_writes, put_objects
from galflow.errors import IntegrityError, TakenError
from galflow.spec import CutoutSpec
from galflow.store import Store
from galflow.sums import FileSum, SummingStore
from galflow.surveys.base import Plane

LAYOUT_VERSION = "1"
PIXELS = ("flux", "ivar", "mask")
_EVERY_CHUNK: Any = {"write_empty_chunks": True}
"""Write chunks of zeros too: looking for them costs as much as compressing, and a chunk that is not there is lost."""


@dataclass(frozen=True, eq=False)
class CutoutData:
    """The cutouts of one tile in memory, before they are written."""

    flux: np.ndarray
    """(N, band, y, x) float32; NaN where missing."""
    ivar: np.ndarray
    """(N, band, y, x) float32; 0 where missing."""
    mask: np.ndarray
    """(N, band, y, x) uint16 of Plane bits."""
    rows: pa.Table
    """N rows: object_id, ra_deg, dec_deg, x, y, flags and the rest of the catalogue."""
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


def write_cutout_set(store: Store, product: str, data: CutoutData, spec: CutoutSpec) -> dict[str, FileSum]:
    """Write ``data`` under the key ``product``; what was written, for the receipt.

    TakenError if other bytes lie there already.
    """
    with store.speaking("write", product):
        return _write(store, product, data, spec)


def _write(store: Store, product: str, data: CutoutData, spec: CutoutSpec) -> dict[str, FileSum]:
    zarr_store = store.zarr(product, read_only=False)
    if not isinstance(zarr_store, SummingStore):
        raise IntegrityError(f"{store.uri(product)} was opened without checksums; open it with read_only=False")
    attributes = {**data.attributes, "galflow_layout": LAYOUT_VERSION, "coordinates": " ".join(data.rows.column_names)}
    n, n_bands = data.flux.shape[:2]
    per_chunk = objects_per_chunk(spec, n_bands, n)
    layout: dict[str, Buffer] = {}
    declared = zarr.create_group(MemoryStore(layout), attributes=attributes)
    for name in PIXELS:
        _declare_pixels(declared, name, getattr(data, name), spec, per_chunk, data.attributes)
    put_objects(zarr_store, layout)
    # Side by side: one array is compressed while another is on its way.
    with direct_writes(), ThreadPoolExecutor(len(PIXELS)) as pool:
        group = zarr.open_group(zarr_store, mode="r+", zarr_format=3)
        written = [pool.submit(_fill, group, name, getattr(data, name)) for name in PIXELS]
        staged = StagedArrays()
        for name in data.rows.column_names:
            values, attributes = encode_column(data.rows.schema.field(name), data.rows.column(name))
            staged.add(name, values, ("object", f"{name}_element")[: values.ndim], attributes)
        for name, values in data.likeness.items():
            staged.add(name, values, ("object", f"{name}_element")[: values.ndim])
        if data.psf is not None:
            staged.add("psf", data.psf, ("band", "psf_y", "psf_x"))
        staged.put_into(zarr_store)
    for array in written:
        array.result()
    if others := set(store.list(f"{product}/")) - {f"{product}/{path}" for path in zarr_store.sums}:
        # Of an attempt that was cut short, by a galflow that laid it out otherwise.
        raise TakenError(f"{store.uri(product)} holds {len(others)} objects that are not of it, as {min(others)}")
    return dict(zarr_store.sums)


def _declare_pixels(
    group: zarr.Group, name: str, pixels: np.ndarray, spec: CutoutSpec, per_chunk: int, attributes: dict[str, Any]
) -> None:
    n = len(pixels)
    in_shard = min(spec.chunks_per_shard, max(1, math.ceil(n / per_chunk)))
    group.create_array(
        name,
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=(per_chunk, *pixels.shape[1:]),
        shards=(per_chunk * in_shard, *pixels.shape[1:]) if n else None,
        # Blosc decodes most altered bytes to other pixels without a word: each chunk carries a checksum.
        compressors=(
            BloscCodec(cname=spec.codec, clevel=5, shuffle="bitshuffle" if spec.codec == "zstd" else "shuffle"),
            Crc32cCodec(),
        ),
        fill_value=0,
        dimension_names=("object", "band", "y", "x"),
        attributes=_pixel_attributes(name, str(attributes["unit"])),
    )


def _fill(group: zarr.Group, name: str, pixels: np.ndarray) -> None:
    array = group[name]
    if isinstance(array, zarr.Array) and len(pixels):
        array.with_config(_EVERY_CHUNK)[:] = pixels


def _pixel_attributes(name: str, unit: str) -> dict[str, Any]:
    if name == "mask":
        planes = list(Plane)
        return {
            "flag_masks": [int(p) for p in planes],
            "flag_meanings": " ".join(str(p.name) for p in planes),
            "long_name": "mask planes",
        }
    return {"units": unit if name == "flux" else f"{unit}^-2"}


@dataclass(frozen=True)
class CutoutSet:
    """A stored cutout set, opened for reading. Cheap to pickle: the arrays are opened on first use."""

    store: Store
    product: str
    join_product: str | None = None
    """Key of what is known of its objects from other tiles (galflow.cutouts.joins)."""
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "product": self.product, "join_product": self.join_product, "_cache": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def group(self) -> zarr.Group:
        """The Zarr group."""
        with self.store.speaking("open", self.product):
            try:
                return zarr.open_group(self.store.zarr(self.product), mode="r", zarr_format=3)
            except (FileNotFoundError, GroupNotFoundError, ValueError) as error:
                raise IntegrityError(
                    f"{self.store.uri(self.product)} is missing or is no cutout set ({error}); run again, or give "
                    "the URI of a folder that ends in .zarr"
                ) from error

    @property
    def attributes(self) -> dict[str, Any]:
        """survey, release, tile, bands, unit, sky_sigma and the rest."""
        return dict(self.group.attrs)

    def _array(self, name: str) -> zarr.Array:
        if name not in self._cache:
            with self.store.speaking("open", f"{self.product}/{name}"):
                try:
                    array = self.group.get(name)
                except ValueError as error:
                    raise IntegrityError(
                        f"{self.store.uri(self.product)} has no sound array {name!r} ({error}); "
                        "`galflow verify --discard` lists what is altered, and lets the next run make it anew"
                    ) from error
            if not isinstance(array, zarr.Array):
                raise IntegrityError(
                    f"{self.store.uri(self.product)} has no array {name!r}; it has {', '.join(sorted(self.group))}"
                )
            self._cache[name] = array
        return self._cache[name]

    @cached_property
    def join(self) -> Identities:
        """Which object each row is, and which rows are primary."""
        if self.join_product is None:
            return Identities.of_one_tile(self)
        found = Identities.parse(self.store.get(self.join_product), self.store.uri(self.join_product))
        if len(found.object_id) != len(self):
            raise IntegrityError(
                f"{self.store.uri(self.join_product)} has {len(found.object_id)} rows, its cutout set {len(self)}; "
                "`galflow verify --discard` lets the next run make it anew"
            )
        return found

    def __len__(self) -> int:
        return int(self._array("flux").shape[0])

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """(band, y, x)."""
        return tuple(self._array("flux").shape[1:])  # type: ignore[return-value]

    @property
    def chunk_objects(self) -> int:
        """Objects in one chunk."""
        return int(self._array("flux").chunks[0])

    def chunks(self) -> Iterator[slice]:
        """The rows of each chunk, in order."""
        step = self.chunk_objects
        return (slice(i, min(i + step, len(self))) for i in range(0, len(self), step))

    def read(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """The rows of flux, ivar, mask or a catalogue column as it is stored."""
        array = self._array(name)
        with self.store.speaking("read", f"{self.product}/{name}"):
            try:
                return np.asarray(array[rows])
            except (FileNotFoundError, RuntimeError, ValueError, IndexError) as error:
                raise IntegrityError(
                    f"{self.store.uri(self.product)}/{name} rows {rows.start}-{rows.stop} cannot be decoded ({error}); "
                    "`galflow verify --discard` lists what is altered, and lets the next run make it anew"
                ) from error

    def column_attributes(self, name: str) -> dict[str, Any]:
        """How a catalogue column is stored: ``categories`` where texts are codes."""
        return dict(self._array(name).attrs)

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self.group

    def column(self, name: str) -> pa.Array:
        """A catalogue column as it was given: texts decoded, NaN of floats as null."""
        return decode_column(self.read(name), self.column_attributes(name))

    @property
    def column_names(self) -> list[str]:
        """The catalogue's columns, in the order in which they were written."""
        return str(self.attributes["coordinates"]).split()

    def rows(self, names: Sequence[str] | None = None) -> pa.Table:
        """Catalogue columns, all by default, with what is said of them: unit, description, UCD."""
        chosen = self.column_names if names is None else names
        arrays = [self.column(name) for name in chosen]
        described = [
            pa.field(name, array.type, metadata=said_of_column(self.column_attributes(name)))
            for name, array in zip(chosen, arrays, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=pa.schema(described))
