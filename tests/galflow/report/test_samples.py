from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from astropy.io import fits
from PIL import Image

from galflow.errors import IntegrityError, ModelError, SpecError, StoreError
from galflow.models.vae import VAE
from galflow.report.inputs import ReportInputs
from galflow.report.samples import SMALLEST_PICTURE, draw, write_samples
from galflow.training.trained_model import CARD, TrainedModel

MODELS = ("vae", "pixelcnn")


def uri_of(run: ReportInputs, name: str) -> str:
    (card,) = (key for key in run.store.list(f"models/{name}") if key.endswith(CARD))
    return run.store.uri(card.removesuffix(f"/{CARD}"))


@pytest.mark.parametrize("name", MODELS)
def test_draws_are_the_models_own_in_flux(finished_run: ReportInputs, name: str) -> None:
    model = finished_run.models[name]
    flux = draw(model, 5, seed=3)
    size, bands = model.module.size, len(model.card.bands)
    assert (flux.shape, flux.dtype) == ((5, bands, size, size), np.float32)
    with torch.no_grad():
        stretched = model.module.sample(5, torch.Generator().manual_seed(3)).double().numpy()
    white = np.arcsinh(model.stretch.white_sigma / model.stretch.softening_sigma)
    soft = model.stretch.softening_sigma * np.array(model.stretch.sky_sigma)[:, None, None]
    np.testing.assert_allclose(flux, soft * np.sinh(stretched * white), rtol=1e-5, atol=1e-5)


def test_same_seed_same_draws_another_seed_others(finished_run: ReportInputs) -> None:
    model = finished_run.models["vae"]
    np.testing.assert_array_equal(draw(model, 4, 1), draw(model, 4, 1))
    assert (draw(model, 4, 1) != draw(model, 4, 2)).mean() > 0.99


def test_more_draws_than_fit_at_a_time(finished_run: ReportInputs) -> None:
    flux = draw(finished_run.models["vae"], 300, 0)
    assert len(flux) == 300
    assert len(np.unique(flux.reshape(300, -1), axis=0)) == 300


def test_fits_cube(finished_run: ReportInputs, tmp_path: Path) -> None:
    model, target = finished_run.models["vae"], tmp_path / "draws.fits"
    said = write_samples(uri_of(finished_run, "vae"), 3, target, 7)
    size = model.module.size
    assert said == f"3 galaxies drawn from vae (vae.VAE), {size} x {size} pixels in {', '.join(model.card.bands)}"
    with fits.open(target) as hdus:
        np.testing.assert_array_equal(hdus[0].data, draw(model, 3, 7))
        header = hdus[0].header
        assert (header["BUNIT"], header["SEED"], header["MODEL"]) == (model.card.unit, 7, "vae.VAE")
        assert header["BANDS"].split(",") == list(model.card.bands)
        assert header["FINGERPR"] == model.card.fingerprint
    write_samples(uri_of(finished_run, "vae"), 2, target, 7)  # in its place
    assert fits.getdata(target).shape[0] == 2


def test_zarr_group_opens_in_xarray(finished_run: ReportInputs, tmp_path: Path) -> None:
    model, target = finished_run.models["vae"], tmp_path / "draws.zarr"
    for n in (5, 3):
        write_samples(uri_of(finished_run, "vae"), n, target, 7)
    opened = xr.open_zarr(target, consolidated=False)
    assert opened["flux"].dims == ("object", "band", "y", "x")
    np.testing.assert_array_equal(opened["flux"].to_numpy(), draw(model, 3, 7))
    assert opened["flux"].attrs["units"] == model.card.unit
    assert opened.attrs["bands"] == list(model.card.bands)
    assert opened.attrs["fingerprint"] == model.card.fingerprint


def test_png_is_a_grid_of_enlarged_pictures(finished_run: ReportInputs, tmp_path: Path) -> None:
    target = tmp_path / "draws.PNG"
    write_samples(uri_of(finished_run, "vae"), 7, target, 0)
    picture = np.asarray(Image.open(target).convert("RGB"))
    side = finished_run.models["vae"].module.size
    times = -(-SMALLEST_PICTURE // side)
    shown = side * times
    assert picture.shape == (3 * shown + 12, 3 * shown + 12, 3)
    first = picture[:shown, :shown]
    blocks = first.reshape(side, times, side, times, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert first.max() == 255  # white at its brightest pixel
    assert (picture[-shown:, -shown:] == 255).all()  # seven pictures leave two places empty


@pytest.mark.parametrize("name", ["draws.jpg", "draws", "draws.png.gz"])
def test_other_endings_are_refused_before_the_model_is_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"-o .* is not known; end it in \.png, \.fits, \.zarr"):
        write_samples("no-such-model", 1, tmp_path / name, 0)


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"there is no folder .*nowhere; make it"):
        write_samples("no-such-model", 1, tmp_path / "nowhere" / "draws.png", 0)


def test_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"no-such-model/card.json is missing; .*`galflow show RUN`"):
        write_samples(str(tmp_path / "no-such-model"), 1, tmp_path / "draws.png", 0)


@pytest.mark.parametrize("name", ["draws.png", "draws.fits", "draws.zarr"])
def test_file_that_cannot_be_written_is_named(finished_run: ReportInputs, name: str, tmp_path: Path) -> None:
    target = tmp_path / name
    if name.endswith("zarr"):
        target.write_text("a file where a folder is wanted")
    else:
        (target / "a folder where a file is wanted").mkdir(parents=True)
    with pytest.raises(StoreError, match=f"cannot write .*{name}: .*; check the folder"):
        write_samples(uri_of(finished_run, "vae"), 1, target, 0)


def test_draws_that_are_not_finite_are_refused(finished_run: ReportInputs, monkeypatch: pytest.MonkeyPatch) -> None:
    model = finished_run.models["vae"]

    def sample(self: VAE, n: int, generator: torch.Generator | None = None) -> torch.Tensor:
        drawn = torch.zeros(n, self.channels, self.size, self.size)
        drawn[1, 0, 2, 2] = torch.inf
        return drawn

    monkeypatch.setattr(VAE, "sample", sample)
    with pytest.raises(ModelError, match=r"1 of 4 draws from vae \(vae.VAE\) are not finite"):
        draw(TrainedModel(model.card, model.module, model.reference), 4, 0)
