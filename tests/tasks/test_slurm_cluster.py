"""SLURM jobs by the real dask-jobqueue: what stands in their script, and whole runs with a stand-in for sbatch."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from galflow.errors import GalflowError, SpecError
from galflow.runs.plan import Unit
from galflow.spec.cluster import TlsFiles
from galflow.spec.run import RunSpec, load_spec
from galflow.storage.receipts import Receipt
from tasks import cluster, slurm_cluster
from tasks.cluster import open_client, running_cluster
from tasks.fan_out import Work, run_stage

pytest.importorskip("dask_jobqueue", reason="needs the extra galflow[slurm]")

Specify = Callable[..., RunSpec]
LOOPBACK = {"interface": "lo"}
SBATCH = """#!/bin/sh
# Stands in for SLURM on one machine: a job begins at once, in a session of its own, and scancel ends it.
if [ "$1" = --test-only ]; then
  if grep -q "#SBATCH -p nowhere" "$2"; then echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1; fi
  exit 0
fi
cd {folder}
if [ -e refuse ]; then rm refuse; echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1; fi
if [ -e queue ]; then echo "Submitted batch job 99999999"; exit 0; fi
number=$(ls *.job 2>/dev/null | wc -l)
cp "$1" "$number.job"
setsid sh "$number.job" > "$number.log" 2>&1 < /dev/null &
echo $! > "$!.pid"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -TERM -- "-$1" 2>/dev/null || true
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine on which jobs can be submitted: the folder with the scripts and logs of those that were."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH.replace("{folder}", str(folder))), ("scancel", SCANCEL)):
        path = folder / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    yield folder
    for pid in folder.glob("*.pid"):
        try:
            os.killpg(int(pid.stem), signal.SIGKILL)
        except ProcessLookupError:
            continue


def units(number: int) -> list[Work]:
    """So many units that say which process made them."""

    def make(name: str) -> Receipt:
        return Receipt(product=name, fingerprint=name, rows=int(os.environ["MALLOC_TRIM_THRESHOLD_"]))

    names = [f"t{i}" for i in range(number)]
    return [Work(Unit("cut", n, n, n, None), make, {"name": n}) for n in names]


def test_job_is_as_specified(slurm: Path, specify: Specify, make_tls: Callable[[str], TlsFiles]) -> None:
    tls = make_tls("slurm")
    spec = specify(
        kind="slurm", workers=20, memory_limit="16GiB", threads_per_worker=4, tls=tls.model_dump(),
        slurm={
            "queue": "gpu", "account": "astro", "walltime": "0-02:30:00", "gpus_per_worker": 1, "interface": "lo",
            "job_extra_directives": ["--constraint=a100"], "prologue": ["module load cuda", "ulimit -n 4096"],
            "python": "/shared/galflow/bin/python", "local_directory": "/scratch", "log_directory": str(slurm / "logs"),
        },
    ).cluster  # fmt: skip
    with slurm_cluster.slurm_cluster(spec, {"MALLOC_TRIM_THRESHOLD_": "7"}) as running:
        script = running.job_script()
        address = running.scheduler_address
    lines = script.splitlines()
    directives = ["-J galflow-worker", "-p gpu", "-A astro", "-n 1", "--cpus-per-task=4", "--mem=16G", "-t 0-02:30:00",
                  "--gres=gpu:1", "--constraint=a100", f"-o {slurm}/logs/galflow-worker-%J.out"]  # fmt: skip
    for directive in directives:
        assert f"#SBATCH {directive}" in lines
    # The environment first: a line of the specification may change it.
    assert (
        lines.index("export MALLOC_TRIM_THRESHOLD_=7") < lines.index("module load cuda") < lines.index("ulimit -n 4096")
    )
    command = next(
        line for line in lines if line.startswith("/shared/galflow/bin/python -m distributed.cli.dask_worker")
    )
    assert address.startswith("tls://127.0.0.1:")
    # It leaves a tenth, but at most ten minutes, before two and a half hours are over.
    parts = [address, "--nthreads 1", "--memory-limit 16.00GiB", "--nanny", "--lifetime 8400s",
             "--lifetime-stagger 300s", "--local-directory /scratch", "--interface lo", "--protocol tls://",
             f"--tls-key {tls.key_file}",
             f"--tls-cert {tls.cert_file}", f"--tls-ca-file {tls.ca_file}"]  # fmt: skip
    for part in parts:
        assert f" {part} " in f"{command} "
    assert "BEGIN" not in script


