"""The Zarr layout: what goes in comes out, exactly, on a folder and on S3."""

from __future__ import annotations

import dataclasses
import datetime
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zarr
from zarr.core.metadata import ArrayV3Metadata

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData, objects_per_chunk, quantise, write_cutout_set
from galflow.errors import IntegrityError, StoreError
from galflow.spec.run import CutoutSpec
from galflow.storage.checksums import FileSum
from galflow.storage.store import Store

MakeData = Callable[..., CutoutData]
SMALL: dict[str, Any] = {"size": 8, "chunk_megabytes": 2 * 8 * 8 * 4 * 4 / 2**20, "chunks_per_shard": 3}
"""Four objects of 2 bands in a chunk, twelve in a shard."""


def test_pixels_and_rows_come_back_as_they_went_in(store: Store, data: MakeData) -> None:
    content = data(
        30, tag=["a", None, "b"] * 10, mag=[20.5, None, float("nan")] * 10, count=np.arange(30, dtype=np.int16)
    )
    content.flux[3, 1, 2] = np.nan
    content.mask[3, 1, 2] = 1
    sums = write_cutout_set(store, "p.zarr", content, CutoutSpec(**SMALL))
    cutouts = pickle.loads(pickle.dumps(CutoutSet(store, "p.zarr")))
    assert len(cutouts) == 30
    assert cutouts.pixel_shape == (2, 8, 8)
    for name in ("flux", "ivar", "mask"):
        expected = getattr(content, name)
        found = cutouts.read(name)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(cutouts.read(name, slice(5, 17)), expected[5:17])
    rows = cutouts.rows()
    assert rows.column_names == content.rows.column_names
    assert rows.column("tag").to_pylist() == content.rows.column("tag").to_pylist()
    assert rows.column("mag").to_pylist() == [20.5, None, None] * 10
    assert rows.column("count").type == pa.int16()
    assert cutouts.attributes["tile"] == "t0"
    assert cutouts.has("tag")
    assert not cutouts.has("tig")
    assert {k.removeprefix("p.zarr/") for k in store.list("p.zarr")} == set(sums)
    assert all(FileSum.of(store.get(f"p.zarr/{k}")) == s for k, s in sums.items())


def test_chunks_and_shards_are_as_specified(local_store: Store, data: MakeData) -> None:
    write_cutout_set(local_store, "p.zarr", data(30), CutoutSpec(**SMALL))
    cutouts = CutoutSet(local_store, "p.zarr")
    flux = cutouts.group["flux"]
    assert isinstance(flux, zarr.Array)
    assert flux.chunks == (4, 2, 8, 8)
    assert flux.shards == (12, 2, 8, 8)
    assert isinstance(flux.metadata, ArrayV3Metadata)
    assert flux.metadata.dimension_names == ("object", "band", "y", "x")
    assert cutouts.chunk_objects == 4
    chunks = list(cutouts.chunks())
    assert chunks == [slice(i, min(i + 4, 30)) for i in range(0, 30, 4)]
    # Whole shards, each one stored object: 12 + 12 + 6 objects.
    assert local_store.list("p.zarr/flux/c") == [f"p.zarr/flux/c/{i}/0/0/0" for i in range(3)]
    for name in ("ivar", "mask"):
        other = cutouts.group[name]
        assert isinstance(other, zarr.Array)
        assert (other.chunks, other.shards) == (flux.chunks, flux.shards)
    column = cutouts.group["object_id"]
    assert isinstance(column, zarr.Array)
    assert isinstance(column.metadata, ArrayV3Metadata)
    assert column.metadata.dimension_names == ("object",)


