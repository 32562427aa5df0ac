"""What benchmarks.scale replaces: a survey without pixels, and scores without models.

A Dask worker that is started with this module as its preload draws raw scores instead of reading pixels and calling
models; the rest of scoring stays galflow's own (columns of the cutout set, sigmas, p-values, part, summary, receipt).
Each unit leaves a line in the folder GALFLOW_SCALE_MARKS: when it was handed out. Nothing here cuts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from distributed import Worker
from pydantic import Field

import galflow.scores.score as scoring
from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import DataError
from galflow.scores.triage_features import Measurements
from galflow.surveys.base import Image, Options, Survey, Tile, TileFile
from galflow.training.trained_model import TrainedModel

BANDS = ("u", "g", "r", "i", "z", "y")
MARKS = "GALFLOW_SCALE_MARKS"
_PER_TRACT = 100


class SimulatedOptions(Options):
    """How many tiles there are."""

    tiles: Annotated[int, Field(ge=1)]
    """Each with an image, a variance and a mask in six bands, and a catalogue."""


class SimulatedSurvey(Survey):
    """Tiles with names, files and checksums as a real survey has them, and nothing behind them."""

    Options = SimulatedOptions
    options: SimulatedOptions
    bands = BANDS
    pixel_scale_arcsec = 0.2
    unit = "nJy"

    def tiles(self) -> list[Tile]:
        """All of them; a checksum is an etag's 32 digits."""
        return [self._tile(f"{8000 + i // _PER_TRACT}/{i % _PER_TRACT:03d}", i) for i in range(self.options.tiles)]

    def _tile(self, name: str, number: int) -> Tile:
        roles = [f"{kind}/{band}" for band in BANDS for kind in ("flux", "ivar", "mask")] + ["catalog"]
        files = tuple(
            TileFile(role, f"s3://survey-release/coadds/{name}/{role}-{name.replace('/', '-')}.fits", f"{number:032x}")
            for role in roles
        )
        return Tile(name, files, BANDS)

    def read(self, tile: Tile, band: str) -> Image:
        """Refused."""
        raise DataError(f"tile {tile.name} of a simulated survey has no {band} image; benchmarks.scale laid its set")

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """Refused."""
        raise DataError(f"tile {tile.name} of a simulated survey has no catalogue; benchmarks.scale laid its set")


def drawn_scores(
    cutouts: CutoutSet,
    models: Mapping[str, TrainedModel],
    batch_objects: int,
    device: str = "cpu",
    flux_densities: Collection[str] = (),
    measurements: Measurements | None = None,
) -> dict[scoring.ScoreColumn, np.ndarray]:
    """Stands for galflow.scores.score.score_cutouts: (N,) numbers around the references, the same for the same set."""
    with Path(os.environ[MARKS], str(os.getpid())).open("a") as marks:
        marks.write(f"{time.time()}\n")
    generator = np.random.default_rng(list(cutouts.product.encode()))
    drawn = {}
    for column in scoring.columns_of(models):
        values = models[column.model].reference[column.score]
        drawn[column] = np.interp(generator.random(len(cutouts)), np.linspace(0, 1, len(values)), values)
    return drawn


def dask_setup(worker: Worker) -> None:
    """Called by Dask when a worker starts."""
    scoring.score_cutouts = drawn_scores
