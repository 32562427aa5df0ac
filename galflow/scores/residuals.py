"""What models leave unexplained of some objects of a tile, as pictures: reconstructions, and data minus reconstruction.

One Zarr v3 group a tile, arrays with dims (object, band, y, x), laid out and written chunk by chunk as cutout sets are:
memory is that of a chunk, whatever the tile holds. A residual of a pixel that is not observed is NaN; a reconstruction
is the model's idea of all pixels. This file decides neither which objects nor which models.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from galflow.cutouts.batches import PIXELS_ALONE, CutoutRows, ObjectReader, missing_inputs
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import white_of
from galflow.cutouts.stream import ahead
from galflow.scores.residual_writing import COORDINATES, FLUX, KINDS, ResidualWriter, array_name
from galflow.spec.run import CutoutSpec, fingerprint
from galflow.storage.checksums import FileSum
from galflow.storage.products import Target, outcome_of, write_product
from galflow.storage.receipts import Receipt
from galflow.surveys.reading.windows import corners
from galflow.training.trained_model import TrainedModel

RESIDUALS_VERSION = "1"
"""Raised when the same cutouts and models would give other pictures."""
_COPIED = ("survey", "release", "tile", "bands", "unit", "pixel_scale_arcsec", "sky_sigma", "psf_fwhm_arcsec", "wcs")
"""Attributes that are the cutout set's."""
_READERS_FOR_GPU = 6


@dataclass(frozen=True, eq=False)
class ChosenRows:
    """Some objects of one cutout set."""

    rows: np.ndarray
    """(n,) int64: row numbers, rising."""
    object_id: np.ndarray
    """(n,) as in the catalogue."""


def residuals_fingerprint(cutouts: str, models: Mapping[str, str], chosen: ChosenRows) -> str:
    """Of what the pictures of one tile depend on: its cutouts, the models, and which objects they are."""
    ids = [chosen.rows.tolist(), chosen.object_id.tolist()]
    return fingerprint(RESIDUALS_VERSION, cutouts, dict(models), ids)


def store_residuals(
    target: Target,
    cutouts: CutoutSet,
    chosen: ChosenRows,
    models: Mapping[str, TrainedModel],
    spec: CutoutSpec,
    *,
    batch_objects: int = 128,
    device: str = "cpu",
) -> Receipt:
    """Store the pictures of the ``chosen`` objects by ``models``, which reconstruct; the receipt.

    A model that needs what the set has not is left out, with the reason.
    """
    began = time.perf_counter()
    said = cutouts.attributes
    lacking = {name: missing_inputs(cutouts, model.contents) for name, model in models.items()}
    able = {name: model for name, model in models.items() if lacking[name] is None}
    reasons = [f"no residuals by {name}: {why}" for name, why in lacking.items() if why is not None]
    maker = _PictureMaker(able, not any(white_of(said)), batch_objects, device)
    receipt = Receipt(
        product=target.product,
        fingerprint=target.fingerprint,
        inputs=dict(target.inputs),
        rows=len(chosen.rows),
        details={"tile": said["tile"], "models": ", ".join(able)},
    )

    def put(key: str) -> dict[str, FileSum]:
        maker.lost.clear()
        with ResidualWriter(target.store, key, spec, maker.names, cutouts.pixel_shape, len(chosen.rows)) as writer:
            for part in _in_groups(_read(cutouts, chosen.rows, able.values(), device), writer.per_chunk):
                writer.add(maker.pictures(part))
            return writer.finish(_coordinates(cutouts, chosen), _attributes(cutouts, able, maker.in_flux))

    def completed(whole: Receipt) -> Receipt:
        outcome, told = outcome_of([*reasons, *maker.told])
        return whole.model_copy(update={"outcome": outcome, "reasons": told})

    return write_product(target.store, receipt, put, began, completed)


def _read(cutouts: CutoutSet, rows: np.ndarray, models: Iterable[TrainedModel], device: str) -> Iterator[CutoutRows]:
    """The rows of each chunk that holds any; each such chunk is read once, ahead of use."""
    reader = ObjectReader.of(cutouts, PIXELS_ALONE.joined(model.contents for model in models))
    inside = {chunk.start: rows[(rows >= chunk.start) & (rows < chunk.stop)] for chunk in cutouts.chunks()}
    filled = [chunk for chunk in cutouts.chunks() if len(inside[chunk.start])]
    return ahead(
        filled,
        lambda chunk: reader.read(chunk, inside[chunk.start] - chunk.start),
        1 if device == "cpu" else _READERS_FOR_GPU,
    )