def test_a_chunk_holds_the_megabytes_it_was_told_to() -> None:
    spec = CutoutSpec(size=64, chunk_megabytes=5)
    assert objects_per_chunk(spec, 5, 10_000) == int(5 * 2**20 / (5 * 64 * 64 * 4)) == 64
    assert objects_per_chunk(spec, 5, 10) == 10
    assert objects_per_chunk(CutoutSpec(size=512, chunk_megabytes=0.1), 5, 10) == 1
    assert objects_per_chunk(spec, 5, 0) == 1


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_both_codecs_are_lossless(local_store: Store, data: MakeData, codec: str) -> None:
    content = data(9)
    write_cutout_set(local_store, "p.zarr", content, CutoutSpec.model_validate(SMALL | {"codec": codec}))
    cutouts = CutoutSet(local_store, "p.zarr")
    np.testing.assert_array_equal(cutouts.read("flux"), content.flux)
    assert codec in local_store.get("p.zarr/flux/zarr.json").decode()


@pytest.mark.parametrize(
    "ids",
    [
        np.array([2**53 + 1, 2**62 + 1, -(2**63), 2**63 - 1, 0], np.int64),
        np.array([2**53 + 1, 2**63 + 1, 2**64 - 1, 0, 1], np.uint64),
    ],
)
def test_ids_beyond_2_to_53_stay_exact(store: Store, data: MakeData, ids: np.ndarray) -> None:
    write_cutout_set(store, "p.zarr", data(5, ids=ids), CutoutSpec(**SMALL))
    cutouts = CutoutSet(store, "p.zarr")
    assert cutouts.read("object_id").dtype == ids.dtype
    assert cutouts.read("object_id").tolist() == ids.tolist()
    assert cutouts.rows().column("object_id").to_pylist() == ids.tolist()


PAIRS = pa.list_(pa.float32(), 2)
COLUMNS: list[tuple[Any, pa.Array]] = [
    (pa.array(["ä", None, "ä", ""]), pa.array(["ä", None, "ä", ""])),
    (pa.array([None, None], pa.string()), pa.array([None, None], pa.string())),
    (pa.array(["x", "y", None, "x"]).dictionary_encode(), pa.array(["x", "y", None, "x"])),
    (pa.chunked_array([["a", "b"], [None, "a"]]), pa.array(["a", "b", None, "a"])),
    (pa.array([1, None, 3], pa.int32()), pa.array([1, None, 3], pa.int32())),
    (pa.array([2**53, None]), pa.array([2**53, None])),
    (pa.array([2**63, 1], pa.uint64()), pa.array([2**63, 1], pa.uint64())),
    (pa.array([True, False]), pa.array([True, False])),
    (pa.array([True, None]), pa.array([True, None])),
    (pa.array([1.5, float("nan"), None], pa.float32()), pa.array([1.5, None, None], pa.float32())),
    (pa.array([[1.5, 2], None, [3, None]], PAIRS), pa.array([[1.5, 2], [None, None], [3, None]], PAIRS)),
    # What Zarr's numbers cannot hold comes back as text.
    (pa.array([datetime.date(2020, 1, 31), None]), pa.array(["2020-01-31", None])),
    (pa.array([2**53 + 1, None]), pa.array(["9007199254740993", None])),
    (pa.array([[1, 2], [3], None]), pa.array(["[1, 2]", "[3]", None])),
]


@pytest.mark.parametrize(("column", "expected"), COLUMNS, ids=[str(c.type) + str(c.null_count) for c, _ in COLUMNS])
def test_columns_of_every_kind_come_back(local_store: Store, data: MakeData, column: Any, expected: pa.Array) -> None:
    write_cutout_set(local_store, "p.zarr", data(len(column), extra=column), CutoutSpec(**SMALL))
    found = CutoutSet(local_store, "p.zarr").column("extra")
    assert (found.type, found.to_pylist()) == (expected.type, expected.to_pylist())


def test_an_empty_set_is_a_set(store: Store, data: MakeData) -> None:
    sums = write_cutout_set(store, "p.zarr", data(0, tag=pa.array([], pa.string())), CutoutSpec(**SMALL))
    assert not [path for path in sums if "/c/" in path]
    cutouts = CutoutSet(store, "p.zarr")
    assert len(cutouts) == 0
    assert list(cutouts.chunks()) == []
    assert cutouts.read("flux").shape == (0, 2, 8, 8)
    assert cutouts.rows().num_rows == 0
    assert cutouts.rows().column_names[0] == "object_id"


