from __future__ import annotations

import pyarrow as pa
import pytest

from galflow.errors import DataError
from galflow.surveys.reading import table_ids
from galflow.surveys.reading.table_ids import hash63, identify


def column(*values: object, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def test_written_integers_are_integers_only_if_all_are() -> None:
    assert identify(column("12", " -3", "+4"), "id", "c.csv", typed=False).ids.to_pylist() == [12, -3, 4]
    largest = identify(column(str(2**64 - 1), "3"), "id", "c.csv", typed=False).ids
    assert largest.type == pa.uint64()
    assert largest.to_pylist() == [2**64 - 1, 3]
    mixed = identify(column("12", "x7", None), "id", "c.csv", typed=False)
    assert mixed.ids.to_pylist() == [hash63("12"), hash63("x7"), None]
    assert mixed.names is not None
    assert mixed.names.to_pylist() == ["12", "x7", None]
    assert "integers in 1 rows only, others are such as 'x7': all are taken as text" in mixed.reasons[0]


@pytest.mark.parametrize("text", ["123456789012345678901", "0x1F", "3F2", "2025-11-01"])
def test_what_no_integer_holds_is_a_name(text: str) -> None:
    found = identify(column(text), "id", "c.csv", typed=False)
    assert found.names is not None
    assert found.ids.to_pylist() == [hash63(text)]


def test_text_of_a_typed_file_is_text_and_blanks_around_it_are_none() -> None:
    found = identify(column("1 ", "2", ""), "id", "c.fits", typed=True)
    assert found.names is not None
    assert found.names.to_pylist() == ["1", "2", None]
    assert found.ids[0].as_py() == hash63("1")


def test_decimals_without_places_are_exact() -> None:
    decimals = column(2**63 - 1, 5, kind=pa.decimal128(20, 0))
    assert identify(decimals, "id", "c.parquet", typed=True).ids.to_pylist() == [2**63 - 1, 5]


def test_two_texts_of_one_hash_are_refused_and_one_text_twice_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = identify(column("a", "b", "a"), "id", "c.fits", typed=True).ids.to_pylist()
    assert twice[0] == twice[2] != twice[1]
    monkeypatch.setattr(table_ids, "hash63", lambda text: 5)
    with pytest.raises(DataError, match=r"the ids 'a' and 'b' in column 'id' have the same hash 5; rename one"):
        identify(column("a", "b"), "id", "c.fits", typed=True)


def test_a_hash_is_never_negative_and_always_the_same() -> None:
    assert hash63("NGC 1") == 0xE782541FACC4A5C0 & (2**63 - 1)  # sha256sum
    assert all(0 <= hash63(str(i)) < 2**63 for i in range(1000))
