"""How often a stage tells Prefect's server how far it is: no more often for a survey of many tiles."""

from __future__ import annotations

import pytest

from tasks import progress
from tasks.progress import StageProgress


def calls_of_a_stage(units: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What is told of a stage, however much time passes from unit to unit."""
    told: list[float] = []
    monkeypatch.setattr(progress, "_ARTIFACT_SECONDS", -1.0)
    monkeypatch.setattr(progress, "in_prefect_run", lambda: True)
    for name in ("create_progress_artifact", "update_progress_artifact"):
        monkeypatch.setattr(progress, name, lambda *_, progress, **__: told.append(progress) or "artifact")
    with StageProgress("score", units) as bar:
        for _ in range(units):
            bar.advance()
    monkeypatch.undo()
    return told


def test_the_calls_of_a_stage_do_not_grow_with_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (calls_of_a_stage(units, monkeypatch) for units in (100, 5_000))
    assert many == pytest.approx(few, abs=1.0)
    assert len(few) == 22  # at the beginning, at each five percent, at the end
    assert (few[0], few[-1]) == (0.0, 100.0)


def test_each_unit_of_a_stage_of_few_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = calls_of_a_stage(4, monkeypatch)
    assert told == [0.0, 25.0, 50.0, 75.0, 100.0, 100.0]
