from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

from galflow.surveys.reading.table_fits import read_fits_table
from galflow.surveys.reading.table_metadata import reasons_of


def written(path: Path, *columns: fits.Column, **cards: str) -> Path:
    unit = fits.BinTableHDU.from_columns(columns)
    unit.header.update(cards)
    unit.writeto(path / "c.fits", overwrite=True)
    return path / "c.fits"


def patched(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert content.count(old) == 1
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))
    return path


def read(path: Path) -> pa.Table:
    return read_fits_table(str(path), None)


@pytest.mark.parametrize(
    ("bytes_there", "expected"),
    [
        (b"Gal\xe9xie 7", "Galéxie 7"),
        ("Galaé 07".encode(), "Galaé 07"),
        (b"Gal\0xie 7", "Gal"),
        (b"       7 ", "       7"),
    ],
)
def test_text_that_is_not_ascii_keeps_its_row(tmp_path: Path, bytes_there: bytes, expected: str) -> None:
    names = np.array(["Galaxie 6", "Galaxie 7"], dtype="S12")
    path = written(tmp_path, fits.Column("id", "K", array=[6, 7]), fits.Column("name", "12A", array=names))
    table = read(patched(path, b"Galaxie 7", bytes_there))
    assert table["name"].to_pylist() == ["Galaxie 6", expected]
    assert table["id"].to_pylist() == [6, 7]
    assert reasons_of(table) == []


@pytest.mark.parametrize(
    ("form", "values", "cards", "expected"),
    [
        ("K", [2**62, -1], {"TZERO1": 10}, [2**62 + 10, 9]),
        ("K", [-(2**63), 5], {"TZERO1": 2**63}, [0, 2**63 + 5]),
        ("I", [-32768, 5], {"TZERO1": 32768, "TNULL1": 5}, [0, None]),
        ("J", [7, 8], {"TZERO1": 2**31, "TNULL1": 8}, [2**31 + 7, None]),
        ("B", [0, 255], {"TZERO1": -128}, [-128, 127]),
        ("I", [4, -9], {"TSCAL1": 0.5, "TZERO1": 1.0, "TNULL1": -9}, [3.0, None]),
        ("E", [4.0, np.nan], {"TSCAL1": 2.0}, [8.0, None]),
        ("K", [2**53 + 1, 0], {"TSCAL1": 1.0, "TZERO1": 0.0}, [2**53 + 1, 0]),
    ],
)
def test_scaled_numbers_are_exact_and_undefined_ones_null(
    tmp_path: Path, form: str, values: list[int], cards: dict[str, float], expected: list[int | None]
) -> None:
    path = written(tmp_path, fits.Column("n", form, array=np.array(values)))
    with fits.open(path, mode="update") as units:
        units[1].header.update(cards)
    table = read(path)
    assert table["n"].to_pylist() == expected
    assert reasons_of(table) == []


def test_vectors_bits_and_logicals(tmp_path: Path) -> None:
    cells = np.array([np.array([1, 2]), np.array([], dtype=int)], dtype=object)
    path = written(
        tmp_path,
        fits.Column("v", "3E", array=np.arange(6.0).reshape(2, 3)),
        fits.Column("m", "4J", dim="(2,2)", array=np.arange(8).reshape(2, 2, 2)),
        fits.Column("b", "10X", array=np.array([[True] * 9 + [False]] * 2)),
        fits.Column("l", "L", array=np.array([True, False])),
        fits.Column("p", "PJ()", array=cells),
        fits.Column("t", "6A", array=np.array(["ab cd", "x"], dtype="S6")),
    )
    with fits.open(path, mode="update") as units:
        units[1].header["TDIM6"] = "(3,2)"
    table = read(path)
    assert table["v"].type == pa.list_(pa.float32(), 3)
    assert table["m"].to_pylist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert table.schema.field("m").metadata == {b"tdim": b"(2,2)"}
    assert table["b"].to_pylist() == [[True] * 9 + [False]] * 2
    assert table["l"].to_pylist() == [True, False]
    assert table["p"].to_pylist() == [[1, 2], []]
    assert table["t"].to_pylist() == [["ab", "cd"], ["x", ""]]


