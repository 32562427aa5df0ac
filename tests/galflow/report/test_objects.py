from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from galflow.catalog.published import CatalogPlan
from galflow.cutouts.flags import Flag
from galflow.errors import StoreError
from galflow.report.objects import select_objects
from galflow.report.triage import highest_ranked
from galflow.scores.fractions import recall_in_top
from galflow.storage.receipts import to_json
from galflow.storage.store import Store

SCORES = ("m_a", "m_b")


def catalogue(n: int, seed: int, tile: str, *, planted: bool) -> pa.Table:
    """Real objects, of which the last 15 rows are second rows of some, and with ``planted`` 30 copies before them."""
    rng = np.random.default_rng(seed)
    flags = np.where(rng.random(n) < 0.2, int(Flag.EDGE), 0) | np.where(rng.random(n) < 0.1, int(Flag.STAR), 0)
    scored = rng.random(n) > 0.1
    columns: dict[str, pa.Array] = {
        "object_id": pa.array(rng.permutation(10**15 + np.arange(n) + 1000 * seed)),
        "ra": pa.array(rng.uniform(0, 1, n)), "dec": pa.nulls(n, pa.float64()),
        "tile": pa.array([tile] * n), "row": pa.array(np.arange(n)), "outcome": pa.array(["scored"] * n),
        "anomaly_q": pa.array(rng.random(n), mask=~scored),
        "anomaly_rank": pa.array(np.arange(n)), "triage": pa.nulls(n, pa.string()),
        "split": pa.nulls(n, pa.string()),
        "bpd_m": pa.array(rng.normal(3, 1, n), mask=~scored),
    }  # fmt: skip
    kinds, primary = np.full(n, None, dtype=object), np.arange(n) < n - 15
    if planted:
        kinds[:30:2], kinds[1:30:2] = "ring", "trail"
        flags[:30] |= int(Flag.PLANTED)
        primary[:30] = False
    columns["flags"] = pa.array(flags, pa.uint32())
    columns["is_primary"], columns["planted_kind"] = pa.array(primary), pa.array(kinds, pa.string())
    for score in SCORES:
        sigma = rng.standard_t(2, n) + 2 * (kinds == "ring")
        columns[score] = pa.array(7 + 0.5 * sigma, mask=~scored)
        columns[f"{score}_sigma"] = pa.array(sigma, mask=~scored)
        columns[f"{score}_p"] = pa.array(rng.random(n), mask=~scored)
    return pa.table(columns)


def store_of(folder: Path, *parts: pa.Table) -> Store:
    """A catalogue of these files; copies lie in its supplement."""
    store = Store.open(folder)
    plan = CatalogPlan("run", parts[0].drop_columns("planted_kind").schema, {})
    store.put("catalogs/c/run_supplement/columns.json", to_json(plan.to_json()))
    for i, part in enumerate(parts):
        is_copy = part["planted_kind"].is_valid()
        put(store, f"catalogs/c/run/part-{i:05d}.parquet", part.filter(pc.invert(is_copy)).drop_columns("planted_kind"))
        if len(copies := part.filter(is_copy)):
            put(store, f"catalogs/c/run_supplement/planted/part-{i:05d}.parquet", copies)
    return store


