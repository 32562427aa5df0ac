"""The report's figures of a published run, for a notebook: all can be drawn, show its numbers, and are PNG and PDF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import galflow
from galflow.errors import SpecError
from galflow.report.figures import RunFigures

if TYPE_CHECKING:
    from conftest import Truth


@pytest.fixture(scope="module")
def figures(truth: Truth) -> RunFigures:
    return galflow.open_run(str(truth.root)).figures


def test_every_figure_that_has_a_name_is_drawn(figures: RunFigures) -> None:
    expected = {"sky", "tiles", "flags", "evidence", "planted", "training_maf", "score_maf_bits_per_dim"}
    expected |= {"likelihood_llr_maf_plain", "likelihood_bpd_maf", "random_galaxies", "extremes_loglike_maf"}
    assert expected <= set(figures.names)
    assert not any(name.startswith("residuals") for name in figures.names), "no model of this run reconstructs"
    for name in figures.names:
        assert figures.draw(name).axes, name


def test_figures_show_the_runs_numbers(figures: RunFigures, truth: Truth) -> None:
    objects = truth.columns["is_primary"].astype(bool)
    tiles = {axes.get_ylabel(): axes for axes in figures.draw("tiles").axes}
    assert "depth in g (mag)" in tiles
    boxes = figures.draw("sky").axes[0].collections[0].get_paths()
    drawn = sorted(tuple(path.vertices.min(axis=0)) for path in boxes)
    expected = sorted(
        (min(truth.columns["ra"][objects & of]), min(truth.columns["dec"][objects & of]))
        for of in (truth.columns["tile"] == name for name in set(truth.columns["tile"]))
    )
    np.testing.assert_allclose(drawn, expected, atol=1e-9)
    manifest = galflow.open_run(str(truth.root)).manifest
    (receipt,) = manifest.products["ranking"]
    evidence = json.loads((truth.root / json.loads((truth.root / receipt).read_text())["product"]).read_text())
    cells = [text.get_text() for text in figures.draw("evidence").axes[0].texts]
    best = evidence["verdicts"][0]
    assert cells[0] == f"{100 * best['auroc']:.0f}"
    real = truth.columns["kmeans_distance_sigma"][objects]
    legend = figures.draw("score_kmeans_distance").axes[0].get_legend()
    assert legend.get_texts()[0].get_text() == f"real ({np.isfinite(real).sum()})"


def test_figures_are_saved_as_png_and_pdf(figures: RunFigures, tmp_path: Path) -> None:
    written = figures.save(tmp_path / "paper", ["sky", "evidence"])
    assert [path.name for path in written] == ["sky.png", "sky.pdf", "evidence.png", "evidence.pdf"]
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"%PDF")
    with pytest.raises(SpecError, match="has no figure 'sky map'; it has sky, tiles"):
        figures.save(tmp_path, ["sky map"])
