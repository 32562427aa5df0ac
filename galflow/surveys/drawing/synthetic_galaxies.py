"""The galaxies of the synthetic survey before anyone looks at them: where they lie, how bright, large and odd.

Rules of thumb, not a model of galaxy formation: numbers rise as 10^(0.3 m), sizes shrink with magnitude, bulges are
redder than discs. The sky is divided into cells of equal width, each a function of the seed and its number alone, so
that a larger survey holds the same galaxies as a smaller one and some more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from galflow.photometry import flux_from_ab_magnitude

FIRST_ID = 1 << 60
"""Object ids start beyond 2^53, as real surveys' do: a float on their way would show."""
_CELL_BITS = 20
_FIRST_CELL = -(1 << 16)
"""Cells left of the first tile have negative numbers; seeds and ids count from here."""


@dataclass(frozen=True, eq=False)
class Population:
    """The galaxies of some cells: arrays (n,), fluxes (n, B) in nJy, positions in pixels of the cells' common grid."""

    object_id: np.ndarray
    x: np.ndarray
    y: np.ndarray
    magnitude: np.ndarray
    """AB, in the last band."""
    half_light_radius_arcsec: np.ndarray
    """Of the disc."""
    bulge_fraction: np.ndarray
    """Bulge to total in the last band."""
    axis_ratio: np.ndarray
    """Of the disc; the bulge is rounder."""
    angle_deg: np.ndarray
    """From the x axis towards y."""
    bulge_flux: np.ndarray
    disc_flux: np.ndarray
    anomaly: np.ndarray
    """Kind of the planted anomaly, or empty."""

    def take(self, rows: np.ndarray) -> Population:
        """These rows of it (indices, or one truth value a row)."""
        return Population(**{name: values[rows] for name, values in vars(self).items()})

    @staticmethod
    def joined(parts: Sequence[Population]) -> Population:
        """All of them, in order."""
        return Population(**{name: np.concatenate([vars(p)[name] for p in parts]) for name in vars(parts[0])})


@dataclass(frozen=True)
class Cells:
    """The rule by which cells are filled with galaxies."""

    seed: int
    count: int
    """Galaxies in a cell, below 2^20."""
    shape: tuple[int, int]
    """(y, x) pixels of a cell; cell k starts at column k * x."""
    bands: int
    magnitude_range: tuple[float, float]
    anomaly_fraction: float
    anomaly_kinds: tuple[str, ...]

    def populate(self, cell: int) -> Population:
        """The galaxies of one cell on a jittered grid: close pairs occur, exact overlaps do not.

        Cell k is 0 for the first tile and may be negative: what lies beside the survey shines into it.
        """
        rng = np.random.default_rng([self.seed, 1, cell - _FIRST_CELL])
        count, (height, width) = self.count, self.shape
        rows = max(1, round(math.sqrt(count * height / width)))
        columns = -(-count // rows)
        slot = np.sort(rng.choice(rows * columns, size=count, replace=False))
        jitter = rng.uniform(0.15, 0.85, size=(2, count))
        bright, faint = (10.0 ** (0.3 * m) for m in self.magnitude_range)
        magnitude = np.log10(rng.uniform(bright, faint, size=count)) / 0.3
        radius = np.clip(0.7 * 10 ** (-0.12 * (magnitude - 21.0) + rng.normal(0.0, 0.12, size=count)), 0.2, 3.0)
        bulge_fraction = rng.beta(0.8, 1.6, size=count)
        flux = flux_from_ab_magnitude(magnitude)[:, None]
        bluer = np.arange(self.bands - 1, -1, -1)  # how many bands lie between this one and the last
        colour = rng.normal(0.3, 0.1, size=(count, 1))  # magnitudes from band to band
        anomalous = rng.random(count) < self.anomaly_fraction
        kinds = rng.choice(np.array(self.anomaly_kinds or ("",)), size=count)
        return Population(
            object_id=FIRST_ID + ((cell - _FIRST_CELL) << _CELL_BITS) + np.arange(count, dtype=np.int64),
            x=cell * width + (slot % columns + jitter[1]) * width / columns - 0.5,
            y=(slot // columns + jitter[0]) * height / rows - 0.5,
            magnitude=magnitude,
            half_light_radius_arcsec=radius,
            bulge_fraction=bulge_fraction,
            axis_ratio=rng.uniform(0.25, 1.0, size=count),
            angle_deg=rng.uniform(0.0, 180.0, size=count),
            bulge_flux=flux * bulge_fraction[:, None] * 10 ** (-0.4 * (colour + 0.25) * bluer),
            disc_flux=flux * (1 - bulge_fraction)[:, None] * 10 ** (-0.4 * colour * bluer),
            anomaly=np.where(anomalous, kinds, "").astype("U32"),
        )
