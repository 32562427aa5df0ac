"""The ranking score by groups, against numpy on all rows at once."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galflow.report import groups
from galflow.report.groups import MOST_GROUPS, NO_VALUE, Grouped, group_plot, group_scores
from galflow.storage.store import Store

By = Callable[..., Grouped]
N = 6000


@pytest.fixture
def sigma() -> np.ndarray:
    """(N,): the later an object, the higher it scores."""
    values = np.random.default_rng(1).standard_t(4, N)
    values[5000:] += 2.0
    return values


@pytest.fixture
def by(monkeypatch: pytest.MonkeyPatch, local_store: Store, sigma: np.ndarray) -> By:
    """Groups a catalogue of three files by these values; those of no ``ranked`` object have no score."""

    def group(values: Any, column: str = "layer", ranked: np.ndarray | None = None) -> Grouped:
        there = np.ones(N, bool) if ranked is None else ranked
        rank = np.zeros(N, np.int64)
        rank[there] = np.argsort(np.argsort(-sigma[there])) + 1
        table = pa.table(
            {
                "anomaly_rank": pa.array(rank, mask=~there),
                "anomaly_score_sigma": pa.array(sigma, mask=~there),
                "layer": values,
            }
        )

        def each_file(store: Store, catalog: str, columns: Sequence[str]) -> Iterator[pa.Table]:
            return (table.slice(i, 2000).select(list(columns)) for i in range(0, N, 2000))

        monkeypatch.setattr(groups, "each_file", each_file)
        monkeypatch.setattr(groups, "column_names", lambda store, catalog: table.column_names)
        return group_scores(local_store, "catalogs/a/b", column)

    return group


def layers() -> np.ndarray:
    return np.array(["wide"] * 4000 + ["deep"] * 1000 + ["ultradeep"] * 1000, dtype=object)


def test_numbers_are_those_of_all_rows_at_once(by: By, sigma: np.ndarray) -> None:
    ranked = np.arange(N) % 7 != 0
    found = by(pa.array(layers(), pa.string()), ranked=ranked)
    assert [g.name for g in found.groups] == ["wide", "deep", "ultradeep"]
    level = np.sort(sigma[ranked])[::-1][int(0.05 * ranked.sum()) - 1]
    assert found.level == pytest.approx(level)
    for group in found.groups:
        own = sigma[ranked & (layers() == group.name)]
        assert group.objects == len(own)
        assert group.top == (own >= level).sum()
        for q in (0.05, 0.5, 0.95):
            assert group.quantile(q) == pytest.approx(np.quantile(own, q), abs=0.06)
    assert found.groups[-1].share.low > 0.05 > found.groups[0].share.high


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array(np.arange(N) % 3), {"0", "1", "2"}),
        (pa.array(np.arange(N) % 2 == 0), {"true", "false"}),
        (pa.array([None, "a"] * (N // 2), pa.string()), {NO_VALUE, "a"}),
        (pa.array([None, "a"] * (N // 2), pa.string()).dictionary_encode(), {NO_VALUE, "a"}),
        (pa.array((np.arange(N) % 2).astype(np.float32)), {"0", "1"}),
    ],
)
def test_groups_are_texts_numbers_or_flags(by: By, values: pa.Array, names: set[str]) -> None:
    found = by(values)
    assert {g.name for g in found.groups} == names
    assert sum(g.objects for g in found.groups) == N


def test_many_groups_become_twelve(by: By) -> None:
    found = by(pa.array(np.minimum(np.arange(N) % 30, 20)))
    assert len(found.groups) == MOST_GROUPS
    assert found.groups[0].name == "20"
    assert found.groups[-1].name == "10 other groups"
    assert sum(g.objects for g in found.groups) == N
    assert sum(g.top for g in found.groups) == 0.05 * N


@pytest.mark.parametrize(
    ("values", "column", "expected"),
    [
        (pa.array(np.arange(N)), "layer", "more than 200 different values"),
        (pa.array([[1.0]] * N), "layer", "its values are of type list"),
        (pa.array([1] * N), "depth", "no tile's catalogue has a column 'depth'; there are anomaly_rank"),
    ],
)
def test_what_is_no_column_of_groups_is_said(by: By, values: pa.Array, column: str, expected: str) -> None:
    found = by(values, column)
    assert found.groups == ()
    assert expected in str(found.reason)


def test_without_ranked_objects_there_are_no_groups(by: By) -> None:
    assert by(pa.array([1] * N), ranked=np.zeros(N, bool)).reason == "no object was ranked"


def test_the_figure_names_groups_and_axis(by: By) -> None:
    found = by(pa.array(layers(), pa.string()))
    drawn = group_plot(found)
    ET.fromstring(drawn)
    for expected in (
        "wide",
        "(4,000)",
        "ultradeep",
        "by layer; dashed: the run's top 5% lies to the right",
        "anomaly_score, robust sigmas above the reference median",
    ):
        assert f"<!-- {expected} -->" in drawn.decode()
    assert group_plot(found) == drawn


def test_the_axis_is_smooth_and_keeps_the_order() -> None:
    values = np.linspace(-300, 300, 60_001)
    along = groups._along(values)
    steps = np.diff(along)
    assert (steps > 0).all()
    assert np.abs(np.diff(steps)).max() < 1e-4, "no kink where it turns logarithmic"
    np.testing.assert_allclose(along[np.abs(values) <= 10], values[np.abs(values) <= 10])
