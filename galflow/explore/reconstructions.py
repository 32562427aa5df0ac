"""What models make of one object: out of the pictures that the run stored, else computed now by the trained model.

A model is loaded when its first reconstruction is asked for, on the processor, and the last few are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Literal

import numpy as np
import numpy.typing as npt

from galflow.errors import GalflowError
from galflow.explore.recent import Recent
from galflow.models.base import Reconstructs, find_model
from galflow.report.cards import read_cutouts, reconstructed
from galflow.report.site.explained import Explained, read_explained
from galflow.report.site.sheets import Place
from galflow.runs.tile_products import RESIDUALS, tile_products
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel, load_uri

_KEPT_MODELS = 4


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One model's idea of an object, or why there is none."""

    model: str
    origin: Literal["stored", "computed"] | None
    """stored: out of the run's residual pictures; computed: now, by the trained model; None: there is none."""
    flux: npt.NDArray[np.floating] | None
    """(band, y, x)."""
    why: str = ""
    """Why there is none."""


class Reconstructions:
    """The reconstructions of a run's objects. Threads may share it."""

    def __init__(self, store: Store, manifest: RunManifest) -> None:
        self._store, self._manifest = store, manifest
        self._models: Recent[TrainedModel] = Recent(_KEPT_MODELS)
        self._working = Lock()

    def of(self, tile: str, cutouts: str, row: int) -> list[Reconstruction]:
        """Those of one row of a tile's cutout set, by all models that learnt the survey and reconstruct."""
        stored, why = self._stored(tile, row)
        found = [Reconstruction(name, "stored", flux) for name, flux in stored.items()]
        lacking = [name for name in self._reconstructing if name not in stored]
        with self._working:
            found += [self._computed(name, tile, cutouts, row) for name in lacking]
        return found if why is None else [Reconstruction("stored pictures", None, None, why), *found]

    @cached_property
    def _reconstructing(self) -> dict[str, str]:
        """Name of each model that learnt the survey and reconstructs -> its class."""
        specified = self._manifest.specification["models"]
        able = {m["name"]: m["model"] for m in specified if not m.get("sample") and _reconstructs(m["model"])}
        return {name: model for name, model in able.items() if name in self._manifest.models}

    @cached_property
    def _pictured(self) -> dict[str, str]:
        """Tile -> key of its residual pictures."""
        return tile_products(self._manifest, RESIDUALS)

    def _stored(self, tile: str, row: int) -> tuple[Explained, str | None]:
        """By model, and why they cannot be read."""
        try:
            (found,) = read_explained(self._store, self._pictured, [Place(tile, row)])
        except GalflowError as error:
            return {}, str(error)
        return found, None

    def _computed(self, name: str, tile: str, cutouts: str, row: int) -> Reconstruction:
        try:
            model = self._models.get(name, lambda: self._loaded(name))
            read = read_cutouts(self._store, {tile: cutouts}, [Place(tile, row)], {name: model})
            (flux,) = reconstructed(model, read)
        except GalflowError as error:
            return Reconstruction(name, None, None, str(error))
        if flux is None:
            return Reconstruction(name, None, None, "its cutout set has not what the model must be told")
        return Reconstruction(name, "computed", np.where(np.isfinite(flux), flux, np.nan))

    def _loaded(self, name: str) -> TrainedModel:
        uri = self._manifest.located(self._store).models[name]
        return load_uri(uri, self._store.endpoint_url, self._reconstructing[name])


def _reconstructs(model: str) -> bool:
    try:
        return issubclass(find_model(model), Reconstructs)
    except GalflowError:  # a plug-in that is not installed here
        return False
