"""How often a stage tells Prefect's server how far it is (no more often for many tiles), and one that is away."""

from __future__ import annotations

import io
import itertools
import logging

import httpx
import pytest
from rich.console import Console

from tasks import progress
from tasks.progress import StageProgress, link_to


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


@pytest.fixture
def _in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "in_prefect_run", lambda: True)
    monkeypatch.setattr(progress, "_ARTIFACT_SECONDS", 0.0)
    monkeypatch.setattr(progress._Server, "answers", True)


@pytest.mark.usefixtures("_in_a_run")
def test_a_server_that_does_not_answer_is_said_once_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(progress, "create_progress_artifact", lambda **_: "artifact")
    monkeypatch.setattr(progress, "update_progress_artifact", refuse)
    monkeypatch.setattr(progress, "create_link_artifact", refuse)
    with caplog.at_level(logging.WARNING), StageProgress("score", 3) as stage:
        for _ in range(3):
            stage.advance()
        link_to("file:///report", "report", "report")
    (record,) = caplog.records
    assert "does not answer (refused): the run goes on" in record.getMessage()
    # It answers again, and is away again: that is news.
    monkeypatch.setattr(progress, "create_link_artifact", lambda **_: None)
    link_to("file:///report", "report", "report")
    monkeypatch.setattr(progress, "create_link_artifact", refuse)
    with caplog.at_level(logging.WARNING):
        link_to("file:///report", "report", "report")
    assert len(caplog.records) == 2


@pytest.mark.usefixtures("_in_a_run")
def test_what_is_no_answer_of_a_server_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(progress, "create_link_artifact", broken)
    with pytest.raises(ValueError, match="a bug"):
        link_to("file:///report", "report", "report")


def test_fast_units_are_told_at_most_once_in_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    clock = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "in_prefect_run", lambda: True)
    for name in ("create_progress_artifact", "update_progress_artifact"):
        monkeypatch.setattr(progress, name, lambda *_, **__: told.append(clock[0]) or "artifact")
    with StageProgress("score", 1000) as bar:
        for _ in range(1000):
            clock[0] += 0.01
            bar.advance()
    monkeypatch.undo()
    assert 5 <= len(told) <= 8  # ten seconds: at the beginning, every two, at the end
    assert all(later - earlier >= 2.0 for earlier, later in itertools.pairwise(told[1:-1]))


@pytest.mark.usefixtures("_in_a_run")
def test_a_stage_of_any_sample_has_a_key_that_prefect_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.schemas.actions import ArtifactCreate

    keys: list[str] = []
    monkeypatch.setattr(progress, "create_progress_artifact", lambda *, key, **_: keys.append(key) or "artifact")
    monkeypatch.setattr(progress, "update_progress_artifact", lambda *_, **__: None)
    for stage in ("ingest tng_50", "score tng_50"):
        with progress.StageProgress(stage, 1, 0):
            pass
    assert [ArtifactCreate(key=key).key for key in keys] == ["galflow-ingest-tng-50", "galflow-score-tng-50"]
    with pytest.raises(ValueError, match="key"):
        ArtifactCreate(key="galflow-ingest-tng_50")


@pytest.mark.parametrize(
    ("stage", "told"),
    [("score sky", "3/11 tiles, 1,204 objects, 301/s"), ("train", "3/11 models, 1,204 objects, 301/s")],
)
def test_a_bar_says_units_objects_rate_and_the_time_left(
    stage: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: clock[0])
    with StageProgress(stage, 11, 1) as bar:
        assert "left" not in drawn(bar)
        bar.part("c", 0.5, "c epoch 3/6")
        clock[0] = 104.0
        bar.advance(name="a", objects=1000)
        bar.advance(name="b", objects=204)
        # Two and a half of ten units in four seconds.
        assert f"{told}  0:00:04, 0:00:12 left  c epoch 3/6".split() == drawn(bar).split()[-len(told.split()) - 6 :]
        bar.advance(name="c", failed=True)
        assert "4/11" in drawn(bar)
        assert bar._bar.tasks[0].completed == 4


def drawn(bar: StageProgress) -> str:
    """What a terminal shows of it."""
    console = Console(width=200, file=io.StringIO())
    console.print(bar._bar.make_tasks_table(bar._bar.tasks))
    return console.file.getvalue().strip()  # type: ignore[attr-defined]
