"""The curves of a training as TensorBoard's event files, in the store below the model's own folder.

A worker writes a new small file every half minute and none anew, so that a bucket holds them as well as a folder does.
They are no product: whether they are written, or lost, changes no model, and they go when the model goes.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from galflow.errors import StoreError
from galflow.report.samples import draw, samples_picture
from galflow.report.training_signs import training_signs
from galflow.storage.layout import event_file
from galflow.storage.store import Store
from galflow.training.learning_curve import CurvePoint, Progress
from galflow.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_EVERY_SECONDS = 30.0
_SAMPLES = 16
logger = logging.getLogger(__name__)


class EventFiles:
    """What is told of one training, as event files in the folder of the model ``product``."""

    def __init__(self, store: Store, product: str) -> None:
        self._store, self._product = store, product
        self._points: list[tuple[float, CurvePoint]] = []
        self._written = time.monotonic()

    def told(self, progress: Progress) -> None:
        """Keep the points of an epoch that has ended, and write them if that is due."""
        self._points += [(time.time(), point) for point in progress.points]
        if time.monotonic() - self._written >= _EVERY_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was not yet written."""
        points, self._points, self._written = self._points, [], time.monotonic()
        if not points:
            return
        with self._file() as writer:
            for at, point in points:
                _add_point(writer, at, point)

    def finish(self, model: TrainedModel) -> None:
        """The last points, what is to be looked at in the curves, and draws from a model that draws quickly."""
        self.write()
        signs = training_signs(model)
        pictured = model.module.one_pass_sampling
        if not signs and not pictured:
            return
        with self._file() as writer:
            if signs:
                writer.add_text("signs", "\n".join(f"- {sign}" for sign in signs))
            if pictured:
                picture = samples_picture(draw(model, _SAMPLES, seed=0), model)
                writer.add_image("samples", np.asarray(picture), dataformats="HWC")

    @contextmanager
    def _file(self) -> Iterator[SummaryWriter]:
        from torch.utils.tensorboard import SummaryWriter

        with tempfile.TemporaryDirectory() as folder:
            with SummaryWriter(folder) as writer:
                yield writer
            (made,) = Path(folder).iterdir()
            try:
                self._store.put(event_file(self._product, made.name), made.read_bytes())
            except StoreError as error:
                logger.warning("event file of %s is lost: %s", self._product, error)


def _add_point(writer: SummaryWriter, at: float, point: CurvePoint) -> None:
    """A series for each player's losses, and one for each of the model's own numbers."""
    phase = f"phase {point.phase}/" if point.phase else ""
    values = {f"{point.player} train loss": point.train_loss, f"{point.player} validation loss": point.validation_loss}
    values |= point.diagnostics
    for name, value in values.items():
        if value is not None:
            writer.add_scalar(f"{phase}{name}", value, point.epoch, walltime=at)


def event_files(store: Store, product: str, wanted: bool) -> EventFiles | None:
    """None where none are wanted, or this worker cannot write any, which is said."""
    if wanted and importlib.util.find_spec("tensorboard") is None:
        logger.warning("training.tensorboard: this worker lacks the package tensorboard; %s has no curves", product)
        return None
    return EventFiles(store, product) if wanted else None
