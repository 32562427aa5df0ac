"""Splits that hold still, batches that hold everything, and reading ahead that stops when it should."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest
import torch

from galflow.batch import Batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.cutouts.identities import hashed_unit
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.cutouts.splits import Split, split_rows
from galflow.cutouts.stream import TrainingSet, prefetch, stretch_for
from galflow.errors import DataError, IntegrityError
from galflow.photometry import AsinhStretch
from galflow.spec.run import CutoutSpec
from galflow.spec.stretch import StretchSpec
from galflow.storage.store import Store

MakeData = Callable[..., CutoutData]
STRETCH = AsinhStretch(3.0, 1000.0, (1.0, 2.0))
FOUR_A_CHUNK = CutoutSpec(size=8, chunk_megabytes=4 * 2 * 8 * 8 * 4 / 2**20, chunks_per_shard=2)


def _stored(store: Store, name: str, content: CutoutData) -> CutoutSet:
    write_cutout_set(store, name, content, FOUR_A_CHUNK)
    return CutoutSet(store, name)


def _ids_of(cutouts: CutoutSet, split: Split, validation: float = 0.1, reference: float = 0.2) -> set[int]:
    return set(cutouts.read("object_id")[split_rows(cutouts, split, validation, reference)].tolist())


# --- splits


def _splitmix64(value: int) -> float:
    """The finaliser of splitmix64 in Python's integers."""
    m = 2**64 - 1
    z = (value + 0x9E3779B97F4A7C15) & m
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & m
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & m
    z ^= z >> 31
    return (z >> 11) / 2**53


def test_the_hash_is_splitmix64_for_every_64_bit_integer() -> None:
    signed = np.array([0, 1, -1, 2**53 + 1, -(2**63), 2**63 - 1], np.int64)
    unsigned = np.array([0, 2**63, 2**64 - 1], np.uint64)
    assert hashed_unit(signed).tolist() == [_splitmix64(int(v) % 2**64) for v in signed]
    assert hashed_unit(unsigned).tolist() == [_splitmix64(int(v)) for v in unsigned]
    # First output of splitmix64 seeded with 0, as the generator's published test vectors have it.
    assert _splitmix64(0) == (0xE220A8397B1DCDAF >> 11) / 2**53


@pytest.mark.parametrize("step", [1, 1000, 2**32])
def test_the_hash_is_uniform_over_regular_ids(step: int) -> None:
    u = np.sort(hashed_unit(np.arange(20_000, dtype=np.int64) * step))
    # Kolmogorov-Smirnov at the 0.1 % level: 1.95 / sqrt(n).
    assert np.abs(u - np.arange(20_000) / 20_000).max() < 1.95 / np.sqrt(20_000)
    assert u[0] >= 0
    assert u[-1] < 1


def test_splits_have_their_fractions_and_divide_all_normal_objects(local_store: Store, data: MakeData) -> None:
    n = 4000
    flags = np.zeros(n, np.int64)
    flags[:400] = [int(f) for f in (Flag.NO_DATA, Flag.DUPLICATE_ID, Flag.PLANTED, Flag.OUTSIDE)] * 100
    flags[400:800] = int(Flag.EDGE | Flag.BRIGHT_NEIGHBOUR)  # normal all the same
    content = data(n, bands=1, size=8, ids=np.arange(n) * 7 + 2**60, flags=flags)
    write_cutout_set(local_store, "p.zarr", content, CutoutSpec(size=8))
    cutouts = CutoutSet(local_store, "p.zarr")
    parts = {split: _ids_of(cutouts, split) for split in Split}
    together = [i for part in parts.values() for i in part]
    assert len(together) == len(set(together)) == n - 400
    assert set(together) == set(content.rows.column("object_id").to_pylist()[400:])
    for split, fraction in ((Split.VALIDATION, 0.1), (Split.REFERENCE, 0.2), (Split.TRAIN, 0.7)):
        expected, error = 3600 * fraction, np.sqrt(3600 * fraction * (1 - fraction))
        assert abs(len(parts[split]) - expected) < 4 * error


