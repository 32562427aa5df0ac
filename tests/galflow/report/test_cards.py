from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from galflow.cutouts.batches import CutoutRows, make_batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.errors import DataError
from galflow.report import cards
from galflow.report.cards import make_cards, make_display, objects_pictured, read_cutouts, unexplained
from galflow.report.inputs import ReportInputs
from galflow.report.objects import Shown
from galflow.report.residuals import residual_png, strongest_residual


def shown(tile: str, row: int, **changes: object) -> Shown:
    sigma = {"vae_neg_elbo": 12.34, "vae_kl": -0.04}
    return replace(Shown(7, "7", 150.0, -2.5, tile, row, 0, 0.25, None, sigma, 0.0123), **changes)  # type: ignore[arg-type]


def image(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))[::-1]


@pytest.fixture
def products(finished_run: ReportInputs) -> dict[str, str]:
    return {r.details["tile"]: r.product for r in finished_run.cutouts}


def test_rows_of_several_tiles_come_back_in_their_order(finished_run: ReportInputs, products: dict[str, str]):
    wanted = [shown("t00001", 3), shown("t00000", 11), shown("t00001", 0)]
    found = read_cutouts(finished_run.store, products, wanted, {})
    for row, cutout in zip(wanted, found, strict=True):
        stored = CutoutSet(finished_run.store, products[row.tile])
        np.testing.assert_array_equal(cutout.flux, stored.read("flux")[row.row])
        np.testing.assert_array_equal(cutout.ivar, stored.read("ivar")[row.row])
        assert cutout.x_pixel == stored.read("x_pixel")[row.row]


def test_a_tile_without_a_receipt_is_named(finished_run: ReportInputs, products: dict[str, str]):
    with pytest.raises(DataError, match="objects of tile 't9', but no receipt"):
        read_cutouts(finished_run.store, products, [shown("t9", 0)], {})


def test_a_card_shows_the_reconstruction_in_flux_and_what_is_left(finished_run: ReportInputs, products: dict[str, str]):
    rows = [shown("t00000", 4), shown("t00000", 5)]
    found = read_cutouts(finished_run.store, products, rows, finished_run.models)
    models = {"vae": finished_run.models["vae"]}
    display = make_display(models, found)
    first, _ = make_cards(rows, found, models, display, "vae_neg_elbo", ["#1", "#2"])

    stretch = models["vae"].stretch
    batch = make_batch(found[0].flux[None], found[0].ivar[None], stretch)
    with torch.no_grad():
        stretched = models["vae"].module.reconstruct(batch)[0]  # type: ignore[operator]
    soft = 3.0 * np.asarray(stretch.sky_sigma)[:, None, None]
    flux = soft * np.sinh(stretched.double().numpy() * np.arcsinh(stretch.white_sigma / 3.0))
    (part,) = first.explained
    difference = image(part.reconstruction).astype(int) - display.picture(flux)
    assert np.abs(difference).max() <= 1
    sigma = [s for s in found[0].sky_sigma if s is not None]
    residual = strongest_residual(found[0].flux, flux, sigma)
    expected = np.asarray(Image.open(io.BytesIO(residual_png(residual))).convert("RGB")).astype(int)
    assert np.abs(image(part.residual).astype(int) - expected).max() <= 3
    scaled = (found[0].flux - flux) / np.asarray(sigma)[:, None, None]
    share = np.nansum(scaled**2) / np.nansum((found[0].flux / np.asarray(sigma)[:, None, None]) ** 2)
    assert part.unexplained == pytest.approx(share)
    assert unexplained([first, first]) == {"vae": part.unexplained}
    assert part.residual_rms == f"{np.sqrt(np.nanmean(scaled**2)):.2g}"


def test_a_card_says_what_is_known_in_words(finished_run: ReportInputs, products: dict[str, str]):
    rows = [
        shown("t00000", 4, flags=int(Flag.EDGE | Flag.TRAIL)),
        shown("t00000", 5, ra=None, dec=None, q=None, planted_kind="tidal_tail", flags=int(Flag.PLANTED)),
    ]
    found = read_cutouts(finished_run.store, products, rows, finished_run.models)
    models = {"vae": finished_run.models["vae"]}
    real, copy = make_cards(rows, found, models, make_display(models, []), "vae_neg_elbo", ["#1", "#2"])
    assert (real.sigma, real.p, real.q, real.kind) == ("+12.3 σ", "0.012", "0.25", "real")
    assert real.position == "RA 150.00000°, Dec -2.50000°"
    assert real.flags == ["at the edge of its tile", "satellite trail"]
    assert real.sigmas == [("vae_neg_elbo", "+12.3"), ("vae_kl", "+0.0")]
    assert (copy.kind, copy.q, copy.flags) == ("planted: tidal tail", "none", [])
    assert copy.position == f"x {found[1].x_pixel:.1f}, y {found[1].y_pixel:.1f} px (no sky position)"


def test_scores_are_sorted_by_size_and_missing_ones_last(finished_run: ReportInputs, products: dict[str, str]):
    row = replace(shown("t00000", 4), sigma={"a": None, "b": -3.0, "c": 1.0, "vae_neg_elbo": 0.5})
    found = read_cutouts(finished_run.store, products, [row], finished_run.models)
    models = {"pixelcnn": finished_run.models["pixelcnn"]}
    (card,) = make_cards([row], found, models, make_display(models, []), "vae_neg_elbo", ["#1"])
    assert card.sigmas == [("c", "+1.0"), ("vae_neg_elbo", "+0.5"), ("b", "-3.0"), ("a", "not scored")]


def test_the_display_is_white_at_the_normal_objects_peaks_within_limits(finished_run: ReportInputs):
    models = finished_run.models
    sigma = np.asarray(models["vae"].stretch.sky_sigma)[:, None, None]

    def white(peak: float) -> float:
        flux = np.zeros((3, 16, 16), np.float32)
        flux[:, 8:9, 8:9] = peak * sigma
        stored = CutoutRows(flux[None], np.ones_like(flux[None]), None, {})
        cutout = cards.Cutout(stored, (None, None, None), None, None)
        return make_display(models, [cutout]).white_sigma

    assert white(254.0) == 250.0
    assert white(2.0) == 60.0
    assert white(1e6) == 1000.0
    assert make_display(models, []).white_sigma == 1000.0


def test_room_shrinks_with_size_bands_and_models(monkeypatch: pytest.MonkeyPatch):
    assert objects_pictured(3, 32, 1) > objects_pictured(3, 64, 1) > objects_pictured(3, 64, 2)
    assert objects_pictured(1, 64, 0) > objects_pictured(3, 64, 0)
    assert objects_pictured(3, 512, 1) == objects_pictured(3, 128, 1)  # both are shown 128 pixels wide
    monkeypatch.setattr(cards, "PICTURE_BYTES", 0)
    assert objects_pictured(3, 64, 1) == 2
