"""Measuring a stored cutout set: a row each, numbers or nulls with the reason, whatever the set lacks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.measured_galaxies import Galaxy, draw, noisy, psf_image
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.measurements.measure import measure_set, measurements_fingerprint
from galflow.measurements.part import MEASURED, MORPHOLOGY, NOT_MEASURED, SERSIC, number_columns, outcome_column
from galflow.spec.run import CutoutSpec
from galflow.storage.receipts import Outcome, Receipt
from galflow.storage.store import Store

SIZE, SCALE = 40, 0.2
LEVELS = {"r": 1000.0, "i": 3000.0}
GALAXIES = [Galaxy(1.0, 2.5, 0.6, 30, 0.2, -0.1), Galaxy(2.5, 2.0, 0.8, 100, 0, 0), Galaxy(1.0, 2.0, 0.5, 0, 0, 0)]
WHAT = (SERSIC, MORPHOLOGY)


def stored(store: Store, psf: np.ndarray | None, sky: float = 0.0, **changed: Any) -> CutoutSet:
    """Three galaxies in two bands, the last of them not to be measured."""
    flux = np.zeros((3, 2, SIZE, SIZE), np.float32)
    ivar = np.zeros_like(flux)
    for number, galaxy in enumerate(GALAXIES):
        for band, level in enumerate(LEVELS.values()):
            image, sigma = noisy(level * draw(galaxy, SIZE), 200, 10 * number + band)
            flux[number, band], ivar[number, band] = image + sky, sigma**-2
    # A cutout's pixel size // 2 holds the position, and the galaxies are in its middle, half a pixel before.
    rows = pa.table(
        {"object_id": np.arange(3) + 7, "ra": np.zeros(3), "dec": np.zeros(3),
         "x_pixel": np.array([100.0, 200.0, 300.0]) - 0.5, "y_pixel": np.full(3, 50.0) - 0.5,
         "flags": np.array([0, 0, int(Flag.NO_DATA)])}
    )  # fmt: skip
    attributes = {
        "survey": "arrays", "release": "1", "tile": "t", "bands": list(LEVELS), "unit": "nJy",
        "pixel_scale_arcsec": SCALE, "sky_sigma": [1.0, 1.0], "psf_fwhm_arcsec": [None, None],
    }  # fmt: skip
    data = CutoutData(flux, ivar, np.zeros(flux.shape, np.uint16), rows, attributes | changed, psf)
    write_cutout_set(store, "cutouts/arrays/1/t/c.zarr", data, CutoutSpec(size=SIZE))
    return CutoutSet(store, "cutouts/arrays/1/t/c.zarr")


@pytest.fixture
def both_psfs() -> np.ndarray:
    return np.stack([psf_image()] * 2).astype(np.float32)


def part_of(store: Store, receipt: Receipt) -> pa.Table:
    return pq.read_table(pa.BufferReader(store.get(receipt.product)))


def test_numbers_are_in_the_units_and_pixels_of_the_catalogue(local_store: Store, both_psfs: np.ndarray) -> None:
    cutouts = stored(local_store, both_psfs)
    receipt = measure_set(local_store, cutouts, "c", WHAT)
    part = part_of(local_store, receipt)
    assert receipt.product == f"measurements/arrays/1/t/{measurements_fingerprint('c', WHAT)}.parquet"
    assert (receipt.outcome, receipt.rows, receipt.inputs) == (Outcome.DONE, 3, {"cutouts": "c"})
    assert part.column_names[2:] == [
        name for kind in WHAT for name in (*number_columns(kind, list(LEVELS)), outcome_column(kind))
    ]
    assert part["id_in_tile"].to_pylist() == [7, 8, 9]
    for number, galaxy in enumerate(GALAXIES[:2]):
        row = part.slice(number, 1).to_pylist()[0]
        assert row["sersic_outcome"] == row["morphology_outcome"] == MEASURED
        wanted = {
            "flux_r": LEVELS["r"], "flux_i": LEVELS["i"], "n": galaxy.n, "q": galaxy.q, "theta": galaxy.theta,
            "r50": SCALE * galaxy.r50 / math.sqrt(galaxy.q), "sky": 0.0,
            "x": 100 * (number + 1) - 0.5 + galaxy.dx, "y": 49.5 + galaxy.dy,
        }  # fmt: skip
        # The cutout's middle lies half a pixel before the pixel that holds the position.
        for name, value in wanted.items():
            found, error = row[f"sersic_{name}"], row[f"sersic_{name}_error"]
            slack = 0.03 * value if name == "flux_i" else 0.0  # its error leaves that of the shape out
            assert abs(found - value) < 4 * error + slack, name
        assert 0 < row["concentration_error"] < 0.5
        assert 2 < row["concentration"] < 4
        assert row["petrosian_radius"] == pytest.approx(SCALE * 2.2 * galaxy.r50, rel=0.6)


def test_a_row_that_is_not_to_be_measured_has_nulls_and_the_reason(local_store: Store, both_psfs: np.ndarray) -> None:
    part = part_of(local_store, measure_set(local_store, stored(local_store, both_psfs), "c", WHAT))
    row = part.slice(2, 1).to_pylist()[0]
    assert row.pop("sersic_outcome") == row.pop("morphology_outcome") == "not measured: NO_DATA"
    assert {row.pop("row"), row.pop("id_in_tile")} == {2, 9}
    assert set(row.values()) == {None}


def test_without_a_psf_there_is_no_fit_and_shapes_remain(local_store: Store) -> None:
    receipt = measure_set(local_store, stored(local_store, None), "c", WHAT)
    part = part_of(local_store, receipt)
    assert receipt.outcome == Outcome.PARTIAL
    assert receipt.reasons[0].startswith("sersic not measured: the tile has no PSF in r (give")
    assert part["sersic_n"].null_count == part["sersic_flux_i"].null_count == 3
    assert part["sersic_outcome"][0].as_py().startswith(NOT_MEASURED + "the tile has no PSF in r")
    assert part["morphology_outcome"].to_pylist()[:2] == [MEASURED] * 2


def test_a_fwhm_serves_where_there_is_no_image_and_a_band_without_either_has_no_flux(local_store: Store) -> None:
    cutouts = stored(local_store, None, psf_fwhm_arcsec=[3.0 * SCALE, None])
    receipt = measure_set(local_store, cutouts, "c", [SERSIC])
    part = part_of(local_store, receipt)
    assert part["sersic_flux_i"].null_count == 3
    assert part["sersic_flux_r"].null_count == 1
    assert part["sersic_flux_r"][0].as_py() == pytest.approx(LEVELS["r"], rel=0.1)
    assert "petrosian_radius" not in part.column_names
    assert receipt.reasons == ("sersic_flux_i is null: the tile has no PSF in i",)


def test_a_sky_that_was_not_subtracted_is_said(local_store: Store, both_psfs: np.ndarray) -> None:
    receipt = measure_set(local_store, stored(local_store, both_psfs, sky=2.0), "c", [SERSIC])
    (reason,) = receipt.reasons
    assert reason.startswith("the sky between the objects lies 2.0 standard deviations of a pixel off 0")


def test_pixels_stretched_for_display_are_no_flux(local_store: Store, both_psfs: np.ndarray) -> None:
    cutouts = stored(local_store, both_psfs, display_white=[255.0, 255.0])
    part = part_of(local_store, measure_set(local_store, cutouts, "c", [MORPHOLOGY]))
    assert part["gini"].null_count == 3
    assert part["morphology_outcome"][0].as_py() == "not measured: its pixels are stretched for display, and no flux"


def test_the_fingerprint_is_of_the_cutouts_and_of_what_is_measured() -> None:
    one = measurements_fingerprint("c", [SERSIC, MORPHOLOGY])
    assert one == measurements_fingerprint("c", [MORPHOLOGY, SERSIC])
    assert len({one, measurements_fingerprint("d", [SERSIC, MORPHOLOGY]), measurements_fingerprint("c", [SERSIC])}) == 3
