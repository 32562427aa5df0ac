"""Residual pictures of one cutout set: in chunks as at once, NaN where unobserved, in flux where there is flux."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import xarray as xr
from torch import Tensor

from galflow.batch import Batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.errors import ModelError
from galflow.models.autoencoder import Autoencoder
from galflow.models.kmeans import KMeans
from galflow.photometry import AsinhStretch, LinearStretch, Stretch
from galflow.scores.residuals import ChosenRows, residuals_fingerprint, store_residuals
from galflow.spec.run import CutoutSpec
from galflow.storage.products import Target
from galflow.storage.receipts import Outcome, Receipt, verify_product
from galflow.storage.store import Store
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel

SIZE, OBJECTS = 8, 40
ASINH = AsinhStretch(3.0, 100.0, (1.0, 2.0))
SPEC = CutoutSpec(size=SIZE, chunk_megabytes=7 * 2 * SIZE**2 * 4 / 2**20, chunks_per_shard=2)
"""Seven objects a chunk."""
CHOSEN = ChosenRows(np.array([0, 1, 2, 3, 11, 12, 13, 20, 21, 22, 23, 38]), np.arange(12) + 2**62)


class Told(Autoencoder):
    """An autoencoder that must be given the PSF."""

    needs_psf = True


class Broken(Autoencoder):
    """Its idea of bright objects is no number."""

    def reconstruct(self, batch: Batch) -> Tensor:
        made = super().reconstruct(batch)
        return torch.where(batch.pixels.amax((1, 2, 3), keepdim=True) > 1.0, torch.nan, made)


def model(kind: type[Autoencoder] | type[KMeans] = Autoencoder, stretch: Stretch = ASINH) -> TrainedModel:
    """Untrained: what it reconstructs is as it comes."""
    torch.manual_seed(4)
    module = kind(channels=2, size=SIZE)
    card: dict[str, Any] = {
        "name": "m", "model": "autoencoder.Autoencoder", "model_version": "1", "source": "", "arguments": {},
        "cutouts": {}, "bands": ("g", "r"), "unit": "nJy", "stretch": StretchCard.of(stretch), "bin_width": None,
        "training": {}, "curves": (), "metrics": {}, "scores": {}, "main_score": "", "abilities": {},
        "fingerprint": "f" * 16, "code_version": "",
    }  # fmt: skip
    return TrainedModel(ModelCard(**card), module, {})


def cutouts(store: Store, **more: Any) -> CutoutSet:
    rng = np.random.default_rng(3)
    flux = rng.normal(10, 3, (OBJECTS, 2, SIZE, SIZE)).astype(np.float32)
    ivar = np.where(rng.random(flux.shape) < 0.1, 0.0, 0.25).astype(np.float32)
    flux[12] *= 100
    flux[ivar == 0] = np.nan
    place = np.arange(OBJECTS) * 3.0
    columns = {"object_id": np.arange(OBJECTS), "ra": place, "dec": -place, "x_pixel": place, "y_pixel": place + 1}
    rows = pa.table(columns | {"flags": np.zeros(OBJECTS, np.uint32)})
    attributes = {
        "survey": "toy", "release": "1", "tile": "a", "bands": ["g", "r"], "unit": "nJy", "sky_sigma": [1.0, 2.0],
        "pixel_scale_arcsec": 0.2, "psf_fwhm_arcsec": [None, None], **more,
    }  # fmt: skip
    data = CutoutData(flux, ivar, np.zeros(flux.shape, np.uint16), rows, attributes)
    write_cutout_set(store, "a.zarr", data, SPEC)
    return CutoutSet(store, "a.zarr")


def stored(
    store: Store, tile: CutoutSet, models: dict[str, TrainedModel], spec: CutoutSpec = SPEC, key: str = "r.zarr"
) -> tuple[Receipt, xr.Dataset]:
    receipt = store_residuals(Target(store, key, "f"), tile, CHOSEN, models, spec, batch_objects=3)
    assert verify_product(store, receipt) == []
    opened = xr.open_zarr(store.uri(receipt.product).removeprefix("file://"), consolidated=False, chunks=None)
    return receipt, opened.load()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def test_pictures_are_the_data_and_what_a_model_makes_of_them(store: Store) -> None:
    tile, auto = cutouts(store), model()
    receipt, found = stored(store, tile, {"auto": auto})
    assert (receipt.rows, receipt.outcome, receipt.reasons) == (12, Outcome.DONE, ())
    assert receipt.details == {"tile": "a", "models": "auto"}
    flux, ivar = (tile.read(name)[CHOSEN.rows] for name in ("flux", "ivar"))
    observed = ivar > 0
    pixels = torch.from_numpy(np.where(observed, ASINH.forward(np.nan_to_num(flux)), 0).astype(np.float32))
    with torch.no_grad():
        made = auto.module.reconstruct(Batch(pixels, torch.from_numpy(observed))).numpy()  # type: ignore[operator]
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(found["reconstruction_auto"], made, **close)
    np.testing.assert_allclose(found["residual_auto"], np.where(observed, pixels.numpy() - made, np.nan), **close)
    in_flux = ASINH.inverse(made.astype(np.float64))
    np.testing.assert_allclose(found["flux_reconstruction_auto"], in_flux, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["flux_residual_auto"], np.where(observed, flux - in_flux, np.nan), rtol=1e-3)
    np.testing.assert_array_equal(found["object_id"], CHOSEN.object_id)
    np.testing.assert_array_equal(found["x0"], CHOSEN.rows * 3 - SIZE // 2)


def test_many_small_chunks_and_shards_hold_what_one_large_chunk_does(store: Store) -> None:
    tile = cutouts(store)
    _, many = stored(store, tile, {"auto": model()})
    assert many["flux"].encoding["chunks"][0] == 4, "five arrays: 3/5 of a cutout set's chunk of seven"
    assert many["flux"].encoding["shards"][0] == 8
    _, one = stored(store, tile, {"auto": model()}, SPEC.model_copy(update={"chunk_megabytes": 1.0}), "one.zarr")
    assert one["flux"].encoding["chunks"][0] == 12
    xr.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-4)


def test_of_pictures_stretched_for_display_there_is_no_flux(store: Store) -> None:
    linear = LinearStretch((255.0, 255.0), (1.0, 1.0))
    _, found = stored(store, cutouts(store, display_white=[255.0, 255.0]), {"auto": model(stretch=linear)})
    assert set(found) == {"flux", "reconstruction_auto", "residual_auto"}
    assert found.attrs["stretch_undone"].startswith("no: these pictures were stretched for display")


def test_a_model_that_lacks_its_psf_is_left_out_and_said(store: Store) -> None:
    receipt, found = stored(store, cutouts(store), {"told": model(Told), "auto": model()})
    assert receipt.outcome is Outcome.PARTIAL
    assert receipt.reasons[0].startswith("no residuals by told: tile a has no PSF in g, r")
    assert receipt.details["models"] == "auto"
    assert not [name for name in found if str(name).endswith("told")]


def test_a_reconstruction_that_is_no_number_is_nan_and_said(store: Store) -> None:
    receipt, found = stored(store, cutouts(store), {"broken": model(Broken)})
    assert receipt.reasons == ("broken gave 1 objects a reconstruction that is not finite: NaN there",)
    lost = np.isnan(found["reconstruction_broken"].to_numpy()).any(axis=(1, 2, 3))
    assert list(CHOSEN.rows[lost]) == [12]


def test_a_model_that_does_not_reconstruct_says_so() -> None:
    with pytest.raises(ModelError, match="does not reconstruct"):
        model(KMeans).reconstruct(Batch.of(torch.zeros(1, 2, SIZE, SIZE)))


def test_a_fingerprint_follows_cutouts_models_and_objects() -> None:
    fewer = ChosenRows(CHOSEN.rows[1:], CHOSEN.object_id[1:])
    renamed = ChosenRows(CHOSEN.rows, CHOSEN.object_id + 1)
    first = residuals_fingerprint("c", {"auto": "f"}, CHOSEN)
    assert first == residuals_fingerprint("c", {"auto": "f"}, ChosenRows(CHOSEN.rows.copy(), CHOSEN.object_id.copy()))
    others = [("d", {"auto": "f"}, CHOSEN), ("c", {"auto": "g"}, CHOSEN), ("c", {"auto": "f"}, fewer)]
    others += [("c", {"auto": "f"}, renamed)]
    assert len({first, *(residuals_fingerprint(*other) for other in others)}) == 5
