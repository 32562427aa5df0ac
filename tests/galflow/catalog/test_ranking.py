"""What the ranking of a run promises, kept on made score parts of which it is known who is normal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import false_discovery_control

from galflow.catalog.ranking import RunRanking, rank_objects
from galflow.errors import DataError
from galflow.scores.mask_levels import MaskLevels
from galflow.scores.rule import RankingRule
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

RULE = RankingRule.of("m_s")
Made = Callable[..., tuple[RunRanking, dict[str, np.ndarray]]]


def part(tile: str, sigma: np.ndarray, split: np.ndarray) -> pa.Table:
    """Rows of one tile; what has trained has no p."""
    n = len(sigma)
    return pa.table(
        {"object_id": np.arange(n), "is_primary": np.ones(n, bool), "tile": [tile] * n}
        | {"split": pa.array(split, pa.string()), "flags": np.zeros(n, np.int64)}
        | {"m_s_sigma": sigma, "m_s_p": pa.array(np.full(n, 0.5), mask=split == "train")}
    )


@pytest.fixture
def made(local_store: Store) -> Made:
    """Ranks parts; the columns of all rows together."""

    def rank(*tables: pa.Table) -> tuple[RunRanking, dict[str, np.ndarray]]:
        receipts = []
        for number, table in enumerate(tables):
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            key = f"scores/{number}.parquet"
            local_store.put(key, sink.getvalue().to_pybytes())
            receipts.append(Receipt(product=key, fingerprint=key, rows=len(table)))
        ranking, _ = rank_objects(local_store, receipts, RULE, None)
        ranking = RunRanking.from_files(ranking.to_files())
        found = [ranking.columns(table) for table in tables]
        return ranking, {
            name: np.concatenate([c[name].to_numpy(zero_copy_only=False).astype(float) for c in found])
            for name in found[0]
        }

    return rank


def test_masked_rows_are_ranked_as_if_they_were_whole(local_store: Store) -> None:
    rng = np.random.default_rng(2)
    gone = rng.random(2000) < 0.3
    table = part("a", rng.normal(size=2000) + 3.0 * gone, splits(2000, rng))
    for number in range(2):
        table = table.append_column(f"observed:{number}", pa.array(np.where(gone, 0.5, 1.0).astype(np.float32)))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    local_store.put("scores/0.parquet", sink.getvalue().to_pybytes())
    receipt = Receipt(product="scores/0.parquet", fingerprint="0", rows=2000)
    masks = MaskLevels.of(np.full((400, 2), 0.5), 3.0 + rng.normal(size=400), rng.normal(size=400))
    ranking, _ = rank_objects(local_store, [receipt], RULE, None, masks)
    ranking = RunRanking.from_files(ranking.to_files())
    rank = ranking.columns(table)["anomaly_rank"].to_numpy(zero_copy_only=False)
    assert rank[gone].mean() == pytest.approx(1000, rel=0.1)
    plain, _ = rank_objects(local_store, [receipt], RULE, None)
    assert plain.columns(table)["anomaly_rank"].to_numpy(zero_copy_only=False)[gone].mean() < 400


def splits(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(np.array(["train", "reference", None], dtype=object), n, p=[0.3, 0.3, 0.4])


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.1])
def test_false_discoveries_are_as_few_as_q_says_and_anomalies_are_found(
    made: Made, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 surveys; anomalies are objects that took no part, as everything with a known kind."""
    monkeypatch.setattr("galflow.catalog.ranking.false_share", lambda counts: np.ones(counts.counts.size))  # not asked
    monkeypatch.setattr("galflow.catalog.ranking.ParetoTail.of", lambda reference: None)  # nor this
    rng = np.random.default_rng(int(1000 * share))
    false, power = [], []
    for _ in range(200):
        split = splits(1500, rng)
        odd = (split == None) & (rng.random(1500) < share / 0.4)  # noqa: E711 - an array of objects
        sigma = rng.normal(size=1500) + 4.5 * odd
        _, columns = made(part("a", sigma, split))
        reported = columns["anomaly_q"] <= 0.1
        false.append((reported & ~odd).sum() / max(1, reported.sum()))
        power.append(reported[odd].mean() if odd.any() else np.nan)
    assert np.mean(false) <= 0.12
    if share >= 0.05:
        assert np.mean(power) >= 0.5


def test_p_of_held_out_objects_is_uniform_in_every_tile_also_where_a_tile_lies_apart(made: Made) -> None:
    shares = {level: [[], [], [], []] for level in (0.01, 0.05, 0.1)}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        tables = []
        for tile, level in enumerate((0.0, 0.9, -0.6, 0.2)):
            split = splits(4000, rng)
            tables.append(part(f"t{tile}", level + rng.normal(size=4000), split))
        _, columns = made(*tables)
        tile_of = np.repeat(np.arange(4), 4000)
        for tile in range(4):
            p = columns["anomaly_score_p"][tile_of == tile]
            for level, found in shares.items():
                found[tile].append(np.mean(p[np.isfinite(p)] <= level))
    for level, found in shares.items():
        for of_tile in found:
            assert np.mean(of_tile) == pytest.approx(level, rel=0.2)