def test_reprocessing_moves_nobody_to_another_side(local_store: Store, data: MakeData) -> None:
    old = _stored(local_store, "old.zarr", data(60, ids=np.arange(60)))
    fewer = np.random.default_rng(0).permutation(np.concatenate([np.arange(0, 60, 2), np.arange(500, 540)]))
    new = _stored(local_store, "new.zarr", data(len(fewer), ids=fewer))
    for split in Split:
        kept = set(range(0, 60, 2))
        assert _ids_of(old, split, 0.3, 0.3) & kept == _ids_of(new, split, 0.3, 0.3) & kept


def test_an_unsigned_id_falls_where_the_signed_one_does(local_store: Store, data: MakeData) -> None:
    for split in Split:
        found = [
            _ids_of(_stored(local_store, f"{split}-{t.__name__}.zarr", data(30, ids=np.arange(30).astype(t))), split)
            for t in (np.int64, np.uint64)
        ]
        assert found[0] == found[1]


def test_a_group_of_near_duplicates_stays_on_one_side(local_store: Store, data: MakeData) -> None:
    group = np.repeat(np.arange(40), 5)
    cutouts = _stored(local_store, "p.zarr", data(200, ids=np.arange(200), group=group))
    sides = {split: {int(group[i]) for i in _ids_of(cutouts, split, 0.3, 0.3)} for split in Split}
    assert sum(len(s) for s in sides.values()) == 40
    assert set.union(*sides.values()) == set(range(40))
    assert all(sides.values())


def test_groups_that_are_no_integers_are_refused(local_store: Store, data: MakeData) -> None:
    cutouts = _stored(local_store, "p.zarr", data(4, group=[0.5, 1.0, 1.0, 2.0]))
    with pytest.raises(DataError, match=r"column 'group' of p\.zarr is double; near-duplicate groups must be whole"):
        split_rows(cutouts, Split.TRAIN, 0.1, 0.1)


def test_groups_may_be_texts_that_mean_the_same_in_every_tile(local_store: Store, data: MakeData) -> None:
    """Stored as codes, and the codes differ from tile to tile."""
    names = [f"merger {i}" for i in range(40)]
    first = _stored(local_store, "a.zarr", data(40, ids=np.arange(40), group=names))
    second = _stored(local_store, "b.zarr", data(40, ids=np.arange(100, 140), group=names[::-1]))
    for split in Split:
        expected = {139 - i for i in _ids_of(first, split, 0.3, 0.3)}
        assert _ids_of(second, split, 0.3, 0.3) == expected
        assert expected


def test_an_object_without_group_is_on_its_own(local_store: Store, data: MakeData) -> None:
    plain = _stored(local_store, "plain.zarr", data(40, ids=np.arange(40)))
    for name, group in (("number", pa.array([None] * 20 + [7] * 20)), ("text", pa.array([None] * 20 + ["g"] * 20))):
        cutouts = _stored(local_store, f"{name}.zarr", data(40, ids=np.arange(40), group=group))
        for split in Split:
            found = _ids_of(cutouts, split, 0.3, 0.3)
            assert {i for i in found if i < 20} == {i for i in _ids_of(plain, split, 0.3, 0.3) if i < 20}
            assert len({i for i in found if i >= 20}) in (0, 20)


# --- the stretch of a run


def _set_with(store: Store, name: str, content: CutoutData, sigma: list[float | None]) -> CutoutSet:
    content.attributes["sky_sigma"] = sigma
    return _stored(store, name, content)


def test_the_sky_sigma_is_the_median_over_tiles_that_saw_the_band(local_store: Store, data: MakeData) -> None:
    sigmas: list[list[float | None]] = [[1.0, 5.0], [2.0, None], [9.0, 7.0]]
    sets = [_set_with(local_store, f"{i}.zarr", data(2), s) for i, s in enumerate(sigmas)]
    assert stretch_for(sets, StretchSpec()).sky_sigma == (2.0, 6.0)
    declared = StretchSpec(softening_sigma=2.0, white_sigma=50.0, sky_sigma={"b1": 0.5})
    assert stretch_for(sets, declared) == AsinhStretch(2.0, 50.0, (2.0, 0.5))
    blind = [_set_with(local_store, "blind.zarr", data(2), [1.0, None])]
    with pytest.raises(DataError, match=r"no tile observed band 'b1'.*declare stretch.sky_sigma"):
        stretch_for(blind, StretchSpec())
    with pytest.raises(DataError, match="there are no cutouts to measure"):
        stretch_for([], StretchSpec())


