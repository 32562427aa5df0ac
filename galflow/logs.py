"""What a line of the log says beside its words: in which run, at which stage and unit it was written, on which machine.

It holds for all records, whoever makes them: the fields are added where a record is written out. Text by default; with
GALFLOW_LOG_FORMAT=json one JSON object a line. GALFLOW_LOG_LEVEL is the level of galflow's own loggers; of other
libraries warnings and errors are shown. This file knows neither Prefect nor Dask, and sends nothing anywhere.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast

from galflow.errors import SpecError
from galflow.variables import without_values

OWN_LOGGERS = ("galflow", "tasks", "flows")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_FORMATS = ("text", "json")


@dataclass(frozen=True)
class LogContext:
    """What is being worked on."""

    run: str = ""
    """The Prefect run's name and id, or the specification's name."""
    stage: str = ""
    unit: str = ""
    """A tile or a model."""


_WHERE: ContextVar[LogContext] = ContextVar("galflow_where", default=LogContext())  # noqa: B039 - frozen
_UNITS: list[LogContext] = []
"""The units that this process works on: one, unless a worker has several threads."""


def current_context() -> LogContext:
    """Where this is called. A helper thread of a process that works on just one unit belongs to that unit."""
    here = _WHERE.get()
    return _UNITS[0] if not here.unit and len(_UNITS) == 1 else here


@contextmanager
def log_context(here: LogContext | None = None, **changed: str) -> Iterator[None]:
    """What is logged in this block was done at ``here``, or at the present place with these fields changed."""
    found = replace(here or current_context(), **changed)
    token = _WHERE.set(found)
    begins = bool(found.unit) and found not in _UNITS
    if begins:
        _UNITS.append(found)
    try:
        yield
    finally:
        _WHERE.reset(token)
        if begins:
            _UNITS.remove(found)


@dataclass(frozen=True)
class LogSettings:
    """How the log is written. Whoever starts a run says it for its workers too."""

    level: str = "WARNING"
    format: Literal["text", "json"] = "text"

    @classmethod
    def from_environment(cls) -> LogSettings:
        """SpecError for a value that does not exist."""
        level = os.environ.get("GALFLOW_LOG_LEVEL", cls.level).upper()
        if level not in _LEVELS:
            raise SpecError(f"GALFLOW_LOG_LEVEL is {level!r}; it may be {', '.join(_LEVELS)}")
        form = os.environ.get("GALFLOW_LOG_FORMAT", cls.format).lower()
        if form not in _FORMATS:
            raise SpecError(f"GALFLOW_LOG_FORMAT is {form!r}; it may be {' or '.join(_FORMATS)}")
        return cls(level, cast(Literal["text", "json"], form))

    def formatter(self) -> logging.Formatter:
        """Of this format."""
        return JsonLines() if self.format == "json" else TextLines("%(levelname)s %(name)s%(place)s: %(message)s")


class TextLines(logging.Formatter):
    """A line a record; ``%(place)s`` is where it was made, as `` [amber-fox score 9813/402]``, or nothing."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, without a trace."""
        found = _where_of(record)
        words = [word for word in (found.run.partition("/")[0], found.stage, found.unit) if word]
        record.place = f" [{' '.join(words)}]" if words else ""
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line and the trace, if there is one."""
        return without_values(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        """The object in one line; a trace is one field of it."""
        fields = to_fields(record)
        time = datetime.fromtimestamp(fields.pop("created"), UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": time} | {name: value for name, value in fields.items() if value is not None})


def to_fields(record: logging.LogRecord) -> dict[str, Any]:
    """A record as plain values, which can travel between processes."""
    exception = record.exc_text
    if record.exc_info and not exception:
        exception = logging.Formatter().formatException(record.exc_info)
    return {
        "created": record.created,
        "level": record.levelname,
        "logger": record.name,
        "message": without_values(record.getMessage()),
        **asdict(_where_of(record)),
        "host": getattr(record, "host", socket.gethostname()),
        "pid": record.process,
        "exception": without_values(exception) if exception else None,
    }


def from_fields(fields: Mapping[str, Any]) -> logging.LogRecord:
    """The record that ``to_fields`` was given, for a logger of this process."""
    return logging.makeLogRecord(
        {
            "created": fields["created"],
            "levelname": fields["level"],
            "levelno": logging.getLevelNamesMapping()[fields["level"]],
            "name": fields["logger"],
            "msg": fields["message"],
            "host": fields["host"],
            "process": fields["pid"],
            "exc_text": fields["exception"],
            "where": LogContext(fields["run"], fields["stage"], fields["unit"]),
        }
    )


def _where_of(record: logging.LogRecord) -> LogContext:
    return getattr(record, "where", None) or current_context()


class ToStandardError(logging.StreamHandler[Any]):
    """This file's handler, which replaces its like. Prefect would not heed one whose name begins with an underscore."""


def log_to_stderr(
    settings: LogSettings, shown: Callable[[logging.LogRecord], bool] | None = None, replaced: tuple[type, ...] = ()
) -> None:
    """Write the log of this process to standard error, but only what is ``shown``.

    Takes the place of an earlier handler of this kind, and of those ``replaced``, on the root logger.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, (ToStandardError, *replaced)):
            root.removeHandler(handler)
    handler = ToStandardError()
    handler.setFormatter(settings.formatter())
    if shown is not None:
        handler.addFilter(shown)
    root.addHandler(handler)
    set_levels(settings)


def set_levels(settings: LogSettings) -> None:
    """The level of galflow's own loggers, and of all others."""
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(settings.level)
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[settings.level]))


_FILTERS = threading.RLock()


@contextmanager
def quiet(*categories: type[Warning]) -> Iterator[None]:
    """Ignore warnings of these categories (none named: all) as long as the context lasts.

    Python's warning filters belong to the whole process: two threads that change them at once bring back each other's
    old ones, sometimes for good. All of galflow changes them here, one thread at a time.
    """
    with _FILTERS, warnings.catch_warnings():
        for category in categories or (Warning,):
            warnings.simplefilter("ignore", category)
        yield
