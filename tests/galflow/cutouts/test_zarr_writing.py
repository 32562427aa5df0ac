"""What is written past zarr is, object by object, what zarr writes and reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.storage import MemoryStore

from galflow.cutouts.zarr_writing import ChunkCodec, ShardWriter, StagedArrays
from galflow.storage.checksums import FileSum
from galflow.storage.object_streams import WholeStream
from galflow.storage.store import Store

Objects = dict[str, Buffer]


def _plain(objects: Objects) -> dict[str, bytes]:
    return {key: value.to_bytes() for key, value in objects.items()}


def _zarrs_own(objects: Objects, pixels: np.ndarray, codec: ChunkCodec) -> zarr.Array:
    array = zarr.create_group(MemoryStore(objects)).create_array(
        "pixels",
        shape=pixels.shape,
        dtype=pixels.dtype,
        chunks=(4, *pixels.shape[1:]),
        shards=(12, *pixels.shape[1:]),
        compressors=codec.compressors,
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    array[:] = pixels
    return array


@pytest.mark.parametrize("count", [1, 4, 11, 12, 30])
@pytest.mark.parametrize("kind", [np.float32, np.uint16])
@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_shards_are_what_zarr_writes(count: int, kind: type[np.generic], name: Literal["lz4", "zstd"]) -> None:
    pixels = np.random.default_rng(count).uniform(0, 9, (count, 2, 5, 5)).astype(kind)
    codec = ChunkCodec(name)
    plainly: Objects = {}
    array = _zarrs_own(plainly, pixels, codec)
    streamed: Objects = {}
    with ShardWriter(_into(streamed), ("pixels",), 4, 3) as writer:
        for start in range(0, count, 4):
            chunk = np.zeros((4, 2, 5, 5), kind)
            chunk[: count - start] = pixels[start : start + 4]
            writer.add({"pixels": codec.encode(chunk)})
        writer.finish()
    assert sorted(streamed) == sorted(key for key in plainly if "/c/" in key)
    plainly.update(streamed)
    np.testing.assert_array_equal(array[:], pixels)
    # Chunks that are lacking at the end are written by zarr as zeros; those that are there are the same bytes.
    for key, shard in streamed.items():
        chunks = min(3, -(-(count - 12 * int(key.split("/")[2])) // 4))
        assert len(_index(shard)) == 3
        assert (np.array(_index(shard)[chunks:]) == 2**64 - 1).all()


def _index(shard: Buffer) -> list[tuple[int, int]]:
    index = np.frombuffer(shard.to_bytes()[-(3 * 16 + 4) : -4], "<u8").reshape(-1, 2)
    return [(int(a), int(b)) for a, b in index]


def test_a_full_shard_is_zarrs_byte_for_byte() -> None:
    pixels = np.random.default_rng(0).normal(size=(24, 2, 5, 5)).astype(np.float32)
    codec = ChunkCodec("lz4")
    plainly: Objects = {}
    _zarrs_own(plainly, pixels, codec)
    streamed: Objects = {}
    with ShardWriter(_into(streamed), ("pixels",), 4, 3) as writer:
        for start in range(0, 24, 4):
            writer.add({"pixels": codec.encode(pixels[start : start + 4])})
        writer.finish()
    assert _plain(streamed) == {key: value for key, value in _plain(plainly).items() if "/c/" in key}


def test_an_altered_chunk_is_noticed() -> None:
    pixels = np.random.default_rng(0).normal(size=(12, 2, 5, 5)).astype(np.float32)
    codec = ChunkCodec("lz4")
    objects: Objects = {}
    array = _zarrs_own(objects, pixels, codec)
    shard = bytearray(objects["pixels/c/0/0/0/0"].to_bytes())
    shard[40] ^= 1
    objects["pixels/c/0/0/0/0"] = default_buffer_prototype().buffer.from_bytes(bytes(shard))
    with pytest.raises(ValueError, match=r"[Cc]hecksum"):
        array[:]


def _into(objects: Objects) -> Callable[[str], WholeStream]:
    def opened(key: str) -> WholeStream:
        def put(content: bytes) -> FileSum:
            objects[key] = default_buffer_prototype().buffer.from_bytes(content)
            return FileSum.of(content)

        return WholeStream(put)

    return opened


def test_what_a_store_refuses_is_raised() -> None:
    def refuse(_: bytes) -> FileSum:
        raise OSError("No space left on device")

    with ShardWriter(lambda key: WholeStream(refuse), ("pixels",), 4, 1) as writer:
        writer.add({"pixels": b"chunk"})
        with pytest.raises(OSError, match="No space"):
            writer.finish()


def test_a_writer_that_breaks_off_leaves_nothing_half(local_store: Store) -> None:
    def break_off() -> None:
        with ShardWriter(local_store.stream, ("pixels",), 4, 2) as writer:
            for _ in range(3):
                writer.add({"pixels": b"chunk"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    folder = Path(local_store.root.removeprefix("file://")) / "pixels" / "c"
    whole = local_store.list("pixels")
    assert whole in ([], ["pixels/c/0/0/0/0"])
    assert sorted(str(p.relative_to(folder.parents[1])) for p in folder.rglob("*") if p.is_file()) == whole


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
