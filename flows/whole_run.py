"""A whole run started from this process: check, plan, and only then Prefect and the workers."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flows import environment, run_server
from galflow.errors import GalflowError
from galflow.spec.run import RunSpec, load_spec, parse_spec, with_root

if TYPE_CHECKING:
    from flows.run_state import RunOutcome
    from galflow.runs.opened import PublishedRun
    from galflow.runs.plan import RunPlan
    from galflow.spec.emulation import EmulationSpec
    from galflow.storage.receipts import RunManifest
    from tasks.fan_out import Failure

logger = logging.getLogger(__name__)
Value = TypeVar("Value")


def do(
    spec: RunSpec,
    until: str,
    remark: Callable[[Sequence[str]], None],
    begin: Callable[[RunPlan], None],
) -> RunManifest | RunOutcome:
    """Do what is missing up to the stage ``until``, a name of flows.survey_run.FLOWS; how that ended.

    The manifest of a run that is published already if nothing was to do.

    ``remark`` is told what is wrong with some tiles, ``begin`` what is to do, before anything of it is done. SpecError
    for what is invalid, before any work.
    """
    from galflow.storage.look import one_look

    with one_look():
        return _do(spec, until, remark, begin)


def _do(
    spec: RunSpec, until: str, remark: Callable[[Sequence[str]], None], begin: Callable[[RunPlan], None]
) -> RunManifest | RunOutcome:
    from galflow.runs.check import check_run
    from galflow.runs.plan import plan_run
    from galflow.storage.receipts import read_manifest
    from galflow.storage.store import Store

    if spec.store.credentials_block is not None:
        _begin_prefect()
        run_server.wait()
        from tasks.credentials import use_credentials

        use_credentials(spec.store)
    remark(check_run(spec))
    store = Store.of(spec.store)
    plan = plan_run(spec, store)
    manifest = read_manifest(store, plan.run) if plan.done else None
    if manifest is not None:
        return manifest.located(store)
    store.require_writable()
    begin(plan)
    del plan  # of twenty thousand tiles; the flow plans each of its stages itself
    _begin_prefect()
    if spec.cluster.kind == "local":  # what workers are forked from gets ready while the rest does
        from tasks.worker_start import start_forking

        start_forking()
    from flows.run_state import run_here
    from flows.survey_run import FLOWS

    run_server.wait()
    return run_here(FLOWS[until], spec)


def emulate_here(spec: EmulationSpec) -> Sequence[Failure]:
    """Draw what is missing of an emulated survey; what could not be drawn."""
    _begin_prefect()
    if spec.cluster.kind == "local":
        from tasks.worker_start import start_forking

        start_forking()
    from flows.emulate import emulate
    from flows.run_state import run_here

    run_server.wait()
    return run_here(emulate, spec).failures


def _begin_prefect() -> None:
    """Its settings, and a server of the run's own where none is configured; not yet its import.

    A program that has imported Prefect before has it read them again.
    """
    environment.prepare()
    run_server.start()
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


@contextmanager
def _main_module_left_alone() -> Iterator[None]:
    """Worker processes do not run the program's own file again, which would start a run in each of them.

    Python imports it in every process that it starts, so that functions of it can be found there. A run's are all in
    modules, so a script needs no ``if __name__ == "__main__"``.
    """
    main = sys.modules["__main__"]
    file, spec = getattr(main, "__file__", None), main.__spec__
    if file is None:  # a notebook, or a prompt
        yield
        return
    del main.__file__
    main.__spec__ = None
    try:
        yield
    finally:
        main.__file__, main.__spec__ = file, spec


def outside_any_loop(work: Callable[[], Value]) -> Value:
    """What ``work`` returns, done in a thread without an event loop.

    In a notebook such a loop runs in this thread, and Prefect's calls would give coroutines under it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(1, "galflow-run") as thread:
        return thread.submit(work).result()


def run_published(spec: str | os.PathLike[str] | Mapping[str, Any] | RunSpec, root: str | None) -> PublishedRun:
    """A whole run for a Python program (``galflow.run``); what is worth a line goes to the log."""
    from galflow.runs.opened import published_at
    from galflow.storage.receipts import RunManifest
    from galflow.storage.store import Store

    if isinstance(spec, RunSpec):
        wanted = spec
    else:
        wanted = parse_spec(dict(spec)) if isinstance(spec, Mapping) else load_spec(Path(spec))
    if root is not None:
        wanted = with_root(wanted, root)
    store = Store.of(wanted.store)

    def remark(remarks: Sequence[str]) -> None:
        for line in remarks:
            logger.warning("%s", line)

    def done() -> RunManifest | RunOutcome:
        return do(wanted, "survey-run", remark, lambda plan: logger.info("%s begins", plan.run))

    with _main_module_left_alone():
        ended = outside_any_loop(done)
    if isinstance(ended, RunManifest):
        return published_at(store, ended.run)
    for failure in ended.failures:
        logger.error("failed: %s %s: %s", failure.stage, failure.name, failure.reason)
    if ended.manifest is None:
        reasons = "; ".join(f"{f.stage} {f.name}: {f.reason}" for f in ended.failures[:3])
        raise GalflowError(f"nothing is published: {reasons}. The same call again does what is still missing")
    return published_at(store, ended.manifest.run)
