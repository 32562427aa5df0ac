from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from time import sleep

from galflow.surveys.reading.last_tile import LastTile


def test_the_same_tile_is_made_once_and_only_the_last_is_kept() -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name.upper()

    last = LastTile[str]()
    answers = [last.get(name, lambda name=name: make(name)) for name in ("a", "a", "b", "b", "a")]  # type: ignore[misc]
    assert answers == ["A", "A", "B", "B", "A"]
    assert made == ["a", "b", "a"]


def test_threads_that_ask_for_one_tile_make_it_once() -> None:
    made: list[int] = []

    def slowly() -> int:
        made.append(1)
        sleep(0.05)
        return 7

    last = LastTile[int]()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: last.get("a", slowly), range(4))) == [7] * 4
    assert len(made) == 1


def test_nothing_of_it_is_pickled() -> None:
    last = LastTile[bytes]()
    last.get("a", lambda: bytes(10_000))
    content = pickle.dumps(last)
    assert len(content) < 500
    assert pickle.loads(content).get("a", lambda: b"new") == b"new"
