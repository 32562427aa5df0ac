"""Writes a folder of NPZ tiles in the form that my_survey.py reads: `python make_tiles.py FOLDER [TILES]`.

The galaxies are those of galflow's synthetic survey, so that the example needs no data.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from galflow.spec.run import SurveySpec
from galflow.surveys.resolve import open_survey


def write_tiles(folder: Path, tiles: int = 4, tile_size: int = 512, objects_per_tile: int = 60, seed: int = 0) -> None:
    """``tiles`` files t00000.npz, ... of ``tile_size`` pixels on a side, in three bands."""
    size = {"tiles": tiles, "tile_size": tile_size, "objects_per_tile": objects_per_tile, "seed": seed}
    made = open_survey(SurveySpec(kind="synthetic", options=size | {"catalog": "tile_truth", "overlap_pixels": 0}))
    folder.mkdir(parents=True, exist_ok=True)
    for tile in made.tiles():
        images = [made.read(tile, band) for band in made.bands]
        objects = made.catalog(tile)
        wcs = images[0].wcs
        assert wcs is not None  # the synthetic survey always has one
        np.savez(
            folder / f"{tile.name}.npz",
            flux=np.stack([image.flux for image in images]),
            ivar=np.stack([image.ivar for image in images]),
            flags=np.zeros(images[0].flux.shape, np.uint8),
            wcs=wcs.to_header().tostring(sep="\n"),
            id=objects["object_id"].to_numpy(),
            x=objects["x"].to_numpy(),
            y=objects["y"].to_numpy(),
            magnitude=objects["magnitude"].to_numpy(),
        )


if __name__ == "__main__":
    write_tiles(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4)
