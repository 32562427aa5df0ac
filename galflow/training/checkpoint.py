"""A training's state on the store, so that a lost worker costs a minute and not the night.

When a checkpoint is written depends on the clock, what a training results in does not. A checkpoint is never needed:
one of another product, or one that cannot be read, is set aside with a warning. It holds tensors and plain containers
alone, and is read as such: nothing in it can run.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from galflow.errors import IntegrityError, StoreError
from galflow.storage.layout import CHECKPOINT
from galflow.storage.store import Store

logger = logging.getLogger(__name__)

_MAGIC = b"galflow-checkpoint-1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size


class Checkpoint:
    """Where one training keeps its state, and when it is time to do so again."""

    def __init__(
        self,
        store: Store,
        product: str,
        fingerprint: str,
        *,
        every_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._key = f"{product}/{CHECKPOINT}"
        self._fingerprint = fingerprint
        self._every = every_seconds
        self._clock = clock
        self._last = clock()

    def due(self) -> bool:
        """Whether the last one is ``every_seconds`` old."""
        return self._clock() - self._last >= self._every

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the stored state atomically. A store that refuses is a warning: the training itself goes on."""
        buffer = io.BytesIO()
        torch.save({"fingerprint": self._fingerprint, "state": dict(state)}, buffer)
        payload = buffer.getbuffer()
        try:
            self._store.put(self._key, _MAGIC + hashlib.sha256(payload).digest() + bytes(payload))
        except StoreError as error:
            logger.warning("no checkpoint was written, a crash would cost the training since the last one: %s", error)
        self._last = self._clock()

    def load(self) -> dict[str, Any] | None:
        """The stored state with all tensors on the CPU; None if there is none that can be used."""
        if not self._store.exists(self._key):
            return None
        try:
            return self._decode(self._store.get(self._key))
        except IntegrityError as error:
            logger.warning("checkpoint %s %s: training starts afresh", self._store.uri(self._key), error)
            return None

    def _decode(self, data: bytes) -> dict[str, Any]:
        start = len(_MAGIC) + _DIGEST_BYTES
        payload = data[start:]
        if data[:start] != _MAGIC + hashlib.sha256(payload).digest():
            raise IntegrityError("is truncated, altered or no checkpoint of this galflow")
        try:
            document = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise IntegrityError(f"cannot be read by torch {torch.__version__} ({error})") from error
        if document["fingerprint"] != self._fingerprint:
            raise IntegrityError(f"belongs to {document['fingerprint']}, not to {self._fingerprint}")
        return document["state"]

    def delete(self) -> None:
        """Remove it; nothing there is no error."""
        self._store.delete(self._key)
