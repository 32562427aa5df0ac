"""Rows of stored pixels read as zarr reads them, for every layout and every range, and no damage unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import zarr

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import write_cutout_set
from galflow.cutouts.zarr_reading import ShardReader
from galflow.errors import IntegrityError, StoreError
from galflow.spec.run import CutoutSpec
from galflow.storage.store import Store

if TYPE_CHECKING:
    from conftest import MakeData

OBJECTS = 50
SMALL: dict[str, Any] = {"size": 8, "chunk_megabytes": 4 * 2 * 64 * 4 / 2**20, "chunks_per_shard": 3}
"""Four objects of two bands a chunk."""


def reader(cutouts: CutoutSet, name: str) -> ShardReader | None:
    return cutouts._shard_reader(name)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_any_rows_are_those_that_zarr_reads(store: Store, data: MakeData, codec: Literal["lz4", "zstd"]) -> None:
    write_cutout_set(store, "p.zarr", data(OBJECTS), CutoutSpec(**SMALL, codec=codec))
    cutouts = CutoutSet(store, "p.zarr")
    group = zarr.open_group(store.zarr("p.zarr"), mode="r")
    for name in ("flux", "ivar", "mask"):
        assert reader(cutouts, name) is not None
        whole = np.asarray(group[name][:])
        found = cutouts.read(name)
        assert found.dtype == whole.dtype
        np.testing.assert_array_equal(found, whole)
        for start, stop in ((0, 4), (4, 8), (0, 1), (3, 5), (11, 13), (2, 30), (48, 50), (47, 999), (7, 7), (50, 60)):
            np.testing.assert_array_equal(cutouts.read(name, slice(start, stop)), whole[start:stop])
        np.testing.assert_array_equal(cutouts.read(name, slice(-3, None)), whole[-3:])
    assert reader(cutouts, "flags") is None


def test_chunks_of_one_value_are_decoded_once_and_cannot_be_changed(local_store: Store, data: MakeData) -> None:
    given = data(OBJECTS)
    given.ivar[...] = 0.25
    write_cutout_set(local_store, "p.zarr", given, CutoutSpec(**SMALL | {"size": 8, "chunk_megabytes": 0.01}))
    cutouts = CutoutSet(local_store, "p.zarr")
    chunks = list(cutouts.chunks())
    first, second = (cutouts.read("ivar", rows) for rows in chunks[:2])
    assert first.base is second.base
    assert not first.flags.writeable
    np.testing.assert_array_equal(second, 0.25)
    flux = [cutouts.read("flux", rows) for rows in chunks[:2]]
    assert flux[0].flags.writeable
    np.testing.assert_array_equal(flux[0], given.flux[chunks[0]])


@pytest.mark.parametrize("place", ["chunk", "its checksum", "index", "cut short", "gone"])
def test_every_damage_is_told(local_store: Store, data: MakeData, place: str) -> None:
    write_cutout_set(local_store, "p.zarr", data(OBJECTS), CutoutSpec(**SMALL))
    key = "p.zarr/flux/c/0/0/0/0"
    whole = local_store.get(key)
    size = int.from_bytes(whole[-4 - 3 * 16 + 8 : -4 - 3 * 16 + 16], "little")
    at = {"chunk": size // 2, "its checksum": size - 1, "index": len(whole) - 10}
    if place in at:
        broken = bytearray(whole)
        broken[at[place]] ^= 1
        local_store.put(key, bytes(broken))
    elif place == "cut short":
        local_store.put(key, whole[:40])
    else:
        local_store.delete(key)
    with pytest.raises(IntegrityError, match=r"p\.zarr/flux rows 0-4 cannot be decoded .*galflow verify"):
        CutoutSet(local_store, "p.zarr").read("flux", slice(0, 4))


def test_another_layout_is_left_to_zarr(tmp_path: Path) -> None:
    for number, options in enumerate(
        (
            {"chunks": (4, 2, 8, 8)},
            {"chunks": (4, 1, 8, 8), "shards": (8, 2, 8, 8)},
            {"chunks": (4, 2, 8, 8), "shards": (8, 2, 8, 8), "compressors": zarr.codecs.ZstdCodec()},
        )
    ):
        values = np.arange(10 * 2 * 64, dtype=np.float32).reshape(10, 2, 8, 8)
        group = zarr.open_group(tmp_path / str(number) / "p.zarr", mode="w")
        group.create_array("flux", data=values, **options)
        cutouts = CutoutSet(Store.open(tmp_path / str(number)), "p.zarr")
        assert reader(cutouts, "flux") is None
        np.testing.assert_array_equal(cutouts.read("flux", slice(3, 9)), values[3:9])


def test_a_store_that_does_not_answer_is_no_damage(
    local_store: Store, data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cutout_set(local_store, "p.zarr", data(OBJECTS), CutoutSpec(**SMALL))
    cutouts = CutoutSet(local_store, "p.zarr")
    cutouts.read("flux", slice(0, 1))

    def refuse(*_: object) -> bytes:
        raise StoreError("the server is away")

    monkeypatch.setattr(Store, "get", refuse)
    with pytest.raises(StoreError, match="away"):
        cutouts.read("flux", slice(4, 5))