def test_an_undefined_logical_is_null(tmp_path: Path) -> None:
    path = written(tmp_path, fits.Column("l", "4L", array=np.array([[True, False, True, True]])))
    assert read(patched(path, b"TFTT", b"TF\0?"))["l"].to_pylist() == [[True, False, None, None]]


def test_a_column_that_cannot_be_read_is_left_out_with_the_reason(tmp_path: Path) -> None:
    cells = np.array([np.array([1.0, 2.0]), np.array([3.0])], dtype=object)
    path = written(
        tmp_path,
        fits.Column("id", "K", array=[1, 2]),
        fits.Column("c", "C", array=np.zeros(2)),
        fits.Column("p", "PD()", array=cells),
        fits.Column("z", "J", array=[1, 2]),
    )
    with fits.open(path, mode="update") as units:
        units[1].header["TZERO4"] = 1e30
        units[1].header["TSCAL4"] = 1.0
    content = bytearray(path.read_bytes())
    at = content.index(np.array([2, 0], ">i4").tobytes(), 5760)
    content[at : at + 8] = np.array([2, 1 << 30], ">i4").tobytes()  # a pointer far behind the heap
    path.write_bytes(bytes(content))
    table = read(path)
    assert table["id"].to_pylist() == [1, 2]
    told = reasons_of(table)
    assert [reason.split("column ")[1].split(" is left")[0] for reason in told] == ["'c'", "'p'", "'z'"]
    assert "complex numbers have no column type" in told[0]


def test_names_that_repeat(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        fits.Column("mag", "K", array=[1]),
        fits.Column("MAG", "K", array=[2]),
        fits.Column("map", "K", array=[3]),
    )
    assert read(path).to_pylist() == [{"mag": 1, "MAG": 2, "map": 3}]
    table = read(patched(path, b"'map     '", b"'mag     '"))
    assert table.to_pylist() == [{"mag": 1, "MAG": 2, "mag_2": 3}]


def test_units_descriptions_and_ucds(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        fits.Column("ra", "D", unit="rad", array=[1.0]),
        fits.Column("n", "K", array=[1]),
        TCOMM1="right ascension",
        TUCD1="pos.eq.ra",
    )
    table = read(path)
    assert table.schema.field("ra").metadata == {
        b"unit": b"rad",
        b"description": b"right ascension",
        b"ucd": b"pos.eq.ra",
    }
    assert not table.schema.field("n").metadata


def test_tables_of_text(tmp_path: Path) -> None:
    unit = fits.TableHDU.from_columns(
        [
            fits.Column("id", "I10", ascii=True, array=np.array([1, 22, 3])),
            fits.Column("f", "E15.7", ascii=True, null="***", array=np.array([1.5, 2.5, 777.25])),
            fits.Column("s", "A8", ascii=True, array=np.array(["a", "b c", "d"])),
        ]
    )
    unit.writeto(tmp_path / "c.fits")
    table = read(patched(tmp_path / "c.fits", b"7.7725000E+02", b"          ***"))
    assert table["id"].to_pylist() == [1, 22, 3]
    assert table["f"].to_pylist() == [1.5, 2.5, None]
    assert table["s"].to_pylist() == ["a", "b c", "d"]
    assert reasons_of(table) == []


def test_a_table_without_rows_has_its_types(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        fits.Column("id", "K", array=np.array([], int)),
        fits.Column("s", "5A", array=np.array([], "S5")),
        fits.Column("v", "2E", array=np.zeros((0, 2))),
        fits.Column("p", "PE()", array=np.array([], object)),
    )
    table = read(path)
    assert table.num_rows == 0
    expected = [pa.int64(), pa.string(), pa.list_(pa.float32(), 2), pa.list_(pa.float32())]
    assert table.schema.types == expected
