"""Galaxies of sky and samples side by side: chosen as the score parts say, drawn alike, in a page and in figures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from galflow.compare.populations import comparable_rows
from galflow.errors import ModelError, SpecError, StoreError
from galflow.models.shared.autoregressive import Autoregressive
from galflow.report import side_by_side as sides_module
from galflow.report.compared_figures import (
    distribution_figure,
    extremes_figure,
    predicted_figure,
    predicting,
    random_figure,
    residuals_figure,
    save_figure,
)
from galflow.report.compared_galaxies import shown_comparison
from galflow.report.compared_run import ComparedRun
from galflow.report.extremes import pick_galaxies
from galflow.report.inputs import ReportInputs, StageRecord
from galflow.report.pixel_pdf import pixel_pdfs
from galflow.report.side_by_side import SideBySide, side_by_side

COLUMN = "loglike_pixelcnn"


@pytest.fixture(scope="module")
def run(finished_run: ReportInputs) -> ComparedRun:
    found = ComparedRun.of_report(finished_run)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def shown(run: ComparedRun) -> SideBySide:
    return side_by_side(run)


def comparable(run: ComparedRun, number: int) -> pa.Table:
    """All comparable rows of one side, read at once."""
    side = run.sides[number]
    whole = pa.concat_tables([pq.read_table(io.BytesIO(run.store.get(part.product))) for part in side.parts])
    return whole.filter(pa.array(comparable_rows(whole, held_out=side.held_out)[1]))


def test_extremes_are_those_of_all_parts_sorted_at_once(run: ComparedRun):
    assert [side.name for side in run.sides] == ["sky", "bright"]
    assert [side.held_out for side in run.sides] == [True, False]
    for number, side in enumerate(run.sides):
        table = comparable(run, number)
        order = np.argsort(table[COLUMN].to_numpy())
        ids = table["object_id"].to_numpy()[order].tolist()
        picked = pick_galaxies(run.store, side, [COLUMN], count=5, extremes=3, seed=0)
        assert picked.comparable == len(ids)
        assert [g.object_id for g in picked.least[COLUMN]] == ids[:3]
        assert [g.object_id for g in picked.most[COLUMN]] == ids[::-1][:3]
        assert picked.least[COLUMN][0].values[COLUMN] == table[COLUMN].to_numpy()[order[0]]


def test_random_galaxies_follow_the_seed_and_nothing_else(run: ComparedRun):
    first, again, other = (
        [g.object_id for g in pick_galaxies(run.store, run.sides[0], [COLUMN], count=5, extremes=1, seed=seed).random]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert len(set(first)) == 5


def test_a_column_that_a_part_has_not_chooses_nothing(run: ComparedRun):
    picked = pick_galaxies(run.store, run.sides[1], ["loglike_absent"], count=5, extremes=3, seed=0)
    assert picked.least["loglike_absent"] == []
    assert picked.random[0].values == {"loglike_absent": None}


def test_the_page_has_all_sides_in_one_stretch(finished_run: ReportInputs, shown: SideBySide):
    found = shown_comparison(finished_run)
    assert found is not None
    assert [strip.side for strip in found.random] == ["sky", "bright"]
    assert {len(strip.galaxies) for strip in found.random} == {sides_module.MOST_GALAXIES}
    assert [strips.name for strips in found.extremes] == [COLUMN]
    assert [strips.name for strips in found.residuals] == ["vae", "pixelcnn"]
    assert found.display == shown.display.short()
    sky = shown.sides[0]
    expected = [galaxy.name for galaxy in sky.picked.random]
    assert [galaxy.name for galaxy in found.random[0].galaxies] == expected
    assert [model for model, _ in found.predicted] == ["pixelcnn"]


def test_without_a_scored_sample_there_is_nothing_to_show(finished_run: ReportInputs):
    stages = finished_run.stages | {"scores of bright": StageRecord()}
    assert shown_comparison(replace(finished_run, stages=stages)) is None


def test_a_sample_whose_comparison_was_refused_is_not_drawn_beside_the_sky(finished_run: ReportInputs):
    assert shown_comparison(replace(finished_run, comparison=None)) is None


def test_few_bytes_leave_two_galaxies_a_side(run: ComparedRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sides_module, "PICTURE_BYTES", 0)
    few = side_by_side(run)
    assert [len(side.picked.random) for side in few.sides] == [2, 2]
    assert [len(side.picked.least[COLUMN]) for side in few.sides] == [1, 1]


def test_a_pixel_is_predicted_as_the_model_does_and_its_place_is_right(run: ComparedRun, shown: SideBySide):
    model, side = run.models["pixelcnn"], shown.sides[0]
    cutout = side.cutouts[side.picked.random[0]]
    core, sky = pixel_pdfs(model, cutout)
    batch = cutout.stored.batch(model.stretch, model.contents)
    brightness = batch.pixels[0].mean(0).numpy()
    assert brightness[core.y, core.x] == brightness[5:11, 5:11].max()
    assert min(sky.y, sky.x, 15 - sky.y, 15 - sky.x) < 2
    assert sky.y >= 4
    for pdf in (core, sky):
        np.testing.assert_allclose(pdf.true, batch.pixels[0, :, pdf.y, pdf.x])
        width = pdf.values[1] - pdf.values[0]
        np.testing.assert_allclose(pdf.density.sum(1) * width, 1, rtol=1e-4)
        assert np.all((pdf.below >= 0) & (pdf.below <= 1))
        assert isinstance(model.module, Autoregressive)
        with torch.no_grad():
            _, mass = model.module.pixel_distribution(batch, pdf.y, pdf.x, 1)
        np.testing.assert_allclose(pdf.density[1] * width, mass[0], rtol=1e-5)
    with pytest.raises(ModelError, match=r"vae\.VAE does not predict pixel by pixel"):
        pixel_pdfs(run.models["vae"], cutout)


def test_figures_are_saved_as_png_and_pdf(shown: SideBySide, tmp_path: Path):
    assert predicting(shown) == ["pixelcnn"]
    figures = {
        "distribution": distribution_figure(shown, COLUMN),
        "random": random_figure(shown),
        "extremes": extremes_figure(shown, COLUMN),
        "residuals": residuals_figure(shown, "vae"),
        "pixel": predicted_figure(shown, "pixelcnn"),
    }
    for name, figure in figures.items():
        image, document = save_figure(figure, tmp_path / name)
        assert (image.name, document.name) == (f"{name}.png", f"{name}.pdf")
        with Image.open(image) as opened:
            assert opened.size[0] > 1000
        assert document.read_bytes().startswith(b"%PDF")
    with pytest.raises(SpecError, match="expected one of loglike_pixelcnn"):
        extremes_figure(shown, "loglike_vae")
    with pytest.raises(SpecError, match="expected one of loglike_pixelcnn, bpd_pixelcnn"):
        distribution_figure(shown, "llr_vae_vae")
    with pytest.raises(SpecError, match="expected one of vae, pixelcnn"):
        residuals_figure(shown, "pca")
    with pytest.raises(SpecError, match="expected one of pixelcnn"):
        predicted_figure(shown, "vae")
    with pytest.raises(StoreError, match=r"cannot write .*absent"):
        save_figure(figures["pixel"], tmp_path / "absent" / "pixel")
