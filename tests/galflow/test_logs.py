"""What a line of the log holds: its place, as text and as JSON, also from helper threads and from other processes."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from galflow.errors import SpecError
from galflow.logs import LogContext, LogSettings, current_context, from_fields, log_context, log_to_stderr, to_fields

Lines = Callable[[], list[str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """What is on standard error; the root logger, here without handlers, and galflow's are put back afterwards."""
    loggers = [logging.getLogger(name) for name in (None, "galflow", "tasks", "flows")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    loggers[0].handlers.clear()
    yield lambda: capsys.readouterr().err.splitlines()
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def test_text_names_the_place_where_there_is_one(said: Lines) -> None:
    log_to_stderr(LogSettings())
    log = logging.getLogger("galflow.scores.reuse")
    log.warning("nowhere")
    with log_context(run="amber-fox/0197", stage="score"):
        log.warning("%s done", "half")
        with log_context(unit="9813/402"):
            log.warning("odd")
            log.info("not shown")
    assert current_context() == LogContext()
    assert said() == [
        "WARNING galflow.scores.reuse: nowhere",
        "WARNING galflow.scores.reuse [amber-fox score]: half done",
        "WARNING galflow.scores.reuse [amber-fox score 9813/402]: odd",
    ]


def test_json_is_one_object_a_line_with_the_trace_in_a_field(said: Lines) -> None:
    log_to_stderr(LogSettings("INFO", "json"))
    before = datetime.now(UTC)
    with log_context(LogContext("amber-fox/0197", "ingest", "t1")):
        logging.getLogger("galflow.cut").info("two\nlines")
        logging.getLogger("elsewhere").info("chat")
        try:
            raise ValueError("a bug")
        except ValueError:
            logging.getLogger("elsewhere").exception("failed")
    first, second = (json.loads(line) for line in said())
    time = datetime.fromisoformat(first.pop("time"))
    assert time.tzinfo == UTC
    assert abs((time - before).total_seconds()) < 60
    place: dict[str, Any] = {"run": "amber-fox/0197", "stage": "ingest", "unit": "t1", "host": socket.gethostname()}
    assert set(first) == {"level", "logger", "message", "pid", *place}
    assert first | place | {"level": "INFO", "logger": "galflow.cut", "message": "two\nlines"} == first
    assert second["exception"].splitlines()[0] == "Traceback (most recent call last):"
    assert second["exception"].endswith("ValueError: a bug")


def test_a_helper_thread_belongs_to_the_only_unit(said: Lines) -> None:
    log_to_stderr(LogSettings())
    log = logging.getLogger("galflow.reader")

    def read(name: str) -> None:
        thread = threading.Thread(target=log.warning, args=(name,))
        thread.start()
        thread.join()

    with log_context(LogContext("r", "score", "t1")):
        read("one")
        with log_context(unit="t2"):
            read("two at once: a thread may be of either")
    read("none")
    assert [line.partition(": ")[0] for line in said()] == [
        "WARNING galflow.reader [r score t1]", "WARNING galflow.reader", "WARNING galflow.reader",
    ]  # fmt: skip


def test_a_record_from_another_process_keeps_its_place(said: Lines) -> None:
    with log_context(LogContext("r", "score", "t1")):
        sent = to_fields(logging.makeLogRecord({"name": "galflow.x", "levelname": "WARNING", "msg": "odd"}))
    travelled = json.loads(json.dumps(sent | {"host": "far", "pid": 7}))
    log_to_stderr(LogSettings(format="json"))
    with log_context(LogContext("r", "here")):
        logging.getLogger("galflow.x").handle(from_fields(travelled))
    (line,) = said()
    found = json.loads(line)
    assert {name: found[name] for name in ("host", "pid", "stage", "unit", "message")} == {
        "host": "far", "pid": 7, "stage": "score", "unit": "t1", "message": "odd",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("GALFLOW_LOG_LEVEL", "loud", "GALFLOW_LOG_LEVEL is 'LOUD'; it may be DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ("GALFLOW_LOG_FORMAT", "xml", "GALFLOW_LOG_FORMAT is 'xml'; it may be text or json"),
    ],
)
def test_what_does_not_exist_is_refused(name: str, value: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=text):
        LogSettings.from_environment()


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GALFLOW_LOG_LEVEL", raising=False)
    monkeypatch.delenv("GALFLOW_LOG_FORMAT", raising=False)
    assert LogSettings.from_environment() == LogSettings("WARNING", "text")
    monkeypatch.setenv("GALFLOW_LOG_LEVEL", "info")
    monkeypatch.setenv("GALFLOW_LOG_FORMAT", "json")
    assert LogSettings.from_environment() == LogSettings("INFO", "json")
