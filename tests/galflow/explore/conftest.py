"""A small published run for the explorer's tests: a catalogue in two files, two cutout sets with a WCS, a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from astropy.wcs import WCS

from galflow.catalog.parquet import to_parquet
from galflow.catalog.schema import catalog_schema
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.explore.explored import ExploredRun
from galflow.labels.latents import encode_set
from galflow.models.autoencoder import Autoencoder
from galflow.photometry import AsinhStretch
from galflow.scores.residuals import ChosenRows, store_residuals
from galflow.spec.run import CutoutSpec
from galflow.storage.layout import catalog_product, cutouts_product, latents_product, receipt_key, residuals_product
from galflow.storage.products import Target
from galflow.storage.receipts import RunManifest, publish_manifest, read_manifest
from galflow.storage.store import Store
from galflow.surveys.reading.fits_wcs import wcs_cards
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel

RUN, SIDE, EACH = "small-run", 16, 30
MODEL, PICTURED = "auto", 3
"""The run's model, and of how many objects its residual pictures are stored."""
COUNT = 2 * EACH
SCRIPT = "<script>alert(1)</script>"
SURVEY = {"kind": "hsc", "release": "1"}
MODELS = [{"name": "pca", "model": "pca.PCA", "options": {"components": 2}}]
FIRST_ID = 2**62 + 1
"""No float64 holds it."""


def tile_wcs(number: int, ra: float = 150.0) -> WCS:
    """0.2 arcsec a pixel, north up; the tiles' centres are a degree apart."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [(ra + number) % 360, 2.0]
    wcs.wcs.crpix = [100.0, 100.0]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    return wcs


def _positions(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.uniform(30, 170, EACH), rng.uniform(30, 170, EACH)


def _write_set(store: Store, number: int) -> str:
    rng = np.random.default_rng(10 + number)
    x, y = _positions(number)
    flux = rng.normal(0, 1, (EACH, 2, SIDE, SIDE)).astype(np.float32)
    flux[:, :, SIDE // 2, SIDE // 2] += 100 + np.arange(EACH)[:, None]
    shape = (EACH, 2, SIDE, SIDE)
    sky = tile_wcs(number).pixel_to_world(x, y)
    rows = pa.table({"object_id": np.arange(EACH), "x_pixel": x, "y_pixel": y, "ra": sky.ra.deg, "dec": sky.dec.deg,
                     "flags": np.zeros(EACH, np.uint32)})  # fmt: skip
    attributes = {
        "survey": "made", "release": "1", "tile": f"t{number}", "bands": ["g", "r"], "unit": "nJy",
        "pixel_scale_arcsec": 0.2, "sky_sigma": [1.0, 1.0], "psf_fwhm_arcsec": [0.7, 0.7],
        "wcs": wcs_cards(tile_wcs(number)),
    }  # fmt: skip
    key = cutouts_product("made", "1", f"t{number}", f"{number:016x}")
    data = CutoutData(flux, np.ones(shape, np.float32), np.zeros(shape, np.uint16), rows, attributes)
    write_cutout_set(store, key, data, CutoutSpec(size=SIDE, chunk_megabytes=0.02))
    return key


def small_catalog(number: int, cutouts: str, ra: float = 150.0) -> pa.Table:
    """One tile's rows: the first has a script for a name, the second of the second tile no cutout."""
    rng = np.random.default_rng(20 + number)
    x, y = _positions(number)
    sky = tile_wcs(number, ra).pixel_to_world(x, y)
    at = np.arange(EACH) + number * EACH
    made = {
        "object_id": FIRST_ID + at, "id_in_tile": at, "ra": sky.ra.deg, "dec": sky.dec.deg, "x": x, "y": y,
        "source_name": [SCRIPT if i == 0 else f"M{i}" for i in at], "survey": ["made"] * EACH, "release": ["1"] * EACH,
        "tile": [f"t{number}"] * EACH, "row": np.arange(EACH), "is_primary": at != 5, "outcome": ["scored"] * EACH,
        "cutout": [None if i == EACH + 1 else cutouts for i in at], "run_id": [RUN] * EACH, "anomaly_rank": at + 1,
        "anomaly_score_sigma": 9.0 - 0.1 * at, "triage": np.array(["galaxy", "star", "artefact"])[at % 3],
        "flags": (at % 4).astype(np.uint32),
        "mag_r": pa.array(rng.uniform(17, 25, EACH), mask=at % 10 == 9),
    }  # fmt: skip
    table = pa.table({"mag_r": pa.array([], pa.float64())})
    schema = catalog_schema(["vae_kl"], [], table.schema, pa.int64(), True)
    return pa.table({f.name: made.get(f.name, pa.nulls(EACH, f.type)) for f in schema}).cast(schema)