def test_the_psf_lies_beside_the_pixels(local_store: Store, data: MakeData) -> None:
    psf = np.random.default_rng(0).random((2, 5, 5)).astype(np.float32)
    write_cutout_set(local_store, "p.zarr", dataclasses.replace(data(3), psf=psf), CutoutSpec(**SMALL))
    np.testing.assert_array_equal(CutoutSet(local_store, "p.zarr").read("psf"), psf)


def test_quantised_pixels_are_off_by_half_a_step_at_most_and_smaller(local_store: Store) -> None:
    rng = np.random.default_rng(0)
    sigma = np.array([0.013, 3.0, np.nan])
    flux = (rng.normal(size=(400, 3, 32, 32)) * np.array([0.013, 3.0, 1.0])[:, None, None]).astype(np.float32)
    flux[0, :, 10] = np.nan
    flux[1] *= 1e4  # a bright star
    before = flux.copy()
    rounded = quantise(flux, sigma, 0.25)
    np.testing.assert_array_equal(flux, before)
    assert rounded.dtype == np.float32
    for band in (0, 1):
        step = 2.0 ** np.floor(np.log2(0.25 * sigma[band]))
        assert 0.125 * sigma[band] < step <= 0.25 * sigma[band]
        seen = np.isfinite(flux[:, band])
        np.testing.assert_array_equal(seen, np.isfinite(rounded[:, band]))
        error = np.abs(rounded[:, band].astype(np.float64) - flux[:, band])[seen]
        assert error.max() <= step / 2
        assert (rounded[:, band][seen] / step == np.round(rounded[:, band][seen] / step)).all()
        # Uniform within the step: no bias, and the rms of a rounding.
        assert abs((rounded[2:, band] - flux[2:, band]).mean(dtype=np.float64)) < 0.01 * step
        assert (rounded[2:, band] - flux[2:, band]).std(dtype=np.float64) == pytest.approx(step / np.sqrt(12), rel=0.02)
    np.testing.assert_array_equal(rounded[:, 2], flux[:, 2])  # no sigma: nothing to round to
    sizes = {}
    for name, values in (("lossless", flux[:, :2]), ("quantised", rounded[:, :2])):
        n = len(values)
        rows = pa.table({c: np.zeros(n) for c in ("object_id", "ra", "dec", "flags")})
        content = CutoutData(
            np.ascontiguousarray(values), np.ones_like(values), np.zeros(values.shape, np.uint16), rows, {"unit": "nJy"}
        )
        for codec in ("lz4", "zstd"):
            sums = write_cutout_set(
                local_store, f"{name}-{codec}", content, CutoutSpec.model_validate({"size": 32, "codec": codec})
            )
            sizes[name, codec] = sum(s.size for k, s in sums.items() if k.startswith("flux/c"))
    for codec in ("lz4", "zstd"):
        ratio = sizes["quantised", codec] / sizes["lossless", codec]
        # Seen: lz4 0.42, zstd 0.27.
        assert ratio < 0.7, f"quantised / lossless bytes of noise with {codec}: {ratio:.2f}"


def test_what_is_no_cutout_set_is_told(store: Store) -> None:
    with pytest.raises(IntegrityError, match=r"absent\.zarr is missing or is no cutout set"):
        len(CutoutSet(store, "absent.zarr"))


def test_a_column_that_is_not_there_is_told(local_store: Store, data: MakeData) -> None:
    write_cutout_set(local_store, "p.zarr", data(3), CutoutSpec(**SMALL))
    with pytest.raises(IntegrityError, match=r"p\.zarr has no array 'mag'; it has .*object_id"):
        CutoutSet(local_store, "p.zarr").read("mag")


