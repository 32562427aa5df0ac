"""Puts one deliberate fault after another into a copy of the source and says which of them the tests notice.

    python tests/mutants/run.py [WORD ...]     only mutants whose file or description holds one of these words

Exits 1 if fewer than 95 of 100 are noticed, or if the tests fail without any fault.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from mutants import MUTANTS, Mutant

PROJECT = Path(__file__).resolve().parents[2]
COPIED = ("galflow", "tasks", "flows", "tests", "pyproject.toml", "examples", "scripts")
ENOUGH = 0.95
SECONDS = 300
LIBRARIES = (
    "torch", "pandas", "pyarrow.parquet", "pyarrow.compute", "zarr", "xarray", "scipy.stats", "scipy.spatial", "sep",
    "astropy.wcs", "astropy.coordinates", "astropy.io.fits", "astropy.table", "distributed", "prefect", "pydantic",
)  # fmt: skip
"""Imported once for all mutants: that takes longer than most of their tests."""


def _child(folder: Path, selection: Sequence[str], log: Path) -> None:
    """In a process of its own, which has the libraries already and imports the copy of galflow afresh."""
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of plugins' libraries that are there already
    sys.exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not s3", *quiet, *selection])))


def run_tests(folder: Path, selection: Sequence[str]) -> tuple[bool, float]:
    """Whether these tests pass on the copy, and how long they took; a hang is a failure."""
    started = time.monotonic()
    log = folder / "pytest.log"
    process = multiprocessing.get_context("fork").Process(target=_child, args=(folder, selection, log))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
    elif process.exitcode not in (0, 1, 2):
        raise SystemExit(f"pytest {' '.join(selection)} ended with {process.exitcode}:\n{log.read_text()}")
    return process.exitcode == 0, time.monotonic() - started


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
        for library in LIBRARIES:
            importlib.import_module(library)
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
