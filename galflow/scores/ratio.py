"""The likelihood ratio of two trained models on the very same pixels (Zanisi+21): llr_<model>_<background>.

Two log-likelihoods differ by a ratio only if both are stated in one space. Models of one run share the stretch, and
mostly the bin width; others are brought to densities per unit flux first, for which neither choice matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from galflow.batch import Batch
from galflow.scores.likelihood import log_density_from_mass, log_density_per_flux, log_likelihood_ratio
from galflow.spec.models import Ratio
from galflow.training.trained_model import TrainedModel


def same_space(a: TrainedModel, b: TrainedModel) -> bool:
    """Whether what both state may be subtracted: one stretch, and bins of one width or none."""
    return a.card.stretch == b.card.stretch and a.card.bin_width == b.card.bin_width


def in_flux(ratios: Iterable[Ratio], models: Mapping[str, TrainedModel]) -> frozenset[str]:
    """Names of the models whose likelihood must be brought to a density per flux for one of the ratios."""
    apart = [r for r in ratios if not same_space(models[r.model], models[r.background])]
    return frozenset(name for ratio in apart for name in (ratio.model, ratio.background))


def per_flux(model: TrainedModel, batch: Batch, loglike: np.ndarray) -> np.ndarray:
    """(B,) log p(flux) in nats, of observed pixels, from ``loglike`` (B,) of ``batch`` in the model's stretch.

    NaN where ``loglike`` is not finite.
    """
    stretched = batch.pixels.double()
    log_abs_det = model.stretch.log_abs_det(model.stretch.inverse(stretched, torch), batch.observed, torch)
    dims = batch.observed.sum((1, 2, 3))
    good = np.isfinite(loglike)
    known = loglike[good]
    if model.card.bin_width is not None:
        known = log_density_from_mass(known, dims.cpu().numpy()[good], model.card.bin_width)
    density = np.full(len(loglike), np.nan)
    density[good] = log_density_per_flux(known, log_abs_det.cpu().numpy()[good])
    return density


def ratio_values(model: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(N,) nats, positive where the model explains an object better; NaN where either likelihood is."""
    good = np.isfinite(model) & np.isfinite(background)
    values = np.full(len(model), np.nan)
    values[good] = log_likelihood_ratio(model[good], background[good])
    return values
