"""Labels on a store: added by many at once, none lost, none replaced; what is no label is said and stops nobody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from galflow.errors import SpecError
from galflow.labels.records import Label, LabelBook, require_class, require_person
from galflow.storage.layout import labels_folder, product_of
from galflow.storage.store import Store


def label(object_id: int, said: str | None = "interesting", by: str = "ann", **more: Any) -> Label:
    at = more.pop("at", datetime(2026, 1, 2, 3, 4, 5, 678901, UTC))
    return Label(object_id=object_id, label=said, by=by, at=at, survey="sky", release="1", run="sky-1", **more)


@pytest.fixture(params=["file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "file" else request.getfixturevalue("s3_root")


def test_two_people_label_at_once_and_nothing_is_lost(root: str) -> None:
    def work(person: str) -> None:
        book = LabelBook(Store.open(root), "sky")
        for number in range(20):
            book.add([label(number, by=person)])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["ann", "bob"]))
    found = LabelBook(Store.open(root), "sky").read()
    assert sorted((one.by, one.object_id) for one in found) == [(p, n) for p in ("ann", "bob") for n in range(20)]


def test_an_act_is_one_object_and_a_book_sees_what_others_add(root: str) -> None:
    mine, other = (LabelBook(Store.open(root), "sky") for _ in range(2))
    mine.add([label(2**63 + 5, ra=10.0, dec=-5.0), label(3, note="a ring?")])
    other.add([label(3, "ring galaxy", "bob", at=datetime(2026, 1, 1, tzinfo=UTC))])
    assert mine.read() == other.read()
    assert [one.by for one in mine.read()] == ["bob", "ann", "ann"], "by their time"
    assert mine.read()[1].object_id == 2**63 + 5, "through no float"
    keys = Store.open(root).list(labels_folder("sky"))
    assert len(keys) == 2
    assert keys[0].startswith("labels/sky/ann/20260102T030405678901Z-")
    assert product_of(keys[0]) is None, "no garbage, and not to be verified against a receipt"


def test_what_is_no_label_is_said_and_stops_nobody(tmp_path: Path) -> None:
    book = LabelBook(Store.open(tmp_path), "sky")
    book.add([label(1)])
    book.store.put("labels/sky/eve/x.jsonl", b'{"object_id": "no"}\n')
    again = LabelBook(book.store, "sky")
    assert again.read() == [label(1)]
    assert "object_id" in again.unreadable["labels/sky/eve/x.jsonl"]


@pytest.mark.parametrize("name", ["", "../eve", "a/b", "-x", "x" * 64, "josé"])
def test_a_name_that_cannot_stand_in_a_key_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="expected up to 63 letters, digits"):
        require_person(name)


@pytest.mark.parametrize("name", ["", "Ring", "a/b", "1st", "x" * 41, "<script>", "disputed"])
def test_what_cannot_be_a_class_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="expected interesting, artefact, normal"):
        require_class(name)
    assert require_class("ring galaxy") == "ring galaxy"
    assert require_class(None) is None


def test_one_act_is_one_persons(tmp_path: Path) -> None:
    book = LabelBook(Store.open(tmp_path), "sky")
    with pytest.raises(SpecError, match="expected one person's"):
        book.add([label(1), label(1, by="bob")])
    with pytest.raises(SpecError, match="no object was given"):
        book.add([])
