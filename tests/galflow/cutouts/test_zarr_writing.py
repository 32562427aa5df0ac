"""What the detours write is, object by object, what zarr writes without them."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from galflow.cutouts.zarr_writing import DirectPipeline, StagedArrays, direct_writes

Objects = dict[str, Buffer]


def _plain(objects: Objects) -> dict[str, bytes]:
    return {key: value.to_bytes() for key, value in objects.items()}


def _write_sharded(objects: Objects, pixels: np.ndarray) -> None:
    group = zarr.create_group(MemoryStore(objects))
    array = group.create_array(
        "pixels",
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=(4, *pixels.shape[1:]),
        shards=(12, *pixels.shape[1:]),
        compressors=BloscCodec(cname="lz4", shuffle="shuffle"),
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    array[:] = pixels


@pytest.mark.parametrize("objects", [1, 4, 11, 12, 30])
@pytest.mark.parametrize("kind", [np.float32, np.uint16])
def test_direct_writes_store_the_same_bytes(objects: int, kind: type[np.generic]) -> None:
    pixels = np.random.default_rng(objects).uniform(0, 9, (objects, 2, 5, 5)).astype(kind)
    plainly: Objects = {}
    directly: Objects = {}
    _write_sharded(plainly, pixels)
    with direct_writes():
        _write_sharded(directly, pixels)
    assert _plain(directly) == _plain(plainly)


def test_a_part_of_a_chunk_is_merged_with_what_is_there() -> None:
    with direct_writes():
        array = zarr.create_array(MemoryStore(), shape=(10,), chunks=(5,), dtype="i4", fill_value=7)
        array[3:8] = np.arange(5)
    assert array[:].tolist() == [7, 7, 7, 0, 1, 2, 3, 4, 7, 7]


def test_chunks_are_encoded_from_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a new zarr no longer calls the method that is overridden, the detour is of no use and can go."""
    seen = []
    encode = DirectPipeline._merge_chunk_array

    def watched(self: DirectPipeline, existing: object, value: object, *rest: object) -> object:
        chunk = encode(self, existing, value, *rest)  # type: ignore[arg-type]
        seen.append(np.shares_memory(chunk.as_numpy_array(), value.as_numpy_array()))  # type: ignore[attr-defined]
        return chunk

    monkeypatch.setattr(DirectPipeline, "_merge_chunk_array", watched)
    with direct_writes():
        _write_sharded({}, np.ones((11, 2, 5, 5), np.float32))
    assert seen == [True, True, False]  # the last chunk holds 3 of 4 rows


def test_the_setting_ends_with_the_context() -> None:
    before = zarr.config.get("codec_pipeline.path")
    with direct_writes():
        assert zarr.config.get("codec_pipeline.path").endswith("DirectPipeline")
    assert zarr.config.get("codec_pipeline.path") == before


def test_staged_arrays_are_what_zarr_makes_in_place() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "a": (rng.normal(size=7), ("object",), None),
        "b": (rng.normal(size=7), ("object",), None),
        "c": (rng.normal(size=7).astype(">f8"), ("object",), None),
        "id": (2**63 + np.arange(7, dtype=np.uint64), ("object",), None),
        "good": (rng.random(7) > 0.5, ("object",), None),
        "text": (np.arange(7, dtype=np.int32), ("object",), {"categories": ["x", "y"]}),
        "other": (np.arange(7, dtype=np.int32), ("object",), {"categories": ["x", "z"]}),
        "same": (np.arange(7, dtype=np.int32)[::-1], ("object",), {"categories": ["x", "z"]}),
        "psf": (rng.normal(size=(2, 3, 3)), ("band", "y", "x"), None),
        "psf2": (rng.normal(size=(2, 3, 3)).transpose(0, 2, 1), ("band", "y", "x"), None),
    }
    in_place: Objects = {}
    group = zarr.create_group(MemoryStore(in_place), attributes={"survey": "s"})
    staged = StagedArrays()
    for name, (values, dimensions, attributes) in arrays.items():
        group.create_array(
            name,
            data=values,
            chunks=values.shape,
            compressors=Crc32cCodec(),
            dimension_names=dimensions,
            attributes=attributes,
            config={"write_empty_chunks": True},
        )
        staged.add(name, values, dimensions, attributes)
    objects: Objects = {}
    store = MemoryStore(objects)
    zarr.create_group(store, attributes={"survey": "s"})
    staged.put_into(store)
    found = zarr.open_group(store, mode="r")
    assert dict(found.attrs) == {"survey": "s"}
    for name, (values, _, attributes) in arrays.items():
        array = found[name]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(array[:], values)
        assert dict(array.attrs) == (attributes or {})
    assert _plain(objects) == _plain(in_place)


def test_empty_columns_have_metadata_and_no_chunk() -> None:
    staged = StagedArrays()
    for name in ("a", "b"):
        staged.add(name, np.zeros(0), ("object",))
    objects: Objects = {}
    zarr.create_group(MemoryStore(objects))
    staged.put_into(MemoryStore(objects))
    assert sorted(objects) == ["a/zarr.json", "b/zarr.json", "zarr.json"]
