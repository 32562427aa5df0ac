"""What models make of the gallery's objects: reconstructed when a report is made, or read where a run stored them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import xarray as xr

from galflow.report.cards import Cutout, Placed, reconstructed
from galflow.report.inputs import StageRecord
from galflow.report.pictures import LARGEST_SIDE
from galflow.scores.residual_writing import array_name
from galflow.storage.store import Store
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import TrainedModel

EXPLAINED_BYTES = 150_000_000
"""At most about so many bytes of stored reconstructions in one report, before packing: a byte a pixel and band."""

Explained = dict[str, npt.NDArray[np.floating]]
"""Model -> (band, y, x) flux."""


@dataclass(frozen=True)
class StoredResiduals:
    """Where a run stored residual pictures."""

    products: Mapping[str, str] = field(default_factory=dict)
    """Tile -> key."""
    models: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: StageRecord) -> StoredResiduals:
        """Those that the stage left."""
        receipts = [receipt for receipt in record.receipts if receipt.rows]
        models = dict.fromkeys(n for r in receipts for n in str(r.details["models"]).split(", ") if n)
        return cls({str(r.details["tile"]): r.product for r in receipts}, tuple(models))

    def room(self, bands: int, side: int) -> int:
        """Of how many objects of a gallery the report has the stored reconstructions at most."""
        shown = side // -(-side // LARGEST_SIDE)
        return EXPLAINED_BYTES // (len(self.models) * bands * shown**2) if self.models else 0


def read_explained(store: Store, products: Mapping[str, str], places: Sequence[Placed]) -> list[Explained]:
    """Of each place what is stored of it, {} where nothing is; ``products``: tile -> key.

    Pictures that were stretched for display have no stored flux: theirs is taken back from the model's stretch.
    """
    found: list[Explained] = [{} for _ in places]
    for tile in dict.fromkeys(place.tile for place in places if place.tile in products):
        product = products[tile]
        with store.translate_errors("read", product):
            stored = xr.open_zarr(store.zarr(product), consolidated=False, chunks=None)
            at = {int(row): number for number, row in enumerate(stored["row"].to_numpy())}
            here = [i for i, place in enumerate(places) if place.tile == tile and place.row in at]
            if not here:
                continue
            numbers = [at[places[i].row] for i in here]
            for model, said in stored.attrs["models"].items():
                flux = array_name("flux_reconstruction", model)
                name = flux if flux in stored else array_name("reconstruction", model)
                pixels = stored[name].isel(object=numbers).to_numpy().astype(np.float64)
                if name != flux:
                    pixels = StretchCard.model_validate(said["stretch"]).stretch().inverse(pixels)
                for i, one in zip(here, pixels, strict=True):
                    found[i][model] = one
    return found


def make_explained(cutouts: Sequence[Cutout | None], models: Mapping[str, TrainedModel]) -> list[Explained]:
    """Of each object what ``models`` make of it, of those that reconstruct it."""
    there = [i for i, cutout in enumerate(cutouts) if cutout is not None]
    found: list[Explained] = [{} for _ in cutouts]
    for name, model in models.items():
        made = reconstructed(model, [c for c in cutouts if c is not None])
        for i, flux in zip(there, made, strict=True):
            if flux is not None:
                found[i][name] = flux
    return found
