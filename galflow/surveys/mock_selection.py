"""Which mocks the survey would have found: detected as its objects are, and within its limits.

It refuses to take a neighbour for the mock: a detection counts where it lies near the stamp's centre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from galflow.photometry import AB_ZERO_NJY
from galflow.surveys.base import Image
from galflow.surveys.reading.detection import detect
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.simulation_options import SelectionOptions

SELECTED = "selected"
NOT_DETECTED = "not detected"
_NEAREST_PIX = 3.0
"""A detection this near to a stamp's centre is the mock, or one within its half-light radius."""


@dataclass(frozen=True, eq=False)
class Selected:
    """What the survey makes of each mock, NaN where it does not find it."""

    reasons: list[str]
    """(n,) SELECTED, or why a mock does not count."""
    snr: np.ndarray
    """(n,)"""
    magnitude: np.ndarray
    """(n,) AB, in the selection's band."""
    half_light_radius_arcsec: np.ndarray
    """(n,)"""

    @property
    def counts(self) -> np.ndarray:
        """(n,) bool."""
        return np.array([reason == SELECTED for reason in self.reasons], bool)


def selected(
    images: Mapping[str, Image], mosaic: Mosaic, radius_pix: np.ndarray, options: SelectionOptions, bands: Sequence[str]
) -> Selected:
    """Detect on the mocks' images and judge what lies at their centres; ``radius_pix``, (n,): half-light radii."""
    table = detect(images, options.detection, 0)
    band = options.band or bands[0]
    n = mosaic.count
    snr, magnitude, radius = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    if len(table):
        y, x = mosaic.centres
        places = np.column_stack([table["y"].to_numpy(), table["x"].to_numpy()])
        distance, row = cKDTree(places).query(np.column_stack([y, x]))
        near = distance <= np.fmax(radius_pix, _NEAREST_PIX)
        flux = table[f"flux_{band}"].to_numpy(zero_copy_only=False)[row]
        with np.errstate(divide="ignore", invalid="ignore"):
            bright = -2.5 * np.log10(flux / AB_ZERO_NJY)
        scale = images[band].pixel_scale_arcsec
        snr = np.where(near, table["snr"].to_numpy(zero_copy_only=False)[row], np.nan)
        magnitude = np.where(near, bright, np.nan)
        radius = np.where(near, table["half_light_radius_pix"].to_numpy(zero_copy_only=False)[row] * scale, np.nan)
    reasons = np.full(n, SELECTED, dtype=object)
    reasons[~_within(radius, options.half_light_radius_arcsec)] = "half-light radius out of range"
    reasons[~_within(magnitude, options.magnitude_range)] = f"magnitude in {band} out of range"
    if options.minimum_snr is not None:
        reasons[~(snr >= options.minimum_snr)] = f"S/N below {options.minimum_snr:g}"
    reasons[np.isnan(snr)] = NOT_DETECTED
    return Selected([str(reason) for reason in reasons], snr, magnitude, radius)


def _within(values: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    """(n,) bool: which values lie within the limits; all where there are none."""
    if limits is None:
        return np.ones(len(values), bool)
    return np.asarray((values >= limits[0]) & (values <= limits[1]))
