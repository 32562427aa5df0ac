"""The likelihood catalogue and the samples' catalogues of a run, recomputed from its models, parts and comparison."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from galflow.catalog.published import read_published
from galflow.cutouts.batches import ObjectReader
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.measurements.part import SERSIC, number_columns
from galflow.runs.opened import PublishedRun, published_at
from galflow.storage.receipts import parse_receipt, verify_product
from galflow.training.corrected_likelihood import complexity_corrected, typicality

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

SKY = {
    "tiles": 2, "tile_size": 320, "objects_per_tile": 80, "bands": ["r"], "sky_sigma_njy": [10.0],
    "magnitude_range": [18.5, 20.5], "anomaly_fraction": 0.0,
}  # fmt: skip
PCA = {"model": "pca.PCA", "options": {"components": 4}}
DOCUMENT = {
    "name": "likely",
    "survey": {"kind": "synthetic", "options": SKY},
    "cutouts": {"size": 16, "plant": {"per_tile": 2}, "defects": False},
    "measure": ["sersic"],
    "models": [
        {"name": "pca", **PCA, "background": "smooth"},
        {"name": "smooth", **PCA, "sample": "mock"},
        {"name": "latents", "model": "latent_density.LatentDensity", "options": {"inner": "pca.PCA", "transforms": 1}},
    ],
    "training": {"epochs": 3, "batch_size": 32, "reference_fraction": 0.45},
    "comparison": {
        "bootstraps": 50,
        "match": [{"column": "magnitude", "bins": 3}],
        "samples": [{"name": "mock", "survey": {"kind": "synthetic", "name": "mock", "options": SKY | {"seed": 4}}}],
    },
    "cluster": {"workers": 1},
    "output": {"report": False},
}


CONTROLS = ("background_galaxies", "empty_sky")
"""Samples that every comparison has by itself."""


@pytest.fixture(scope="module")
def finished(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    return run_to_its_end(tmp_path_factory.mktemp("likely"), DOCUMENT, **prefect_api)


@pytest.fixture(scope="module")
def opened(finished: Finished) -> PublishedRun:
    return published_at(finished.store, finished.manifest.run)


@pytest.fixture(scope="module")
def table(opened: PublishedRun) -> pd.DataFrame:
    found: pd.DataFrame = opened.likelihoods.to_pandas()
    return found


def comparison(finished: Finished) -> dict[str, Any]:
    (receipt,) = finished.receipts("comparisons/likely")
    found: dict[str, Any] = json.loads(finished.store.get(receipt.product))
    return found


def of(table: pd.DataFrame, model: str, sample: str | None) -> pd.DataFrame:
    whose = table["sample"].isna() if sample is None else table["sample"] == sample
    return table[whose & (table["model"] == model)].reset_index(drop=True)


def test_a_row_for_each_galaxy_and_model_and_no_planted_copy(opened: PublishedRun, table: pd.DataFrame) -> None:
    galaxies = {None: opened.catalog, **{name: opened.sample(name) for name in ("mock", *CONTROLS)}}
    for model in ("pca", "smooth", "latents"):
        for sample, catalog in galaxies.items():
            rows = of(table, model, sample)
            assert sorted(rows["object_id"]) == sorted(catalog["object_id"].to_pylist())
    assert len(table) == 3 * sum(len(catalog) for catalog in galaxies.values())
    assert not (table["flags"] & int(Flag.PLANTED)).any()


def test_numbers_follow_from_the_models_and_the_pixels(opened: PublishedRun, table: pd.DataFrame) -> None:
    """All of one tile of the sample, computed again from its cutouts."""
    model = opened.model("pca")
    rows = of(table, "pca", "mock")
    catalog = opened.sample("mock").to_pandas().set_index(["tile", "row"])
    tile = rows["tile"].iloc[0]
    rows = rows[(rows["tile"] == tile) & rows["loglike"].notna()]
    cutouts = CutoutSet(opened.store, catalog.loc[(tile, rows["row"].iloc[0]), "cutout"])
    everything = ObjectReader.of(cutouts, model.contents).read(slice(0, len(cutouts)), rows["row"].to_numpy())
    batch = everything.batch(model.stretch, model.contents)
    loglike = model.module.log_prob(batch).detach().numpy()
    np.testing.assert_allclose(rows["loglike"], loglike, rtol=1e-5)
    bpd = -loglike / (batch.observed.sum((1, 2, 3)).numpy() * np.log(2))
    np.testing.assert_allclose(rows["bpd"], bpd, rtol=1e-5)
    np.testing.assert_allclose(rows["typicality"], typicality(bpd, model.reference["bpd"]), rtol=1e-4, atol=1e-6)
    corrected = complexity_corrected(model.module, batch.pixels, batch.observed, bpd)
    np.testing.assert_allclose(rows["complexity_corrected"], corrected, rtol=1e-4, atol=1e-5)
    smooth = of(table, "smooth", "mock").set_index(["tile", "row"])["loglike"].loc[tile].loc[rows["row"]]
    np.testing.assert_allclose(rows["llr"], rows["loglike"].to_numpy() - smooth.to_numpy(), rtol=1e-6, atol=1e-6)
    latents = opened.model("latents")
    stated = of(table, "latents", "mock").set_index(["tile", "row"])["loglike"].loc[tile].loc[rows["row"]]
    np.testing.assert_allclose(stated, -latents.module.score(batch)["latent"].numpy(), rtol=1e-4, atol=1e-4)


def test_what_a_model_cannot_say_is_null(table: pd.DataFrame) -> None:
    latents = table[table["model"] == "latents"]
    assert set(latents["density_of"]) == {"latents"}
    assert latents[["bpd", "llr", "complexity_corrected", "typicality", "background"]].isna().all(axis=None)
    assert latents["loglike"].notna().sum() > 100
    assert set(table.loc[table["model"] == "pca", "background"]) == {"smooth"}
    assert table.loc[table["model"] == "smooth", "llr"].isna().all()
    assert table["noise_misfit"].isna().all(), "no model here is a flow of pixels"


def test_matched_objects_are_those_of_the_comparison(
    finished: Finished, opened: PublishedRun, table: pd.DataFrame
) -> None:
    compared = comparison(finished)["matched"]["mock"]
    edges = np.array(compared["matched_by"][0]["edges"])
    drawn = {}
    for sample, catalog in ((None, opened.catalog), ("mock", opened.sample("mock"))):
        rows = of(table, "pca", sample)
        magnitude = catalog.to_pandas().set_index(["tile", "row"])["magnitude"]
        known = rows[rows["cell_mock"].notna()]
        values = magnitude.loc[list(zip(known["tile"], known["row"], strict=True))].to_numpy()
        cells = known["cell_mock"].to_numpy(int)
        assert ((values >= edges[cells]) & (values <= edges[cells + 1])).all()
        assert known["complete"].all(), "incomplete objects are not compared"
        drawn[sample] = known[known["matched_mock"].astype(bool)]
        assert len(drawn[sample]) == compared["pairs"] >= 20
    one, two = (np.bincount(rows["cell_mock"].astype(int)) for rows in drawn.values())
    np.testing.assert_array_equal(one, two)
    assert set(drawn[None]["split"]) == {"reference"}


def test_a_sample_has_its_measured_columns_and_its_own(opened: PublishedRun) -> None:
    sample = opened.sample("mock")
    assert set(number_columns(SERSIC, ["r"])) < set(sample.column_names)
    assert {"magnitude", "half_light_radius_arcsec", "loglike_pca", "llr_pca_smooth"} < set(sample.column_names)
    assert "anomaly_rank" not in sample.column_names
    fitted = sample.to_pandas()
    flux = 10 ** (-0.4 * (fitted["magnitude"] - 31.4))
    assert np.log(fitted["sersic_flux_r"] / flux).abs().median() < 0.4, "they reach beyond their cutouts"
    for name in ("sersic_r50", "loglike_pca"):
        said = sample.schema.field(name).metadata
        assert said[b"description"]
        assert said[b"ucd"]


def test_every_comparison_has_its_controls(finished: Finished, opened: PublishedRun) -> None:
    found = comparison(finished)
    controls = found["controls"]
    assert controls["samples"] == {"background": "background_galaxies", "empty_sky": "empty_sky"}
    assert set(found["samples"]) == {"mock", *CONTROLS}
    for column in ("bpd_pca", "latents_latent", "llr_pca_smooth"):
        halves, samples = controls["held_out"][column], {n: of[column] for n, of in found["samples"].items()}
        auroc = halves["statistics"]["auroc"]
        assert auroc["low"] < 0.5 < auroc["high"], "chance alone goes either way"
        # Empty sky differs from galaxies far more than one half of the sky from the other.
        assert samples["empty_sky"]["statistics"]["ks"]["value"] > halves["statistics"]["ks"]["high"], column
    assert controls["training"]["bpd_pca"]["statistics"]["n_b"] > 40
    assert "bpd_smooth" not in controls["training"], "it has learnt nothing of the survey"
    sky = opened.sample("empty_sky").to_pandas()
    assert len(sky) == 2 * 128
    assert set(sky["made_of"]) == {"sky"}
    assert "order" not in found, "one sample is in no order, and controls are in none"


def test_the_manifest_names_them_and_they_are_whole(finished: Finished) -> None:
    for name in ("likelihoods", "catalog of mock", "matches"):
        (key,) = finished.manifest.products[name]
        receipt = parse_receipt(key, finished.store.get(key))
        if receipt.product.startswith("catalogs/"):
            assert len(read_published(finished.store.uri(receipt.product))) == receipt.rows
        assert receipt.rows
        assert verify_product(finished.store, receipt) == []
