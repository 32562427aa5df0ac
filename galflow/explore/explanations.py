"""What a run's models make of an object, made when somebody asks: their reconstructions of any row that has pixels."""

# Models are imported when they are first asked: the explorer starts without.

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from galflow.explore.pictures import Place
from galflow.report.site.packing import packed, shown
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

if TYPE_CHECKING:
    from galflow.training.trained_model import TrainedModel


class Explanations:
    """The reconstructions by a run's models of the survey. Threads may share it: one at a time is answered."""

    def __init__(self, store: Store, manifest: RunManifest) -> None:
        self._store, self._manifest = store, manifest
        self._models: dict[str, TrainedModel] | None = None
        self._lock = Lock()

    def of(self, place: Place, sigma: tuple[float, ...]) -> list[dict[str, Any]]:
        """Of the object there what each model makes of it, in ``sigma``, as the pages' scripts read pixels.

        Models that do not reconstruct, or need what is not known of the object, are left out.
        """
        from galflow.report.cards import read_cutouts
        from galflow.report.site.explained import make_explained
        from galflow.report.site.sheets import Place as Placed

        key, row = place
        with self._lock:
            models = self._opened()
            (cutout,) = read_cutouts(self._store, {key: key}, [Placed(key, row)], models)
            (made,) = make_explained([cutout], models)
        scale = np.array(sigma)[:, None, None]
        return [
            {"model": name, **packed(cutout.orientation.turned(shown(flux / scale)))} for name, flux in made.items()
        ]

    def _opened(self) -> dict[str, TrainedModel]:
        """Opened at the first question: those that learnt the survey and reconstruct."""
        if self._models is None:
            from galflow.models.base import Reconstructs
            from galflow.spec.run import RunSpec
            from galflow.training.trained_model import load_uri

            places = self._manifest.located(self._store).models
            if places:
                places = RunSpec.model_validate(self._manifest.specification).of_survey(places)
            opened = {name: load_uri(uri, self._store.endpoint_url) for name, uri in places.items()}
            self._models = {n: model for n, model in opened.items() if isinstance(model.module, Reconstructs)}
        return self._models
