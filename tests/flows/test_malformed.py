"""Hundreds of malformed specifications: each is refused with exit 2 in seconds, or planned; none ends in a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.flows.malformed import ROOT, SPECIFICATIONS, bomb, small_data, specification

LIMIT_SECONDS = 5
Here = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    small_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GALFLOW_DATA", str(folder))
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        patch.delenv("GALFLOW_ROOT", raising=False)
        yield folder


class _TooLong(BaseException):
    """Five seconds are over."""


def _stop(*_: object) -> None:
    raise _TooLong


def faults_of(numbers: range, folder: Path, here: Here) -> list[str]:
    """A line for each specification that ends in a trace, with another code, or not in time."""
    found = []
    before = signal.signal(signal.SIGALRM, _stop)
    try:
        for number in numbers:
            path = folder / f"{number}.yaml"
            path.write_text(specification(number), encoding="utf-8")
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
            try:
                code, _, said = here("plan", str(path), "--root", str(folder / "store"))
            except _TooLong:
                found.append(f"{number}: more than {LIMIT_SECONDS} s")
            except Exception as error:  # noqa: BLE001 - that none comes is what is tested
                found.append(f"{number}: {type(error).__name__}: {str(error)[:200]}")
            else:
                if code not in (0, 2) or (code == 2) != said.startswith(("error: ", "Usage")) or len(said) > 30_000:
                    found.append(f"{number}: exit {code}, {len(said)} characters: {said[:300]}")
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if time.monotonic() - began > LIMIT_SECONDS:
                found.append(f"{number}: {time.monotonic() - began:.1f} s")
    finally:
        signal.signal(signal.SIGALRM, before)
    return found


def test_what_is_changed_can_be_planned(data: Path, here: Here, tmp_path: Path) -> None:
    """Else the changes would try nothing behind the first look at the data."""
    for path in SPECIFICATIONS:
        code, _, said = here("plan", str(path), "--root", str(tmp_path))
        assert code == 0, f"{path}: {said}"


def test_malformed_specifications_are_refused_in_time(data: Path, here: Here, tmp_path: Path) -> None:
    assert faults_of(range(60), tmp_path, here) == []


@pytest.mark.full
@pytest.mark.parametrize("part", range(5))
def test_a_thousand_malformed_specifications_are_refused_in_time(
    data: Path, here: Here, tmp_path: Path, part: int
) -> None:
    start = 60 + 220 * part
    assert faults_of(range(start, start + 220), tmp_path, here) == []


@pytest.mark.full
def test_the_command_itself_refuses_them(data: Path, tmp_path: Path) -> None:
    """In processes of their own, as a user gives them: an alias bomb, NUL, a number of tiles, a nesting, a pattern."""
    real = SPECIFICATIONS[-1].read_text("utf-8")
    texts = {
        "bomb": bomb(30) + real,
        "nul": real.replace("name: demo", 'name: "a\\0b"', 1),
        "date": real.replace("name: demo", "name: !!timestamp 2026-13-45", 1),
        "nesting": real + "extra: " + "[" * 3000,
        "tiles": real.replace("kind: hubble", "kind: synthetic\n  options: {tiles: 99999}", 1),
    }
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def ended(item: tuple[str, str]) -> tuple[int, str]:
        path = tmp_path / f"{item[0]}.yaml"
        path.write_text(item[1], encoding="utf-8")
        words = [sys.executable, "-m", "flows.cli", "plan", str(path), "--root", str(tmp_path / "store")]
        process = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=100, check=False)
        return process.returncode, process.stderr

    with ThreadPoolExecutor(2) as two:
        found = dict(zip(texts, two.map(ended, texts.items()), strict=True))
    for number, (code, said) in found.items():
        assert code == 2, f"{number}: {said}"
        assert said.startswith("error: "), f"{number}: {said}"
        assert "Traceback" not in said
