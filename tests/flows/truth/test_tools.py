"""What a run wrote, opened by the tools that astronomers have: each finds the same numbers. And the run as a bundle."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import astropy.table
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

import galflow
from flows.cli import app
from galflow.runs.bundle import METADATA, PROFILE
from galflow.storage.layout import as_key

if TYPE_CHECKING:
    from conftest import Truth

COLUMNS = {"object_id": np.int64, "ra": float, "dec": float, "maf_bits_per_dim": float, "anomaly_rank": float}
"""Ids are 64-bit integers and never go through a float."""
Opened = dict[str, np.ndarray]


def catalog_folder(truth: Truth) -> Path:
    return truth.root / as_key(galflow.open_run(str(truth.root)).manifest.catalog)


def beside(truth: Truth, name: str) -> Path:
    """What lies in the catalogue's supplement."""
    (path,) = truth.root.glob(f"catalogs/*/*_supplement/{name}")
    return path


def plain(name: str, values: np.ndarray) -> np.ndarray:
    """Of a type that holds it, NaN for null."""
    masked = np.ma.asarray(values).astype(COLUMNS[name])
    return np.ma.filled(masked, np.nan) if COLUMNS[name] is float else masked.data


def by_astropy(truth: Truth) -> Opened:
    parts = [astropy.table.Table.read(p, format="parquet") for p in sorted(catalog_folder(truth).glob("*.parquet"))]
    return {name: np.concatenate([plain(name, part[name]) for part in parts]) for name in COLUMNS}


def by_fits(truth: Truth) -> Opened:
    table = astropy.table.Table.read(beside(truth, "*.fits"))
    return {name: plain(name, table[name]) for name in COLUMNS}


def by_votable(truth: Truth) -> Opened:
    table = astropy.table.Table.read(beside(truth, "*.vot"))
    return {name: plain(name, table[name]) for name in COLUMNS}


def by_pandas(truth: Truth) -> Opened:
    frame = pd.read_parquet(catalog_folder(truth))
    return {name: frame[name].to_numpy(kind, na_value=np.nan) for name, kind in COLUMNS.items()}


def by_polars(truth: Truth) -> Opened:
    frame = pl.read_parquet(f"{catalog_folder(truth)}/*.parquet")
    return {name: frame[name].to_numpy().astype(kind) for name, kind in COLUMNS.items()}


def by_duckdb(truth: Truth) -> Opened:
    with duckdb.connect() as connection:
        found = connection.sql(f"SELECT {', '.join(COLUMNS)} FROM '{catalog_folder(truth)}/*.parquet'").fetchnumpy()
    return {name: plain(name, found[name]) for name in COLUMNS}


@pytest.mark.parametrize("opened", [by_astropy, by_fits, by_votable, by_pandas, by_polars, by_duckdb])
@pytest.mark.filterwarnings("ignore:.*:pandas.errors.PandasDeprecationWarning")
def test_each_tool_gives_the_catalogues_numbers(truth: Truth, opened: Callable[[Truth], Opened]) -> None:
    found = opened(truth)
    for name, kind in COLUMNS.items():
        expected = np.asarray(truth.columns[name], kind)
        np.testing.assert_array_equal(found[name], expected, err_msg=name)


def test_xarray_finds_the_catalogues_rows_in_the_cutouts(truth: Truth) -> None:
    keys = np.asarray(truth.columns["cutout"], str)
    for key in np.unique(keys):
        with xr.open_zarr(truth.root / key, consolidated=False, chunks=None) as dataset:
            rows = np.flatnonzero(keys == key)
            numbers = truth.columns["row"][rows].astype(int)
            for name in ("ra", "dec"):
                np.testing.assert_allclose(dataset[name].to_numpy()[numbers], truth.columns[name][rows], atol=1e-9)


def test_the_votable_says_units_ucds_and_what_each_column_is(truth: Truth) -> None:
    table = astropy.table.Table.read(beside(truth, "*.vot"))
    assert table.colnames == truth.table.column_names
    for field in truth.table.schema:
        said = {key.decode(): text.decode() for key, text in field.metadata.items()}
        column = table[field.name]
        assert column.description == said["description"]
        assert column.meta.get("ucd") == said.get("ucd"), field.name
        assert str(column.unit or "") == said.get("unit", ""), field.name


STILTS = pytest.mark.skipif(shutil.which("stilts") is None, reason="stilts is not installed: scripts/install-system")


