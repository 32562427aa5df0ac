"""Puts one deliberate fault after another into a copy of the source and says which of them the tests notice.

    python tests/mutants/run.py [WORD ...]     only mutants whose file or description holds one of these words

Exits 1 if fewer than 95 of 100 are noticed, or if the tests fail without any fault.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from mutants import MUTANTS, Mutant

PROJECT = Path(__file__).resolve().parents[2]
COPIED = ("galflow", "tasks", "flows", "tests", "pyproject.toml", "examples", "scripts")
ENOUGH = 0.95
SECONDS = 300


def run_tests(folder: Path, selection: Sequence[str]) -> tuple[bool, float]:
    """Whether these tests pass on the copy, and how long they took; a hang is a failure."""
    started = time.monotonic()
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not s3", *selection]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False, time.monotonic() - started
    if done.returncode not in (0, 1, 2):
        raise SystemExit(f"pytest {' '.join(selection)} ended with {done.returncode}:\n{done.stdout.decode()}")
    return done.returncode == 0, time.monotonic() - started


def noticed(folder: Path, mutant: Mutant) -> tuple[bool, float]:
    """Whether the mutant's tests fail with it."""
    path = folder / mutant.file
    sound = path.read_text()
    if sound.count(mutant.source) != 1:
        raise SystemExit(f"{mutant.file} holds {mutant.source!r} {sound.count(mutant.source)} times; expected once")
    path.write_text(sound.replace(mutant.source, mutant.fault))
    try:
        passed, seconds = run_tests(folder, mutant.tests)
    finally:
        path.write_text(sound)
    return not passed, seconds


def main(words: Sequence[str]) -> int:
    """The table, and the exit code."""
    chosen = [m for m in MUTANTS if not words or any(w in m.file or w in m.breaks for w in words)]
    lived = []
    by_room: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="galflow-mutants-") as name:
        folder = Path(name)
        for part in COPIED:
            if (source := PROJECT / part).is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / part)
        passed, seconds = run_tests(folder, sorted({test for mutant in chosen for test in mutant.tests}))
        print(f"without a fault: {'pass' if passed else 'FAIL'} ({seconds:.0f} s)", flush=True)
        if not passed:
            return 1
        for number, mutant in enumerate(chosen, start=1):
            found, seconds = noticed(folder, mutant)
            by_room[mutant.file].append(found)
            lived += [] if found else [mutant]
            verdict = "killed" if found else "LIVED "
            print(f"{number:3}/{len(chosen)} {verdict} {seconds:4.0f} s  {mutant.file}: {mutant.breaks}", flush=True)
    print()
    for file, found_in in sorted(by_room.items()):
        print(f"{sum(found_in):3} of {len(found_in):2} killed  {file}")
    share = 1 - len(lived) / max(1, len(chosen))
    print(f"{share:.1%} of {len(chosen)} mutants killed; lived: {'; '.join(m.breaks for m in lived) or 'none'}")
    return 0 if share >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
