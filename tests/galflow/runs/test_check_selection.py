"""A selection is held against headers and heads of catalogues before any work; tiles beyond it are not opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from galflow.errors import SpecError
from galflow.runs.check import check_run
from galflow.runs.plan import plan_run
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.store import Store

MODELS = [{"name": "k", "model": "kmeans.KMeans"}]


def tiles(root: Path, *names: str, columns: str = "object_id,ra,dec,mag,class") -> dict[str, Any]:
    """Tiles a degree apart, with a catalogue each."""
    for number, name in enumerate(names):
        ra = 10.0 + number
        header = fits.Header(
            {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRPIX1": 32.0, "CRPIX2": 32.0}
            | {"CDELT1": -1e-4, "CDELT2": 1e-4}
        )
        flux = np.random.default_rng(number).normal(0, 1, (64, 64)).astype(np.float32)
        fits.PrimaryHDU(flux, header).writeto(root / f"{name}.fits")
        rows = [f"{number}{i},{ra},{i * 1e-4},{20 + i},GALAXY" for i in range(3)]
        (root / f"{name}.csv").write_text("\n".join([columns, *rows, ""]))
    catalog = {"path": "{tile}.csv", "columns": {"ra_deg": "ra", "dec_deg": "dec"}}
    return {"root": str(root), "bands": {"r": "{tile}.fits"}, "catalog": catalog, "zero_point": 25}


def specified(options: dict[str, Any], **select: Any) -> RunSpec:
    survey = {"kind": "fits_tiles", "name": "s", "options": options, "select": select}
    return parse_spec({"name": "x", "survey": survey, "models": MODELS})


def test_every_rule_that_fits_no_catalogue_is_refused_with_the_others(tmp_path: Path) -> None:
    spec = specified(tiles(tmp_path, "a", "b"), where=["magn < 3", "mag < 22", "mag == 'x'", "z > 0.02"])
    with pytest.raises(SpecError) as refused:
        check_run(spec)
    lines = [line.strip() for line in str(refused.value).splitlines()]
    assert lines[0] == "the specification has 3 faults:"
    assert lines[1].startswith("survey.select.where[0]: there is no column 'magn'; did you mean mag? The catalogue has")
    assert lines[2].startswith("survey.select.where[2]: \"mag == 'x'\" compares a whole number with a text")
    assert lines[3].startswith("survey.select.where[3]: there is no column 'z'")


def test_a_column_that_some_tiles_lack_is_a_remark(tmp_path: Path) -> None:
    options = tiles(tmp_path, "a", "b", "c")
    text = (tmp_path / "b.csv").read_text()
    (tmp_path / "b.csv").write_text(text.replace("mag", "magnitude"))
    (remark,) = check_run(specified(options, where=["mag < 22"]))
    assert remark.startswith("tile b: survey.select.where[0]: there is no column 'mag'")


def test_regions_in_which_no_tile_lies_are_refused(tmp_path: Path) -> None:
    options = tiles(tmp_path, "a", "b")
    with pytest.raises(SpecError, match=r"survey.select.regions: none of the 2 tiles of s lies in them; correct them"):
        check_run(specified(options, regions=[{"circle": {"ra_deg": 60, "dec_deg": 0, "radius_deg": 5}}]))


def test_tiles_beyond_the_regions_are_planned_for_nothing(tmp_path: Path) -> None:
    options = tiles(tmp_path, "a", "b", "c")
    (tmp_path / "c.csv").write_text("no,catalogue\n")  # which nobody asks for
    spec = specified(options, regions=[{"box": {"ra_deg": [9.9, 11.1], "dec_deg": [-1, 1]}}], where=["mag < 22"])
    assert all("select" not in remark for remark in check_run(spec))
    plan = plan_run(spec, Store.open(tmp_path / "store"))
    assert [unit.name for unit in plan.cutouts] == ["a", "b"]
    assert plan.to_json()["selections"] == {"s": {"unopened": ["c"]}}
    plain = plan_run(specified(options), Store.open(tmp_path / "store"))
    assert "selections" not in plain.to_json()
    assert not {u.fingerprint for u in plain.units} & {u.fingerprint for u in plan.units}


def test_of_a_catalogue_for_all_tiles_the_plan_knows_the_counts_before_rows_are_given_to_tiles(tmp_path: Path) -> None:
    options = {"tiles": 3, "tile_size": 160, "objects_per_tile": 30, "catalog": "truth"}
    document = {
        "name": "x",
        "models": MODELS,
        "survey": {"kind": "synthetic", "options": options, "select": {"where": ["magnitude < 22"]}},
    }
    spec = parse_spec(document)
    check_run(spec)
    plan = plan_run(spec, Store.open(tmp_path / "store"))
    told = plan.to_json()["selections"]["synthetic"]
    rows = [unit.rows for unit in plan.cutouts if unit.rows is not None]
    assert told["selected"] == sum(map(len, rows))
    left = told["rows"] - told["selected"]
    assert told["left_out"] == [{"reason": "magnitude < 22", "objects": left, "alone": left}]
    assert left > 10
    assert max(max(part["magnitude"].to_pylist(), default=0) for part in rows) < 22
    document["survey"]["select"] = {"where": ["magnitud < 22", "anomaly"]}  # type: ignore[index]
    with pytest.raises(SpecError, match=r"has 2 faults:\n.*'magnitud'; did you mean magnitude(.|\n)*'anomaly' gives"):
        check_run(parse_spec(document))


def test_of_ready_made_stamps_the_names_of_columns_are_known(tmp_path: Path) -> None:
    (tmp_path / "spiral").mkdir()
    for i in range(3):
        np.save(tmp_path / "spiral" / f"g{i}.npy", np.zeros((1, 16, 16), np.float32))
    options = {"root": str(tmp_path), "bands": ["r"], "folder_column": "shape"}
    options |= {"pixel_scale_arcsec": 0.2, "pattern": "**.npy"}
    survey = {"kind": "stamps", "options": options, "select": {"where": ["shape == 'spiral'", "shap == 'a'"]}}
    with pytest.raises(SpecError, match=r"no column 'shap'; did you mean shape\?"):
        check_run(
            parse_spec({"name": "x", "models": MODELS, "survey": survey | {"select": {"where": ["shap == 'a'"]}}})
        )
