"""Which painted defects the cutouts' flags find, how many real objects they accuse, and what looking for them costs.

Real tiles are cut by galflow's own ingest with copies into which defects are painted (``cutouts.plant``).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa

from benchmarks.tables import Figures
from benchmarks.timing import Table, interleaved, table
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag, has_flag
from galflow.cutouts.pixel_defects import PixelDefects
from galflow.spec.run import CutoutSpec, PlantSpec, load_spec
from galflow.storage.store import Store
from galflow.surveys.base import Survey, Tile
from galflow.surveys.resolve import open_survey

PROJECT = Path(__file__).resolve().parents[1]
DATA = PROJECT.parent / "shared" / "data"
EXAMPLES = ("kids_viking", "hsc_patch", "viking_h")
FLAG_OF_KIND = {
    "dead_columns": Flag.CONSTANT,
    "edge": Flag.CONSTANT,
    "cosmic_ray": Flag.COSMIC_RAY,
    "saturated_star": Flag.SATURATED,
    "doubled_image": Flag.DOUBLED,
    "low_line": Flag.BELOW_SKY,
    "noise_step": Flag.NOISE_STEP,
    "level_step": Flag.LEVEL_STEP,
    "shifted_band": Flag.SHIFTED,
}
"""Painted kind -> the flag that should tell of it."""
FLAGS = (Flag.TRAIL, *dict.fromkeys(FLAG_OF_KIND.values()))
COPIES = 500


@dataclass(frozen=True)
class Case:
    """One real tile and how it is cut."""

    name: str
    survey: Survey
    tile: Tile
    spec: CutoutSpec


def cases() -> Iterator[Case]:
    """The tiles of the examples on real data."""
    os.environ.setdefault("GALFLOW_DATA", str(DATA))
    for example in EXAMPLES:
        spec = load_spec(PROJECT / "examples" / f"{example}.yaml", root="memory://unused")
        survey = open_survey(spec.survey)
        for tile in survey.tiles():
            yield Case(f"{example} {tile.name}", survey, tile, spec.cutouts)


def _flags(case: Case, folder: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) flags and (N,) painted kinds, None for real objects."""
    plants = PlantSpec(per_tile=COPIES, kinds=tuple(FLAG_OF_KIND))
    store = Store.open(folder)
    receipt = cut_tile(store, case.survey, case.tile, case.spec.model_copy(update={"plant": plants}), "0" * 64)
    cutouts = CutoutSet(store, receipt.product)
    return cutouts.read("flags"), np.array(cutouts.column("planted_kind").to_pylist(), dtype=object)


def rates() -> Iterator[Figures]:
    """Shares of copies, by what was painted into them, and of real objects that have each flag."""
    for case in cases():
        with tempfile.TemporaryDirectory() as folder:
            flags, kinds = _flags(case, folder)
        chosen = {"real objects": np.array([kind is None for kind in kinds])} | {
            kind: kinds == kind for kind in FLAG_OF_KIND
        }
        rows: dict[str, tuple[float | str, ...]] = {
            name: (str(int(which.sum())), *(float(has_flag(flags[which], flag).mean()) for flag in FLAGS))
            for name, which in chosen.items()
            if which.any()
        }
        columns = ("objects", *(str(flag.name) for flag in FLAGS))
        yield Figures(f"{case.name}: share of objects with each flag", columns, rows)


def _cut(case: Case, rows: pa.Table, folder: str, *, trails: bool = True, defects: bool = True) -> None:
    """Cut a tile into an empty folder, with the search for trails or for other defects left out."""
    with ExitStack() as stack:
        if not trails:
            stack.enter_context(mock.patch("galflow.cutouts.tile_images.find_trails", return_value=()))
        if not defects:
            stack.enter_context(
                mock.patch.object(PixelDefects, "flags", lambda _, flux, *__: np.zeros(len(flux), np.int64))
            )
        cut_tile(Store.open(folder), case.survey, case.tile, case.spec, "0" * 64, rows)


def costs() -> Iterator[Table]:
    """Cutting with the objects given: as it is, and with either search left out."""
    for case in cases():
        rows = case.survey.catalog(case.tile)
        rows = rows.append_column("repeated_id", pa.array(np.zeros(len(rows), bool)))
        memory = Path("/dev/shm")
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            timings = interleaved(
                {
                    "neither search": partial(_cut, case, rows, folder, trails=False, defects=False),
                    "trails": partial(_cut, case, rows, folder, defects=False),
                    "defects": partial(_cut, case, rows, folder, trails=False),
                    "both, as it is": partial(_cut, case, rows, folder),
                },
                between=partial(shutil.rmtree, folder, ignore_errors=True),
            )
        yield table(f"cutting {case.name}", "neither search", timings, objects=len(rows))


def run() -> Iterator[Figures | Table]:
    """The rates, then the costs."""
    yield from rates()
    yield from costs()
