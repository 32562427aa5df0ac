"""A run of a survey with anomalies, in which a model and the reference are trimmed: what it published of that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.dataset as ds
import pytest

import galflow

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

pytestmark = pytest.mark.full  # a run of its own


@pytest.fixture(scope="module")
def finished(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    sky = {
        "tiles": 2, "tile_size": 1300, "overlap_pixels": 0, "objects_per_tile": 700, "seed": 3,
        "anomaly_fraction": 0.04, "catalog": "tile_truth",
    }  # fmt: skip
    document: dict[str, Any] = {
        "name": "left-out",
        "survey": {"kind": "synthetic", "options": sky},
        "cutouts": {"size": 24},
        "models": [
            {"name": "features", "model": "outliers.Mahalanobis"},
            {"name": "kmeans", "model": "kmeans.KMeans", "training": {"trim": 0.0}},
        ],
        "training": {"trim": 0.05, "reference_fraction": 0.4},
        "scoring": {"primary": "features_distance", "trim_reference": 0.1},
    }
    return run_to_its_end(tmp_path_factory.mktemp("left-out"), document, **prefect_api)


def test_the_manifest_says_what_was_left_out_and_the_catalogue_agrees(finished: Finished) -> None:
    found = finished.manifest.summary["left_out"]
    card = galflow.load_model(finished.manifest.models["features"]).card
    trimmed = card.training["left_out"]
    assert set(found["training"]) == {"features"}
    assert found["training"]["features"] == {"objects": trimmed["objects"], "of": trimmed["of"]}
    assert trimmed["objects"] == int(0.05 * card.training["counts"]["train"])
    table = ds.dataset(finished.manifest.catalog).to_table().to_pandas()
    held_out = (table.split == "reference") & table.is_primary & table.anomaly_score.notna()
    reference = found["reference"]
    assert reference["of"] == held_out.sum()
    assert 0 < reference["objects"] == (held_out & (table.anomaly_score > reference["above"])).sum()
    assert finished.manifest.summary["reference_objects"] == reference["of"] - reference["objects"]
    p = table.anomaly_score_p[held_out & (table.anomaly_score > reference["above"])]
    np.testing.assert_allclose(p, 1 / (1 + reference["of"] - reference["objects"]))


def test_the_report_shows_them(finished: Finished) -> None:
    page = (Path(finished.root) / f"reports/{finished.manifest.run}/lists.html").read_text()
    section = page.partition('<section id="left">')[2].partition("</section>")[0]
    assert "Trained without what each explains worst (training.trim): features" in section
    assert "Left out of the reference (scoring.trim_reference)" in section
    assert " the reference <" in section
    assert " features <" in section
