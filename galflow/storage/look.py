"""What a run has read already: a survey is opened and listed once, a receipt read once, a specification checked once.

Outside ``one_look`` everything is read afresh: a process that lives long sees what changed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

_SEEN: ContextVar[dict[Hashable, Any] | None] = ContextVar("galflow_seen", default=None)
Value = TypeVar("Value")


@contextmanager
def one_look() -> Iterator[None]:
    """Within it ``seen`` remembers; one look within another is the same look."""
    if _SEEN.get() is not None:
        yield
        return
    token = _SEEN.set({})
    try:
        yield
    finally:
        _SEEN.reset(token)


def seen(what: Hashable, make: Callable[[], Value]) -> Value:
    """What ``make`` returned in this look when it was first asked for ``what``; made anew where there is no look."""
    remembered = _SEEN.get()
    if remembered is None:
        return make()
    if what not in remembered:
        remembered[what] = make()
    return cast(Value, remembered[what])
