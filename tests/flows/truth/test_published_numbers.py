"""p, sigma, q and rank of a published catalogue, from its scores by scipy; likelihoods, from the stored pixels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
import scipy.stats
import torch

import galflow
from galflow.cutouts.batches import make_batch
from galflow.cutouts.flags import Flag
from galflow.scores.alike import NEIGHBOURS
from galflow.scores.tail import ParetoTail

if TYPE_CHECKING:
    from conftest import Truth

PRIMARY = "kmeans_distance"
SCORES = {
    PRIMARY: ("kmeans", "distance"),
    "maf_bits_per_dim": ("maf", "bits_per_dim"),
    "maf_complexity_corrected": ("maf", "complexity_corrected"),
}


def reference_of(truth: Truth, score: str) -> np.ndarray:
    """The scores of the rows that calibrate, as published; they are those that lie beside the model."""
    columns = truth.columns
    published = np.sort(columns[score][columns["split"] == "reference"])
    model, name = SCORES[score]
    (path,) = truth.root.glob(f"models/{model}/*/reference.safetensors")
    np.testing.assert_allclose(
        np.sort(safetensors.numpy.load(path.read_bytes())[name]), published, rtol=1e-5, atol=1e-6
    )
    return published


@pytest.mark.parametrize("score", SCORES)
def test_p_is_the_share_of_reference_rows_that_score_as_high(truth: Truth, score: str) -> None:
    reference, columns = reference_of(truth, score), truth.columns
    assert 40 < len(reference) < 90
    expected = (1 + (reference[None, :] >= columns[score][:, None]).sum(axis=1)) / (1 + len(reference))
    # The reference was scored in batches of its own: a tie in double precision may fall either way.
    learnt = np.isnan(columns[f"{score}_p"])
    primary = columns["is_primary"]
    np.testing.assert_array_equal(learnt[primary], (columns["split"] == "train")[primary])
    # A second row shows a galaxy that another row may have taught.
    trained = columns["object_id"][primary & (columns["split"] == "train")]
    assert learnt[~primary & np.isin(columns["object_id"], trained)].all()
    off = np.abs(columns[f"{score}_p"] - expected)[~learnt]
    assert (off < 1e-12).mean() > 0.7
    assert off.max() < 1.5 / (1 + len(reference))
    assert len(np.unique(columns[f"{score}_p"][~learnt])) > 20


@pytest.mark.parametrize("score", SCORES)
def test_sigma_counts_from_the_median_of_the_reference_in_units_of_its_mad(truth: Truth, score: str) -> None:
    reference, columns = reference_of(truth, score), truth.columns
    sigma = 1.4826 * scipy.stats.median_abs_deviation(reference)
    expected = (columns[score] - np.median(reference)) / sigma
    np.testing.assert_allclose(columns[f"{score}_sigma"], expected, rtol=1e-4, atol=1e-4)


def rule_of(truth: Truth) -> dict[str, Any]:
    """The rule that ranks, as the run published it."""
    (path,) = (p for p in truth.root.glob("rankings/*/*.json") if not p.name.endswith(".receipt.json"))
    evidence = json.loads(path.read_text())
    assert truth.run.manifest.summary["ranked_by"] == {"rule": evidence["chosen"]["name"], "why": evidence["why"]}
    found: dict[str, Any] = evidence["chosen"]
    return found


def test_what_ranks_is_the_rule_on_the_published_sigmas_less_the_level_of_the_tile(truth: Truth) -> None:
    columns, rule = truth.columns, rule_of(truth)
    parts = [
        np.abs(columns[f"{t['column']}_sigma"]) if t["two_sided"] else columns[f"{t['column']}_sigma"]
        for t in rule["terms"]
    ]
    expected = parts[0]
    if len(parts) > 1:
        summed = sum(t["weight"] * np.arcsinh(part) for t, part in zip(rule["terms"], parts, strict=True))
        expected = np.max(parts, axis=0) if rule["join"] == "max" else summed
    levels = truth.run.manifest.summary["tile_levels"]["by_tile"]
    expected = expected - np.array([levels.get(tile, 0.0) for tile in columns["tile"]])
    whole = (columns["flags"] & int(Flag.MISSING_PIXELS | Flag.BAND_MISSING)) == 0  # others: by those masked alike
    assert whole.mean() > 0.5
    np.testing.assert_allclose(columns["anomaly_score"][whole], expected[whole], rtol=1e-9, atol=1e-9)
    reference = np.sort(columns["anomaly_score"][columns["split"] == "reference"])
    unseen = np.isfinite(columns["anomaly_score_p"])
    p = (1 + (reference[None, :] >= columns["anomaly_score"][:, None]).sum(axis=1)) / (1 + len(reference))
    np.testing.assert_allclose(columns["anomaly_score_p"][unseen], p[unseen], rtol=1e-12)
    primary = columns["is_primary"]
    np.testing.assert_array_equal(unseen[primary], (columns["split"] != "train")[primary])


def test_q_is_benjamini_hochbergs_over_objects_that_no_model_has_learnt_from(truth: Truth) -> None:
    columns = truth.columns
    p, q = columns["anomaly_score_p"], columns["anomaly_q"]
    counted = columns["is_primary"] & np.isfinite(p)
    np.testing.assert_array_equal(np.isfinite(q), counted)
    np.testing.assert_allclose(q[counted], scipy.stats.false_discovery_control(p[counted]), rtol=1e-12)
    assert (q[counted] > p[counted] + 0.05).mean() > 0.5, "q is not p"
    # With the second rows, or with the planted copies, other numbers would come out.
    copies = truth.planted["anomaly_score_p"].drop_null().to_numpy()
    for more in (p[np.isfinite(p) & ~counted], copies):
        other = scipy.stats.false_discovery_control(np.concatenate([p[counted], more]))[: counted.sum()]
        assert np.abs(other - q[counted]).max() > 1e-6


def test_beyond_the_held_out_objects_p_and_q_are_of_the_tail_that_the_report_shows(truth: Truth) -> None:
    columns, told = truth.columns, truth.run.manifest.summary["tail"]
    reference = np.sort(columns["anomaly_score"][columns["split"] == "reference"])
    tail = ParetoTail.of(reference)
    counted = columns["is_primary"] & np.isfinite(columns["anomaly_score_p"])
    if tail is None:  # too few of them: nothing is extrapolated, and nothing is said
        assert told is None
        for name in ("anomaly_tail_p", "anomaly_tail_q"):
            assert not np.isfinite(columns[name]).any()
        return
    assert told["fitted"] == tail.fitted
    beyond = columns["anomaly_score"] > tail.threshold
    p = np.where(beyond, tail.p_values(columns["anomaly_score"]), columns["anomaly_score_p"])
    np.testing.assert_allclose(columns["anomaly_tail_p"][counted], p[counted], rtol=1e-9)
    q = scipy.stats.false_discovery_control(p[counted])
    np.testing.assert_allclose(columns["anomaly_tail_q"][counted & beyond], q[beyond[counted]], rtol=1e-9)
    assert told["discoveries"] == (columns["anomaly_tail_q"][columns["is_primary"]] <= 0.1).sum()


def test_among_its_like_an_object_is_compared_with_held_out_ones_as_bright_and_large(truth: Truth) -> None:
    columns = truth.columns
    p, held_out = columns["anomaly_alike_p"], columns["split"] == "reference"
    if held_out.sum() < 2 * NEIGHBOURS:
        assert not np.isfinite(p).any()
        return
    unseen = np.isfinite(columns["anomaly_score_p"])
    np.testing.assert_array_equal(np.isfinite(p), unseen)
    assert ((p[unseen] > 0) & (p[unseen] <= 1)).all()
    assert scipy.stats.spearmanr(p[unseen], columns["anomaly_score_p"][unseen]).statistic > 0.5
    assert 0.3 < np.median(p[held_out]) < 0.7


def test_rank_sorts_primary_rows_by_what_ranks(truth: Truth) -> None:
    columns = truth.columns
    primary = columns["is_primary"]
    expected = scipy.stats.rankdata(-columns["anomaly_score"][primary], method="min")
    np.testing.assert_array_equal(columns["anomaly_rank"][primary], expected)


def test_findings_count_primary_rows_alone(truth: Truth) -> None:
    columns, found = truth.columns, truth.run.manifest.summary
    primary = columns["is_primary"]
    assert found["scored"] == (primary & (columns["outcome"] == "scored")).sum()
    assert found["discoveries"] == (columns["anomaly_q"][primary] <= found["false_discovery_rate"]).sum()
    for score in SCORES:
        above = np.quantile(reference_of(truth, score), 1 - found["inconsistent_level"], method="inverted_cdf")
        for group, values in (
            ("real objects", columns[score][primary]),
            ("planted copies", truth.planted[score].to_numpy()),
        ):
            said = found["inconsistent"][group][score]
            assert said["n"] == len(values)
            # One reference row may itself lie at the quantile.
            assert said["value"] == pytest.approx((values > above).mean(), abs=1.5 / len(values))
    ranked = np.concatenate([columns[PRIMARY][primary], truth.planted[PRIMARY].to_numpy()])
    recall = found["recall_in_top_5_percent"][PRIMARY]
    assert recall["n"] == len(truth.planted)
    assert 0 <= recall["value"] <= 1
    assert len(ranked) == found["objects"] + found["planted"]


def test_likelihoods_are_the_stored_models_on_the_pixels_that_the_row_names(truth: Truth) -> None:
    columns = truth.columns
    for name in ("maf", "plain"):
        model = galflow.load_model(f"{truth.root}/{key_of(truth, name)}")
        for row in range(0, len(truth.table), 60):
            cutouts = galflow.open_cutouts(f"{truth.root}/{columns['cutout'][row]}")
            one = cutouts.isel(object=[columns["row"][row]])
            pixels = one["flux"].to_numpy(), one["ivar"].to_numpy()
            batch = make_batch(*pixels, model.stretch, neighbours=model.card.neighbours)
            with torch.no_grad():
                nats = float(model.module.log_prob(batch))
            assert columns[f"loglike_{name}"][row] == pytest.approx(nats, rel=1e-4)
            bits = -nats / (np.log(2) * int(batch.observed.sum()))
            assert columns[f"bpd_{name}"][row] == pytest.approx(bits, rel=1e-4)
    np.testing.assert_allclose(
        columns["llr_maf_plain"], columns["loglike_maf"] - columns["loglike_plain"], rtol=1e-9, atol=1e-9
    )


def key_of(truth: Truth, name: str) -> str:
    """Of a model, below the root."""
    return truth.run.manifest.models[name].split(f"{truth.root}/")[-1]


def test_comparison_is_of_rows_that_no_model_learnt_from(truth: Truth) -> None:
    (path,) = (p for p in truth.root.glob("comparisons/truth/*.json") if not p.name.endswith(".receipt.json"))
    compared = json.loads(path.read_text())["samples"]["mock"]
    columns = truth.columns
    held_out = columns["llr_maf_plain"][columns["split"] == "reference"]
    np.testing.assert_allclose(compared["llr_maf_plain"]["reference_values"], np.sort(held_out), rtol=1e-6)
    values = np.array(compared["llr_maf_plain"]["sample_values"])
    auroc = (held_out[:, None] < values).mean() + 0.5 * (held_out[:, None] == values).mean()
    said = truth.run.manifest.summary["samples"]["mock"]["llr_maf_plain"]
    assert said["auroc"]["value"] == pytest.approx(auroc)
    ks = said["ks"]["value"] if isinstance(said["ks"], dict) else said["ks"]
    assert ks == pytest.approx(scipy.stats.ks_2samp(held_out, values).statistic)
    assert (said["n_a"], said["n_b"]) == (len(held_out), len(values))
