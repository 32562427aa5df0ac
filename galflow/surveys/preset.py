"""What the surveys known by one word share: a published data model, translated into options of fits_tiles.

Each image gets the options that its own header merits: its zero point, the planes that its mask names, its PSF. A file
that is not the survey's is refused. It reads no pixels itself.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pyarrow as pa
from astropy.io import fits

from galflow.errors import DataError, SpecError, StoreError
from galflow.photometry import NJY
from galflow.surveys.base import BaseOptions, Footprint, Image, Survey, Tile, TileFile
from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import ZERO_POINT_AGREES, Companion, DataModel, Header, has_flux_unit
from galflow.surveys.reading.detection import schema as detected_columns
from galflow.surveys.reading.fault import Fault
from galflow.surveys.reading.files import DANGLING, expand_root, list_entries
from galflow.surveys.reading.fits_names import files_by_tile, path_pattern, tile_names
from galflow.surveys.reading.fits_options import (
    CatalogOptions,
    FitsTilesOptions,
    MaskOptions,
    PsfOptions,
    WeightOptions,
)
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec
from galflow.surveys.reading.parts import Part

_READERS = 8
"""Headers read at once: in a bucket each waits for the network."""


class Preset(Survey):
    """A survey with a published data model. A kind gives ``model``, and overrides what only it has."""

    Options = PresetOptions
    extra: ClassVar[Mapping[str, Companion]] = {}
    """Role -> further files of an image that the kind reads itself."""
    makes_noise: ClassVar[bool] = False
    """Whether it makes the noise of an image of what its file says besides."""

    def __init__(self, name: str, release: str, options: BaseOptions) -> None:
        if not isinstance(options, self.Options) or not isinstance(options, PresetOptions):
            raise SpecError(f"{type(self).__name__} needs {self.Options.__name__}, got {type(options).__name__}")
        super().__init__(name, release, options)
        self._options = options
        self._root = expand_root(options.root)
        if unknown := sorted(set(options.bands or ()) - set(self.model.bands)):
            raise SpecError(
                f"survey.options.bands: {unknown[0]!r} is no band of {self.model.product}; expected some of "
                f"{', '.join(self.model.bands)}"
            )

    @property
    @abstractmethod
    def model(self) -> DataModel:
        """What the survey has published about its files."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders directly below root that are read, where not all are."""
        return ()

    @property
    def images(self) -> tuple[str, ...]:
        """Patterns of the images; the first that matches a file is taken."""
        return self.model.images

    def bands_there(self, patterns: Mapping[str, str], paths: Sequence[str]) -> set[str]:
        """The bands whose pattern matches one of the paths below root."""
        return {band for band, text in patterns.items() if any(map(path_pattern(text, band).match, paths))}

    def planes(self, band: str) -> Mapping[int | str, str] | None:
        """Bit or name -> galflow's plane."""
        return self.model.planes

    def zero_point(self, header: fits.Header, uri: str) -> float | None:
        """The AB magnitude of one count that a header gives; None: it gives none."""
        return self.model.header_zero_point(header, uri)

    def remarks(self, band: str, found: Header, uri: str) -> Iterator[tuple[str, str]]:
        """(what a header says against the data model, what is done about it)."""
        point, known = self.zero_point(found[1], uri), self.model.zero_points.get(band, self.model.zero_point)
        if known is not None and point is not None and abs(point - known) > ZERO_POINT_AGREES:
            problem = f"the header of band {band} gives zero point {point:.4f}, its data model {known:g}"
            yield problem, "the header's is taken"

    def refusal(self, band: str, found: Header, tile: Tile) -> str | None:
        """A further reason why a file is not the survey's; None: there is none."""
        return None

    def completed(self, image: Image, tile: Tile, band: str, shape: tuple[int, int]) -> Image:
        """An image with what only this kind has; ``shape`` (y, x) is that of all of it, also where it is a part."""
        return image

    @property
    def own_columns(self) -> frozenset[str]:
        """Those that ``with_columns`` adds."""
        return frozenset()

    @functools.cached_property
    def _patterns(self) -> dict[str, str]:
        """Band -> pattern of its images: of the chosen bands, else of those that have a file."""
        paths = [entry.uri[len(self._root) + 1 :] for entry in list_entries(self._root, "**")]
        within = f"{{group:{','.join(self.folders)}}}/" if self.folders else ""
        bands = self._options.bands or tuple(self.model.bands)
        for image in self.images:
            patterns = {band: within + image.replace("{band}", self.model.bands[band]) for band in bands}
            there = self.bands_there(patterns, paths)
            if there:
                return {b: p for b, p in patterns.items() if self._options.bands is not None or b in there}
        folders = f" in {' or '.join(self.folders)}" if self.folders else ""
        raise SpecError(
            f"no file below {self._root}{folders} is named as {self.model.product} of bands {', '.join(bands)}; "
            f"expected such as {self.model.example}. Check survey.options.root"
        )

    @functools.cached_property
    def _files(self) -> FitsTiles:
        """The survey's files by the published model alone."""
        return FitsTiles(self.name, self.release, self._translated)

    @functools.cached_property
    def _translated(self) -> FitsTilesOptions:
        model, options, images = self.model, self._options, self._patterns
        given: dict[str, Any] = {"root": options.root, "bands": images, "extension": model.image}
        if model.zero_point is not None:
            given["zero_point"] = model.zero_point
        elif model.zero_point_keywords:  # each image's own takes the place of this one
            given |= {"zero_point": 0.0, "unit": "count"}
        else:
            given["unit"] = "bunit"
        given |= {"background": options.background or model.background, "blank_value": model.blank_value}
        given |= {"detection": options.detection, "catalog": self._catalog_options}
        if (weight := model.weight) is not None and options.noise == "survey":
            patterns, kind = self._companions(weight), model.weight_kind
            given["weight"] = WeightOptions(pattern=patterns, extension=weight.extension, kind=kind)
        if model.mask is not None and options.mask == "survey":
            needed = {n: p for n, p in (model.planes or {}).items() if not isinstance(n, str) or n in model.needed}
            patterns, extension = self._companions(model.mask), model.mask.extension
            given["mask"] = MaskOptions(pattern=patterns, extension=extension, planes=needed or None)
        if options.psf is not None:
            given["psf"] = options.named_psf({band: model.bands[band] for band in images})
        return FitsTilesOptions(**given)

    def _companions(self, companion: Companion) -> dict[str, str]:
        """Band -> pattern of what goes with its images."""
        return {band: companion.pattern(text, self.model.bands[band]) for band, text in self._patterns.items()}

    @property
    def _catalog_options(self) -> CatalogOptions | None:
        given = self._options.catalog
        if given is None or given.columns or not self.model.columns:
            return given
        per_tile = given.ids_per_tile or (self.model.ids_per_tile and given.per_tile)
        return given.model_copy(update={"columns": dict(self.model.columns), "ids_per_tile": per_tile})

    def _for_image(self, tile: Tile, band: str, file: TileFile, found: Header) -> FitsTilesOptions:
        """The options that read one image, by what its header says."""
        (shape, header), change = found, dict[str, Any]()
        if (point := self.zero_point(header, file.uri)) is not None:
            change["zero_point"] = point
        elif has_flux_unit(header):
            change |= {"unit": "bunit", "zero_point": None}
        elif self.model.zero_point is None:
            raise self.model.lacks_unit(header, file)
        planes, masked = self.planes(band), self._translated.mask
        mask_file = tile.file(f"mask/{band}")
        if masked is not None and planes is not None and mask_file is not None:
            change["mask"] = masked.model_copy(update={"planes": self.model.named_planes(mask_file, planes)})
        scale = local_pixel_scale_arcsec(wcs, shape) if (wcs := celestial_wcs(header, file.uri)) is not None else 0.0
        if self._options.psf is None and (fwhm := self.model.fwhm_arcsec(header, scale)) is not None:
            change["psf"] = PsfOptions(fwhm_arcsec=fwhm)
        return self._translated.model_copy(update=change)

    def _recognised(self, tile: Tile, band: str) -> tuple[TileFile, Header]:
        """The file of a band and its header; DataError where it is missing or another survey's."""
        file = tile.file(f"flux/{band}")
        if file is None or file.checksum == DANGLING:
            raise DataError(f"tile {tile.name} of {self.name} has no file for band {band}; it has {tile.bands}")
        if (reason := self.refusal(band, found := self.model.recognised(file), tile)) is not None:
            raise self.model.foreign(file, reason)
        return file, found

    def read(self, tile: Tile, band: str) -> Image:
        """One band in nJy, with the survey's own noise, mask and PSF. DataError for a file of another survey."""
        image = self._reader(tile, band).read(tile, band)
        return self.completed(image, tile, band, (image.flux.shape[0], image.flux.shape[1]))

    @property
    def reads_parts(self) -> bool:
        """Where the files do, and no noise is made of a whole frame."""
        return self._files.reads_parts and not self.makes_noise

    def read_part(self, tile: Tile, band: str, part: Part) -> Image:
        """Some pixels of a band, in planes (1, M)."""
        return self.completed(self._reader(tile, band).read_part(tile, band, part), tile, band, part.shape)

    def _reader(self, tile: Tile, band: str) -> FitsTiles:
        """What reads one image, by what its header says."""
        return FitsTiles(self.name, self.release, self._for_image(tile, band, *self._recognised(tile, band)))

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """The survey's own rows, or what is detected, with the columns of this kind."""
        if images is None and self.detects:
            images = {band: self.read(tile, band) for band in tile.bands}
        return self.with_columns(self._files.catalog(tile, images), tile)

    def tiles(self) -> list[Tile]:
        """Every tile of which at least one band is there, with the companions of its images."""
        tiles = self._files.tiles()
        more: dict[str, list[TileFile]] = {tile.name: [] for tile in tiles}
        for role, companion in self.extra.items():
            for band, pattern in self._companions(companion).items():
                found = files_by_tile(self._root, pattern, band)
                names = tile_names([name for name in found if name is not None])
                for raw, file in found.items():
                    if raw is not None and names[raw] in more:
                        more[names[raw]].append(file.in_role(f"{role}/{band}"))
        return [Tile(tile.name, (*tile.files, *more[tile.name]), tile.bands) for tile in tiles]

    def inspect(self, tiles: Sequence[Tile]) -> list[Fault]:
        """Which files are not the survey's, where headers overrule its data model, and what fits_tiles finds."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="galflow-inspect") as readers:
            by_tile = list(readers.map(lambda tile: list(self._of_tile(tile)), tiles))
        own = [t for t, found in zip(tiles, by_tile, strict=True) if not any(fault.refuses for fault in found)]
        every = (*by_tile, self._files.inspect(own) if own else ())
        return [fault for found in every for fault in found if fault.field != "survey.options.zero_point"]

    def _of_tile(self, tile: Tile) -> Iterator[Fault]:
        for band in tile.bands:
            try:
                file, found = self._recognised(tile, band)
                self._for_image(tile, band, file, found)
                remarks = list(self.remarks(band, found, file.uri))
            except (DataError, StoreError) as error:
                problem = f"a file of band {band} is not {self.model.product}"
                yield Fault("survey.options.root", problem, str(error), None, tile.name)
                continue
            for problem, done in remarks:
                yield Fault("survey.options.root", problem, done, file.uri, tile.name, refuses=False)

    @property
    def bands(self) -> tuple[str, ...]:
        """Those chosen, or those of which there are files."""
        return tuple(self._patterns)

    @property
    def pixel_scale_arcsec(self) -> float:
        """Of the first tile at its centre."""
        return self._files.pixel_scale_arcsec

    @property
    def unit(self) -> str:
        """Calibrated."""
        return NJY

    @property
    def root_uri(self) -> str:
        """The option root."""
        return self._root

    @property
    def joins_tiles(self) -> bool:
        """Not where one catalogue serves all tiles."""
        return self._files.joins_tiles

    @property
    def detects(self) -> bool:
        """Without a catalogue."""
        return self._options.catalog is None

    @property
    def catalog_columns(self) -> frozenset[str] | None:
        """Those of a detection or of the survey-wide catalogue, and of this kind; else they are not known."""
        known = frozenset(detected_columns(self.bands).names) if self.detects else super().catalog_columns
        return None if known is None else known | self.own_columns

    def catalog_schema(self, tile: Tile) -> pa.Schema:
        """Of a tile's rows; of a survey-wide catalogue without the columns of this kind, which follow from the tile."""
        found = self._files.catalog_schema(tile)
        own = self.own_columns - set(found.names) if self.survey_catalog() is None else ()
        return pa.schema([*found, *((name, pa.string()) for name in own)])

    def footprint(self, tile: Tile, band: str | None = None) -> Footprint:
        """From headers alone."""
        return self._files.footprint(tile, band)

    def survey_catalog(self) -> pa.Table | None:
        """The catalogue that serves all tiles; None where each tile has its own rows."""
        return self._files.survey_catalog()
