"""The call for a machine with one GPU, on a CPU and with small sizes: each step, and what becomes of one that hangs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu import contract, running, stopwatch
from benchmarks.gpu.figures import Figure, Settings, read_figures, write_figures
from benchmarks.gpu.running import STEPS, Step, run_steps

ROOT = Path(__file__).resolve().parents[2]


def figures_of(name: str, work: Path) -> list[Figure]:
    """What a step finds here, with small sizes, in this process."""
    step = next(step for step in STEPS if step.name == name)
    found = importlib.import_module(step.module).measure(Settings("cpu", True, work))
    return list(found)


@pytest.mark.full
def test_a_survey_is_the_same_on_both_clusters(tmp_path: Path) -> None:
    figures = {figure.what: figure for figure in figures_of("survey", tmp_path)}
    assert any(what.startswith("LocalCluster in its place: no GPU here") for what in figures), list(figures)
    asked = {what: figure.passed for what, figure in figures.items() if figure.passed is not None}
    assert {"rows, objects and outcomes as on the CPU", "kmeans_distance: largest difference, same weights"} <= set(
        asked
    )
    assert all(asked.values()), [figure.line() for figure in figures.values()]


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize(
    "name", ["precision", pytest.param("compilation", marks=pytest.mark.full), "encoder", "likelihoods", "adversarial"]
)
def test_a_step_gives_figures(name: str, tmp_path: Path) -> None:
    compiler = torch.compile
    figures = figures_of(name, tmp_path)
    assert torch.compile is compiler
    assert figures
    assert all(figure.value > 0 for figure in figures if figure.unit.endswith("/s"))
    assert not [figure.line() for figure in figures if figure.passed is False]


def test_the_encoders_time_is_told_stage_by_stage(tmp_path: Path) -> None:
    figures = [figure for figure in figures_of("encoder", tmp_path) if figure.what.startswith("wgan.WGAN")]
    stages = {figure.what.partition(": ")[2]: figure.value for figure in figures if figure.unit == "s"}
    assert list(stages) == [
        "read, checksum, decode", "copy to the device, stretch", "model, and scores back", "calibrate, table",
        "write part and receipt",
    ]  # fmt: skip
    assert all(seconds > 0 for seconds in stages.values())


def test_a_stopwatch_books_calls_and_leaves_no_trace() -> None:
    class Kitchen:
        def cook(self) -> str:
            time.sleep(0.02)
            return "soup"

    cook = Kitchen.cook
    waited: list[int] = []
    with stopwatch.stopwatch([stopwatch.Stage("cooking", Kitchen, "cook", lambda: waited.append(1))]) as seconds:
        assert [Kitchen().cook() for _ in range(2)] == ["soup", "soup"]
    assert Kitchen.cook is cook
    assert 0.04 <= seconds["cooking"] < 1
    assert len(waited) == 2


def test_the_contract_step_tells_which_tests_failed_and_what_was_not_reached(tmp_path: Path) -> None:
    lines = [
        {"test": "t.py::test_a[vae.VAE]", "outcome": "passed", "why": ""},
        {"test": "t.py::test_b[vae.VAE]", "outcome": "failed", "why": "AssertionError: 3 is not 4"},
        {"test": "t.py::test_a[gan.GAN]", "outcome": "passed", "why": ""},
    ]
    found = tmp_path / "outcomes.jsonl"
    found.write_text("".join(json.dumps(line) + "\n" for line in lines))
    vae, gan, maf = contract.figures(("vae.VAE", "gan.GAN", "maf.MAF"), found, "")
    assert (vae.value, vae.unit, vae.passed, vae.note) == (1, "of 2 tests", False, "test_b: AssertionError: 3 is not 4")
    assert (gan.value, gan.passed) == (1, True)
    assert (maf.value, maf.passed) == (0, False), "no test of it ran"
    late = list(contract.figures(("gan.GAN",), found, "stopped after 120 s"))
    assert (late[0].passed, late[0].note) == (False, "stopped after 120 s")


def test_figures_of_a_step_that_is_cut_off_stay(tmp_path: Path) -> None:
    path = tmp_path / "figures.jsonl"
    figures = [Figure("rate", 12.5, "objects/s"), Figure("gap", 2.0, "sigma", False, "below 1")]
    write_figures(path, iter(figures), "cpu")
    with path.open("a") as file:
        file.write('{"what": "half a li')
    assert read_figures(path) == figures
    assert read_figures(tmp_path / "none.jsonl") == []


@pytest.mark.full
def test_a_step_that_takes_too_long_is_killed_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adversarial = next(step for step in STEPS if step.name == "adversarial")
    slow = Step("survey", "one that is killed at once", "benchmarks.gpu.survey", 0.05)
    last = Step("likelihoods", "one for which no time is left", "benchmarks.gpu.likelihoods", 30)
    patience = running.SMALL_PATIENCE
    code = run_steps(tmp_path, "cpu", True, None, (slow, adversarial), 280 / patience)
    assert code == 1
    assert run_steps(tmp_path / "..", "cpu", True, [last.name], (last,), 0.0) == 1
    late = json.loads((tmp_path / ".." / "results.json").read_text())["steps"]
    assert late["likelihoods"]["outcome"] == "not reached"
    written = json.loads((tmp_path / "results.json").read_text())
    assert {name: step["outcome"] for name, step in written["steps"].items()} == {
        "survey": "killed",
        "adversarial": "done",
    }
    assert written["steps"]["adversarial"]["passed"]
    assert written["steps"]["adversarial"]["peak_mib"] > 10
    assert written["machine"]["torch"] == torch.__version__
    assert "survey: one that is killed at once: NOT PASSED (killed)" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "results.json", "table.txt"]


def call(*words: str) -> subprocess.CompletedProcess[str]:
    own = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words],
        cwd=ROOT, env=os.environ | own, capture_output=True, text=True, timeout=290, check=False,
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_what_can_be_done(tmp_path: Path) -> None:
    done = call("--out", str(tmp_path))
    assert done.returncode == 2
    assert "torch sees no GPU; --device cpu --small shows whether all of it runs" in done.stderr


@pytest.mark.full  # seven processes, each of which imports torch: more than a minute on a busy machine
def test_the_whole_call_with_small_sizes(tmp_path: Path) -> None:
    done = call("--small", "--device", "cpu", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    steps: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())["steps"]
    assert list(steps) == [step.name for step in STEPS]
    assert all(step["passed"] for step in steps.values())


def test_the_call_fits_its_time() -> None:
    assert running.TOTAL_SECONDS <= 460, "with the installation before it less than eight minutes"
    assert sum(step.limit_seconds for step in STEPS) <= running.TOTAL_SECONDS + 10
    assert next(step.limit_seconds for step in STEPS if step.name == "contract") > contract.SECONDS
