"""How often a training says how far it is: once a second, and at each point of its curve, however fast its steps."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import worker_jobs


def test_steps_are_told_once_a_second_and_points_of_the_curve_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, Any]] = []
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(worker_jobs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    worker = SimpleNamespace(log_event=lambda topic, event: told.append((clock.now, event)))
    monkeypatch.setattr(worker_jobs, "get_worker", lambda: worker)
    teller = worker_jobs._Teller("vae")

    def progress(points: tuple[Any, ...] = ()) -> Any:
        return SimpleNamespace(points=points, phase="", epoch=1, epochs=3, share=0.5)

    for _ in range(500):
        clock.now += 0.01
        teller(progress())
    assert 4 <= len(told) <= 6
    assert all(later - earlier >= 0.99 for (earlier, _), (later, _) in itertools.pairwise(told))
    before = len(told)
    for _ in range(3):
        teller(progress((SimpleNamespace(player="model", train_loss=0.25),)))
    assert len(told) == before + 3
    # No dictionary: Dask would put the worker into it.
    assert told[-1][1] == ["vae", 0.5, "vae epoch 1/3 model 0.25"]
