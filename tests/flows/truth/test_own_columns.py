"""A run on tiles whose own FITS catalogues have text ids, units, UCDs and vectors: nothing that was given is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

pytestmark = pytest.mark.full  # a run of its own

Here = Callable[..., tuple[int, str, str]]
SIDE = 160


def places(number: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = (g.ravel() for g in np.meshgrid(np.arange(10.0, SIDE, 20), np.arange(10.0, SIDE, 20)))
    return x + 0.25 * number, y


def write_tile(folder: Path, number: int) -> None:
    """An image of round galaxies and its catalogue, 1-based as FITS counts."""
    x, y = places(number)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(number)
    image = rng.normal(size=(SIDE, SIDE))
    for i, (column, row) in enumerate(zip(x, y, strict=True)):
        image += (20 + i) * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / 6)
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0})
    header.update({"CRVAL1": 150.0 + number, "CRVAL2": 60.0, "CDELT1": -5e-5, "CDELT2": 5e-5})
    fits.writeto(folder / f"t{number}.fits", image.astype(np.float32), header)
    n = len(x)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column("NAME", "12A", array=[f"J{number}+{i:03d}" for i in range(n)]),
            fits.Column("X", "D", array=x + 1, unit="pixel"),
            fits.Column("Y", "D", array=y + 1, unit="pixel"),
            fits.Column("REDSHIFT", "E", array=np.linspace(0, 2, n)),
            fits.Column("APER", "3E", array=np.arange(3 * n).reshape(n, 3), unit="mJy"),
            fits.Column("NOTE", "4A", array=["ok"] * n),
        ]
    )
    table.header["TUCD4"] = "src.redshift"
    table.header["TCOMM4"] = "photometric redshift"
    table.writeto(folder / f"t{number}.cat.fits")


@pytest.fixture(scope="module")
def own(run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("own")
    for number in range(2):
        write_tile(folder, number)
    columns = {"object_id": "NAME", "x": "X", "y": "Y"}
    options: dict[str, Any] = {
        "root": str(folder),
        "bands": {"r": "{tile}.fits"},
        "catalog": {"path": "{tile}.cat.fits", "columns": columns, "pixel_origin": 1},
    }
    document = {
        "name": "own",
        "survey": {"kind": "fits_tiles", "options": options},
        "cutouts": {"size": 12},
        "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
        "training": {"reference_fraction": 0.3},
        "cluster": {"workers": 1},
        "output": {"formats": ["parquet", "fits"], "columns": ["REDSHIFT", "APER"], "top": 3},
    }
    return run_to_its_end(folder, document, **prefect_api)


def folder_of(own: Finished) -> Path:
    return Path(own.root.removeprefix("file://"))


@pytest.fixture
def table(own: Finished) -> pa.Table:
    (folder,) = (p for p in folder_of(own).glob("catalogs/*/*") if p.is_dir() and not p.name.endswith("_supplement"))
    return pq.read_table(folder)


def test_names_and_columns_arrive_with_what_is_said_of_them(table: pa.Table) -> None:
    n = len(places(0)[0])
    assert sorted(table["source_name"].to_pylist()) == sorted(f"J{t}+{i:03d}" for t in range(2) for i in range(n))
    for name, tile, z, fluxes, x in zip(
        *(table[c].to_pylist() for c in ("source_name", "tile", "REDSHIFT", "APER", "x")), strict=True
    ):
        number, i = int(name[1]), int(name[3:])
        assert tile == f"t{number}"
        assert z == pytest.approx(2 * i / (n - 1))
        assert list(fluxes) == [3 * i, 3 * i + 1, 3 * i + 2]
        assert x == pytest.approx(places(number)[0][i])
    said = {field.name: field.metadata for field in table.schema}
    assert said["REDSHIFT"][b"ucd"] == b"src.redshift"
    assert said["REDSHIFT"][b"description"] == b"photometric redshift"
    assert said["APER"][b"unit"] == b"mJy"


def test_only_the_columns_asked_for_are_carried(table: pa.Table) -> None:
    carried = [f.name for f in table.schema if f.metadata[b"origin"] != b"galflow"]
    assert sorted(carried) == ["APER", "REDSHIFT"]


def test_fits_says_the_same(own: Finished, table: pa.Table) -> None:
    (path,) = folder_of(own).glob("catalogs/*/*_supplement/anomalies.fits")
    with fits.open(path) as file:
        header, data = file[1].header, file[1].data
        number = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
        assert header[f"TUNIT{number['APER']}"] == "mJy"
        assert header[f"TUCD{number['REDSHIFT']}"] == "src.redshift"
        assert header[f"TCOMM{number['REDSHIFT']}"] == "photometric redshift"
        np.testing.assert_array_equal(np.array(data["APER"]), np.array(table["APER"].to_pylist()))
        assert [str(v).strip() for v in data["source_name"]] == table["source_name"].to_pylist()


def test_lineage_and_report_speak_of_objects_by_name(own: Finished, table: pa.Table, here: Here) -> None:
    code, output, _ = here("lineage", own.manifest.run, "J1+005", "--root", own.root, "--json")
    (found,) = json.loads(output)
    assert (code, found["name"], found["tile"], found["row"]) == (0, "J1+005", "t1", 5)
    top = table.sort_by("anomaly_rank")["source_name"][0].as_py()
    page = (folder_of(own) / f"reports/{own.manifest.run}/lists.html").read_text()
    assert top in page


def test_a_negative_id_is_no_option(own: Finished, here: Here) -> None:
    code, _, errors = here("lineage", own.manifest.run, "-17", "--root", own.root)
    assert code != 0
    assert "has no object -17" in errors