def test_a_shard_that_vanished_is_an_error_and_not_black_pixels(store: Store, data: MakeData) -> None:
    write_cutout_set(store, "p.zarr", data(30), CutoutSpec(**SMALL))
    for array in ("flux", "ivar", "mask"):
        store.delete(f"p.zarr/{array}/c/1")
        cutouts = CutoutSet(store, "p.zarr")
        assert np.isfinite(cutouts.read(array, slice(0, 12))).all()
        with pytest.raises(IntegrityError, match=rf"p\.zarr/{array} rows 12-16 cannot be decoded .*galflow verify"):
            cutouts.read(array, slice(12, 16))
    store.delete("p.zarr/flags/c/0")
    with pytest.raises(IntegrityError, match="flags"):
        CutoutSet(store, "p.zarr").read("flags")


def test_a_set_that_is_written_again_stays_sound_for_who_reads_it(store: Store, data: MakeData) -> None:
    """As two runs of one specification do that begin together."""
    given = data(30)
    first = write_cutout_set(store, "p.zarr", given, CutoutSpec(**SMALL))
    done = threading.Event()
    problems: list[str] = []

    def read() -> None:
        while not done.is_set():
            try:
                cutouts = CutoutSet(store, "p.zarr")
                np.testing.assert_array_equal(cutouts.read("object_id"), given.rows["object_id"].to_numpy())
                np.testing.assert_array_equal(cutouts.read("flux"), given.flux)
            except (IntegrityError, StoreError, AssertionError) as error:
                problems.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(5):
            assert write_cutout_set(store, "p.zarr", given, CutoutSpec(**SMALL)) == first
    finally:
        done.set()
        reader.join()
    assert problems == []
    assert store.list("p.zarr") == sorted(f"p.zarr/{path}" for path in first)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("array", ["flux", "ivar", "mask", "object_id", "flags"])
def test_a_single_altered_bit_is_an_error_and_not_other_pixels(
    local_store: Store, data: MakeData, array: str, codec: str
) -> None:
    write_cutout_set(local_store, "p.zarr", data(30), CutoutSpec(**SMALL, codec=codec))
    pixels = array in ("flux", "ivar", "mask")
    key = f"p.zarr/{array}/c/0/0/0/0" if pixels else f"p.zarr/{array}/c/0"
    whole = bytearray(local_store.get(key))
    rows = slice(0, 4) if pixels else slice(None)
    for place in (17, 31, 40):  # within the first chunk
        altered = whole.copy()
        altered[place] ^= 4
        local_store.put(key, bytes(altered))
        with pytest.raises(IntegrityError, match="cannot be decoded"):
            CutoutSet(local_store, "p.zarr").read(array, rows)
    local_store.put(key, bytes(whole))
    CutoutSet(local_store, "p.zarr").read(array)


def test_altered_metadata_of_an_array_are_told(store: Store, data: MakeData) -> None:
    write_cutout_set(store, "p.zarr", data(3), CutoutSpec(**SMALL))
    store.put("p.zarr/flux/zarr.json", b"{ half a ")
    with pytest.raises(IntegrityError, match=r"p\.zarr has no sound array 'flux'"):
        len(CutoutSet(store, "p.zarr"))


def test_a_torn_shard_is_an_error(store: Store, data: MakeData) -> None:
    write_cutout_set(store, "p.zarr", data(30), CutoutSpec(**SMALL))
    key = "p.zarr/flux/c/0/0/0/0"
    whole = store.get(key)
    store.put(key, whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match=r"flux rows 0-4 cannot be decoded"):
        CutoutSet(store, "p.zarr").read("flux", slice(0, 4))


def test_a_store_that_cannot_be_written_is_a_store_error(tmp_path: Any, data: MakeData) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot write file://.*p\.zarr"):
        write_cutout_set(Store.open(tmp_path / "file"), "p.zarr", data(3), CutoutSpec(**SMALL))
