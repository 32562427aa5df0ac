"""Likelihoods made comparable: densities from probability masses, densities per flux, ratios.

All log-probabilities are natural logarithms (nats) per object, summed over observed pixels. Which models may be
compared, and how, is galflow.scores.ratio's.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from galflow.errors import ModelError, SpecError

FloatArray = npt.NDArray[np.float64]


def _per_object(**arrays: npt.ArrayLike) -> list[FloatArray]:
    """The arrays as float64, checked to be finite and (n,) of one length."""
    values = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
    shapes = {name: value.shape for name, value in values.items()}
    if len(set(shapes.values())) != 1 or any(value.ndim != 1 for value in values.values()):
        raise SpecError(f"expected one number per object, shape (n,), in each; got {shapes}")
    for name, value in values.items():
        bad = np.flatnonzero(~np.isfinite(value))
        if bad.size:
            raise ModelError(
                f"{name} holds {bad.size} value(s) that are not finite (first: {value[bad[0]]} at position {bad[0]}); "
                "leave out objects without a likelihood and give them a null with its outcome"
            )
    return list(values.values())


def log_density_from_mass(log_mass: npt.ArrayLike, observed_dims: npt.ArrayLike, bin_width: float) -> FloatArray:
    """(n,) log-density in stretched space of a discrete model: log p(y) = log P(bin) - dims * log(bin width).

    Exact for the density that is constant within each bin; ``bin_width`` is in stretched units.
    """
    if not (math.isfinite(bin_width) and bin_width > 0):
        raise SpecError(f"bin_width is {bin_width}; give the positive width of a bin in stretched units")
    mass, dims = _per_object(log_mass=log_mass, observed_dims=observed_dims)
    return mass - dims * math.log(bin_width)


def log_density_per_flux(log_density: npt.ArrayLike, log_abs_det: npt.ArrayLike) -> FloatArray:
    """(n,) log p(flux) = log p(y) + log|det J|: nats per unit flux from nats per stretched unit.

    ``log_abs_det`` is (n,) from ``AsinhStretch.log_abs_det`` over the same observed pixels.
    """
    density, jacobian = _per_object(log_density=log_density, log_abs_det=log_abs_det)
    return density + jacobian


def log_likelihood_ratio(survey: npt.ArrayLike, background: npt.ArrayLike) -> FloatArray:
    """(n,) LLR = log p_survey(x) - log p_background(x) in nats, on the very same pixels (Ren+19; Zanisi+21).

    Positive: better explained by the survey's model than by the background model, for every sample alike. Both must be
    stated in one space: of one stretch and one bin width, or both per flux.
    """
    ours, theirs = _per_object(survey=survey, background=background)
    return ours - theirs