# --- many batches


def _tagged(store: Store, data: MakeData, per_set: tuple[int, ...]) -> tuple[list[CutoutSet], dict[float, int]]:
    """Sets whose objects are told apart by their constant pixels, and the object id of each value."""
    sets: list[CutoutSet] = []
    by_value: dict[float, int] = {}
    next_id = 1
    for i, n in enumerate(per_set):
        ids = np.arange(next_id, next_id + n)
        next_id += n
        content = data(n, seed=i, ids=ids)
        content.flux[:] = ids[:, None, None, None]
        sets.append(_stored(store, f"{i}.zarr", content))
        by_value |= {
            float(np.float32(STRETCH.forward(np.full((2, 1, 1), v, np.float32))[0, 0, 0])): v for v in ids.tolist()
        }
    return sets, by_value


def _seen(batches: Iterator[Batch], by_value: dict[float, int]) -> list[int]:
    keys = np.array(sorted(by_value))
    found = []
    for batch in batches:
        values = batch.pixels[:, 0, 0, 0].numpy()
        assert (batch.pixels[:, 0].flatten(1) == batch.pixels[:, 0, :1, 0]).all()
        found += [by_value[float(keys[np.abs(keys - v).argmin()])] for v in values]
    return found


MEMORY = {"all in memory": 2e9, "in pieces": 3 * 5 * 128 * 9.0}
"""In pieces: nine objects of 2 x 8 x 8 pixels in a group, two chunks of four."""


def _training_set(sets: list[CutoutSet], memory: float) -> TrainingSet:
    return TrainingSet(sets, STRETCH, validation=0.2, reference=0.2, memory_bytes=memory)


@pytest.mark.parametrize("memory", MEMORY.values(), ids=list(MEMORY))
def test_each_object_comes_once_an_epoch(memory: float, local_store: Store, data: MakeData) -> None:
    sets, by_value = _tagged(local_store, data, (30, 1, 0, 25, 44))
    training = _training_set(sets, memory)
    everyone: list[int] = []
    for split in Split:
        expected = sorted(i for s in sets for i in _ids_of(s, split, 0.2, 0.2))
        assert training.count(split) == len(expected) > 0
        for seed in (None, 0, 1):
            batches = list(training.batches(split, 7, seed))
            assert sorted(_seen(iter(batches), by_value)) == expected
            assert all(0 < len(b) <= 7 for b in batches)
            assert all(b.observed.all() for b in batches)
        everyone += expected
    assert sorted(everyone) == list(range(1, 101))


