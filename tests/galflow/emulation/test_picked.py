"""A survey of galaxies picked from a GAN's draws: as bright as asked for, about as large, and it says how far off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from galflow.emulation.picked import PickedGalaxies
from galflow.emulation.sources import load_source
from galflow.emulation.tile import emulate_tile
from galflow.errors import ModelError, SpecError
from galflow.models.base import GenerativeModel
from galflow.models.vqvae2 import VQVAE2
from galflow.models.wgan import WGAN
from galflow.runs.plan_emulation import plan_emulation
from galflow.spec.emulation import EmulationSpec
from galflow.spec.store import StoreSpec
from galflow.storage.receipts import verify_product
from galflow.storage.store import Store
from tests.galflow.emulation.drawn_gaussians import COLOUR, GAN_ARGUMENTS, SIZE, DrawnGaussians, store_untrained
from tests.galflow.emulation.stored_emulator import SCALE, SIGMA

AB_ZERO = 3631e9


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("picked")
    store_untrained(folder, DrawnGaussians, GAN_ARGUMENTS)
    rows = 5
    flux = np.array([4e3, 2e4, 1e5, 3e4, 3e4])
    table = {
        "object_id": np.arange(rows) + 2**62,
        "ra_deg": 150.0 + 12 * SCALE / 3600 * np.array([0.0, 5.0, 10.0, 0.0, 5.0]),
        "dec_deg": 2.0 + 60.3 * SCALE / 3600 * np.array([0, 0, 0, 1, 1]),
        "magnitude": -2.5 * np.log10(flux / AB_ZERO),
        "half_light_radius_arcsec": [0.4, 0.5, 0.6, 0.5, np.nan],
    }
    pq.write_table(pa.table(table), folder / "objects.parquet")
    return folder


def specification(root: Path, **changes: Any) -> EmulationSpec:
    bands = {name: {"of": [name], "psf_fwhm_arcsec": 0.7, "sky_sigma_njy": 1.2 * s}
             for name, s in zip("gr", SIGMA, strict=True)}  # fmt: skip
    return EmulationSpec.model_validate(
        {
            "name": "picked",
            "model": f"file://{root}/models/DrawnGaussians/fedcba9876543210",
            "model_pixel_scale_arcsec": SCALE,
            "objects": {"path": str(root / "objects.parquet")},
            "telescope": {"pixel_scale_arcsec": SCALE, "bands": bands},
            "tile_size": 256,
            "draws": 600,
            "store": {"root": str(root)},
        }
        | changes
    )


def test_a_tile_shows_what_was_asked_for_with_the_noise_that_it_says(root: Path) -> None:
    spec = specification(root)
    store = Store.of(StoreSpec(root=str(root)))
    plan, source = plan_emulation(spec, store), load_source(spec)
    (unit,) = plan.units
    assert verify_product(store, emulate_tile(store, source, unit.tile, plan.fingerprint)) == []
    truth = pq.read_table(root / unit.product / "truth.parquet").to_pandas()
    wanted = AB_ZERO * 10 ** (-0.4 * truth["magnitude"])
    np.testing.assert_allclose(truth["flux_g_njy"], wanted, rtol=1e-6)
    np.testing.assert_allclose(truth["flux_r_njy"], COLOUR * wanted, rtol=0.1)
    # What is nearest of 600 draws, and how near that is.
    np.testing.assert_allclose(truth["draw_flux_scale"], 10 ** (0.4 * truth["draw_magnitude_off"]), rtol=1e-6)
    assert (abs(truth["draw_magnitude_off"]) < 0.6).all()
    off = truth["half_light_radius_drawn_arcsec"] - truth["half_light_radius_arcsec"]
    np.testing.assert_allclose(truth["draw_radius_off_arcsec"], off, equal_nan=True)
    assert (abs(off.dropna()) < 0.15).all()
    assert off.isna().sum() == 1
    with fits.open(root / unit.product / "g.fits") as files:
        image, ivar = np.asarray(files[0].data, float), np.asarray(files["IVAR"].data, float)
    sky = np.ones(image.shape, bool)
    for x, y, flux in zip(truth["x"], truth["y"], truth["flux_g_njy"], strict=True):
        rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
        near = (rows - y) ** 2 + (columns - x) ** 2 < 10**2
        sky &= ~near
        light = np.where(near, image, 0)
        assert light.sum() == pytest.approx(flux, rel=0.1)
        # The noise of a pixel on the centre of light; the brightest is known to a fiftieth of a pixel.
        error = 1.2 * SIGMA[0] * np.sqrt((near * (rows - y) ** 2).sum()) / flux
        assert (light * rows).sum() / light.sum() == pytest.approx(y, abs=4 * error + 0.02)
        assert (light * columns).sum() / light.sum() == pytest.approx(x, abs=4 * error + 0.02)
    weighted = image[sky] * np.sqrt(ivar[sky])
    assert weighted.std() == pytest.approx(1, rel=0.04)
    assert ivar.max() == pytest.approx((1.2 * SIGMA[0]) ** -2, rel=1e-5)


def test_a_galaxy_is_the_same_in_every_tile_and_rows_alike_are_not_one(root: Path) -> None:
    spec = specification(root, draws=150)
    source, again = (PickedGalaxies.of(spec, load_source(spec).model) for _ in range(2))
    conditions = np.tile([[20.0, 0.5]], (24, 1))
    zero = np.zeros(24)
    ids = np.arange(24)
    first = source.draw(ids, conditions, zero, zero)
    alone = again.draw(ids[7:8], conditions[:1], zero[:1], zero[:1])
    np.testing.assert_array_equal(first.stamps["g"][7], alone.stamps["g"][0])
    assert len(set(first.known["draw"].tolist())) == 4


def test_what_its_draws_cannot_show_is_refused(root: Path) -> None:
    band = {"of": ["g"], "psf_fwhm_arcsec": 0.7, "sky_sigma_njy": 12}
    for telescope, said in [
        ({"pixel_scale_arcsec": 0.1, "bands": {"g": band}}, "carry its pixels, PSF and noise"),
        ({"pixel_scale_arcsec": SCALE, "bands": {"g": band | {"of": ["g", "r"]}}}, "draws of one band are shown"),
        ({"pixel_scale_arcsec": SCALE, "bands": {"g": band | {"sky_sigma_njy": 9}}}, "noise of 10 nJy in it"),
    ]:
        with pytest.raises(SpecError, match=said):
            load_source(specification(root, telescope=telescope))


VQ_ARGUMENTS = {
    "channels": 2, "size": SIZE, "codes": 16, "dimensions": 4, "width": 16, "prior_width": 8, "prior_layers": 1,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "arguments"), [(WGAN, GAN_ARGUMENTS), (VQVAE2, VQ_ARGUMENTS)])
def test_a_model_that_draws_no_galaxies_says_so(root: Path, kind: type[GenerativeModel], arguments: Any) -> None:
    source = load_source(specification(root, model=store_untrained(root, kind, arguments), draws=64))
    assert isinstance(source, PickedGalaxies)
    with pytest.raises(ModelError, match="of 64 draws of gan show one galaxy in the middle"):
        source.draw(np.array([1]), np.array([[20.0, 0.5]]), np.zeros(1), np.zeros(1))
