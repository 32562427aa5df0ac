from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from galflow.catalog.published import each_file, group_parts, read_files, write_catalog_file
from galflow.cutouts.flags import Flag
from galflow.report.findings import findings
from galflow.report.inputs import ReportInputs
from galflow.scores.calibration import benjamini_hochberg, recall_in_top


@pytest.fixture
def frame(finished_run: ReportInputs):
    return read_files(finished_run.store, finished_run.catalog).to_pandas()


def again(run: ReportInputs, **changes):
    arguments = {"models": run.models, "comparison": run.comparison, "planted": True} | changes
    return findings(run.store, run.catalog, run.summary, **arguments)


def test_counts_are_those_of_the_catalogue(finished_run: ReportInputs, frame):
    found = finished_run.findings
    copies = (frame["flags"] & int(Flag.PLANTED)) != 0
    assert (found["rows"], found["planted"]) == (len(frame), int(copies.sum()))
    assert found["objects"] == len(frame) - int(copies.sum())
    assert found["scored"] == int((frame.outcome == "scored").sum())
    q = benjamini_hochberg(frame.vae_neg_elbo_p.dropna().to_numpy())
    assert found["smallest_q"] == pytest.approx(q.min())
    assert found["discoveries"] == int((frame.anomaly_q[~copies] <= 0.1).sum())
    assert found["smallest_p"] == 1 / (len(finished_run.models["vae"].reference["neg_elbo"]) + 1)
    assert found["resolvable"] is bool(found["resolution"] == "")


def test_inconsistent_fractions_count_scores_above_the_reference_quantile(finished_run: ReportInputs, frame):
    found = finished_run.findings
    copies = (frame["flags"] & int(Flag.PLANTED)) != 0
    for column, (model, score) in {
        "vae_kl": ("vae", "kl"),
        "pixelcnn_bits_per_dim": ("pixelcnn", "bits_per_dim"),
    }.items():
        reference = np.sort(finished_run.models[model].reference[score])
        allowed = int(0.05 * len(reference))
        threshold = reference[len(reference) - 1 - allowed]  # so many of the reference lie above
        for group, rows in {"real objects": ~copies, "planted copies": copies}.items():
            values = frame[column][rows].dropna()
            share = found["inconsistent"][group][column]
            assert share["n"] == len(values)
            assert share["value"] == pytest.approx((values > threshold).mean())
    assert finished_run.comparison is not None
    bright = finished_run.comparison["samples"]["bright"]["vae_kl"]["inconsistent"]
    assert found["inconsistent"]["bright"]["vae_kl"] == bright
    assert "loglike_pixelcnn" not in found["inconsistent"]["bright"]


def test_a_catalogue_of_many_files_gives_the_same_findings_as_one_of_a_single_file(
    finished_run: ReportInputs, frame, monkeypatch: pytest.MonkeyPatch
):
    run = finished_run
    (parts,) = group_parts(run.stages["scores"].receipts)
    assert len(parts) == 2
    product = f"{run.catalog}-in-two"
    for index, (key, found) in enumerate(parts.items()):
        write_catalog_file(run.store, product, index, {key: found}, run.run, run.primary, run.summary.p_counts)
    assert [len(table) for table in each_file(run.store, product, ["row"])] == [
        r.rows for r in sorted(run.stages["scores"].receipts, key=lambda r: r.product)
    ]
    monkeypatch.setattr("galflow.catalog.published.read_files", None)  # nobody has the whole in memory
    assert findings(run.store, product, run.summary, run.models, run.comparison, planted=True) == run.findings
    is_copy = frame.planted_kind.notna().to_numpy()
    for column, share in run.findings["recall_in_top_5_percent"].items():
        scored = frame[column].notna().to_numpy()
        expected = recall_in_top(frame[column].to_numpy()[scored], is_copy[scored], 0.05)
        assert share == expected.to_json()


def test_without_planting_and_comparison_only_the_real_objects_are_judged(finished_run: ReportInputs):
    found = again(finished_run, comparison=None, planted=False)
    assert list(found["inconsistent"]) == ["real objects"]
    assert "recall_in_top_5_percent" not in found
    assert "samples" not in found


def test_planting_that_left_no_copies_needs_no_column_of_them(finished_run: ReportInputs):
    flags = finished_run.summary.flags
    none = replace(flags, by_name={n: c for n, c in flags.by_name.items() if n != "PLANTED"})
    found = findings(
        finished_run.store, finished_run.catalog, replace(finished_run.summary, flags=none), finished_run.models,
        None, planted=True,
    )  # fmt: skip
    assert found["planted"] == 0
    assert "recall_in_top_5_percent" not in found
