"""What simulations share as surveys: galaxies are dealt into tiles, and each camera of a galaxy is an object.

Images are observed as a survey would have seen them (galflow.surveys.mock_tile) and come as a mosaic, like ready-made
ones. All cameras of a galaxy are on one side of every split (column ``group``). A kind says how its files are found and
read; it makes nothing up that they do not say.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.errors import ChangedError, DataError, SpecError, StoreError
from galflow.photometry import NJY
from galflow.surveys.base import BaseOptions, Fault, Image, Survey, Tile, TileFile
from galflow.surveys.imitated import open_imitated
from galflow.surveys.mock_catalog import mock_catalog
from galflow.surveys.mock_setting import read_setting
from galflow.surveys.mock_tile import MockTile, Observation, ObservationStep, PlacedView
from galflow.surveys.reading import files, galaxy_table, stamp_labels, stamp_names
from galflow.surveys.reading.last_tile import LastTile
from galflow.surveys.reading.simulated_galaxies import Galaxy, galaxies_of
from galflow.surveys.reading.simulated_view import SimulatedView
from galflow.surveys.simulation_options import SimulationOptions

_READERS = 8
"""Headers read at once: in a bucket each waits for the network."""
_REDSHIFT = 0
"""Part of a seed: what is drawn with it."""


class Simulation(Survey):
    """Simulated galaxies as a survey; see the module's docstring."""

    options: SimulationOptions

    def __init__(self, name: str, release: str, options: BaseOptions) -> None:
        if not isinstance(options, self.Options) or not isinstance(options, SimulationOptions):
            raise SpecError(f"{type(self).__name__} needs {self.Options.__name__}, got {type(options).__name__}")
        super().__init__(name, release, options)
        self._root = files.expand_root(options.root)
        self._last = LastTile[MockTile]()

    @abstractmethod
    def find(self) -> list[Galaxy]:
        """The galaxies below the root, each with its files. Raises SpecError where none matches."""

    @abstractmethod
    def views(self, galaxy: Galaxy) -> list[SimulatedView]:
        """A galaxy's views by camera, each with its light or an error. Raises DataError for an unreadable file."""

    @abstractmethod
    def check(self, galaxy: Galaxy) -> None:
        """DataError where headers show that a file is another one's, or that nothing says what its pixels are."""

    @property
    @abstractmethod
    def seen_as_emitted(self) -> bool:
        """Whether the files' light is as emitted; else it is as seen at the file's redshift, dimmed."""

    def group(self, galaxy: Galaxy) -> str:
        """What must not be parted in training: a galaxy's views."""
        return galaxy.key

    @property
    def ready_made(self) -> bool:
        """Each mock is an image of its own."""
        return True

    @property
    def joins_tiles(self) -> bool:
        """No two galaxies are one object, wherever the sky lies on which they are laid."""
        return False

    @property
    def root_uri(self) -> str:
        """The option root."""
        return self._root

    @property
    def unit(self) -> str:
        """Calibrated."""
        return NJY

    @property
    def largest_cutout(self) -> int:
        """Twice the side of a mock: more would see its neighbour."""
        return 2 * self.options.stamp_size

    @property
    def pixel_scale_arcsec(self) -> float:
        """As declared, or that of the imitated survey."""
        if self.options.pixel_scale_arcsec is not None:
            return self.options.pixel_scale_arcsec
        return self._base.pixel_scale_arcsec if self._base is not None else 0.0

    @cached_property
    def _base(self) -> Survey | None:
        """The imitated survey. SpecError for one that cannot be imitated."""
        if self.options.like is None:
            return None
        base = open_imitated(self.options.like)
        absent = [band for band in self.bands if band not in base.bands]
        if base.unit != NJY or absent:
            wrong = f"has no band {absent[0]!r}, but {', '.join(base.bands)}" if absent else f"is in {base.unit}"
            raise SpecError(f"like: survey {base.name} {wrong}; expected one in nJy with bands {', '.join(self.bands)}")
        scale = self.options.pixel_scale_arcsec
        used = self.options.needs_imitated_tile
        if used and scale is not None and abs(scale / base.pixel_scale_arcsec - 1) > 1e-3:
            raise SpecError(
                f"pixel_scale_arcsec is {scale:g}, and the imitated survey's pixels are {base.pixel_scale_arcsec:g} "
                "arcsec; leave it out, or declare psf_fwhm_arcsec and sky_sigma_njy instead of like"
            )
        return base

    @cached_property
    def _properties(self) -> galaxy_table.GalaxyTable | None:
        options = self.options
        if options.properties is None:
            return None
        uri = files.expand_root(options.properties)
        return galaxy_table.read_properties(
            uri, options.properties_id, options.properties_snapshot, options.property_columns
        )

    @cached_property
    def _redshifts(self) -> np.ndarray | None:
        """(n,) those of the survey's catalogue, from which each galaxy draws."""
        options = self.options
        if options.redshift_catalog is None:
            return None
        uri = files.expand_root(options.redshift_catalog)
        return galaxy_table.read_redshifts(uri, options.redshift_column, options.redshift_range)

    def tiles(self) -> list[Tile]:
        """Tiles h<bits>-<number> of whole galaxies; each with its files, tables and imitated tile as identity."""
        in_group: dict[str, list[Galaxy]] = {}
        for galaxy in self.find():
            in_group.setdefault(self.group(galaxy), []).append(galaxy)
        groups, common = sorted(in_group), self._common_files()
        return [
            Tile(
                name,
                (
                    *common,
                    *self._like(name),
                    *self._labels([g for row in rows for g in in_group[groups[row]]]),
                    *(f for row in rows for g in in_group[groups[row]] for f in g.files.values()),
                ),
                self.bands,
            )
            for name, rows in stamp_names.dealt(groups, self.options.galaxies_per_tile).items()
        ]

    def _common_files(self) -> list[TileFile]:
        """What all tiles depend on besides galaxies: the options, the redshifts, the PSF."""
        options = self.options
        like = None if self._base is None else [self._base.version, self._base.options.content()]
        settings = json.dumps([self.version, options.content(), like], sort_keys=True)
        found = [TileFile("options", "", hashlib.sha256(settings.encode()).hexdigest())]
        if options.redshift_catalog is not None:
            _ = self._redshifts  # a fault of it is one of the specification
            uri = files.expand_root(options.redshift_catalog)
            found.append(TileFile("redshifts", uri, files.checksum(uri), files.stamp(uri)))
        if options.psf_images is not None and "psf" in options.steps:
            for band in self.bands:
                uri = files.expand_root(options.psf_images.replace("{band}", band))
                found.append(TileFile(f"psf/{band}", uri, files.checksum(uri), files.stamp(uri)))
        return found

    def _like(self, name: str) -> list[TileFile]:
        """The tile that a tile of mocks imitates: by a hash of both names, so that a new one takes few from others."""
        if self._base is None or not self.options.needs_imitated_tile:
            return []
        whole = [tile for tile in self._base.listed if set(self.bands) <= set(tile.bands)]
        if not whole:
            raise SpecError(f"like: no tile of survey {self._base.name} has all bands {', '.join(self.bands)}")
        tile = max(whole, key=lambda t: stamp_names.hash64(f"{self.options.seed}/{name}/{t.name}"))
        return [TileFile(f"like/{tile.name}", "", tile.identity)]

    def _labels(self, galaxies: Sequence[Galaxy]) -> list[TileFile]:
        if self._properties is None:
            return []
        rows = self._properties.rows_of([galaxy.key for galaxy in galaxies])
        return [TileFile("properties", "", stamp_labels.checksum(rows))]

    def placed(self, tile: Tile) -> Iterator[PlacedView]:
        """The tile's views one after another, each at its redshift."""
        redshifts = tile.file("redshifts")
        if redshifts is not None:
            with files.unchanged(redshifts):
                _ = self._redshifts
        for galaxy in galaxies_of(tile):
            try:
                views = self.views(galaxy)
            except ChangedError:
                raise
            except DataError as error:
                views = [SimulatedView("", error=str(error))]
            for view in sorted(views, key=lambda view: view.camera):
                for number in range(self.options.realisations):
                    yield self._place(galaxy, view, number)

    def _place(self, galaxy: Galaxy, view: SimulatedView, number: int) -> PlacedView:
        key = f"{galaxy.key}/{view.camera}" if view.camera else galaxy.key
        key += f"/{number}" if self.options.realisations > 1 else ""
        redshift = self.options.redshift or view.redshift
        if self._redshifts is not None:
            rng = np.random.default_rng([self.options.seed, stamp_names.hash64(key), _REDSHIFT])
            redshift = float(self._redshifts[rng.integers(len(self._redshifts))])
        if view.error is None and not (redshift or 0) > 0:
            view = replace(
                view, light=None, error=f"{key}: its file gives redshift {redshift}; give redshift or redshift_catalog"
            )
        if view.error is None and not self.seen_as_emitted and view.redshift is None:
            view = replace(view, light=None, error=f"{key}: its file does not say at which REDSHIFT its light is seen")
        seen_at = 0.0 if self.seen_as_emitted or view.redshift is None else view.redshift
        return PlacedView(key, galaxy.key, self.group(galaxy), view, seen_at, redshift)

    def _observation(self, tile: Tile) -> Observation:
        setting = read_setting(self.options, self.bands, self.pixel_scale_arcsec, tile, self._base, self.name)
        return Observation(self.options, self.bands, setting)

    def _made(self, tile: Tile) -> MockTile:
        return self._last.get(tile.identity, lambda: self._observation(tile).tile(self.placed(tile)))

    def observation_steps(self, tile: Tile) -> tuple[str, list[ObservationStep]]:
        """The first readable mock of a tile: its key, and a picture of each step. DataError where there is none."""
        observation = self._observation(tile)
        for placed in self.placed(tile):
            if placed.view.error is None:
                return placed.key, observation.steps(placed)
        raise DataError(f"no view of tile {tile.name} of {self.name} can be read")

    def read(self, tile: Tile, band: str) -> Image:
        """The mosaic of one band, NaN between the mocks and in place of unreadable views."""
        if band not in self.bands:
            raise DataError(f"{self.name} has no band {band!r}; its bands are {', '.join(self.bands)}")
        return self._made(tile).images[band]

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """One row a view: its centre in the mosaic (no sky position), who it is, and how it was observed."""
        return mock_catalog(self._made(tile), self.bands, self.options, self._properties)

    def attributes(self, tile: Tile) -> Mapping[str, Any]:
        """``mock_observation``: steps, conventions, the imitated tile, and how many mocks count or not, by reason."""
        options = self.options
        like = next((f.role.removeprefix("like/") for f in tile.files if f.role.startswith("like/")), None)
        said: dict[str, Any] = {
            "steps": list(options.steps),
            "cosmology": options.cosmology,
            "dimming": options.dimming if "dimming" in options.steps else None,
            "k_correction": options.k_correction,
            "light": "as emitted" if self.seen_as_emitted else "as seen at the file's redshift",
            "imitated_tile": like,
            "seed": options.seed,
        }
        try:
            said["counts"] = self._made(tile).counts
        except DataError:  # the catalogue says why there is none
            said["counts"] = {}
        return {"mock_observation": said}

    def inspect(self, tiles: Sequence[Tile]) -> list[Fault]:
        """Which files are of another kind, or do not say what their pixels are."""
        faults = []
        with ThreadPoolExecutor(_READERS, thread_name_prefix="galflow-inspect") as readers:
            for tile, errors in zip(tiles, readers.map(self._errors, tiles), strict=True):
                wrong = [error for error in errors if error is not None]
                refuses = len(wrong) == len(errors)
                problem = "its files cannot be used" if refuses else "some files cannot be used"
                if wrong:
                    faults.append(Fault("survey.options.root", problem, wrong[0], None, tile.name, refuses=refuses))
        return faults

    def _errors(self, tile: Tile) -> list[str | None]:
        """What is wrong with each galaxy of a tile, by its headers."""
        found: list[str | None] = []
        for galaxy in galaxies_of(tile):
            try:
                self.check(galaxy)
                found.append(None)
            except (DataError, StoreError) as error:
                found.append(str(error))
        return found