def test_what_trained_is_ranked_and_has_no_p(made: Made) -> None:
    rng = np.random.default_rng(1)
    split, sigma = splits(300, rng), rng.normal(size=300)
    ranking, columns = made(part("a", sigma, split))
    trained = split == "train"
    for name in ("anomaly_score_p", "anomaly_q", "anomaly_fdp"):
        np.testing.assert_array_equal(np.isnan(columns[name]), trained)
    np.testing.assert_array_equal(columns["anomaly_rank"], 1 + np.argsort(np.argsort(-sigma)))
    assert ranking.p_counts.counts.sum() == (~trained).sum()


def test_without_a_held_out_object_nothing_is_calibrated(made: Made) -> None:
    with pytest.raises(DataError, match="no held-out normal object has a score"):
        made(part("a", np.arange(5.0), np.array([None] * 5, dtype=object)))


def test_p_and_q_go_on_by_the_tail_where_held_out_objects_end(made: Made) -> None:
    rng = np.random.default_rng(6)
    split = splits(4000, rng)
    odd = (split == None) & (rng.random(4000) < 0.02)  # noqa: E711 - an array of objects
    sigma = rng.gamma(2.0, size=4000) + 25.0 * odd
    ranking, columns = made(part("a", sigma, split))
    assert ranking.tail is not None
    unseen = np.isfinite(columns["anomaly_score_p"])
    beyond = sigma > ranking.tail.threshold
    expected = np.where(beyond, ranking.tail.p_values(sigma), columns["anomaly_score_p"])
    np.testing.assert_allclose(columns["anomaly_tail_p"][unseen], expected[unseen], rtol=1e-12)
    q = false_discovery_control(expected[unseen])
    np.testing.assert_allclose(columns["anomaly_tail_q"][unseen & beyond], q[beyond[unseen]], rtol=1e-9)
    assert (columns["anomaly_tail_q"][odd] < 0.05).all()
    assert (columns["anomaly_tail_p"][odd] < columns["anomaly_score_p"][odd]).all()
    assert not np.isfinite(columns["anomaly_tail_p"][~unseen]).any()


def test_too_few_held_out_objects_have_no_tail(made: Made) -> None:
    rng = np.random.default_rng(7)
    ranking, columns = made(part("a", rng.normal(size=200), splits(200, rng)))
    assert ranking.tail is None
    for name in ("anomaly_tail_p", "anomaly_tail_q"):
        assert not np.isfinite(columns[name]).any()


def contaminated(n: int = 4000) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """A tile whose anomalies, 2% of it, are also among its held-out objects; which they are, and all sigmas."""
    rng = np.random.default_rng(8)
    odd = rng.random(n) < 0.02
    sigma = rng.normal(size=n) + odd * rng.uniform(6, 10, n)
    return part("a", sigma, splits(n, rng)), odd, sigma


def test_held_out_anomalies_hide_all_others_until_they_leave_the_reference(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galflow.catalog.ranking.false_share", lambda counts: np.ones(counts.counts.size))  # not asked
    table, odd, sigma = contaminated()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    local_store.put("scores/0.parquet", sink.getvalue().to_pybytes())
    receipts = [Receipt(product="scores/0.parquet", fingerprint="0", rows=len(table))]
    found = {}
    for most in (0.0, 0.1):
        ranking, _ = rank_objects(local_store, receipts, RULE, None, trim_reference=most)
        ranking = RunRanking.from_files(ranking.to_files())
        columns = ranking.columns(table)
        found[most] = ranking, *(columns[n].to_numpy(zero_copy_only=False) for n in ("anomaly_q", "anomaly_rank"))
    held_out = table.column("split").to_numpy(zero_copy_only=False) == "reference"
    (plain, plain_q, plain_rank), (trimmed, q, rank) = found.values()
    assert plain.left_out == 0
    assert len(plain.reference) == held_out.sum()
    assert trimmed.left_out + len(trimmed.reference) == held_out.sum()
    assert set(np.flatnonzero(held_out & (sigma > trimmed.reference[-1]))) <= set(np.flatnonzero(odd))
    assert trimmed.left_out == np.count_nonzero(held_out & (sigma > trimmed.reference[-1])) > 10
    tested = np.isfinite(plain_q)
    assert (plain_q[odd & tested] <= 0.1).mean() == 0
    assert (q[odd & tested] <= 0.1).mean() > 0.5
    assert (q[~odd & tested] <= 0.1).sum() <= 0.1 * (q[tested] <= 0.1).sum()
    np.testing.assert_array_equal(rank, plain_rank)
