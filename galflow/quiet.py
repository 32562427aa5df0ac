"""A library's warnings kept down while its result is looked at anyway.

Python's warning filters belong to the whole process: two threads that change them at once bring back each other's old
ones, sometimes for good. All of galflow changes them here, one thread at a time.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_FILTERS = threading.RLock()


@contextmanager
def quiet(*categories: type[Warning]) -> Iterator[None]:
    """Ignore warnings of these categories (none named: all) as long as the context lasts."""
    with _FILTERS, warnings.catch_warnings():
        for category in categories or (Warning,):
            warnings.simplefilter("ignore", category)
        yield
