"""Shares of flags by rank, against the same counted by numpy in one go."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest

from galflow.cutouts.flags import Flag
from galflow.report import flag_shares
from galflow.report.flag_shares import FlagShares, count_flags, flag_plot
from galflow.storage.store import Store

Counted = Callable[[pa.Table], FlagShares | None]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, local_store: Store) -> Counted:
    """Counts a table as if it were a catalogue of three files."""

    def count(table: pa.Table) -> FlagShares | None:
        step = -(-len(table) // 3)

        def each_file(store: Store, catalog: str, columns: Sequence[str]) -> Iterator[pa.Table]:
            return (table.slice(i, step).select(list(columns)) for i in range(0, len(table), step))

        monkeypatch.setattr(flag_shares, "each_file", each_file)
        return count_flags(local_store, "catalogs/a/b")

    return count


def catalogue(n: int, unranked: int = 0) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Objects of which the most anomalous are saturated more often, in no order; with their ranks and flags."""
    rng = np.random.default_rng(3)
    rank = rng.permutation(n) + 1
    saturated = rng.random(n) < np.where(rank <= n // 100, 0.6, 0.05)
    flags = np.where(saturated, int(Flag.SATURATED), 0) | np.where(rng.random(n) < 0.3, int(Flag.EDGE), 0)
    ranks = pa.array(list(rank) + [None] * unranked, pa.int64())
    all_flags = np.r_[flags, np.full(unranked, int(Flag.NO_DATA))]
    return pa.table({"anomaly_rank": ranks, "flags": all_flags.astype(np.uint32)}), rank, flags


def test_counts_are_those_of_all_rows_at_once(counted: Counted) -> None:
    table, rank, flags = catalogue(30_000, unranked=700)
    found = counted(table)
    assert found is not None
    assert found.fractions == flag_shares.TOP_FRACTIONS
    assert set(found.flagged) == {Flag.SATURATED, Flag.EDGE}, "what only unranked objects have is left out"
    assert found.total == 30_000
    for flag, counts in found.flagged.items():
        for i, (high, low) in enumerate(zip(found.fractions[:-1], found.fractions[1:], strict=True)):
            inside = (rank <= high * 30_000) & (rank > low * 30_000)
            assert found.objects[i] == inside.sum()
            assert counts[i] == (inside & (flags & int(flag) != 0)).sum()
    top = found.top(Flag.SATURATED, 0.01)
    assert top is not None
    assert top.value == pytest.approx((flags[rank <= 300] & int(Flag.SATURATED) != 0).mean())
    assert top.low > 0.5 > 0.1 > found.overall(Flag.SATURATED).high
    assert found.top(Flag.SATURATED, 0.03) is None


def test_bins_of_few_objects_are_one(counted: Counted) -> None:
    found = counted(catalogue(1000)[0])
    assert found is not None
    assert found.fractions == (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.0)
    assert found.objects.min() == flag_shares.LEAST_OBJECTS
    few = counted(catalogue(15)[0])
    assert few is not None
    assert few.fractions == (1.0, 0.0)


def test_objects_that_tie_are_counted_once(counted: Counted) -> None:
    """A score with one value for many: all have the rank of the first."""
    rank = np.r_[np.ones(60), np.arange(61, 101)].astype(np.int64)
    found = counted(pa.table({"anomaly_rank": rank, "flags": np.full(100, int(Flag.EDGE), np.uint32)}))
    assert found is not None
    assert found.objects.tolist() == [40, 60]
    assert found.fractions == (1.0, 0.5, 0.0)
    alone = counted(pa.table({"anomaly_rank": np.ones(100, np.int64), "flags": np.full(100, 1, np.uint32)}))
    assert alone is not None
    assert (alone.fractions, alone.objects.tolist()) == ((1.0, 0.0), [100])


@pytest.mark.parametrize("ranks", [[None, None, None], [1, 2, 3]])
def test_without_ranks_or_flags_there_is_no_figure(counted: Counted, ranks: list[int | None]) -> None:
    flags = np.full(3, 0 if ranks[0] else int(Flag.EDGE), np.uint32)
    assert counted(pa.table({"anomaly_rank": pa.array(ranks, pa.int64()), "flags": flags})) is None


def test_the_figure_names_flags_and_their_shares(counted: Counted) -> None:
    found = counted(catalogue(30_000)[0])
    assert found is not None
    drawn = flag_plot(found)
    ET.fromstring(drawn)
    overall, top = found.overall(Flag.SATURATED), found.top(Flag.SATURATED, 0.01)
    assert top is not None
    for expected in (
        "saturated",
        "at the edge of its tile",
        f"{100 * overall.value:.2g}% of all, {100 * top.value:.2g}% of the top 1%",
        "percent of all objects that score at least as high; the most anomalous lie to the right",
    ):
        assert f"<!-- {expected} -->" in drawn.decode()
    assert flag_plot(found) == drawn
