"""A Dask scheduler in this process, with workers that are SLURM jobs. It submits no job for a run of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed.core import Status
from tornado.ioloop import PeriodicCallback

from galflow.errors import SpecError
from galflow.spec.cluster import ClusterSpec
from tasks.encryption import security_of

_LEAVE_SECONDS = 600.0
_LEAVE_SHARE = 0.1
"""So long before the end of its walltime a worker leaves, or this share of it if that is less."""
_REPLACE_SECONDS = 30.0
_ASK_SECONDS = 60.0


def slurm_cluster(spec: ClusterSpec, environment: Mapping[str, str]) -> Any:
    """A dask_jobqueue.SLURMCluster that has no worker yet. SpecError if its jobs could never start."""
    try:
        from dask_jobqueue import SLURMCluster
        from dask_jobqueue.slurm import SLURMJob
    except ImportError as error:
        raise SpecError(
            f"cluster.kind: slurm needs the package dask-jobqueue, which is not installed ({error}); "
            "install galflow[slurm], or use another kind"
        ) from error
    if shutil.which("sbatch") is None:
        raise SpecError(
            "cluster.kind: slurm needs the command sbatch, which is not on the PATH here; start the run on a machine "
            "that can submit SLURM jobs"
        )

    class Job(SLURMJob):
        """A job that knows when SLURM did not take it; otherwise the cluster could not be closed."""

        async def start(self) -> None:
            try:
                await super().start()
            except BaseException:
                self.status = Status.failed
                raise

    cluster = SLURMCluster(**{"job_cls": Job, **_keywords(spec, environment)})
    try:
        _require_accepted(cluster.job_script())
    except BaseException:
        cluster.close()
        raise
    _replace_lost_jobs(cluster)
    return cluster


def _keywords(spec: ClusterSpec, environment: Mapping[str, str]) -> dict[str, Any]:
    slurm = spec.slurm
    gpus = [f"--gres=gpu:{slurm.gpus_per_worker}"] if slurm.gpus_per_worker else []
    leave = min(_LEAVE_SECONDS, _LEAVE_SHARE * seconds_of(slurm.walltime))
    lifetime = int(seconds_of(slurm.walltime) - leave)
    return {
        "cores": 1,  # Dask's threads, that is units at a time; torch's are another matter
        "processes": 1,
        "memory": spec.memory_limit,
        "job_cpu": slurm.cores or spec.threads_per_worker,
        "job_name": "galflow-worker",
        "queue": slurm.queue,
        "account": slurm.account,
        "walltime": slurm.walltime,
        "job_extra_directives": [*gpus, *slurm.job_extra_directives],
        "job_script_prologue": [*(f"export {k}={v}" for k, v in environment.items()), *slurm.prologue],
        "interface": slurm.interface,
        "python": slurm.python,
        "local_directory": slurm.local_directory,
        "log_directory": slurm.log_directory,
        "security": security_of(spec.tls),
        # Staggered, so that not all leave at once.
        "worker_extra_args": ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{int(leave / 2)}s"],
        "scheduler_options": {"dashboard_address": spec.dashboard},
    }


def seconds_of(walltime: str) -> int:
    """Of a walltime as SLURM writes it, days-hours:minutes:seconds."""
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _require_accepted(script: str) -> None:
    """Ask SLURM whether it would take such a job. Without it a wrong partition would look like a long queue."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "job.sh")
        path.write_text(script, encoding="utf-8")
        try:
            asked = subprocess.run(
                ["sbatch", "--test-only", str(path)], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SpecError(
                f"sbatch --test-only has not answered for {_ASK_SECONDS:.0f} s; try again when SLURM answers"
            ) from error
    if asked.returncode != 0:
        raise SpecError(
            f"SLURM refuses such a job: {asked.stderr.strip() or asked.stdout.strip()}; "
            "correct cluster.slurm in the specification"
        )


def _replace_lost_jobs(cluster: Any) -> None:
    """Submit a job again that ended (walltime, node lost) or could not be submitted, while the cluster runs.

    dask-jobqueue does neither: it goes on counting a job that has ended.
    """

    def look() -> None:
        for name in [name for name, job in cluster.workers.items() if job.status is not Status.running]:
            del cluster.workers[name]
        if cluster.status is Status.running:
            cluster.scale(len(cluster.worker_spec))

    cluster.loop.add_callback(PeriodicCallback(look, _REPLACE_SECONDS * 1000).start)
