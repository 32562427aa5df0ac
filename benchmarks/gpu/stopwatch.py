"""Where the time of one call goes: functions on its way are replaced by the same functions with a clock around them."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """A function or method by the object that holds it, and what its time is booked under."""

    name: str
    owner: Any
    function: str
    after: Callable[[], None] = lambda: None
    """Called before the clock stops, to wait for a GPU."""


@contextmanager
def stopwatch(stages: Sequence[Stage]) -> Iterator[dict[str, float]]:
    """Seconds spent in each stage inside the block, in whatever thread; threads that work side by side add up."""
    seconds = {stage.name: 0.0 for stage in stages}
    lock = threading.Lock()

    def watched(stage: Stage, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                found = function(*args, **kwargs)
                stage.after()
                return found
            finally:
                with lock:
                    seconds[stage.name] += time.perf_counter() - began

        return run

    originals = [getattr(stage.owner, stage.function) for stage in stages]
    for stage, function in zip(stages, originals, strict=True):
        setattr(stage.owner, stage.function, watched(stage, function))
    try:
        yield seconds
    finally:
        for stage, function in zip(stages, originals, strict=True):
            setattr(stage.owner, stage.function, function)
