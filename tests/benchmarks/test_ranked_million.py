"""Drawn score parts are such as a run publishes, and the table tells a memory that grows from one that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.ranked_million import RULE, SCORES, Publication, draw_part, lay_parts, publish, tables, triage
from benchmarks.tables import Findings
from galflow.cutouts.flags import Flag, has_flag
from galflow.storage.store import Store

ROWS = 3000


def test_a_drawn_part_has_no_p_of_what_trained_and_no_score_of_what_is_missing() -> None:
    part = draw_part(3, ROWS)
    split, flags = np.array(part["split"].to_pylist()), part["flags"].to_numpy()
    missing = has_flag(flags, Flag.NO_DATA)
    assert 0 < missing.sum() < 0.05 * ROWS
    assert part.equals(draw_part(3, ROWS))
    for score in SCORES:
        assert (np.array(part[score].is_null()) == missing).all()
        assert (np.array(part[f"{score}_p"].is_null()) == (missing | (split == "train"))).all()
        assert abs(np.nanmedian(part[f"{score}_sigma"].to_pandas())) < 0.2


def test_every_object_is_ranked_once_and_what_is_discovered_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_parts(tmp_path, 2, ROWS)
    done = publish(tmp_path)
    assert done.rows == 2 * ROWS
    assert set(done.seconds) == {"rank", "basis", "write", "triage"}
    assert done.peak_mib["triage"] >= done.peak_mib["rank"] > 10
    store = Store.open(str(tmp_path))
    (key,) = (k for k in store.list("catalogs") if "/part-" in k)
    table = pq.read_table(tmp_path / key)
    ranks = table["anomaly_rank"].drop_null().to_numpy()
    scored = table.filter(table["is_primary"])["anomaly_score"].drop_null()
    np.testing.assert_array_equal(np.sort(ranks), np.arange(1, len(scored) + 1))
    joined = RULE.values({n: table[f"{n}_sigma"].to_pandas().to_numpy(dtype=float) for n in RULE.columns})
    assert joined[np.array(table["anomaly_rank"].to_pylist()) == 1] > np.nanquantile(joined, 0.999)
    q = table["anomaly_tail_q"].to_pandas().to_numpy(dtype=float)
    rate = np.sort(q)[300]  # of so few objects none has a q-value of 10%
    monkeypatch.setattr("benchmarks.ranked_million.FALSE_DISCOVERY_RATE", rate)
    unflagged = int(((q <= rate) & (table["flags"].to_numpy() == 0)).sum())
    assert 0 < unflagged < (q <= rate).sum()
    assert triage(store) == (int((q <= rate).sum()), unflagged)


def test_a_memory_that_grows_is_not_met() -> None:
    def of(rows: int, peak: float) -> Publication:
        return Publication(rows, 4, 3, {"rank": 1.0, "write": rows / 1000}, 2.0, {"start": 1.0, "rank": 2.0, "x": peak})

    figures, asked = tables([of(1000, 100.0), of(2000, 180.0), of(4000, 200.0)])
    assert isinstance(asked, Findings)
    met = {row.name: row.met for row in asked.rows}
    assert met == {"seconds": True, "peak memory over that of 1,000": False, "peak memory over that of 2,000": True}
    assert figures.to_json()["title"]
