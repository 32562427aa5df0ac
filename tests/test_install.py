"""scripts/install: which torch and which extra it asks pip for. pip is a mock: the real one would fetch gigabytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOCK_PYTHON = """#!/bin/bash
if [ "$1" = -c ]; then [ -e "$(dirname "$0")/torch" ]; exit; fi
echo "$*" | sed 's/.* install //'; touch "$(dirname "$0")/torch"
"""
FROM_PYTORCH = "--index-url https://download.pytorch.org/whl/cu126 torch"


def install(folder: Path, cuda: str, driver: str | None, *extras: str) -> subprocess.CompletedProcess[str]:
    """Run it in a copy of what it needs, where the driver (if any) says that it takes CUDA ``driver``."""
    for name in ("scripts", ".venv/bin", "tools"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "install", folder / "scripts")
    shutil.copy(ROOT / "constraints.txt", folder)
    mocks = {".venv/bin/python": MOCK_PYTHON}
    if driver is not None:
        mocks["tools/nvidia-smi"] = f"#!/bin/bash\necho '| NVIDIA-SMI 580.1   CUDA Version: {driver}  |'\n"
    for name, text in mocks.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    own = {"PATH": f"{folder}/tools:{os.environ['PATH']}", "GALFLOW_CUDA": cuda}
    return subprocess.run(
        ["bash", "scripts/install", "python3", *extras],
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("cuda", "driver", "torch", "extras"),
    [
        ("13", None, None, "cuda13"),
        ("12", None, FROM_PYTORCH, "cuda12"),
        ("1", None, FROM_PYTORCH, "cuda12"),
        ("", "12.8", FROM_PYTORCH, "cuda12"),
        ("", "13.2", None, "cuda13"),
        ("", "14.1", None, "cuda13"),
        ("13", "12.8", None, "cuda13"),
    ],
)
def test_torch_and_dask_cuda_are_of_one_cuda(
    tmp_path: Path, cuda: str, driver: str | None, torch: str | None, extras: str
) -> None:
    done = install(tmp_path, cuda, driver)
    assert done.returncode == 0, done.stderr
    *before, last = done.stdout.splitlines()
    assert last == f"-c constraints.txt -e .[{extras}]"
    assert len(before) == (torch is not None)
    assert all(line.startswith(str(torch)) for line in before)


@pytest.mark.parametrize(
    ("cuda", "extras", "asked"), [("", [], "."), ("", ["test"], ".[test]"), ("13", ["docs"], ".[docs,cuda13]")]
)
def test_only_what_is_asked_for_is_installed(tmp_path: Path, cuda: str, extras: list[str], asked: str) -> None:
    """Without extras no test tools: so `make demo` installs it."""
    if not cuda and shutil.which("nvidia-smi"):
        pytest.skip("on a machine with a GPU the extra of its CUDA is installed too")
    done = install(tmp_path, cuda, None, *extras)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"-c constraints.txt -e {asked}"


def test_another_cuda_is_refused(tmp_path: Path) -> None:
    done = install(tmp_path, "11", None)
    assert done.returncode == 2
    assert "CUDA 11 is asked for; galflow is installed for 12 or 13" in done.stderr
    assert not done.stdout
