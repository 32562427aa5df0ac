"""A run with several trainings of each model: what it published of them, and what it said of a sample by them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from galflow.compare.two_sample import Interval

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

pytestmark = pytest.mark.full  # a run of its own


@pytest.fixture(scope="module")
def finished(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    sky = {"tiles": 1, "tile_size": 600, "objects_per_tile": 240, "seed": 3}
    document: dict[str, Any] = {
        "name": "seeds",
        "survey": {"kind": "synthetic", "options": sky},
        "cutouts": {"size": 16},
        "models": [{"name": "ae", "model": "autoencoder.Autoencoder", "options": {"width": 4, "latent": 4}}],
        "training": {"epochs": 2, "seeds": 3, "reference_fraction": 0.3},
        "comparison": {
            "controls": [],
            "samples": [{"name": "other", "survey": {"kind": "synthetic", "options": sky | {"seed": 4}}}],
            "bootstraps": 50,
        },
        "cluster": {"workers": 1},
    }
    return run_to_its_end(tmp_path_factory.mktemp("seeds"), document, **prefect_api)


def product(finished: Finished, pattern: str) -> dict[str, Any]:
    (path,) = (p for p in Path(finished.root).glob(pattern) if not p.name.endswith("receipt.json"))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_training_has_its_columns_and_its_own_numbers(finished: Finished) -> None:
    assert set(finished.manifest.models) == {"ae", "ae_seed2", "ae_seed3"}
    table = ds.dataset(finished.manifest.catalog).to_table().to_pandas()
    scores = [table[f"{name}_reconstruction"].to_numpy() for name in finished.manifest.models]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.nanmax(np.abs(scores[one] - scores[other])) > 0


def test_what_ranks_is_the_mean_of_all_trainings_and_the_report_shows_each(finished: Finished) -> None:
    evidence = product(finished, "rankings/*/*.json")
    singles = [v for v in evidence["verdicts"] if v["by_training"]]
    assert singles
    for verdict in singles:
        assert verdict["rule"]["name"].strip("|").endswith("mean of 3 trainings")
        assert len(verdict["by_training"]) == 3
        assert verdict["high"] - verdict["low"] > np.std(verdict["by_training"])
    for term in evidence["chosen"]["terms"]:
        assert term["column"].startswith(("ae_", "ae_seed"))
    page = (Path(finished.root) / f"reports/{finished.manifest.run}/scores.html").read_text()
    assert "<th>each training</th>" in page
    assert re.search(r"rank correlation [+-]?\d\.\d\d", page)


def test_a_sample_is_compared_by_all_trainings_at_once(finished: Finished) -> None:
    results = product(finished, "comparisons/*/*.json")["samples"]["other"]
    assert not any("_seed" in column for column in results)
    for result in results.values():
        assert result["trainings"] == 3
        assert Interval(**result["statistics"]["auroc"]).low <= result["statistics"]["auroc"]["value"]
