"""How faint an object may be to be found, and that the aperture of a point source is never too small."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from galflow.surveys.base import Image
from galflow.surveys.reading.detection import DetectionOptions, detect

PLACES = np.arange(16.0, 256, 24)
SMOOTHED_NOISE = 1 / (2 * np.sqrt(np.pi) * 2.5 / 2.3548)
"""Sigma of white noise of unit sigma behind a Gaussian of 2.5 pixels FWHM."""


def found(counts: float, sigma: float, **options: float) -> pa.Table:
    """A hundred galaxies of a flux and width in noise of unit sigma."""
    image = np.random.default_rng(5).normal(size=(256, 256))
    rows, columns = np.mgrid[:256, :256]
    for x in PLACES:
        for y in PLACES:
            r2 = (columns - x) ** 2 + (rows - y) ** 2
            image += counts / (2 * np.pi * sigma**2) * np.exp(-r2 / (2 * sigma**2))
    return detect({"r": Image(image.astype(np.float32), "count", 0.2)}, DetectionOptions(**options), 0)


def test_the_threshold_is_in_sigmas_of_the_smoothed_sky() -> None:
    sigma = 1.5
    for peak, low, high in ((8.0, 0.9, 1.02), (3.0, 0.0, 0.1)):
        counts = peak * SMOOTHED_NOISE * 2 * np.pi * (sigma**2 + (2.5 / 2.3548) ** 2)
        assert low <= len(found(counts, sigma)) / len(PLACES) ** 2 <= high, peak


def test_the_aperture_of_a_point_source_holds_its_light() -> None:
    table = found(5000.0, 0.7, smoothing_fwhm_pixels=0.0)
    assert len(table) == len(PLACES) ** 2
    np.testing.assert_allclose(np.median(table["flux_r"].to_numpy()), 5000, rtol=0.005)
