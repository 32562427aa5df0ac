"""The report's folder: its pictures drawn by the workers, a sheet each, and its pages written in this process."""

from __future__ import annotations

import getpass
import json
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from galflow.errors import GalflowError, TakenError
from galflow.report.report import ChosenReport, report_files
from galflow.report.site.latents import LatentMap, latent_map
from galflow.report.site.sheets import make_sheet, sheet_name
from galflow.runs.plan import Unit
from galflow.storage.checksums import FileSum
from galflow.storage.layout import report_product
from galflow.storage.products import outcome_of, write_product
from galflow.storage.receipts import Receipt
from tasks.fan_out import Work, run_stage
from tasks.worker_check import Needs
from tasks.worker_jobs import LOST_PICTURES, TAKEN, draw_sheet

_HERE = 1
"""So many sheets are drawn in this process: opening workers would take longer."""
_RAN = "ran.json"
"""Who made a report and when, put first: an attempt that broke off and the next one write the same pages."""


def write_report(chosen: ChosenReport, inputs: Mapping[str, str], places: Mapping[str, tuple[str, str]]) -> Receipt:
    """Write all files of a report; its receipt, partial where pictures could not be drawn.

    ``inputs``: fingerprints of what it is made of. ``places``: model name -> (key or URI, class).
    """
    run, store, started = chosen.inputs.run, chosen.inputs.store, time.perf_counter()
    reasons: list[str] = []

    def put(key: str) -> dict[str, FileSum]:
        reasons.clear()
        store.put_if_absent(f"{key}/{_RAN}", json.dumps(_now()).encode())
        ran = store.get(f"{key}/{_RAN}")
        files, lost = _write_sheets(chosen, key, places, reasons)
        latents = _latent_map(chosen, key)
        for name, data in report_files(chosen, sentence(json.loads(ran)), latents, lost):
            files[name] = store.put_once(f"{key}/{name}", data)
        return files | {_RAN: FileSum.of(ran)}

    def completed(receipt: Receipt) -> Receipt:
        outcome, told = outcome_of(reasons)
        return receipt.model_copy(update={"outcome": outcome, "reasons": told})

    receipt = Receipt(product=report_product(run), fingerprint=run.rpartition("-")[2], inputs=dict(inputs))
    return write_product(store, receipt, put, started, completed)


def _latent_map(chosen: ChosenReport, key: str) -> LatentMap | None:
    if chosen.encoder is None:
        return None
    return latent_map(chosen.inputs.store, key, chosen.encoder, {job.index: len(job.places) for job in chosen.jobs})


def _now() -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        user = ""
    return {"at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), "by": user, "on": platform.node()}


def sentence(ran: Mapping[str, str]) -> str:
    """When, by whom and on which machine a run was published."""
    by = f" by {ran['by']}" if ran["by"] else ""
    on = f" on {ran['on']}" if ran["on"] else ""
    return f"Published {ran['at']} UTC{by}{on}."


def _write_sheets(
    chosen: ChosenReport, key: str, places: Mapping[str, tuple[str, str]], reasons: list[str]
) -> tuple[dict[str, FileSum], list[int]]:
    """What was written of the sheets, and which of them were lost, with why added to ``reasons``."""
    store, jobs = chosen.inputs.store, chosen.jobs
    if len(jobs) <= _HERE:
        return _drawn_here(chosen, key, reasons)
    todo = []
    for job in jobs:
        unit = Unit(
            "publish", sheet_name(job.index), f"{chosen.inputs.run}-sheet-{job.index}", f"{key}/{job.index}", None
        )
        models = {name: places[name] for name in chosen.explaining} if job.index == 0 else {}
        encoder = None if chosen.encoder is None else places[chosen.encoder]
        arguments = {"store": store, "folder": key, "job": job, "models": models, "encoder": encoder}
        todo.append(Work(unit, draw_sheet, arguments))
    written = run_stage("publish", [work.unit for work in todo], todo, chosen.inputs.spec.cluster, needs=Needs(store))
    files: dict[str, FileSum] = {}
    for receipt in written.receipts:
        if TAKEN in receipt.details:
            raise TakenError(str(receipt.details[TAKEN]))
        files |= receipt.files
        reasons += receipt.details.get(LOST_PICTURES, [])
    reasons += [f"{failure.name} could not be drawn: {failure.reason}" for failure in written.failures]
    return files, [job.index for job in jobs if sheet_name(job.index) not in files]


def _drawn_here(chosen: ChosenReport, key: str, reasons: list[str]) -> tuple[dict[str, FileSum], list[int]]:
    files: dict[str, FileSum] = {}
    lost = []
    for job in chosen.jobs:
        try:
            encoder = None if chosen.encoder is None else chosen.inputs.models[chosen.encoder]
            written = make_sheet(chosen.inputs.store, key, job, chosen.explaining, encoder)
        except TakenError:
            raise
        except GalflowError as error:
            lost.append(job.index)
            reasons.append(f"{sheet_name(job.index)} could not be drawn: {error}")
        else:
            files |= written.files
            reasons += written.reasons
    return files, lost
