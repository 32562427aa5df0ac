"""Scores of images that are in memory: what ``galflow.score`` does, without a survey or a store."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from galflow.cutouts.batches import make_batch
from galflow.errors import SpecError
from galflow.scores.calibration import Reference, calibrated
from galflow.training.trained_model import TrainedModel

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def score_images(
    model: TrainedModel, images: np.ndarray, ivar: np.ndarray | None = None, batch_objects: int = 128
) -> pd.DataFrame:
    """What a trained model says of ``images``, (N, band, y, x) flux in the card's unit: a row an image.

    Bands and pixels must be those of the model's cutouts, in their order. NaN is a missing pixel. ``ivar``, of the same
    shape, is the inverse variance in 1 / unit squared, 0 where missing; by default that of the sky in which the model
    was trained. Columns: each score as the catalogue has it (higher = more anomalous), ``<score>_sigma`` (robust
    standard deviations above the held-out normal objects) and ``<score>_p`` (conformal p-value); of a model with an
    exact likelihood also ``loglike`` (nats) and ``bpd`` (bits per observed dimension). NaN for an image without any
    pixel. SpecError for another shape, and for a model that needs a PSF or catalogue columns.
    """
    import pandas as pd

    flux = np.ascontiguousarray(images, dtype=np.float32)
    expected = (model.module.channels, model.module.size, model.module.size)
    if flux.ndim != 4 or flux.shape[1:] != expected:
        raise SpecError(
            f"images have shape {flux.shape}; model {model.card.name} takes (N, {', '.join(map(str, expected))}), "
            f"bands {', '.join(model.card.bands)} in this order"
        )
    contents = model.contents
    if contents.psf or contents.conditions:
        needs = "the PSF" if contents.psf else f"catalogue columns {', '.join(contents.conditions)}"
        raise SpecError(f"model {model.card.name} needs {needs} beside pixels; score a cutout set with a run instead")
    sky = np.asarray(model.stretch.sky_sigma, np.float32)[:, None, None]
    given = np.broadcast_to(sky**-2.0, flux.shape) if ivar is None else np.asarray(ivar, np.float32)
    if given.shape != flux.shape:
        raise SpecError(f"ivar has shape {given.shape}, images have {flux.shape}; give both in one shape")
    known = np.where(np.isfinite(flux) & np.isfinite(given), given, np.float32(0)).astype(np.float32)
    able = np.flatnonzero((known > 0).any(axis=(1, 2, 3)))
    raw = {name: np.full(len(flux), np.nan) for name in model.score_names}
    for start in range(0, len(able), batch_objects):
        rows = able[start : start + batch_objects]
        batch = make_batch(
            flux[rows], known[rows], model.stretch, with_ivar=contents.ivar, neighbours=contents.neighbours
        )
        for name, values in model.evaluate(batch).items():
            raw[name][rows] = values
    columns: dict[str, np.ndarray] = {}
    for name, values in raw.items():
        columns[name] = values
        if name in model.card.scores:
            sigma, p, why_no_sigma = calibrated(values, Reference(name, model.reference[name]))
            columns |= {f"{name}_sigma": sigma, f"{name}_p": p}
            if why_no_sigma is not None:
                logger.warning("%s_sigma is NaN: %s", name, why_no_sigma)
    return pd.DataFrame(columns)
