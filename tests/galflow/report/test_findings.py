from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from galflow.catalog.files import each_file
from galflow.catalog.published import (
    group_parts,
    planted_copies,
    read_basis,
    read_files,
    write_basis,
    write_catalog_file,
)
from galflow.report.findings import findings
from galflow.report.inputs import ReportInputs
from galflow.scores.fractions import recall_in_top
from galflow.storage.store import Store


@pytest.fixture
def frame(finished_run: ReportInputs):
    return read_files(finished_run.store, finished_run.catalog).to_pandas()


@pytest.fixture
def copies(finished_run: ReportInputs, frame):
    """The planted copies, with the catalogue's columns."""
    found = planted_copies(finished_run.store, finished_run.catalog, frame.columns.tolist())
    assert found is not None
    return found.to_pandas()


def again(run: ReportInputs, **changes):
    arguments = {"models": run.models, "comparison": run.comparison, "planted": True} | changes
    _, ranking = read_basis(run.store, run.catalog)
    return findings(run.store, run.catalog, run.summary, ranking, **arguments)


def test_counts_are_those_of_the_catalogue(finished_run: ReportInputs, frame, copies):
    found = finished_run.findings
    assert "planted_kind" not in frame.columns
    assert (found["rows"], found["planted"], len(copies)) == (len(frame), 44, 44)
    assert found["objects"] == int(frame.is_primary.sum())
    frame = frame[frame.is_primary]
    assert found["scored"] == int((frame.outcome == "scored").sum())
    assert frame.anomaly_score_p.isna().equals(frame.split == "train")
    q = false_discovery_control(frame.anomaly_score_p.dropna().to_numpy())
    assert found["judged"] == len(q)
    assert found["smallest_q"] == pytest.approx(q.min())
    assert found["discoveries"] == int((frame.anomaly_q <= 0.1).sum())
    assert found["false_discovery_rate"] == 0.1
    assert found["smallest_p"] == 1 / (len(finished_run.models["vae"].reference["neg_elbo"]) + 1)
    assert found["resolvable"] is bool(found["resolution"] == "")


def test_inconsistent_fractions_count_scores_above_the_reference_quantile(finished_run: ReportInputs, frame, copies):
    found = finished_run.findings
    for column, (model, score) in {
        "vae_kl": ("vae", "kl"),
        "pixelcnn_bits_per_dim": ("pixelcnn", "bits_per_dim"),
    }.items():
        reference = np.sort(finished_run.models[model].reference[score])
        allowed = int(0.05 * len(reference))
        threshold = reference[len(reference) - 1 - allowed]  # so many of the reference lie above
        for group, rows in {"real objects": frame[frame.is_primary], "planted copies": copies}.items():
            values = rows[column].dropna()
            share = found["inconsistent"][group][column]
            assert share["n"] == len(values)
            assert share["value"] == pytest.approx((values > threshold).mean())
    assert finished_run.comparison is not None
    bright = finished_run.comparison["samples"]["bright"]["vae_kl"]["inconsistent"]
    assert found["inconsistent"]["bright"]["vae_kl"] == bright
    assert "loglike_pixelcnn" not in found["inconsistent"]["bright"]


def test_a_catalogue_of_many_files_gives_the_same_findings_as_one_of_a_single_file(
    finished_run: ReportInputs, frame, copies, monkeypatch: pytest.MonkeyPatch
):
    run = finished_run
    (parts,) = group_parts(run.stages["scores"].receipts)
    assert len(parts) == 2
    product = f"{run.catalog}-in-two"
    plan, ranking = read_basis(run.store, run.catalog)
    write_basis(run.store, product, plan, run.summary, ranking)
    for index, (key, found) in enumerate(parts.items()):
        write_catalog_file(run.store, product, index, {key: found}, plan, ranking)
    assert [len(table) for table in each_file(run.store, product, ["row"])] == [
        r.details["objects"] for r in sorted(run.stages["scores"].receipts, key=lambda r: r.product)
    ]
    monkeypatch.setattr("galflow.catalog.published.read_files", None)  # nobody has the whole in memory
    found = findings(run.store, product, run.summary, ranking, run.models, run.comparison, planted=True)
    assert found == run.findings
    for column, share in run.findings["recall_in_top_5_percent"].items():
        real, planted = (rows[column].dropna().to_numpy() for rows in (frame[frame.is_primary], copies))
        is_copy = np.arange(len(real) + len(planted)) >= len(real)
        expected = recall_in_top(np.concatenate([real, planted]), is_copy, 0.05)
        assert share == expected.to_json()


def test_without_planting_and_comparison_only_the_real_objects_are_judged(finished_run: ReportInputs):
    found = again(finished_run, comparison=None, planted=False)
    assert list(found["inconsistent"]) == ["real objects"]
    assert "recall_in_top_5_percent" not in found
    assert "samples" not in found


def test_planting_that_left_no_copies_needs_no_file_of_them(finished_run: ReportInputs, tmp_path: Path):
    store = Store.open(tmp_path)
    for key in finished_run.store.list("catalogs"):
        if "/planted/" not in key:
            store.put(key, finished_run.store.get(key))
    none = replace(finished_run.summary, planted=0)
    _, ranking = read_basis(finished_run.store, finished_run.catalog)
    found = findings(store, finished_run.catalog, none, ranking, finished_run.models, None, planted=True)
    assert found["planted"] == 0
    assert "recall_in_top_5_percent" not in found
