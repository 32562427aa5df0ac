from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from galflow.compare.two_sample import Interval, compare_scalars
from galflow.report.inputs import ReportInputs
from galflow.report.likelihoods import (
    compared_rows,
    headlines,
    inconsistent_rows,
    likelihood_edges,
    sentences,
    stated_likelihoods,
    with_interval,
)
from galflow.spec.models import Ratio


def compared(column: str, reference: np.ndarray, **samples: np.ndarray) -> dict[str, Any]:
    results: dict[str, Mapping[str, Any]] = {
        name: {
            column: {
                "statistics": compare_scalars(reference, values, bootstraps=60, seed=0).to_json(),
                "sample_values": values.tolist(),
                "reference_values": reference.tolist(),
            }
        }
        for name, values in samples.items()
    }
    return {"samples": results, "bootstraps": 60}


@pytest.fixture
def reference() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 0.2, 200)


def test_words_follow_the_interval_and_not_the_value_alone(finished_run: ReportInputs, reference: np.ndarray):
    rng = np.random.default_rng(1)
    comparison = compared(
        "bpd_pixelcnn", reference, worse=reference[:90] + 0.15, better=reference[:90] - 0.15,
        same=rng.permutation(reference)[:90],
    )  # fmt: skip
    worse, better, same = sentences(comparison, finished_run.models, finished_run.primary)
    assert worse.text.startswith(
        "Galaxies of worse are LESS probable than the sky's under pixelcnn (P(bits per dim of worse > sky) = 0.7"
    )
    assert better.text.startswith(
        "Galaxies of better are MORE probable than the sky's under pixelcnn (P(bits per dim of better > sky) = 0.3"
    )
    assert same.text.startswith("Galaxies of same cannot be told from the sky's by the bits per dim of pixelcnn (P(")
    assert all(sentence.text.endswith("; 0.5 = alike).") for sentence in (worse, better, same))
    assert headlines([worse, replace(worse, model="flow", text="again"), same]) == [worse.text, same.text]


def test_without_a_likelihood_the_primary_score_speaks(finished_run: ReportInputs, reference: np.ndarray):
    only_vae = {"vae": finished_run.models["vae"]}
    comparison = compared("vae_neg_elbo", reference, odd=reference[:60] + 1.0)
    (sentence,) = sentences(comparison, only_vae, "vae_neg_elbo")
    assert sentence.text.startswith(
        "Galaxies of odd are MORE anomalous than the sky's under vae (P(vae_neg_elbo of odd > sky) = 1.00"
    )
    assert stated_likelihoods(only_vae, comparison) == []


def test_rows_state_each_number_with_its_interval(finished_run: ReportInputs):
    rows = compared_rows(finished_run.comparison, finished_run.models)
    names = {row.column for row in rows}
    assert names == {
        "vae_neg_elbo", "vae_reconstruction", "vae_kl", "pixelcnn_bits_per_dim", "pixelcnn_typicality",
        "pixelcnn_complexity_corrected", "loglike_pixelcnn", "bpd_pixelcnn",
    }  # fmt: skip
    assert finished_run.comparison is not None
    statistics = finished_run.comparison["samples"]["bright"]["bpd_pixelcnn"]["statistics"]
    (row,) = [r for r in rows if r.column == "bpd_pixelcnn"]
    assert row.unit == "bits per pixel and band"
    assert row.n == f"{statistics['n_b']} / {statistics['n_a']}"
    auroc = statistics["auroc"]
    assert row.auroc == f"{auroc['value']:.2f} [{auroc['low']:.2f}, {auroc['high']:.2f}]"


def test_edges_hold_reference_and_samples(finished_run: ReportInputs):
    stated = stated_likelihoods(finished_run.models, finished_run.comparison)
    edges = likelihood_edges(stated)
    assert set(edges) == {"loglike_pixelcnn", "bpd_pixelcnn"}
    (bits,) = (s for s in stated if s.column == "bpd_pixelcnn")
    assert bits.label == "bits per dimension under pixelcnn [bits per pixel and band]"
    for group in (bits.samples["bright"], finished_run.models["pixelcnn"].reference["bpd"]):
        inside = (group >= edges["bpd_pixelcnn"][0]) & (group <= edges["bpd_pixelcnn"][-1])
        assert inside.mean() >= 0.98
    assert (np.diff(edges["bpd_pixelcnn"]) > 0).all()


def test_a_ratio_is_stated_in_words_numbers_and_a_plot(finished_run: ReportInputs, reference: np.ndarray):
    ratio = Ratio("pixelcnn", "sersic")
    mocks = {"mocks": reference[:90] - 0.3, "mergers": reference[:90] + 0.3, "same": reference[:90]}
    comparison = compared("llr_pixelcnn_sersic", reference, **mocks)
    assert [s.text.split(" (")[0] for s in sentences(comparison, finished_run.models, "vae_neg_elbo", [ratio])] == [
        "With sersic as its background, pixelcnn finds galaxies of mocks LESS like the survey than the sky's",
        "With sersic as its background, pixelcnn finds galaxies of mergers MORE like the survey than the sky's",
        "Galaxies of same cannot be told from the sky's by llr_pixelcnn_sersic",
    ]
    raw = compared("bpd_pixelcnn", reference, mocks=reference[:90])
    both = {"samples": {"mocks": raw["samples"]["mocks"] | comparison["samples"]["mocks"]}}
    said = sentences(both, finished_run.models, "vae_neg_elbo", [ratio, ratio])
    assert headlines(said) == [said[0].text, said[1].text], "what the bits say, and what the ratio says"
    rows = compared_rows(comparison, finished_run.models, [ratio])
    assert {(r.column, r.unit) for r in rows} == {("llr_pixelcnn_sersic", "nats")}
    assert len(rows) == 3
    *_, stated = stated_likelihoods(finished_run.models, comparison, [ratio, Ratio("pixelcnn", "never_compared")])
    assert (stated.column, stated.label) == (
        "llr_pixelcnn_sersic", "log-likelihood ratio of pixelcnn to sersic [nats]"
    )  # fmt: skip
    np.testing.assert_array_equal(stated.reference, reference)
    np.testing.assert_array_equal(stated.samples["mocks"], mocks["mocks"])


def test_nothing_compared_gives_nothing(finished_run: ReportInputs):
    assert compared_rows(None, finished_run.models) == []
    assert sentences(None, finished_run.models, finished_run.primary) == []


def test_inconsistent_shares_are_percentages_with_intervals():
    share = {"value": 0.46, "low": 0.413, "high": 0.508, "n": 400}
    found = {"inconsistent": {"real objects": {"a": share}, "mergers": {"b": share}}}
    groups, (first, second) = inconsistent_rows(found, ["a", "b"])
    assert groups == ["real objects", "mergers"]
    assert (first.score, first.cells) == ("a", ["46% [41, 51]", "\u2013"])
    assert (second.score, second.cells) == ("b", ["\u2013", "46% [41, 51]"])


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.82749, 0.8, 0.86), "0.8275 [0.8, 0.86]"),
        (Interval(-12758.3, -13000.2, -12000.0), "-12758 [-13000, -12000]"),
        (Interval(1.5e9, 1e9, 2e9), "1.5e+09 [1e+09, 2e+09]"),
    ],
)
def test_numbers_are_written_as_a_person_would(interval, text):
    assert with_interval(interval) == text
