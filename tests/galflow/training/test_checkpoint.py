"""What is stored comes back exactly; what is not sound is set aside with a warning."""

import hashlib
import io
import logging
import os
from pathlib import Path

import pytest
import torch

from galflow.errors import StoreError
from galflow.storage.checksums import FileSum
from galflow.storage.store import Store
from galflow.training.checkpoint import Checkpoint

STATE = {"a": torch.arange(3.0), "b": {"c": [1, None, "x"], "d": (0.5, True)}}


def checkpoint(store: Store, fingerprint: str = "f1") -> Checkpoint:
    return Checkpoint(store, "models/m/f1", fingerprint, every_seconds=60)


def test_state_comes_back(store: Store) -> None:
    assert checkpoint(store).load() is None
    checkpoint(store).save(STATE)
    assert store.list("models") == ["models/m/f1/checkpoint.pt"]
    found = checkpoint(store).load()
    assert found is not None
    assert torch.equal(found["a"], STATE["a"])
    assert found["b"] == STATE["b"]
    checkpoint(store).delete()
    assert checkpoint(store).load() is None
    checkpoint(store).delete()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: data[: len(data) // 2], "is truncated, altered or no checkpoint"),
        (lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:], "is truncated, altered or no checkpoint"),
        (lambda data: b"", "is truncated, altered or no checkpoint"),
    ],
)
def test_damaged_is_set_aside(store: Store, caplog: pytest.LogCaptureFixture, change, text: str) -> None:
    checkpoint(store).save(STATE)
    key = "models/m/f1/checkpoint.pt"
    store.put(key, change(store.get(key)))
    with caplog.at_level(logging.WARNING):
        assert checkpoint(store).load() is None
    assert text in caplog.text
    assert "training starts afresh" in caplog.text


def test_another_products_is_set_aside(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint(store).save(STATE)
    with caplog.at_level(logging.WARNING):
        assert checkpoint(store, "f2").load() is None
    assert "belongs to f1, not to f2: training starts afresh" in caplog.text


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_it_runs(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "made-by-a-pickle"
    buffer = io.BytesIO()
    torch.save({"fingerprint": "f1", "state": Evil(target)}, buffer)
    payload = buffer.getvalue()
    store.put("models/m/f1/checkpoint.pt", b"galflow-checkpoint-1\n" + hashlib.sha256(payload).digest() + payload)
    with caplog.at_level(logging.WARNING):
        assert checkpoint(store).load() is None
    assert "cannot be read by torch" in caplog.text
    assert not target.exists()


def test_due_by_the_clock(store: Store) -> None:
    now = [100.0]
    timed = Checkpoint(store, "models/m/f1", "f1", every_seconds=60, clock=lambda: now[0])
    assert not timed.due()
    now[0] = 160.0
    assert timed.due()
    timed.save(STATE)
    assert not timed.due()
    now[0] = 219.0
    assert not timed.due()
    now[0] = 220.0
    assert timed.due()


class FullStore(Store):
    def put(self, key: str, data: bytes) -> FileSum:
        raise StoreError(f"cannot write {key}: no space left on device")


def test_a_store_that_refuses_does_not_end_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        checkpoint(FullStore((tmp_path / "full").as_uri())).save(STATE)
    assert "no checkpoint was written" in caplog.text
    assert "no space left on device" in caplog.text
