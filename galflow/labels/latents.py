"""The verb of encoding: one cutout set, one model -> each object's latents, and what the model leaves unexplained.

The latents tell which objects are alike, the residuals how well the model knows an object: their root mean square in
rings around the centre, band by band; the image's texture comes with them. Each chunk is read once. A row that is not
to be scored has nulls.
"""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_SCORED, has_flag
from galflow.labels.vectors import LATENT, RESIDUAL, ROW, TEXTURE
from galflow.layers.images.texture import texture
from galflow.models.base import Reconstructs
from galflow.models.shared.object_features import ring_residuals
from galflow.scores.chunks import View, chunks_in_views
from galflow.spec.run import fingerprint
from galflow.storage.products import Target, outcome_of, write_one_file
from galflow.storage.receipts import Receipt
from galflow.training.trained_model import TrainedModel

LATENTS_VERSION = "1"
"""Raised when the same cutouts and model would give other latents."""
DIMENSIONS_DETAIL = "dimensions"
"""Where a part's receipt says how many latents an object has."""


def latents_fingerprint(cutouts: str, model: str) -> str:
    """Of what a part of latents depends on: its cutout set, and the model."""
    return fingerprint(LATENTS_VERSION, cutouts, model)


def encode_set(
    target: Target, cutouts: CutoutSet, model: TrainedModel, *, batch_objects: int = 128, device: str = "cpu"
) -> Receipt:
    """Encode one cutout set, store the part and its receipt, and return the receipt."""
    started = time.perf_counter()
    found = _encoded(cutouts, model, batch_objects, device)
    columns = {name: _vectors(values) for name, values in found.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({ROW: pa.array(np.arange(len(cutouts))), **columns}), sink, compression="zstd")
    known = np.isfinite(found[LATENT]).all(1)
    lost = int((_wanted(cutouts) & ~known).sum())
    reasons = [f"{model.card.name} gave {lost} objects latents that are not finite: they have none"] if lost else []
    outcome, told = outcome_of(reasons, empty=None if len(cutouts) else "the cutout set is empty")
    receipt = Receipt(
        product=target.product,
        fingerprint=target.fingerprint,
        inputs=dict(target.inputs),
        rows=len(cutouts),
        outcome=outcome,
        reasons=told,
        details={"tile": cutouts.attributes["tile"], DIMENSIONS_DETAIL: found[LATENT].shape[1]},
    )
    return write_one_file(target.store, receipt, sink.getvalue().to_pybytes(), started)


def _wanted(cutouts: CutoutSet) -> np.ndarray:
    return np.asarray(~has_flag(cutouts.read("flags"), NOT_SCORED))


def _encoded(cutouts: CutoutSet, model: TrainedModel, batch_objects: int, device: str) -> dict[str, np.ndarray]:
    """(N, D) latents, texture and, if the model reconstructs, residuals in rings; NaN of rows that are not scored."""
    view, found = View(model.stretch, model.contents), {LATENT: np.full((len(cutouts), 0), np.nan, np.float32)}
    for rows, seen in chunks_in_views(cutouts, [view], _wanted(cutouts), device):
        for start in range(0, len(rows), batch_objects):
            part = slice(start, start + batch_objects)
            batch = seen[view][part]
            values = {LATENT: model.encode(batch), TEXTURE: texture(batch).cpu().numpy()}
            if isinstance(model.module, Reconstructs):
                left = batch.pixels.cpu() - torch.from_numpy(model.reconstruct(batch))
                values[RESIDUAL] = ring_residuals(left, batch.observed.cpu()).numpy()
            for name, some in values.items():
                if name not in found or found[name].shape[1] != some.shape[1]:
                    found[name] = np.full((len(cutouts), some.shape[1]), np.nan, np.float32)
                found[name][rows[part]] = some
    return found


def _vectors(values: np.ndarray) -> pa.Array:
    """(N, D) as a list an object, of one length; null where it has a latent that is not finite."""
    if not values.shape[1]:  # nobody is scored, so nothing is known of how many there would be
        return pa.nulls(len(values), pa.list_(pa.float32(), 1))
    flat = pa.array(np.nan_to_num(values, posinf=0.0, neginf=0.0).ravel(), pa.float32())
    unknown = ~np.isfinite(values).all(1)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(unknown))
