"""What the surveys known by one word share: a published data model, translated into options of fits_tiles.

Each image gets the options that its own header merits: its zero point, the planes that its mask names, its PSF. A file
that is not the survey's is refused. It reads no pixels itself.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa
from astropy.io import fits
from pydantic import Field, model_validator

from galflow.errors import DataError, SpecError
from galflow.photometry import NJY
from galflow.surveys.base import BaseOptions, Fault, Footprint, Image, Survey, Tile, TileFile
from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.reading.data_models import ZERO_POINT_AGREES, Companion, DataModel, Header, unit_of
from galflow.surveys.reading.detection import DetectionOptions
from galflow.surveys.reading.detection import schema as detected_columns
from galflow.surveys.reading.files import DANGLING, expand_root, list_entries
from galflow.surveys.reading.fits_names import files_by_tile, path_pattern, tile_names
from galflow.surveys.reading.fits_options import CatalogOptions, FitsTilesOptions, MaskOptions, PsfOptions, WeightOptions
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec


class PresetOptions(BaseOptions):
    """What is left to say of a survey whose files are known."""

    locations: ClassVar[frozenset[str]] = frozenset({"root"})

    root: str = Field(
        description="Folder or s3:// prefix that holds the survey's files, in sub-folders or not; ${NAME} is taken "
        "from the environment"
    )
    bands: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Bands, the reference first; empty: all of which there are files"
    )
    noise: Literal["survey", "sky"] = Field(
        default="survey", description="Noise from the survey's own planes, or measured from the sky where they lack"
    )
    mask: Literal["survey", "none"] = Field(default="survey", description="The survey's own mask, or none")
    background: Literal["none", "constant", "mesh"] | None = Field(
        default=None, description="Background to subtract; empty: what the survey's images still need"
    )
    catalog: CatalogOptions | None = Field(
        default=None,
        description="The survey's catalogue; the columns of its published one are known. Empty: galflow detects objects",
    )
    detection: DetectionOptions = Field(
        default_factory=DetectionOptions, description="How objects are detected without a catalogue"
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.bands is not None and len(set(self.bands)) < len(self.bands):
            raise ValueError(f"bands names one twice: {', '.join(self.bands)}")
        return self


class Preset(Survey):
    """A survey with a published data model. A kind gives ``model``, and overrides what only it has."""

    Options = PresetOptions
    extra: ClassVar[Mapping[str, Companion]] = {}
    """Role -> further files of an image that the kind reads itself."""

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

    def planes(self, band: str) -> Mapping[int | str, str] | None:
        """Bit or name -> galflow's plane."""
        return self.model.planes

    def zero_point(self, header: fits.Header, uri: str) -> float | None:
        """The AB magnitude of one count that a header gives; None: it gives none."""
        return self.model.header_zero_point(header, uri)

    def completed(self, image: Image, tile: Tile, band: str) -> Image:
        """An image with what only this kind has."""
        return image

    def with_columns(self, table: pa.Table, tile: Tile) -> pa.Table:
        """A tile's rows with the columns that only this kind has."""
        return table

    @property
    def own_columns(self) -> frozenset[str]:
        """Those that ``with_columns`` adds."""
        return frozenset()

    @functools.cached_property
    def _patterns(self) -> dict[str, str]:
        """Band -> pattern of its images: of the chosen bands, else of those that have a file."""
        paths = [entry.uri[len(self._root) + 1 :] for entry in list_entries(self._root, "**")]
        within = f"{{group:{','.join(self.folders)}}}/" if self.folders else ""
        chosen = {b: n for b, n in self.model.bands.items() if b in (self._options.bands or self.model.bands)}
        ordered = {b: chosen[b] for b in self._options.bands or chosen}
        for image in self.model.images:
            patterns = self.model.patterns(within + image, ordered)
            there = {b for b, pattern in patterns.items() if any(map(path_pattern(pattern, b).match, paths))}
            if there:
                return {b: p for b, p in patterns.items() if self._options.bands is not None or b in there}
        raise SpecError(
            f"no file below {self._root} is named as {self.model.product}; expected such as {within}{self.model.example} "
            f"of bands {', '.join(ordered)}. Check survey.options.root"
        )

    @functools.cached_property
    def _files(self) -> FitsTiles:
        """The survey's files by the published model alone."""
        return FitsTiles(self.name, self.release, self._translated)

    @functools.cached_property
    def _translated(self) -> FitsTilesOptions:
        model, options, images = self.model, self._options, self._patterns
        given: dict[str, Any] = {"root": options.root, "bands": images, "extension": model.image}
        given |= {"unit": "bunit"} if model.zero_point is None else {"zero_point": model.zero_point}
        given |= {"background": options.background or model.background, "blank_value": model.blank_value}
        given |= {"detection": options.detection, "catalog": self._catalog_options}
        if model.weight is not None and options.noise == "survey":
            patterns = {band: model.weight.pattern(image) for band, image in images.items()}
            given["weight"] = WeightOptions(
                pattern=patterns, extension=model.weight.extension, kind=model.weight_kind
            )  # fmt: skip
        if model.mask is not None and options.mask == "survey":
            needed = {n: p for n, p in (model.planes or {}).items() if not isinstance(n, str) or n in model.needed}
            patterns = {band: model.mask.pattern(image) for band, image in images.items()}
            given["mask"] = MaskOptions(pattern=patterns, extension=model.mask.extension, planes=needed or None)
        return FitsTilesOptions(**given)

    @property
    def _catalog_options(self) -> CatalogOptions | None:
        given = self._options.catalog
        if given is None or given.columns or not self.model.columns:
            return given
        return given.model_copy(update={"columns": dict(self.model.columns)})

    def _for_image(self, tile: Tile, band: str, file: TileFile, found: Header) -> FitsTilesOptions:
        """The options that read one image, by what its header says."""
        (shape, header), change = found, dict[str, Any]()
        point = self.zero_point(header, file.uri)
        if point is not None:
            change |= {"unit": "count", "zero_point": point} if unit_of(header) == "count" else {"zero_point": point}
        elif unit_of(header) == "bunit":
            change |= {"unit": "bunit", "zero_point": None}
        elif self.model.zero_point is None:
            raise self.model.lacks_unit(header, file)
        planes, masked = self.planes(band), self._translated.mask
        mask_file = tile.file(f"mask/{band}")
        if masked is not None and planes is not None and mask_file is not None:
            named = self.model.named_planes(mask_file, planes)
            change["mask"] = masked.model_copy(update={"planes": named})
        wcs = celestial_wcs(header, file.uri)
        scale = local_pixel_scale_arcsec(wcs, shape) if wcs is not None else 0.0
        fwhm = self.model.fwhm_arcsec(header, scale)
        if fwhm is not None:
            change["psf"] = PsfOptions(fwhm_arcsec=fwhm)
        return self._translated.model_copy(update=change)

    def _image_file(self, tile: Tile, band: str) -> TileFile:
        file = tile.file(f"flux/{band}")
        if file is None or file.checksum == DANGLING:
            raise DataError(f"tile {tile.name} of {self.name} has no file for band {band}; it has {tile.bands}")
        return file

    def read(self, tile: Tile, band: str) -> Image:
        """One band in nJy, with the survey's own noise, mask and PSF. DataError for a file of another survey."""
        file = self._image_file(tile, band)
        options = self._for_image(tile, band, file, self.model.recognised(file))
        return self.completed(FitsTiles(self.name, self.release, options).read(tile, band), tile, band)

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
            for band, image in self._patterns.items():
                found = files_by_tile(self._root, companion.pattern(image), band)
                names = tile_names([name for name in found if name is not None])
                for raw, file in found.items():
                    if raw is not None and names[raw] in more:
                        more[names[raw]].append(file.in_role(f"{role}/{band}"))
        return [Tile(tile.name, (*tile.files, *more[tile.name]), tile.bands) for tile in tiles]

    def inspect(self, tiles: Sequence[Tile]) -> list[Fault]:
        """Which files are not the survey's, where headers contradict its data model, and what fits_tiles finds."""
        own, faults = list[Tile](), list[Fault]()
        for tile in tiles:
            found = list(self._of_tile(tile))
            faults += found
            if not any(fault.refuses for fault in found):
                own.append(tile)
        return faults + (self._files.inspect(own) if own else [])

    def _of_tile(self, tile: Tile) -> Iterator[Fault]:
        for band in tile.bands:
            file = self._image_file(tile, band)
            try:
                shape, header = self.model.recognised(file)
                self._for_image(tile, band, file, (shape, header))
                point = self.zero_point(header, file.uri)
            except DataError as error:
                problem = f"a file of band {band} is not {self.model.product}"
                yield Fault("survey.options.root", problem, str(error), file.uri, tile.name)
                continue
            known = self.model.zero_point
            if known is not None and point is not None and abs(point - known) > ZERO_POINT_AGREES:
                problem = f"the header of band {band} gives zero point {point:.4f}, its data model {known:g}"
                yield Fault(
                    "survey.options.root", problem, "the header's is taken", file.uri, tile.name, refuses=False
                )  # fmt: skip

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
        """Those of a detection and of this kind; of a catalogue for each tile they are not known."""
        if not self.detects:
            return super().catalog_columns
        return frozenset(detected_columns(self.bands).names) | self.own_columns

    def footprint(self, tile: Tile, band: str | None = None) -> Footprint:
        """From headers alone."""
        return self._files.footprint(tile, band)

    def survey_catalog(self) -> pa.Table | None:
        """The catalogue that serves all tiles; None where each tile has its own rows."""
        return self._files.survey_catalog()
