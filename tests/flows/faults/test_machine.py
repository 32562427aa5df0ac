"""Two runs at once, a disk that is full, and clocks that are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Matrix

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.full
def test_two_runs_of_the_same_specification_at_once(matrix: Matrix) -> None:
    both = [matrix.start(), matrix.start()]
    ended = [run.end() for run in both]
    assert [end.code for end in ended] == [0, 0], "\n".join(end.said for end in ended)
    matrix.require_same()
    matrix.line("two runs of the same specification at once", f"both end well; one catalogue, {ended[1].seconds:.0f} s")


@pytest.mark.parametrize("days", [-400, 3])
@pytest.mark.full
def test_clock_skew(matrix: Matrix, days: int) -> None:
    """The second start's clock is wrong by days, and so the products of both have times in the wrong order."""
    progress = matrix.progress()
    run = matrix.start()
    run.wait_for(lambda: progress.in_the_midst_of("scoring"), "scoring")
    run.kill()
    assert not progress.past("scoring")
    wrong = {"PYTHONPATH": str(Path(__file__).with_name("wrong_clock")), "WRONG_CLOCK_DAYS": str(days)}
    again = matrix.start(own_server=True, **wrong).end()
    assert again.code == 0, again.said
    matrix.require_same()
    matrix.line(
        f"clock skew: the next start's clock is wrong by {days:+d} days", f"same catalogue, {again.seconds:.0f} s"
    )


IN_A_SMALL_DISK = """
set -u
size=$1 disk=$2 copy=$3
shift 3
mount -t tmpfs -o size=$size tmpfs "$disk" || exit 77
"$@"
echo "first start: exit $?"
mount -o remount,size=500m "$disk"
"$@"
echo "second start: exit $?"
cp -a "$disk/store" "$copy"
"""


@pytest.mark.full
@pytest.mark.parametrize("size", ["256k", "900k", "1500k"])
def test_disk_full(matrix: Matrix, size: str) -> None:
    """The store on a file system of its own that has too little room, which then gets more."""
    disk = matrix.folder / "disk"
    disk.mkdir()
    spec = matrix.folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(matrix.undisturbed.document))
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", IN_A_SMALL_DISK, "sh", size, str(disk)]
    start = [sys.executable, "-m", "flows.cli", "run", str(spec), "--root", str(disk / "store")]
    ended = subprocess.run(
        [*words, str(matrix.folder / "store"), *start], env=os.environ | matrix.galflow.environment | matrix.prefect,
        cwd=PROJECT, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    if ended.returncode in (1, 77) and "first start" not in ended.stdout:
        pytest.skip(f"nobody may mount a file system here: {ended.stderr}")
    assert [line for line in ended.stdout.splitlines() if "start: exit" in line] == [
        "first start: exit 1", "second start: exit 0",
    ]  # fmt: skip
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    matrix.require_same()
    matrix.line(f"disk full: {size} of room", "a clear error; with more room the next start ends it; same catalogue")
