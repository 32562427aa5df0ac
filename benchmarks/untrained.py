"""What scoring is measured on: noise with round blobs as cutouts, and models as they are before training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.batch import Batch
from galflow.cutouts.set_writing import CutoutData
from galflow.models.base import Density, GenerativeModel, abilities
from galflow.photometry import AsinhStretch
from galflow.spec.run import CutoutSpec
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel

BANDS = ("g", "r", "i")
SKY_SIGMA = 10.0
STRETCH = AsinhStretch(3.0, 1000.0, (SKY_SIGMA,) * len(BANDS))
PRODUCT = "cutouts/bench/1/tile/c0.zarr"


def made_cutouts(objects: int, size: int, different: int | None = None) -> CutoutData:
    """Noise with a round blob in each centre; nothing missing. The pixels repeat after ``different`` objects."""
    rng = np.random.default_rng(3)
    drawn = min(objects, different or objects)
    offset = np.arange(size) - size // 2
    blob = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / 18.0)
    height = 30 * SKY_SIGMA * (1 + rng.pareto(2.0, (drawn, 1, 1, 1)))
    some = (rng.normal(0, SKY_SIGMA, (drawn, len(BANDS), size, size)) + height * blob).astype(np.float32)
    flux = np.concatenate([some] * -(-objects // drawn))[:objects]
    columns = {name: rng.uniform(0, 1, objects) for name in ("ra", "dec", "x_pixel", "y_pixel")}
    rows = pa.table({"object_id": np.arange(objects), **columns, "flags": np.zeros(objects, np.int64)})
    attributes = {
        "survey": "bench",
        "release": "1",
        "tile": "tile",
        "bands": list(BANDS),
        "unit": "nJy",
        "pixel_scale_arcsec": 0.2,
        "sky_sigma": [SKY_SIGMA] * len(BANDS),
        "psf_fwhm_arcsec": [None] * len(BANDS),
    }
    ivar = np.broadcast_to(np.float32(SKY_SIGMA**-2), flux.shape)
    return CutoutData(flux, ivar, np.broadcast_to(np.uint16(0), flux.shape), rows, attributes)


def as_trained(
    name: str,
    path: str,
    module: GenerativeModel,
    options: Mapping[str, Any],
    spec: CutoutSpec,
    batch: Batch,
    references: int,
) -> TrainedModel:
    """A model with the scores of ``batch``, repeated to so many ``references``, as its reference distributions."""
    card = ModelCard(
        name=name,
        model=path,
        model_version=type(module).version,
        source=type(module).source,
        arguments={"channels": module.channels, "size": module.size, **options},
        cutouts=spec.model_dump(mode="json"),
        bands=BANDS,
        unit="nJy",
        stretch=StretchCard.of(STRETCH),
        bin_width=module.bin_width if isinstance(module, Density) else None,
        training={},
        curves=(),
        metrics={},
        scores=dict(module.scores),
        main_score=next(iter(module.scores)),
        abilities=abilities(type(module)),
        fingerprint=path,
        code_version="benchmark",
    )
    values = TrainedModel(card, module, {}).evaluate(batch)
    return TrainedModel(card, module, {score: np.sort(np.resize(found, references)) for score, found in values.items()})