def put(store: Store, key: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    store.put(key, sink.getvalue())


@pytest.fixture
def whole(tmp_path):
    parts = [catalogue(300, 1, "a", planted=True), catalogue(200, 2, "b", planted=False)]
    frame = pa.concat_tables(parts).to_pandas()
    return store_of(tmp_path, *parts), frame[frame.is_primary | frame.planted_kind.notna()]


def select(store: Store, seed: int = 0, count: int = 12, planted: bool = True):
    edges = {"bpd_m": np.linspace(0, 6, 13)}
    return select_objects(
        store, "catalogs/c/run", SCORES, count=count, seed=seed, planted=planted, likelihood_edges=edges
    )


def test_the_top_are_the_highest_real_objects_of_all_files(whole):
    store, frame = whole
    real = frame[((frame["flags"] & int(Flag.PLANTED)) == 0) & frame.m_a_sigma.notna()]
    expected = real.sort_values("m_a_sigma", ascending=False).head(12)
    top = select(store).top
    assert [row.object_id for row in top] == expected.object_id.tolist()
    assert [row.sigma["m_b"] for row in top] == pytest.approx(expected.m_b_sigma.tolist())
    assert [row.tile for row in top] == expected.tile.tolist()
    assert top[0].dec is None
    assert [row.name for row in top] == [str(row.object_id) for row in top]


def test_artefacts_stars_and_blends_are_a_list_of_their_own(tmp_path):
    parts = [catalogue(300, 1, "a", planted=False), catalogue(200, 2, "b", planted=False)]
    rng = np.random.default_rng(3)
    told = []
    for part in parts:
        names = rng.choice(["artefact", "star", "blend", "galaxy", "interesting", None], len(part))
        place = part.column_names.index("triage")
        told.append(part.set_column(place, "triage", pa.array(names, pa.string())))
    frame = pa.concat_tables(told).to_pandas().query("is_primary").dropna(subset="m_a_sigma")
    frame = frame.sort_values("m_a_sigma", ascending=False)
    flagged = frame.triage.notna() & ((frame["flags"] & int(Flag.EDGE | Flag.STAR)) != 0)
    apart = frame.triage.isin(["artefact", "star", "blend"]) | flagged
    found = select(store_of(tmp_path, *told), planted=False)
    assert [row.object_id for row in found.top] == frame.object_id[~apart].head(12).tolist()
    assert [row.object_id for row in found.apart] == frame.object_id[apart].head(12).tolist()
    assert [row.object_id for row in found.highest] == frame.object_id.head(12).tolist()
    assert {"artefact", "star", "blend"} <= {row.triage for row in found.apart}
    counted = highest_ranked(found.highest)
    assert counted.objects == 12
    expected = frame.head(12).triage.fillna("not known").value_counts().to_dict()
    assert dict(counted.classes) == expected
    flags = (frame.head(12)["flags"] & int(Flag.EDGE)).gt(0).sum()
    assert dict(counted.flags).get("at the edge of its tile", 0) == flags


def test_the_top_of_equal_scores_are_those_of_the_lowest_ids_whatever_the_file(tmp_path):
    parts = [catalogue(300, 1, "a", planted=False), catalogue(200, 2, "b", planted=False)]
    coarse = []
    for part in parts:
        rounded = np.round(part.column("m_a_sigma").to_pandas().to_numpy())
        place = part.column_names.index("m_a_sigma")
        coarse.append(part.set_column(place, "m_a_sigma", pa.array(rounded, from_pandas=True)))
    frame = pa.concat_tables(coarse).to_pandas().query("is_primary").dropna(subset="m_a_sigma")
    expected = frame.sort_values(["m_a_sigma", "object_id"], ascending=[False, True]).object_id.tolist()
    for count in (3, 12, 60):
        top = select(store_of(tmp_path / str(count), *coarse), count=count, planted=False).top
        assert [row.object_id for row in top] == expected[:count]


def test_normal_objects_are_near_the_median_unflagged_and_chosen_by_seed(whole):
    store, frame = whole
    fit = set(frame[(frame["flags"] == 0) & (frame.m_a_sigma.abs() < 1)].object_id)
    first, again, other = ([row.object_id for row in select(store, seed).normal] for seed in (0, 0, 1))
    assert len(first) == len(set(first)) == 12
    assert set(first) <= fit
    assert first == again
    assert first != other
    assert {row.tile for row in select(store, count=100).normal} == {"a", "b"}


def test_recall_by_kind_is_that_of_the_whole_catalogue(whole):
    store, frame = whole
    found = select(store)
    assert [(k.kind, k.planted) for k in found.recall] == [("ring", 15), ("trail", 15)]
    for kind in found.recall:
        for score in SCORES:
            scored = frame[frame[score].notna()]
            expected = recall_in_top(scored[score].to_numpy(), (scored.planted_kind == kind.kind).to_numpy(), 0.05)
            assert kind.by_score[score] == expected
    assert len(found.planted) == 30
    assert len(found.planted_sigma["m_b"]) == int(frame[frame.planted_kind.notna()].m_b_sigma.notna().sum())


def test_what_counts_as_found_agrees_with_the_recall(whole):
    store, _ = whole
    found = select(store)
    assert found.top_sigma is not None
    for kind in found.recall:
        own = [r.sigma["m_a"] for r in found.planted if r.planted_kind == kind.kind and r.sigma["m_a"] is not None]
        share = kind.by_score["m_a"]
        assert share is not None
        assert sum(sigma >= found.top_sigma for sigma in own) == round(share.value * share.n)


def test_likelihoods_are_counted_over_real_scored_objects(whole):
    store, frame = whole
    real = frame[(frame["flags"] & int(Flag.PLANTED)) == 0].bpd_m.dropna()
    histogram = select(store).likelihoods["bpd_m"]
    np.testing.assert_array_equal(histogram.bins, np.histogram(real, np.linspace(0, 6, 13))[0])
    assert histogram.counts.sum() == len(real)


def test_without_planted_objects_there_is_no_recall(tmp_path):
    found = select(store_of(tmp_path, catalogue(80, 3, "a", planted=False)), planted=False)
    assert found.recall == []
    assert found.planted == []
    assert found.top_sigma is None


def test_no_catalogue_is_said_with_its_uri(tmp_path):
    with pytest.raises(StoreError, match=r"no catalogue at file://.*catalogs/c/run.*publish it before"):
        select(Store.open(tmp_path))