@pytest.mark.full
def test_stage_runs_in_a_job_over_tls(slurm: Path, specify: Specify, make_tls: Callable[[str], TlsFiles]) -> None:
    tls = make_tls("slurm-run")
    adaptive = {"minimum": 1, "maximum": 1}
    spec = specify(
        kind="slurm", adaptive=adaptive, memory_limit="1GiB", tls=tls.model_dump(), slurm=LOOPBACK, wait_minutes=2
    )
    with running_cluster(spec) as reached:
        assert str(reached.cluster.address).startswith("tls://127.0.0.1:")
        todo = units(3)
        result = run_stage("cut", [w.unit for w in todo], todo, reached.cluster)
    assert [(r.product, r.rows) for r in result.receipts] == [(w.unit.name, 1 << 30) for w in todo]
    assert len(list(slurm.glob("*.job"))) == 1
    assert _ended(slurm)


@pytest.mark.full
def test_job_that_ends_or_is_not_taken_is_submitted_again(
    slurm: Path, specify: Specify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its walltime is over, or when SLURM does not answer for a moment."""
    monkeypatch.setattr(slurm_cluster, "_REPLACE_SECONDS", 0.5)
    monkeypatch.setitem(cluster._LOST_WORKER_TIMEOUT, "slurm", "1s")
    (slurm / "refuse").touch()
    spec = specify(kind="slurm", workers=1, memory_limit="1GiB", slurm=LOOPBACK, wait_minutes=2)
    with running_cluster(spec) as reached, open_client(reached.cluster) as client:
        assert not (slurm / "refuse").exists()
        (first,) = client.scheduler_info()["workers"]
        (job,) = slurm.glob("*.pid")
        os.killpg(int(job.stem), signal.SIGKILL)
        deadline = time.monotonic() + 90
        while set(client.scheduler_info()["workers"]) in ({first}, set()):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert client.submit(lambda: 7).result(timeout=30) == 7
    assert len(list(slurm.glob("*.job"))) == 2
    assert _ended(slurm)


def test_job_that_does_not_begin_in_time_is_given_up(slurm: Path, specify: Specify) -> None:
    (slurm / "queue").touch()
    spec = specify(kind="slurm", workers=1, memory_limit="1GiB", slurm=LOOPBACK, wait_minutes=0.02)
    with (
        pytest.raises(GalflowError, match=r"no slurm worker came within 0\.02 minutes .*; look at the queue"),
        running_cluster(spec),
    ):
        pass


def test_what_slurm_refuses_is_said_before_anything_is_submitted(slurm: Path, specify: Specify) -> None:
    spec = specify(kind="slurm", workers=1, memory_limit="1GiB", slurm=LOOPBACK | {"queue": "nowhere"})
    with (
        pytest.raises(
            SpecError, match=r"SLURM refuses such a job: sbatch: error: invalid partition .*: nowhere; correct"
        ),
        running_cluster(spec),
    ):
        pass
    assert not list(slurm.glob("*.job"))


def test_without_sbatch_the_run_says_where_to_start_it(
    specify: Specify, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(SpecError, match=r"sbatch, which is not on the PATH here; start the run on a machine that can"),
        running_cluster(specify(kind="slurm", workers=1, memory_limit="1GiB")),
    ):
        pass


def test_without_its_package_the_run_says_what_to_install(specify: Specify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with (
        pytest.raises(SpecError, match=r"install galflow\[slurm\], or use another kind"),
        running_cluster(specify(kind="slurm", workers=1, memory_limit="1GiB")),
    ):
        pass


@pytest.mark.parametrize(
    ("walltime", "seconds"), [("00:00:30", 30), ("4:00:00", 14400), ("1-00:00:01", 86401), ("100-01:01:01", 8643661)]
)
def test_walltime_is_read_as_slurm_does(walltime: str, seconds: int) -> None:
    assert slurm_cluster.seconds_of(walltime) == seconds


def test_shipped_specification_is_valid() -> None:
    folder = Path(__file__).resolve().parents[2] / "deploy" / "slurm"
    assert load_spec(folder / "survey.yaml").cluster.kind == "slurm"
    subprocess.run(["sh", "-n", str(folder / "run.sbatch")], check=True)


def _ended(slurm: Path) -> bool:
    """Whether no process of any job is left, within some seconds."""
    deadline = time.monotonic() + 30
    while any(_alive(int(pid.stem)) for pid in slurm.glob("*.pid")):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