def small_model() -> TrainedModel:
    """Untrained: what it reconstructs and encodes is as it comes."""
    torch.manual_seed(4)
    options = {"channels": 2, "size": SIDE}
    card: dict[str, Any] = {
        "name": MODEL, "model": "autoencoder.Autoencoder", "model_version": Autoencoder.version, "source": "",
        "arguments": options, "cutouts": {}, "bands": ("g", "r"), "unit": "nJy", "bin_width": None, "training": {},
        "stretch": StretchCard.of(AsinhStretch(3.0, 100.0, (1.0, 1.0))), "curves": (), "metrics": {}, "scores": {},
        "main_score": "", "abilities": {}, "fingerprint": "f" * 16, "code_version": "",
    }  # fmt: skip
    return TrainedModel(ModelCard(**card), Autoencoder(**options), {"score": np.zeros(1)})


def _apply_model(store: Store, sets: list[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """A stored model, latents of all objects, pictures of the first tile's first ones: what a manifest names."""
    model = small_model()
    folder = f"models/{MODEL}/{'f' * 16}"
    model.save(store, folder)
    receipts: dict[str, list[str]] = {"latents": [], "residuals": []}
    for number, key in enumerate(sets):
        place = latents_product("hsc", "1", f"t{number}", f"{number:016x}")
        receipt = encode_set(Target(store, place, f"{number:016x}"), CutoutSet(store, key), model)
        receipts["latents"].append(receipt_key(receipt.product))
    place = residuals_product("hsc", "1", "t0", "0" * 16)
    chosen = ChosenRows(np.arange(PICTURED), FIRST_ID + np.arange(PICTURED))
    spec = CutoutSpec(size=SIDE)
    receipt = store_residuals(Target(store, place, "0" * 16), CutoutSet(store, sets[0]), chosen, {MODEL: model}, spec)
    receipts["residuals"].append(receipt_key(receipt.product))
    return {MODEL: folder}, receipts


def publish_small_run(store: Store, *, ra: float = 150.0, modelled: bool = False) -> RunManifest:
    """Put a small run into a store; its manifest. ``modelled``: with a model, latents and residual pictures."""
    product = catalog_product("anomalies", RUN)
    sets = [_write_set(store, number) for number in range(2)]
    for number, key in enumerate(sets):
        part = small_catalog(number, key, ra)
        store.put_once(f"{product}/part-{number:05d}.parquet", to_parquet(part, part.schema))
    models, products = _apply_model(store, sets) if modelled else ({}, {})
    publish_manifest(store, RunManifest(
        run=RUN, name="small", finished="2026-01-01T00:00:00+00:00", code_version="", models=models, products=products,
        specification={
            "name": "small", "survey": {"kind": "hsc", "release": "1"},
            "models": [{"name": MODEL, "model": "autoencoder.Autoencoder"}], "output": {"similar": MODEL},
        }, catalog=product, report=None, summary={},
    ))  # fmt: skip
    manifest = read_manifest(store, RUN)
    assert manifest is not None
    return manifest


@pytest.fixture(scope="module")
def local_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExploredRun]:
    """The small run in a folder, with a model, opened."""
    store = Store.open(tmp_path_factory.mktemp("explored") / "store")
    explored = ExploredRun.open(store, publish_small_run(store, modelled=True))
    yield explored
    explored.close()
