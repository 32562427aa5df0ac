"""The story of each flow, with stages that only say that they were called: their order, and every failure told."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, get_args

import pytest

from flows import survey_run
from flows.cli import Stage
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import Receipt, RunManifest
from tasks.fan_out import Failure, StageResult

STORY = [
    "check", "ingest", "ingest mock", "join", "join mock", "train", "choose", "score", "score mock", "compare",
    "publish",
]  # fmt: skip
ENDS = {"ingest": 5, "train": 6, "score": 9, "compare": 10, "publish": 11, "survey-run": 11}
"""Flow -> how many of the story's stages it tells."""


def spec() -> RunSpec:
    mock = {"name": "mock", "survey": {"kind": "synthetic", "name": "mock"}}
    models = [{"name": "kmeans", "model": "kmeans.KMeans"}]
    document = {
        "name": "told",
        "survey": {"kind": "synthetic"},
        "models": models,
        "comparison": {"controls": [], "samples": [mock]},
    }
    return parse_spec(document)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was called; every stage leaves one receipt of ten rows, and one failure."""
    calls: list[str] = []

    def stage(name: str, sample_at: int | None = None) -> Any:
        def call(*arguments: Any) -> Any:
            sample = arguments[sample_at] if sample_at is not None and len(arguments) > sample_at else None
            calls.append(f"{name} {sample}" if sample else name)
            if name == "check":
                return None
            if name == "publish":
                return RunManifest(
                    run="told-1", name="told", finished="now", code_version="1", specification={}, models={},
                    products={}, catalog="c", report=None, summary={},
                )  # fmt: skip
            return StageResult((Receipt(product=name, fingerprint=name, rows=10),), (Failure(calls[-1], "x", "why"),))

        return call

    monkeypatch.setattr(survey_run, "begun_run", nullcontext)
    places = {
        "check": None,
        "ingest": 1,
        "join": 1,
        "train_models": None,
        "choose_rule": None,
        "score_cutouts": 1,
        "compare": None,
    }
    places["publish"] = None
    for name, sample_at in places.items():
        monkeypatch.setattr(survey_run, name, stage(name.partition("_")[0], sample_at))
    return calls


@pytest.mark.parametrize("flow", ENDS)
def test_a_flow_tells_its_part_of_the_story_and_every_failure(flow: str, told: list[str]) -> None:
    state = survey_run.FLOWS[flow].fn(spec())
    outcome = state.data
    expected = STORY[: ENDS[flow]]
    assert told == expected
    assert sorted(f.stage for f in outcome.failures) == sorted(set(expected) - {"check", "publish"})
    assert (state.type.value, state.name) == ("COMPLETED", "DoneWithFailures")
    assert state.message.endswith(
        f"{len(outcome.failures)} of its parts failed: {'; '.join(f'{f.stage} x: why' for f in outcome.failures)}. "
        "Run the same specification again: it does what is still missing, and nothing else."
    )


def test_nothing_scored_is_nothing_to_publish(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    empty = StageResult((Receipt(product="a", fingerprint="a", rows=0),))
    monkeypatch.setattr(survey_run, "score_cutouts", lambda *arguments: empty)
    state = survey_run.FLOWS["survey-run"].fn(spec())
    outcome = state.data
    assert (state.type.value, state.name) == ("FAILED", "Failed")
    assert state.message.startswith("Nothing is published. ")
    assert outcome.manifest is None
    assert "publish" not in told
    assert "no object was scored, so nothing to publish" in [f.reason for f in outcome.failures]


def test_flows_are_those_that_the_command_line_offers() -> None:
    assert set(survey_run.FLOWS) == set(get_args(Stage)) == set(ENDS)
