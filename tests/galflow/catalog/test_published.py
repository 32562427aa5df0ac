"""Ranks and q-values of a catalogue made of small parts, by scipy; second rows and planted copies beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats

from galflow.catalog.files import each_file
from galflow.catalog.published import (
    group_parts,
    plan_catalog,
    planted_copies,
    read_basis,
    write_basis,
    write_catalog_file,
)
from galflow.catalog.ranking import rank_objects
from galflow.cutouts.flags import Flag
from galflow.errors import IntegrityError, StoreError
from galflow.scores.part_columns import SCHEMA_DETAIL, packed_schema
from galflow.scores.rule import RankingRule
from galflow.scores.summary import PartSummary, merge_summaries
from galflow.storage.layout import catalog_product, supplement_of
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

REFERENCES = 19
ROWS = 40


def part(tile: int) -> pa.Table:
    """Forty rows: the first eight are second rows, the last four planted copies; scores repeat, one is missing."""
    rng = np.random.default_rng(tile)
    ids = np.arange(ROWS) + 1000 * tile
    flags = np.zeros(ROWS, np.int64)
    flags[:8], flags[-4:] = int(Flag.DUPLICATE), int(Flag.PLANTED)
    score = rng.integers(0, 60, ROWS).astype(float)
    score[:8], score[-4:] = 70.0, 80.0
    missing = np.arange(ROWS) == 20
    flags[missing] = int(Flag.NO_DATA)
    p = np.clip(np.ceil((61 - score) / 61 * (REFERENCES + 1)), 1, None) / (REFERENCES + 1)
    texts = {"survey": "s", "release": "1", "tile": f"t{tile}", "cutout": "c", "outcome": "scored"}
    return pa.table(
        {"object_id": ids, "id_in_tile": ids, "ra": rng.uniform(0, 360, ROWS), "dec": rng.uniform(-90, 90, ROWS)}
        | {name: pa.array([text] * ROWS) for name, text in texts.items()}
        | {"row": np.arange(ROWS), "x": 1.0 * np.arange(ROWS), "y": 1.0 * np.arange(ROWS)}
        | {"is_primary": (flags & int(Flag.DUPLICATE | Flag.PLANTED)) == 0, "split": pa.nulls(ROWS, pa.string())}
        | {"planted_kind": pa.array([None] * (ROWS - 4) + ["jet"] * 4, pa.string())}
        | {"m_s": pa.array(score, mask=missing), "m_s_sigma": pa.array(score / 10, mask=missing)}
        | {"m_s_p": pa.array(p, mask=missing), "flags": flags}
    )


@pytest.fixture
def product(local_store: Store) -> str:
    """Key of a catalogue of three parts in one file."""
    receipts, summaries = [], []
    for tile in range(3):
        table = part(tile)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        key = f"scores/s/1/t{tile}/{tile}.parquet"
        carried = {SCHEMA_DETAIL: packed_schema(pa.schema([("object_id", pa.int64())]))}
        files = {"": local_store.put(key, sink.getvalue().to_pybytes())}
        receipts.append(Receipt(product=key, fingerprint=key, files=files, rows=ROWS, details={"carried": carried}))
        summaries.append(PartSummary.of(table, ["m_s"]))
    plan, remarks = plan_catalog("run", ["m_s"], [], receipts)
    assert remarks == ()
    key = catalog_product("c", "run")
    ranking, _ = rank_objects(local_store, receipts, RankingRule.of("m_s"), np.linspace(0.1, 6.0, REFERENCES))
    write_basis(local_store, key, plan, merge_summaries(summaries), ranking)
    (files,) = group_parts(receipts)
    write_catalog_file(local_store, key, 0, files, *read_basis(local_store, key))
    return key


def numbers(table: pa.Table, name: str) -> np.ndarray:
    values: np.ndarray = table[name].to_pandas().to_numpy(dtype=np.float64)
    return values


def test_q_and_rank_are_over_primary_rows_with_a_score(local_store: Store, product: str) -> None:
    table = pq.read_table(pa.BufferReader(local_store.get(f"{product}/part-00000.parquet")))
    assert len(table) == 3 * (ROWS - 4)
    assert not (table["flags"].to_numpy() & int(Flag.PLANTED)).any()
    score, p, q = (numbers(table, name) for name in ("m_s", "anomaly_score_p", "anomaly_q"))
    counted = table["is_primary"].to_numpy() & np.isfinite(score)
    assert counted.sum() == 3 * (ROWS - 4 - 8 - 1)
    np.testing.assert_allclose(q[counted], scipy.stats.false_discovery_control(p[counted]), rtol=1e-12)
    beyond = np.linspace(0.1, 6.0, REFERENCES)[:, None] >= score[counted] / 10
    np.testing.assert_allclose(p[counted], (1 + beyond.sum(0)) / (1 + REFERENCES), rtol=1e-12)
    assert (q[counted] > p[counted]).sum() > 50
    assert np.isnan(q[~counted]).all()
    rank = numbers(table, "anomaly_rank")
    np.testing.assert_array_equal(rank[counted], scipy.stats.rankdata(-score[counted], method="min"))
    assert np.nanmin(rank) == 1
    assert np.isnan(rank[~counted]).all()


def test_files_give_each_object_once_and_copies_lie_beside_them(local_store: Store, product: str) -> None:
    (table,) = each_file(local_store, product, ["object_id"])
    assert len(table) == 3 * (ROWS - 4 - 8)
    copies = planted_copies(local_store, product, ["object_id", "anomaly_rank"])
    assert copies is not None
    assert copies["planted_kind"].to_pylist() == ["jet"] * 12
    assert copies["anomaly_rank"].null_count == 12
    assert all(key.startswith((f"{product}/", supplement_of(product))) for key in local_store.list("catalogs"))


def test_ranking_reads_its_columns_and_little_more(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    wide = {f"other_{i}": rng.normal(size=50_000) for i in range(20)}
    table = pa.table(
        {
            "object_id": np.arange(50_000),
            "is_primary": np.ones(50_000, bool),
            "m_s_sigma": wide["other_0"],
            "m_s_p": np.full(50_000, 0.5),
            **wide,
        }
        | {"tile": ["t"] * 50_000, "split": pa.nulls(50_000, pa.string()), "flags": np.zeros(50_000, np.int64)}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    whole = sink.getvalue().to_pybytes()
    part = Receipt(
        product="wide.parquet", fingerprint="f", files={"": local_store.put("wide.parquet", whole)}, rows=50_000
    )
    taken: list[int] = []
    opened = Store.reading

    @contextmanager
    def counted(store: Store, key: str) -> Iterator[Any]:
        with opened(store, key) as file:

            def read(size: int = -1) -> bytes:
                data: bytes = inner(size)
                taken.append(len(data))
                return data

            inner, file.read = file.read, read  # type: ignore[method-assign]
            yield file

    monkeypatch.setattr(Store, "reading", counted)
    monkeypatch.setattr(Store, "get", None)
    monkeypatch.setattr(Store, "get_many", None)
    ranking, remarks = rank_objects(local_store, [part], RankingRule.of("m_s"), np.arange(9.0))
    np.testing.assert_array_equal(ranking.values, np.sort(wide["other_0"]))
    assert remarks == ()
    assert 50_000 * 8 < sum(taken) < len(whole) / 6


def test_a_damaged_part_is_told_with_its_name(store: Store) -> None:
    store.put("scores/bad.parquet", b"PAR1" + bytes(500))
    part = Receipt(product="scores/bad.parquet", fingerprint="f", rows=3)
    with pytest.raises(IntegrityError, match=r"scores/bad\.parquet cannot be read as Parquet"):
        rank_objects(store, [part], RankingRule.of("m_s"), None)
    gone = Receipt(product="scores/gone.parquet", fingerprint="f", rows=3)
    with pytest.raises(StoreError, match=r"scores/gone\.parquet"):
        rank_objects(store, [gone], RankingRule.of("m_s"), None)
