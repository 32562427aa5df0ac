"""Empty sky of a survey, cut out as its galaxies are: what a model says where there is no galaxy.

A control of every comparison: whatever calls a simulation more probable than the sky's galaxies may merely call little
light probable, and then empty sky is the most probable of all. Patches come as a mosaic, like ready-made images. Where
a tile has no empty sky, noise of its variance is drawn, and the column ``made_of`` says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict, Field

from galflow.errors import DataError
from galflow.spec.run import SurveySpec
from galflow.surveys.base import Image, Options, Tile
from galflow.surveys.imitated import Imitation, displayed_as, imitated_tile, imitating_tiles, read_on_one_grid
from galflow.surveys.reading.detection import DetectionOptions, detect
from galflow.surveys.reading.identity import object_ids, tile_keys
from galflow.surveys.reading.last_tile import LastTile
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.sky_patches import SkyPatches, sky_of

BaseOptions = Options


class EmptySkyOptions(BaseOptions):
    """Options of empty sky."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)
    # The identity of each tile holds that of the tile it is taken from, and that survey's own options.
    locations: ClassVar[frozenset[str]] = frozenset({"like"})

    like: SurveySpec
    """The survey of whose sky it is: kind, options."""
    count: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Patches of each tile of it."""
    tiles: Annotated[int, Field(ge=1)] | None = None
    """So many of its tiles at most, evenly taken from their list; None: all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of where they lie."""
    stamp_size: Annotated[int, Field(ge=8, le=512)] = 64
    """Side of a patch in pixels."""
    min_separation: Annotated[float, Field(ge=0)] = 3.0
    """Pixels between a patch's centre and the light of any real source: 2.5 half-light radii about its centre."""


@dataclass(frozen=True, eq=False)
class _Patches:
    """The patches of one tile."""

    images: dict[str, Image]
    """Of the tile itself, by which its patches' images are told of."""
    sky: SkyPatches
    catalog: pa.Table


class EmptySky(Imitation):
    """Places of a survey without a galaxy; see the module's docstring."""

    Options = EmptySkyOptions
    options: EmptySkyOptions

    def __init__(self, name: str, release: str, options: EmptySkyOptions) -> None:
        super().__init__(name, release, options)
        self._last = LastTile[_Patches]()

    @property
    def catalog_columns(self) -> frozenset[str]:
        """Where the patch was taken, and of what it is made."""
        return frozenset({"patch_x", "patch_y", "made_of"})

    def tiles(self) -> list[Tile]:
        """One tile of patches for each tile of the survey, under its name; identity from it and the options."""
        base = self._base
        settings = [self.version, self.options.content(), base.version, base.options.content()]
        checksum = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return imitating_tiles(base, checksum, self.options.tiles)

    def displayed(self, tile: Tile) -> Mapping[str, bool]:
        """As the survey's tile."""
        return displayed_as(self._base, tile)

    def _patches(self, tile: Tile) -> _Patches:
        return self._last.get(tile.identity, lambda: self._make(tile))

    def _make(self, tile: Tile) -> _Patches:
        wanted, options = tile.file("base"), self.options
        own = imitated_tile(self._base, tile.name, "" if wanted is None else wanted.checksum, self.name)
        images = read_on_one_grid(self._base, own, own.bands)
        sky = sky_of(
            self._base,
            images,
            detect(images, DetectionOptions(), 0),
            count=options.count,
            size=options.stamp_size,
            separation=options.min_separation,
            rng=np.random.default_rng([options.seed, int(tile.identity[:15], 16)]),
            else_noise=True,
        )
        y, x = Mosaic(options.count, options.stamp_size).centres
        nowhere = pa.nulls(options.count, pa.float64())
        keys = tile_keys(f"{self.name}/{t.name}" for t in self.listed)
        table = {
            "object_id": object_ids(keys[f"{self.name}/{tile.name}"], np.arange(options.count)),
            "ra_deg": nowhere,
            "dec_deg": nowhere,
            "x": x.astype(np.float64),
            "y": y.astype(np.float64),
            "patch_x": sky.columns,
            "patch_y": sky.rows,
            "made_of": ["noise" if sky.drawn else "sky"] * options.count,
        }
        return _Patches(images, sky, pa.table({name: pa.array(values) for name, values in table.items()}))

    def read(self, tile: Tile, band: str) -> Image:
        """The mosaic of one band, NaN between the patches; with the survey's PSF."""
        made = self._patches(tile)
        if band not in made.images:
            raise DataError(f"tile {tile.name} of {self.name} has no band {band!r}; it has {', '.join(made.images)}")
        own = made.images[band]
        return made.sky.image(band, own, made.sky.flux[band], own.psf)

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """One row a patch: its centre in the mosaic (no sky position), and where it was taken."""
        return self._patches(tile).catalog
