"""What tells a defect from a galaxy, measured on the chunk that is being scored, and kept in the score part.

The pixels are seen in one stretch for all runs, in units of each tile's own sky sigma, so that nothing of it depends on
the models and an earlier part's values hold. A tile whose sky sigma is unknown has none. No catalogue shows them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from galflow.batch import Batch
from galflow.cutouts.batches import PIXELS_ALONE
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.plant import psf_fwhm_pixels
from galflow.layers.images import defects, morphology
from galflow.photometry import AsinhStretch
from galflow.scores.chunks import View
from galflow.scores.part_columns import numbered_columns

MEASURED = "measured:"
"""Prefix of the columns of a score part."""
LIGHT_AND_SIZE = (f"{MEASURED}0", f"{MEASURED}1")
"""Logarithms of an object's light and of its half-light radius: the first two of ``feature_names``."""
_SOFTENING, _WHITE = 3.0, 1000.0


def feature_names(bands: int) -> list[str]:
    """What the columns of ``measured`` are, for so many bands."""
    return [*morphology.feature_names(bands), *defects.DEFECTS]


def triage_stretch(sky_sigma: np.ndarray) -> AsinhStretch | None:
    """The stretch in which a tile's pixels are measured; None where a band's sky sigma is unknown.

    ``sky_sigma``: (band,) in the unit of the flux.
    """
    if not (np.isfinite(sky_sigma) & (sky_sigma > 0)).all():
        return None
    return AsinhStretch(_SOFTENING, _WHITE, tuple(float(s) for s in sky_sigma))


def measured(batch: Batch, stretch: AsinhStretch, fwhm_pixels: float) -> np.ndarray:
    """(B, F) float32 of a batch in ``stretch``, named by ``feature_names``."""
    with torch.no_grad():
        shape = morphology.measure(batch)
        rest = defects.measure_defects(batch, stretch.gain / stretch.softening_sigma, _SOFTENING, fwhm_pixels)
        return torch.cat([shape, rest], dim=1).cpu().numpy().astype(np.float32)


@dataclass(frozen=True, eq=False)
class Measurements:
    """Of one cutout set, filled as its chunks go by."""

    stretch: AsinhStretch | None
    """In which its pixels are measured; None: they cannot be."""
    values: np.ndarray
    """(N, F) float32, NaN of objects that are not to be scored."""
    fwhm_pixels: float

    @classmethod
    def of(cls, cutouts: CutoutSet) -> Measurements:
        """Room for a set's measurements."""
        sigma = np.array([s or math.nan for s in cutouts.attributes["sky_sigma"]], np.float64)
        stretch = triage_stretch(sigma)
        count = len(feature_names(len(sigma)))
        empty = np.full((len(cutouts), count), np.nan, np.float32)
        return cls(stretch, empty, psf_fwhm_pixels(cutouts.attributes))

    @classmethod
    def none(cls) -> Measurements:
        """Nothing is measured."""
        return cls(None, np.empty((0, 0), np.float32), math.nan)

    @property
    def view(self) -> View | None:
        """How its pixels are seen; None: they cannot be measured."""
        return None if self.stretch is None else View(self.stretch, PIXELS_ALONE)

    def add(self, rows: np.ndarray, batch: Batch) -> None:
        """Measure some rows, whose numbers are given."""
        if self.stretch is not None:
            self.values[rows] = measured(batch, self.stretch, self.fwhm_pixels)

    @property
    def names(self) -> list[str]:
        """Of the columns of a score part; none where nothing can be measured."""
        return [] if self.stretch is None else [f"{MEASURED}{number}" for number in range(self.values.shape[1])]

    def take(self, found: Mapping[str, np.ndarray]) -> None:
        """What an earlier part has, by name of the column, NaN where null."""
        for number, name in enumerate(self.names):
            self.values[:, number] = found[name]

    def beside(self, table: pa.Table) -> pa.Table:
        """A part's table with these columns."""
        for name, values in zip(self.names, self.values.T, strict=False):
            table = table.append_column(name, pa.array(values, pa.float32(), mask=~np.isfinite(values)))
        return table


def measured_of_part(part: pa.Table) -> np.ndarray:
    """(N, F) float64 of a score part, NaN where null; (N, 0) where nothing was measured."""
    return numbered_columns(part, MEASURED)
