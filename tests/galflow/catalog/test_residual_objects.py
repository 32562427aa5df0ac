"""Which objects are the most anomalous share of a run: those of its ranking, by tile."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galflow.catalog.ranking import RunRanking, rank_objects
from galflow.catalog.residual_objects import (
    choose_residual_objects,
    read_residual_objects,
    residual_objects_fingerprint,
    rows_by_tile,
)
from galflow.cutouts.flags import Flag
from galflow.scores.rule import RankingRule
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

RULE = RankingRule.of("m_s")
OBJECTS = 60


def part(tile: str, sigma: np.ndarray, first_id: int) -> pa.Table:
    """Rows of one tile; the last is a planted copy, the one before it no primary row."""
    n = len(sigma)
    flags, primary = np.zeros(n, np.int64), np.ones(n, bool)
    flags[-1], primary[-2] = int(Flag.PLANTED), False
    split = np.where(np.arange(n) % 2, "reference", "train")
    identity = {"object_id": np.arange(n) + first_id, "is_primary": primary, "tile": [tile] * n, "row": np.arange(n)}
    scores = {"m_s_sigma": sigma, "m_s_p": pa.array(np.full(n, 0.5), mask=split == "train")}
    return pa.table(identity | {"split": pa.array(split, pa.string()), "flags": flags} | scores)


@pytest.fixture
def parts(local_store: Store) -> tuple[list[Receipt], RunRanking, pa.Table]:
    rng = np.random.default_rng(1)
    tables = [part(tile, rng.normal(size=OBJECTS), 1000 * i) for i, tile in enumerate(("b/1", "a"))]
    receipts = []
    for number, table in enumerate(tables):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        local_store.put(f"scores/{number}.parquet", sink.getvalue().to_pybytes())
        receipts.append(Receipt(product=f"scores/{number}.parquet", fingerprint=str(number), rows=len(table)))
    receipts.append(Receipt(product="scores/empty.parquet", fingerprint="empty"))
    ranking, _ = rank_objects(local_store, receipts, RULE, None)
    return receipts, ranking, pa.concat_tables(tables)


def test_they_are_those_of_the_ranking_without_copies_and_second_rows(
    local_store: Store, parts: tuple[list[Receipt], RunRanking, pa.Table]
) -> None:
    receipts, ranking, rows = parts
    target = Target(local_store, "residual_objects/s/f.parquet", "f")
    receipt = choose_residual_objects(target, receipts, ranking, 0.1)
    found = read_residual_objects(local_store, target.product)
    assert receipt.rows == len(found) == 12, "a tenth of 116 objects, rounded up"
    assert found["anomaly_rank"].to_pylist() == list(range(1, 13))
    table = rows.append_column("rank", ranking.columns(rows)["anomaly_rank"])
    first = table.filter(pa.compute.less_equal(table["rank"], 12)).sort_by("rank")
    assert found["object_id"].to_pylist() == first["object_id"].to_pylist()
    by_tile = rows_by_tile(local_store, target.product)
    assert set(by_tile) == {"b/1", "a"}
    for tile, chosen in by_tile.items():
        expected = sorted(r["row"] for r in first.to_pylist() if r["tile"] == tile)
        assert chosen.rows.tolist() == expected
        assert chosen.object_id.tolist() == [row + (1000 if tile == "a" else 0) for row in expected]


def test_all_of_them_and_none(local_store: Store, parts: tuple[list[Receipt], RunRanking, pa.Table]) -> None:
    receipts, ranking, _ = parts
    quarter = choose_residual_objects(Target(local_store, "residual_objects/s/q.parquet", "q"), receipts, ranking, 0.25)
    assert quarter.rows == 29, "a quarter of 116, neither more nor less"
    every = choose_residual_objects(Target(local_store, "residual_objects/s/a.parquet", "a"), receipts, ranking, 1.0)
    assert every.rows == 2 * (OBJECTS - 2)
    nothing = choose_residual_objects(
        Target(local_store, "residual_objects/s/n.parquet", "n"), receipts[2:], ranking, 0.5
    )
    assert nothing.reasons == ("no object is ranked",)
    assert rows_by_tile(local_store, "residual_objects/s/n.parquet") == {}


def test_a_fingerprint_follows_scores_rule_and_share() -> None:
    found = [residual_objects_fingerprint(*of) for of in ((["a"], "r", 0.1), (["b"], "r", 0.1), (["a"], "s", 0.1))]
    assert len({*found, residual_objects_fingerprint(["a"], "r", 0.2)}) == 4
    assert residual_objects_fingerprint(["a", "b"], "r", 0.1) == residual_objects_fingerprint(["b", "a"], "r", 0.1)
