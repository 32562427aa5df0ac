"""The columns of a part of measurements, and the words for what could not be measured.

A number that could not be measured is null, and the outcome beside it says why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from galflow.measurements.nonparametric import STATISTICS, ShapeFlag
from galflow.measurements.sersic_fit import LEAST_SNR, FitFlag

SERSIC, MORPHOLOGY = "sersic", "morphology"
"""What can be measured, as a specification names it."""
ERROR = "_error"
"""Ending of the column with the standard deviation of another."""
SERSIC_NUMBERS = ("x", "y", "r50", "n", "q", "theta", "sky")
"""Of a fit, with an error each; after ``sersic_``."""
SERSIC_QUALITY = ("chi2", "snr")
MEASURED = "measured"
"""An outcome: nothing is to be said against it."""
NOT_MEASURED = "not measured: "
"""How the outcome of a row without numbers begins."""
_FIT_WORDS = {
    FitFlag.TOO_FEW_PIXELS: "too few pixels are observed",
    FitFlag.TOO_FAINT: f"its signal-to-noise ratio is below {LEAST_SNR:g}",
    FitFlag.NOT_CONVERGED: "the fit did not converge",
}
_SHAPE_WORDS = {
    ShapeFlag.NOT_DETECTED: "no pixels stand out of the noise where it should be",
    ShapeFlag.BEYOND_CUTOUT: "its Petrosian radius lies beyond the cutout, or where too few pixels are observed",
    ShapeFlag.NO_LIGHT: "its pixels hold no positive light, or too few of them are observed",
}


def flux_column(band: str) -> str:
    """Of a band, the column with the flux of the fitted profile."""
    return f"{SERSIC}_flux_{re.sub(r'[^A-Za-z0-9_]', '_', band)}"


def outcome_column(what: str) -> str:
    """The column that says whether, and if not why."""
    return f"{what}_outcome"


def number_columns(what: str, bands: Sequence[str]) -> list[str]:
    """The columns of numbers that measuring ``what`` gives, in their order; their errors beside them."""
    if what == MORPHOLOGY:
        return [name for one in STATISTICS for name in (one, one + ERROR)]
    plain = [*(flux_column(band) for band in bands), *(f"{SERSIC}_{name}" for name in SERSIC_NUMBERS)]
    return [*(name for one in plain for name in (one, one + ERROR)), *(f"{SERSIC}_{name}" for name in SERSIC_QUALITY)]


def fit_outcomes(flags: np.ndarray) -> np.ndarray:
    """(N,) texts of bits of FitFlag."""
    found = _outcomes(flags, _FIT_WORDS)
    bound = (found == MEASURED) & ((flags & FitFlag.AT_BOUND) != 0)
    found[bound] = f"{MEASURED}, but a parameter lies at the bound of its range"
    return found


def shape_outcomes(flags: np.ndarray) -> np.ndarray:
    """(N,) texts of bits of ShapeFlag."""
    found = _outcomes(flags, _SHAPE_WORDS)
    unsure = (found == MEASURED) & ((flags & ShapeFlag.NO_ERROR) != 0)
    found[unsure] = f"{MEASURED}, but under a little more noise it mostly could not be: its error is not known"
    return found


def _outcomes(flags: np.ndarray, words: dict[FitFlag, str] | dict[ShapeFlag, str]) -> np.ndarray:
    found = np.full(len(flags), MEASURED, dtype=object)
    for flag, text in reversed(words.items()):
        found[(flags & int(flag)) != 0] = NOT_MEASURED + text
    return found


def nullable(values: np.ndarray) -> pa.Array:
    """(N,) numbers, null where not finite."""
    numbers = np.asarray(values, np.float64)
    return pa.array(numbers, pa.float64(), mask=~np.isfinite(numbers))
