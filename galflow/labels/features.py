"""What a run knows of each object in numbers, by which it is ranked anew: scores, measurements, residuals and latents.

Score parts hold the scores and what the triage measured (light, size, shape, colours, signs of a defect); of a run with
``output.similar`` there are residuals in rings and latents besides. Nothing is read of the pixels, and a part is read
for the rows that are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.errors import IntegrityError
from galflow.labels.vectors import LATENT, RESIDUAL, TEXTURE, read_vectors
from galflow.storage.store import Store

MEASURED = "measured:"
"""Prefix of what the triage measured, as galflow.scores.triage_features writes it."""
_SIGMA = "_sigma"
SCORES, MEASUREMENTS, RESIDUALS, LATENTS = "scores", "measurements", "residuals", "latents"
TEXTURES = "textures"
GROUPS = (SCORES, MEASUREMENTS, TEXTURES, RESIDUALS, LATENTS)
WEIGHTS = {RESIDUALS: 0.5, LATENTS: 0.3}
"""Of groups whose many numbers would else drown the others; 1 of all others. Chosen by ``benchmarks.labelling``."""


@dataclass(frozen=True)
class TileProducts:
    """Where a tile's numbers lie."""

    scores: str
    """Key of its score part."""
    latents: str | None
    """Key of its latents; None: none were asked for, or they could not be made."""


def tile_features(
    store: Store, tile: TileProducts, rows: np.ndarray | None = None, groups: Sequence[str] = GROUPS
) -> dict[str, np.ndarray]:
    """Group -> (n, F) float32 of these rows of a tile, or of all; NaN where a number is not known.

    Scores are in robust standard deviations, by their arcsinh, since the largest of them are very large.
    """
    found = {}
    table = _read(store, tile.scores)
    chosen = table if rows is None else table.take(pa.array(rows))
    names = table.column_names
    if SCORES in groups:
        found[SCORES] = np.arcsinh(_numbers(chosen, [n for n in names if n.endswith(_SIGMA)]))
    if MEASUREMENTS in groups:
        measured = sorted((n for n in names if n.startswith(MEASURED)), key=lambda n: int(n.removeprefix(MEASURED)))
        found[MEASUREMENTS] = _numbers(chosen, measured)
    for group, name in ((TEXTURES, TEXTURE), (RESIDUALS, RESIDUAL), (LATENTS, LATENT)):
        if group in groups and tile.latents is not None:
            vectors = read_vectors(store, tile.latents, name)
            found[group] = vectors if rows is None else vectors[rows]
    return {group: values for group, values in found.items() if values.shape[1]}


def joined_features(parts: Mapping[str, np.ndarray], widths: Mapping[str, int], objects: int) -> np.ndarray:
    """(n, F) float32 of all groups in the order of ``widths``, group -> columns; NaN of a group that is not there."""
    absent = {group: np.full((objects, width), np.nan, np.float32) for group, width in widths.items()}
    found = [parts[g] if g in parts and parts[g].shape[1] == widths[g] else absent[g] for g in widths]
    return np.concatenate(found, axis=1) if found else np.zeros((objects, 0), np.float32)


def group_weights(widths: Mapping[str, int]) -> np.ndarray:
    """(F,) weights of scaled features, group -> columns."""
    return np.concatenate([np.zeros(0), *(np.full(width, WEIGHTS.get(group, 1.0)) for group, width in widths.items())])


def _read(store: Store, key: str) -> pa.Table:
    with store.reading(key) as file:
        try:
            opened = pq.ParquetFile(file)
            names = opened.schema_arrow.names
            return opened.read([n for n in names if n.startswith(MEASURED) or n.endswith(_SIGMA)])
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(f"{store.uri(key)} is no score part ({error}); see `galflow verify`") from error


def _numbers(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    values = [table.column(name).cast(pa.float32()).to_numpy(zero_copy_only=False) for name in names]
    return np.stack(values, axis=1).astype(np.float32) if values else np.zeros((len(table), 0), np.float32)
