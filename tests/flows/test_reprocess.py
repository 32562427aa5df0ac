"""An upstream update: of twelve tiles two change, one is added and one removed. What is far from them stays."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits

from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.stream import stretch_for
from galflow.runs.plan import plan_cutouts
from galflow.spec.run import RunSpec, SurveySpec, parse_spec
from galflow.storage.products import Target
from galflow.storage.receipts import list_runs, read_manifest, read_receipts
from galflow.storage.store import Store
from galflow.surveys.base import Survey, Tile
from galflow.surveys.resolve import open_survey
from galflow.training.train_model import Recipe, train_model

if TYPE_CHECKING:
    from conftest import Command, RunToItsEnd

BEFORE = [f"t{i:05d}" for i in range(12)]
CHANGED, REMOVED, ADDED = ["t00002", "t00007"], "t00005", "t00012"
AFTER = [name for name in BEFORE if name != REMOVED] + [ADDED]
SIDE = 384
"""Pixels; so wide that only the tiles next to one come within reach of its objects."""


def near(*numbers: int) -> set[str]:
    """These tiles of the strip and those next to them, of the tiles that there are."""
    return {f"t{n + step:05d}" for n in numbers for step in (-1, 0, 1)} & set(AFTER)


REACHED = near(2, 7, 5, 12)
"""Tiles whose objects have another neighbourhood after the update; a tile that is cut anew is one of them."""


@pytest.fixture(scope="module")
def sky() -> Survey:
    options = {"tiles": 13, "tile_size": SIDE, "objects_per_tile": 12, "overlap_pixels": 0, "anomaly_fraction": 0.0}
    return open_survey(SurveySpec(kind="synthetic", options=options))


def write_tile(folder: Path, sky: Survey, tile: Tile, brighter: float = 0.0) -> None:
    footprint = sky.footprint(tile)
    assert footprint is not None
    assert footprint.wcs is not None
    flux = sky.read(tile, "r").flux
    fits.PrimaryHDU(flux * (1 + brighter), footprint.wcs.to_header()).writeto(
        folder / f"{tile.name}-r.fits", overwrite=True
    )


def write_catalogue(folder: Path, sky: Survey, names: Sequence[str]) -> int:
    """One catalogue of the whole survey, as of these tiles; how many objects it has."""
    rows = []
    for tile in sky.tiles():
        if tile.name in names:
            rows += [(r["object_id"], r["ra_deg"], r["dec_deg"]) for r in own_rows(sky, tile)]
    with (folder / "catalog.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("object_id", "ra_deg", "dec_deg"))
        writer.writerows(rows)
    return len(rows)


def own_rows(sky: Survey, tile: Tile) -> list[dict[str, Any]]:
    """The sky's objects that lie in a tile."""
    catalog, footprint = sky.survey_catalog(), sky.footprint(tile)
    assert catalog is not None
    assert footprint is not None
    assert footprint.wcs is not None
    x, y = footprint.wcs.all_world2pix(catalog["ra_deg"].to_numpy(), catalog["dec_deg"].to_numpy(), 0)
    inside = (x >= -0.5) & (y >= -0.5) & (x < SIDE - 0.5) & (y < SIDE - 0.5)
    return catalog.filter(np.asarray(inside)).to_pylist()


def document(folder: Path, release: str, **model: str) -> dict[str, Any]:
    options = {
        "root": str(folder), "bands": {"r": "{tile}-r.fits"}, "catalog": {"path": "catalog.csv"},
        "zero_point": 31.4, "background": "none",
    }  # fmt: skip
    return {
        "name": "wide",
        "survey": {"kind": "fits_tiles", "name": "sky", "release": release, "options": options},
        "cutouts": {"size": 16},
        "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 4}} | model],
        "training": {"epochs": 1, "reference_fraction": 0.3},
        "cluster": {"workers": 1},
        "output": {"top": 3},
    }


def stamps(store: Path, prefix: str) -> dict[str, tuple[int, int]]:
    """Tile -> inode and time of the last change of what is stored for it."""
    found = {}
    for path in (store / prefix).rglob("*.receipt.json"):
        state = path.stat()
        found[path.relative_to(store / prefix).as_posix()] = (state.st_ino, state.st_mtime_ns)
    return found