@STILTS
@pytest.mark.parametrize(
    "words",
    [
        ["tskymatch2", "error=0.01"],  # guesses the positions by their UCDs
        ["tmatch2", "matcher=sky", "params=0.01"] + [f"values{i}=ucd$pos_eq_ra_ ucd$pos_eq_dec_" for i in (1, 2)],
    ],
)
def test_stilts_finds_the_positions_by_their_ucds(truth: Truth, tmp_path: Path, words: list[str]) -> None:
    tables = [f"in1={beside(truth, '*.vot')}", f"in2={beside(truth, '*.fits')}", f"out={tmp_path}/m.csv", "ofmt=csv"]
    subprocess.run(["stilts", *words, *tables], check=True, capture_output=True, timeout=120)
    matched = pd.read_csv(tmp_path / "m.csv")
    assert len(matched) == np.isfinite(truth.columns["ra"]).sum()
    assert matched["Separation"].max() < 0.01
    assert (matched["object_id_1"] == matched["object_id_2"]).all()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_lsdb_opens_the_hats_catalogue_with_its_margin(truth: Truth) -> None:
    """A warning that a match may be incomplete is an error here."""
    lsdb = pytest.importorskip("lsdb", reason="the extra galflow[test] is not installed")
    ours = lsdb.open_catalog(
        beside(truth, "*_hats"), margin_cache=beside(truth, "*_hats_margin_10arcsec"), columns="all"
    )
    placed = np.isfinite(truth.columns["ra"])
    rows = ours.compute().sort_values(["tile", "row"])
    order = np.lexsort([truth.columns["row"], truth.columns["tile"].astype(str)])
    for name in COLUMNS:
        expected = truth.columns[name][order][placed[order]]
        np.testing.assert_array_equal(rows[name].to_numpy(expected.dtype, na_value=np.nan), expected, err_msg=name)
    matched = ours.crossmatch(ours, radius_arcsec=0.5, suffixes=("_ours", "_theirs")).compute()
    assert len(matched) == placed.sum()
    assert (matched["object_id_ours"] == matched["object_id_theirs"]).all()


def entities(crate: dict) -> dict[str, dict]:
    return {entity["@id"]: entity for entity in crate["@graph"]}


def test_a_bundle_is_an_ro_crate_that_describes_all_its_files(truth: Truth, tmp_path: Path) -> None:
    run = truth.run.manifest.run
    for name in ("paper", "paper.zip"):
        done = CliRunner().invoke(app, ["bundle", run, "-o", str(tmp_path / name), "--root", str(truth.root)])
        assert done.exit_code == 0, done.output
        assert f"galflow run {run}" in done.output
    folder = tmp_path / "paper"
    crate = json.loads((folder / METADATA).read_text())
    assert crate["@context"] == f"{PROFILE}/context"
    found = entities(crate)
    assert len(found) == len(crate["@graph"])
    assert found[METADATA]["conformsTo"] == {"@id": PROFILE}
    assert found[METADATA]["about"] == {"@id": "./"}
    assert {"name", "description", "datePublished", "license", "hasPart"} <= set(found["./"])
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert {n for n, e in found.items() if e["@type"] == "File"} == set(files) - {METADATA}
    for name in set(files) - {METADATA}:
        assert found[name]["sha256"] == hashlib.sha256(files[name].read_bytes()).hexdigest()
    reached, waiting = set(), ["./"]
    while waiting:
        parts = [part["@id"] for part in found[waiting.pop()].get("hasPart", [])]
        reached |= set(parts)
        waiting += parts
    assert set(files) - {METADATA} <= reached
    assert set(found["#run"]) >= {"instrument", "object", "result", "endTime"}
    with zipfile.ZipFile(tmp_path / "paper.zip") as archive:
        assert set(archive.namelist()) == set(files)
    assert yaml.safe_load((folder / "specification.yaml").read_text())["name"] == "truth"
    assert yaml.safe_load((folder / "CITATION.cff").read_text())["version"] == run
    opened = galflow.open_run(str(truth.root))
    flux = np.stack([opened.cutout(int(i)).flux for i in opened.top(3)["object_id"]])
    copied = galflow.score(str(folder / "models" / "maf"), flux)
    pd.testing.assert_frame_equal(copied, galflow.score(opened.model("maf"), flux))
    assert (folder / "models" / "maf" / "README.md").read_text().startswith("---\nlibrary_name: galflow\n")


def test_a_runs_model_as_onnx_gives_its_scores(truth: Truth, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra galflow[onnx] is not installed")
    opened = galflow.open_run(str(truth.root))
    path = tmp_path / "maf.onnx"
    done = CliRunner().invoke(app, ["export", opened.models["maf"], "-o", str(path)])
    assert done.exit_code == 0, done.output
    flux = np.stack([opened.cutout(int(i)).flux for i in opened.top(5)["object_id"]])
    expected = galflow.score(opened.model("maf"), flux)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert {"bits_per_dim", "loglike", "bpd"} <= set(names)
    for name, values in zip(names, session.run(names, {"images": flux}), strict=True):
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
