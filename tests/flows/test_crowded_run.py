"""A run on galaxies of which some have a twin beside whose edge a bright neighbour shines: its score must not know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import galflow

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

SIDE, GALAXIES, TWINS = 32, 150, 12
WAYS = ("keep", "mask", "sky")


def draw(folder: Path) -> None:
    """Round galaxies in three bands; of the last ones also a twin, the same pixels with a neighbour's light added."""
    folder.mkdir()
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    for i in range(GALAXIES):
        rng = np.random.default_rng(i)
        peak, width = rng.uniform(20, 60), rng.uniform(1.3, 1.8)
        if i >= GALAXIES - TWINS:  # typical ones: a model learns the noise of what is unlike the others by heart
            peak, width = 40, 1.55
        light = peak * np.exp(-(x**2 + y**2) / (2 * width**2))
        flux = light * rng.uniform(0.7, 1.0, (3, 1, 1)) + rng.normal(0, 1, (3, SIDE, SIDE))
        np.save(folder / f"{i}.npy", flux.astype(np.float32))
        if i >= GALAXIES - TWINS:
            angle = 2 * np.pi * (i / TWINS)  # each elsewhere, else a model learns the place
            dx, dy = 12.5 * np.cos(angle), 12.5 * np.sin(angle)
            neighbour = 150 * np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / (2 * 1.5**2))
            np.save(folder / f"{1000 + i}.npy", (flux + neighbour).astype(np.float32))


@pytest.fixture(scope="module")
def finished(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    folder = tmp_path_factory.mktemp("neighbours")
    draw(folder / "stamps")
    options: dict[str, Any] = {
        "root": str(folder / "stamps"), "pattern": "*.npy", "bands": ["g", "r", "i"], "unit": "nJy",
        "pixel_scale_arcsec": 0.2, "id_pattern": r"(\d+)", "tile_bits": 0,
    }  # fmt: skip
    # One component: a second one would be the noise that a galaxy and its twin share.
    document = {
        "name": "neighbours",
        "survey": {"kind": "stamps", "options": options},
        "cutouts": {"size": SIDE},
        "models": [
            {"name": way, "model": "pca.PCA", "options": {"components": 1}, "training": {"neighbours": way}}
            for way in WAYS
        ],
        "training": {"reference_fraction": 0.3, "neighbours": "mask"},
        "cluster": {"workers": 1},
        "output": {"top": 3},
    }
    return run_to_its_end(folder, document, **prefect_api)


def places(finished: Finished, way: str) -> tuple[np.ndarray, np.ndarray]:
    """Shares of all objects that score lower than each twin, and than the galaxy that it is but for its neighbour."""
    table: pd.DataFrame = finished.catalog.to_pandas().set_index("object_id")
    rank = table[f"{way}_reconstruction"].rank(pct=True)
    alone = np.arange(GALAXIES - TWINS, GALAXIES)
    return rank[1000 + alone].to_numpy(), rank[alone].to_numpy()


def test_every_twin_is_in_the_ranking(finished: Finished) -> None:
    table = finished.catalog.to_pandas().set_index("object_id")
    assert len(table) == GALAXIES + TWINS
    assert (table.outcome == "scored").all()
    assert table.anomaly_rank.notna().all()


def test_a_neighbour_moves_the_score_only_where_it_is_kept(finished: Finished) -> None:
    beside, alone = places(finished, "keep")
    assert beside.min() > 0.9
    assert (beside - alone).mean() > 0.2
    for way in ("mask", "sky"):
        beside, alone = places(finished, way)
        # Of single ones a little moves: other noise stands where the neighbour was.
        assert abs((beside - alone).mean()) < 0.15, way
        assert np.abs(beside - alone).mean() < 0.3, way


def test_cards_and_report_say_what_was_seen(finished: Finished) -> None:
    for way in WAYS:
        assert galflow.load_model(finished.manifest.models[way]).card.neighbours == way
    page = (Path(finished.root) / f"reports/{finished.manifest.run}/provenance.html").read_text()
    text = " ".join(page.split())
    assert "mask sees pixels in an asinh stretch" in text
    assert "since they are flux; pixels with a neighbour&#39;s light are missing." in text
    assert "in the place of a neighbour&#39;s light they see sky of the same cutout." in text


def test_a_model_scores_images_as_it_scored_the_run(finished: Finished) -> None:
    """In Python, too, the pixels are seen as in its training."""
    folder = Path(finished.document["survey"]["options"]["root"])
    number = 1000 + GALAXIES - 1
    table = finished.catalog.to_pandas().set_index("object_id")
    for way in WAYS:
        model = galflow.load_model(finished.manifest.models[way])
        found = galflow.score(model, np.load(folder / f"{number}.npy")[None])
        expected = table.loc[number, f"{way}_reconstruction"]
        assert found["reconstruction"][0] == pytest.approx(expected, rel=1e-4)