def trained_elsewhere(folder: Path, spec: RunSpec) -> str:
    """URI of a model of this survey that lies on a store of its own."""
    store, survey = Store.open(folder), open_survey(spec.survey)
    units = plan_cutouts(spec, spec.survey, store)
    cut = [cut_tile(store, survey, u.tile, spec.cutouts, u.fingerprint, u.rows) for u in units]
    sets = [CutoutSet(store, receipt.product) for receipt in cut]
    (model,) = spec.models
    receipt = train_model(
        Target(store, "models/kmeans/0", "0", {}),
        Recipe(model, spec.training_of(model), spec.cutouts, stretch_for(sets, spec.stretch), 0),
        sets,
    )
    return store.uri(receipt.product)


@pytest.mark.full  # tests/tasks/test_stages.py has it stage by stage, served/test_events.py as a service does it
def test_only_the_products_of_changed_and_added_tiles_are_made_anew(
    tmp_path: Path, sky: Survey, run_to_its_end: RunToItsEnd, galflow: Command, prefect_api: dict[str, str]
) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    by_name = {tile.name: tile for tile in sky.tiles()}
    for name in BEFORE:
        write_tile(tiles, sky, by_name[name])
    objects = write_catalogue(tiles, sky, BEFORE)
    root = tmp_path / "store"
    # The model stays: what an unchanged tile was scored with still holds after the update.
    model = trained_elsewhere(tmp_path / "elsewhere", parse_spec(document(tiles, "dr1")))
    first = run_to_its_end(tmp_path, document(tiles, "dr1", trained=model), str(root), **prefect_api)
    assert len(first.catalog) == objects
    first_run = first.manifest.run

    for name in CHANGED:
        write_tile(tiles, sky, by_name[name], brighter=0.5)
    write_tile(tiles, sky, by_name[ADDED])
    (tiles / f"{REMOVED}-r.fits").unlink()
    objects = write_catalogue(tiles, sky, AFTER)
    before = {prefix: stamps(root, prefix) for prefix in ("cutouts", "joins", "scores", "models")}
    again = document(tiles, "dr2", trained=model)
    planned = json.loads(plan(galflow, tmp_path, again, root))
    todo = {(unit["stage"], unit["name"]) for unit in planned["units"] if not unit["done"]}
    assert {*CHANGED, ADDED} < REACHED < set(AFTER)
    assert todo == {("ingest", tile) for tile in (*CHANGED, ADDED)} | {
        (stage, tile) for stage in ("join", "score") for tile in REACHED
    }

    process = galflow("run", str(tmp_path / "again.yaml"), "--root", str(root), **prefect_api)
    assert process.returncode == 0, process.stderr
    for prefix, made in (("cutouts", 3), ("joins", len(REACHED)), ("scores", len(REACHED)), ("models", 0)):
        after = stamps(root, prefix)
        assert len(after) - len(before[prefix]) == made, prefix
        assert {key: after[key] for key in before[prefix]} == before[prefix], "what was there is untouched"

    store = Store.open(str(root))
    # Of tiles that were not cut anew no score is computed anew.
    written = [key for key in stamps(root, "scores") if key not in before["scores"]]
    taken_over = {
        r.details["tile"]: r.details["taken_over"] for r in read_receipts(store, [f"scores/{k}" for k in written])
    }
    assert taken_over == {tile: [] if tile in (*CHANGED, ADDED) else ["kmeans"] for tile in REACHED}
    (manifest,) = [m for run in list_runs(store) if (m := read_manifest(store, run)) and run != first_run]
    found = manifest.summary["difference"]
    assert found["tiles"] == {"unchanged": 3, "changed": 8, "added": 1, "removed": 1}
    assert found["models"] == []
    assert found["objects"]["after"] == objects
    assert found["objects"]["added"] == len(own_rows(sky, by_name[ADDED]))
    assert found["objects"]["removed"] == len(own_rows(sky, by_name[REMOVED]))
    assert 0 < found["objects"]["rescored"] <= sum(len(own_rows(sky, by_name[name])) for name in CHANGED)


def plan(galflow: Command, folder: Path, wanted: dict[str, Any], root: Path) -> str:
    """``galflow plan --json`` of a specification, which is left as again.yaml."""
    path = folder / "again.yaml"
    path.write_text(json.dumps(wanted))
    process = galflow("plan", str(path), "--root", str(root), "--json")
    assert process.returncode == 0, process.stderr
    return process.stdout
