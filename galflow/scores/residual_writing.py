"""The Zarr layout of residual pictures, and their writing a chunk of objects at a time.

As cutout sets are: whole chunks in shards, each with its checksum, no object of the store ever replaced. This file
knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from galflow.cutouts.group_writing import GroupWriter
from galflow.cutouts.set_writing import objects_per_chunk
from galflow.cutouts.zarr_writing import ChunkCodec, StagedArrays, put_objects
from galflow.spec.run import CutoutSpec
from galflow.storage.checksums import FileSum
from galflow.storage.store import Store

FLUX = "flux"
"""The data themselves, NaN where not observed."""
KINDS = ("reconstruction", "residual", "flux_reconstruction", "flux_residual")
"""What is stored by each model; in flux only where the stretch can be undone."""
COORDINATES = {
    "object_id": {"description": "as in the catalogue"},
    "ra": {"units": "deg", "description": "right ascension, ICRS"},
    "dec": {"units": "deg", "description": "declination, ICRS"},
    "row": {"description": "row of the tile's cutout set"},
    "x0": {"units": "pixel", "description": "column of the tile at which the picture begins, 0-based"},
    "y0": {"units": "pixel", "description": "row of the tile at which the picture begins, 0-based"},
}
_MANY = 1 << 31


def array_name(kind: str, model: str) -> str:
    """``residual_vae``; ``kind`` is one of KINDS."""
    return f"{kind}_{model}"


class ResidualWriter(GroupWriter):
    """Arrays of one shape, written a chunk of objects at a time. To be used as a context."""

    def __init__(
        self, store: Store, product: str, spec: CutoutSpec, names: Sequence[str], shape: tuple[int, int, int], most: int
    ) -> None:
        """``names``: of the arrays, FLUX among them. ``shape``: (band, y, x). ``most``: so many objects will come."""
        super().__init__(store, product)
        self._names, self._shape = tuple(names), shape
        # As many bytes in a chunk of all arrays as of a cutout set's three.
        usual = objects_per_chunk(spec, shape[0], _MANY)
        self.per_chunk = max(1, min(most, 3 * usual // max(3, len(names))))
        """Objects of one chunk."""
        self._in_shard = min(spec.chunks_per_shard, max(1, math.ceil(most / self.per_chunk)))
        self._codec = ChunkCodec(spec.codec)
        self.open_shards(self._names, self._in_shard)
        self._count = 0

    def add(self, pictures: Mapping[str, np.ndarray]) -> None:
        """The next chunk; only the last one may hold fewer than ``per_chunk`` objects."""
        count = len(pictures[FLUX])
        full = {name: np.zeros((self.per_chunk, *self._shape), np.float32) for name in self._names}
        for name, values in full.items():
            values[:count] = pictures[name]
        self._count += count
        with self._store.translate_errors("write", self._product):
            self._shards.add({name: self._codec.encode(values) for name, values in full.items()})

    def finish(self, coordinates: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> dict[str, FileSum]:
        """Write the layout and the coordinates; what was written, for the receipt. TakenError where others lie."""
        with self._store.translate_errors("write", self._product):
            self._shards.finish()
            layout: dict[str, Buffer] = {}
            group = zarr.create_group(MemoryStore(layout), attributes=dict(attributes))
            for name in self._names:
                group.create_array(
                    name,
                    shape=(self._count, *self._shape),
                    dtype=np.float32,
                    chunks=(self.per_chunk, *self._shape),
                    shards=(self.per_chunk * self._in_shard, *self._shape),
                    compressors=self._codec.compressors,
                    fill_value=0,
                    dimension_names=("object", "band", "y", "x"),
                    attributes=_said(name, str(attributes["unit"])),
                )
            put_objects(self._zarr, layout)
            staged = StagedArrays()
            for name, values in coordinates.items():
                staged.add(name, values, ("object",), dict(COORDINATES[name]))
            staged.put_into(self._zarr)
        return self.written()


def _said(name: str, unit: str) -> dict[str, Any]:
    """Unit and meaning of an array, as its attributes."""
    if name == FLUX:
        return {"units": unit, "long_name": "data; NaN where not observed"}
    kind = max((k for k in KINDS if name.startswith(f"{k}_")), key=len)
    model = name.removeprefix(f"{kind}_")
    what = "reconstruction" if kind.endswith("reconstruction") else "data minus reconstruction, NaN where not observed,"
    in_flux = kind.startswith(FLUX)
    space = "in flux, the stretch undone" if in_flux else "in the stretch in which the model sees pixels"
    return {"units": unit if in_flux else "1", "long_name": f"{what} by {model}, {space}"}