def _in_groups(parts: Iterable[CutoutRows], size: int) -> Iterator[CutoutRows]:
    """The same rows, ``size`` at a time; fewer at the end."""
    waiting: list[CutoutRows] = []
    for part in parts:
        waiting.append(part)
        if sum(len(one) for one in waiting) < size:
            continue
        rows = CutoutRows.joined(waiting)
        whole = len(rows) - len(rows) % size
        for start in range(0, whole, size):
            yield rows[start : start + size]
        waiting = [CutoutRows.joined([rows[whole:]])] if whole < len(rows) else []
    if waiting:
        yield CutoutRows.joined(waiting)


@dataclass
class _PictureMaker:
    """Makes a chunk's pictures by each model."""

    models: Mapping[str, TrainedModel]
    in_flux: bool
    batch_objects: int
    device: str

    def __post_init__(self) -> None:
        self.lost: dict[str, int] = {}
        """Model -> objects whose reconstruction is not finite."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all arrays."""
        kinds = KINDS if self.in_flux else KINDS[:2]
        return (FLUX, *(array_name(kind, model) for model in self.models for kind in kinds))

    @property
    def told(self) -> list[str]:
        """What was lost, a line a model."""
        return [
            f"{name} gave {count} objects a reconstruction that is not finite: NaN there"
            for name, count in self.lost.items()
        ]

    def pictures(self, rows: CutoutRows) -> dict[str, np.ndarray]:
        """Name -> (N, band, y, x) float32."""
        observed = rows.ivar > 0
        found = {FLUX: np.where(observed, rows.flux, np.float32(np.nan))}
        for name, model in self.models.items():
            data, made = self._seen_and_made(model, rows)
            by_kind = [made, np.where(observed, data - made, np.nan)]
            if self.in_flux:
                flux = model.stretch.inverse(made.astype(np.float64))
                by_kind += [flux, found[FLUX] - flux]
            if unsound := int((~np.isfinite(made)).any(axis=(1, 2, 3)).sum()):
                self.lost[name] = self.lost.get(name, 0) + unsound
            found |= {
                array_name(kind, name): np.where(np.isfinite(values), values, np.nan).astype(np.float32)
                for kind, values in zip(KINDS, by_kind, strict=False)
            }
        return found

    def _seen_and_made(self, model: TrainedModel, rows: CutoutRows) -> tuple[np.ndarray, np.ndarray]:
        """(N, band, y, x) stretched data, 0 where not observed, and the model's reconstruction of them."""
        seen, made = [], []
        for start in range(0, len(rows), self.batch_objects):
            batch = rows[start : start + self.batch_objects].batch(model.stretch, model.contents, self.device)
            seen.append(batch.pixels.cpu().numpy())
            made.append(model.reconstruct(batch))
        return np.concatenate(seen), np.concatenate(made)


def _coordinates(cutouts: CutoutSet, chosen: ChosenRows) -> dict[str, np.ndarray]:
    read = {name: cutouts.read(name)[chosen.rows] for name in ("ra", "dec", "x_pixel", "y_pixel")}
    size = cutouts.pixel_shape[-1]
    x0, y0 = (corners(read[axis], size).astype(np.int64) for axis in ("x_pixel", "y_pixel"))
    places = {"ra": read["ra"], "dec": read["dec"], "row": chosen.rows, "x0": x0, "y0": y0}
    return {"object_id": chosen.object_id, **places}


def _attributes(cutouts: CutoutSet, models: Mapping[str, TrainedModel], in_flux: bool) -> dict[str, Any]:
    said = cutouts.attributes
    undone = "yes: flux_residual = flux - flux_reconstruction, both in unit"
    if not in_flux:
        undone = "no: these pictures were stretched for display before galflow saw them, so their flux is not known"
    return {name: said[name] for name in _COPIED if name in said} | {
        "coordinates": " ".join(COORDINATES),
        "cutouts": cutouts.product,
        "stretch_undone": undone,
        "models": {
            name: {
                "model": model.card.model,
                "fingerprint": model.card.fingerprint,
                "stretch": model.card.stretch.model_dump(mode="json", exclude_none=True),
            }
            for name, model in models.items()
        },
    }