def test_pieces_hold_the_same_objects_as_memory_and_are_not_too_large(
    local_store: Store, data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets, by_value = _tagged(local_store, data, (50, 30))
    whole, pieces = (_training_set(sets, m) for m in MEMORY.values())
    in_order = _seen(whole.batches(Split.TRAIN, 16), by_value)
    assert in_order == sorted(in_order)
    assert _seen(pieces.batches(Split.TRAIN, 16), by_value) == in_order
    loaded: list[int] = []
    load = TrainingSet._load

    def counting(self: TrainingSet, group: object) -> Batch:
        batch = load(self, group)  # type: ignore[arg-type]
        loaded.append(len(batch))
        return batch

    monkeypatch.setattr(TrainingSet, "_load", counting)
    list(pieces.batches(Split.TRAIN, 16, 3))
    assert len(loaded) > 3
    assert max(loaded) <= 9
    loaded.clear()
    for seed in range(3):
        list(whole.batches(Split.TRAIN, 16, seed))
    assert loaded == [], "what fits into memory is read once"


@pytest.mark.parametrize("memory", MEMORY.values(), ids=list(MEMORY))
def test_the_order_depends_on_the_seed_alone(memory: float, local_store: Store, data: MakeData) -> None:
    sets, by_value = _tagged(local_store, data, (50, 30))
    training = _training_set(sets, memory)
    first = _seen(training.batches(Split.TRAIN, 8, 5), by_value)
    torch.manual_seed(99)
    np.random.default_rng().random()
    assert _seen(_training_set(sets, memory).batches(Split.TRAIN, 8, 5), by_value) == first
    assert _seen(training.batches(Split.TRAIN, 8, 5), by_value) == first
    other = _seen(training.batches(Split.TRAIN, 8, 6), by_value)
    assert other != first
    assert sorted(other) == sorted(first)
    assert first != sorted(first)


def test_a_split_without_objects_gives_no_batch(local_store: Store, data: MakeData) -> None:
    flags = np.full(6, int(Flag.NO_DATA))
    for memory in MEMORY.values():
        training = _training_set([_stored(local_store, f"{memory}.zarr", data(6, flags=flags))], memory)
        assert training.count(Split.TRAIN) == 0
        assert list(training.batches(Split.TRAIN, 4, 0)) == []
        assert list(_training_set([], memory).batches(Split.TRAIN, 4)) == []


def test_a_shard_lost_while_training_is_told_to_the_trainer(local_store: Store, data: MakeData) -> None:
    sets, _ = _tagged(local_store, data, (40,))
    training = _training_set(sets, MEMORY["in pieces"])
    local_store.delete("0.zarr/flux/c/2")
    with pytest.raises(IntegrityError, match=r"0\.zarr/flux rows \d+-\d+ cannot be decoded"):
        list(training.batches(Split.TRAIN, 4, 0))
    assert _no_reader_is_left()


# --- reading ahead


def _no_reader_is_left() -> bool:
    return not [t for t in threading.enumerate() if t.name == "galflow-prefetch"]


def test_items_come_in_order_and_ahead_of_time() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    stream = prefetch(items(), depth=3)
    assert next(stream) == 0
    deadline = time.monotonic() + 5
    # One taken, three waiting, one in the producer's hand.
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3, 4]
    assert list(stream) == list(range(1, 20))
    assert _no_reader_is_left()


def test_nothing_to_read_is_nothing() -> None:
    assert list(prefetch([])) == []
    assert list(prefetch([None, 0, ""])) == [None, 0, ""]
    assert _no_reader_is_left()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, IntegrityError])
def test_the_producers_error_is_raised_in_its_place(kind: type[BaseException]) -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise kind("torn")

    stream = prefetch(items())
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(kind, match="torn") as caught:
        next(stream)
    assert any(entry.name == "items" for entry in caught.traceback), "where it happened is kept"
    assert _no_reader_is_left()


def test_a_consumer_that_leaves_stops_the_reader() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.set()

    for _ in prefetch(items()):
        break
    stream = prefetch(items())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert closed.wait(5), "the producer's own clean-up has run"
    assert _no_reader_is_left()


def test_an_error_in_the_consumer_stops_the_reader() -> None:
    def work() -> None:
        for item in prefetch(iter(range(10**9))):
            if item == 3:
                raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        work()
    deadline = time.monotonic() + 5
    while not _no_reader_is_left() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _no_reader_is_left()


def test_reading_overlaps_computing() -> None:
    def items() -> Iterator[int]:
        for i in range(8):
            time.sleep(0.03)
            yield i

    started = time.monotonic()
    for _ in prefetch(items()):
        time.sleep(0.03)
    # One after the other it would be 0.48 s; overlapped 0.27 s.
    assert time.monotonic() - started < 0.42


def test_a_table_of_rows_is_not_needed_to_train(local_store: Store, data: MakeData) -> None:
    """Sets cut from catalogues with other columns train together."""
    first = _stored(local_store, "a.zarr", data(8, seed=1, mag=np.zeros(8)))
    second = _stored(local_store, "b.zarr", data(8, seed=2, tag=pa.array(["x"] * 8)))
    training = _training_set([first, second], 2e9)
    assert sum(training.count(s) for s in Split) == 16
