"""Warnings are kept down thread by thread, and the process's filters come out as they were."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from galflow.logs import quiet


def _warns(number: int) -> int:
    with quiet(UserWarning):
        for _ in range(20):
            warnings.warn(f"{number}", UserWarning, stacklevel=1)
    return number


def test_many_threads_leave_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(_warns, range(400))) == list(range(400))
    assert warnings.filters == before


def test_only_the_named_warnings_are_kept_down() -> None:
    with quiet(UserWarning), pytest.raises(RuntimeWarning, match="heard"):
        warnings.warn("heard", RuntimeWarning, stacklevel=1)
    with quiet():
        warnings.warn("not heard", RuntimeWarning, stacklevel=1)


def test_contexts_may_lie_in_one_another() -> None:
    with quiet(RuntimeWarning), quiet(UserWarning):
        assert _warns(1) == 1
