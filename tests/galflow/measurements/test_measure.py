"""Measuring a stored cutout set: a row each, numbers or nulls with the reason, whatever the set lacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.measured_galaxies import PSF_FWHM, Galaxy, draw, noisy, psf_image
from galflow.cutouts.cut import cut_tile, cutouts_fingerprint
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.measurements.measure import measure_set, measurements_fingerprint
from galflow.measurements.part import MEASURED, MORPHOLOGY, NOT_MEASURED, SERSIC, number_columns, outcome_column
from galflow.spec.run import CutoutSpec
from galflow.storage.products import Target
from galflow.storage.receipts import Outcome, Receipt
from galflow.storage.store import Store
from galflow.cutouts.set_writing import CutoutData, write_cutout_set

SIZE, SCALE = 40, 0.2
GALAXIES = [Galaxy(1.0, 2.5, 0.6, 30, 0.2, -0.1), Galaxy(2.5, 2.0, 0.8, 100, 0, 0), Galaxy(1.0, 2.0, 0.5, 0, 0, 0)]


def stored(store: Store, **changed: Any) -> tuple[CutoutSet, str]:
    """Three galaxies in two bands, the last of them not to be scored."""
    flux = np.zeros((3, 2, SIZE, SIZE), np.float32)
    ivar = np.zeros_like(flux)
    for number, galaxy in enumerate(GALAXIES):
        for band, level in enumerate((1000.0, 3000.0)):
            image, sigma = noisy(level * draw(galaxy, SIZE), 200, 10 * number + band)
            flux[number, band], ivar[number, band] = image, sigma**-2
    offset = (SIZE - 1) / 2 - SIZE // 2  # a cutout's pixel size // 2 holds the position; the galaxies are in its middle
    rows = pa.table(
        {"object_id": np.arange(3) + 7, "ra": np.zeros(3), "dec": np.zeros(3),
         "x_pixel": np.array([100.0, 200.0, 300.0]) + offset + 0.5, "y_pixel": np.full(3, 50.0) + offset + 0.5,
         "flags": np.array([0, 0, int(Flag.NO_DATA)])}
    )  # fmt: skip
    attributes = {
        "survey": "arrays", "release": "1", "tile": "t", "bands": ["r", "i"], "unit": "nJy",
        "pixel_scale_arcsec": SCALE, "sky_sigma": [1.0, 1.0], "psf_fwhm_arcsec": [PSF_FWHM * SCALE] * 2,
    }  # fmt: skip
    data = CutoutData(flux, ivar, np.zeros(flux.shape, np.uint16), rows, attributes | changed, psf=changed.get("psf"))
    target = Target(store, "cutouts/arrays/1/t/f.zarr", "f")
    receipt = write_cutout_set(target, data, CutoutSpec(size=SIZE))
    return CutoutSet(store, receipt.product), receipt.fingerprint
