"""A survey that is a folder or an s3:// prefix of FITS images, one file per tile and band, whatever they are called.

Names, units, weights, masks and PSFs are translated as the options declare; nothing is guessed from file names, and a
file that is truncated or corrupt is a DataError, never pixels. Bands of a tile may lie on grids of their own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError, StoreError
from galflow.photometry import COUNT, NJY
from galflow.surveys.base import BaseOptions, Footprint, Image, Plane, Psf, Survey, Tile, TileFile
from galflow.surveys.reading.background import sky_level, subtract_background
from galflow.surveys.reading.brought_catalog import catalog_of_survey, catalog_of_tile
from galflow.surveys.reading.detection import detect, schema
from galflow.surveys.reading.fault import Fault
from galflow.surveys.reading.files import DANGLING, StoredFile, checksum, expand_root, stamp, unchanged
from galflow.surveys.reading.fits_companions import (
    ImageAsStored,
    companion_roles,
    read_mask,
    read_psf,
    read_weight,
)
from galflow.surveys.reading.fits_inspect import Inspection, stored_header
from galflow.surveys.reading.fits_io import Extension
from galflow.surveys.reading.fits_names import files_by_tile, images_by_tile, tile_names
from galflow.surveys.reading.fits_options import CatalogOptions, FitsTilesOptions, extension_of
from galflow.surveys.reading.fits_parts import pixels_of
from galflow.surveys.reading.fits_pixels import linear, missing
from galflow.surveys.reading.fits_planes import (
    inverse_variance,
    nominal_wcs,
    saturation_level,
    scaled,
    unit_per_count,
)
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec
from galflow.surveys.reading.identity import id_base, tile_keys
from galflow.surveys.reading.parts import Part
from galflow.surveys.reading.table_metadata import is_part_of_sky
from galflow.surveys.reading.tables import rows_inside, with_positions

_FIRST_ROWS = 100
"""Of a catalogue of text, whose types they show."""


class FitsTiles(Survey):
    """Any FITS images as a survey. Keep one instance per process: it lists the folder once for its object ids."""

    Options = FitsTilesOptions
    version = "2"

    def __init__(self, name: str, release: str, options: BaseOptions) -> None:
        if not isinstance(options, FitsTilesOptions):
            raise SpecError(f"fits_tiles needs FitsTilesOptions, got {type(options).__name__}")
        super().__init__(name, release, options)
        self._options = options
        self._root = expand_root(options.root)
        self._one_tile = not any("{tile" in pattern for pattern in options.bands.values())

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of the options, in their order."""
        return tuple(self._options.bands)

    @property
    def unit(self) -> str:
        """nJy where a zero point is declared, else count."""
        options = self._options
        declared = options.zero_point is not None or options.zero_point_keyword is not None or options.unit == "bunit"
        return NJY if declared else COUNT

    @functools.cached_property
    def _nominal_scale(self) -> float:
        footprint = self.footprint(self.listed[0])
        if footprint.wcs is None:
            raise SpecError(f"{self.name}: its files have no WCS; declare pixel_scale_arcsec or nominal")
        return round(local_pixel_scale_arcsec(footprint.wcs, footprint.shape), 4)

    @property
    def pixel_scale_arcsec(self) -> float:
        """As declared; else that of the first tile's WCS at its centre, to 0.0001 arcsec."""
        declared = self._options.pixel_scale_arcsec
        if declared is None and self._options.nominal is not None:
            declared = self._options.nominal.pixel_scale_arcsec
        return self._nominal_scale if declared is None else declared

    def _images(self) -> dict[str, dict[str, StoredFile]]:
        """Tile name -> band -> file."""
        only = self._options.tile or self._root.rsplit("/", 1)[-1]
        return images_by_tile(self._root, self._options.bands, only)

    @property
    def root_uri(self) -> str:
        """The option root."""
        return self._root

    @property
    def joins_tiles(self) -> bool:
        """Not where one catalogue serves all tiles: its rows are different objects."""
        catalog = self._options.catalog
        return catalog is None or catalog.per_tile or self._one_tile

    @property
    def detects(self) -> bool:
        """Without a catalogue."""
        return self._options.catalog is None

    def tiles(self) -> list[Tile]:
        """Every tile of which at least one band is there, with the bands it has. Local files are read for checksums."""
        tiles = self._images()
        files: dict[str, list[TileFile]] = {name: [] for name in tiles}
        for name, images in tiles.items():
            files[name] += [file.in_role(f"flux/{band}") for band, file in images.items()]
        for role, pattern in self._companions.items():
            for raw, file in files_by_tile(self._root, pattern, role.rsplit("/", 1)[-1]).items():
                owners = list(tiles) if raw is None else [n for n in tile_names([raw]).values() if n in tiles]
                for name in owners:
                    files[name].append(file.in_role(role))
        if self._one_tile and self._options.catalog is not None:
            uri = self._catalog_uri
            for name in tiles:
                files[name].append(TileFile("catalog", uri, checksum(uri), stamp(uri)))
        there = {
            name: tuple(band for band, file in images.items() if not file.dangling) for name, images in tiles.items()
        }
        return [Tile(name, tuple(files[name]), there[name]) for name in tiles]

    @functools.cached_property
    def _companions(self) -> dict[str, str]:
        """Role -> pattern of all declared companions of the images."""
        return companion_roles(self._options, self.bands)

    def _file(self, tile: Tile, role: str) -> TileFile:
        """A tile's file; DataError if it is not there."""
        file = tile.file(role)
        if file is None or file.checksum == DANGLING:
            kind, _, band = role.partition("/")
            what = f"{kind} file for band {band}" if band else f"{kind} file"
            lost = f": {file.uri} is a link to nothing" if file is not None else f"; expected one below {self._root}"
            raise DataError(f"tile {tile.name} of {self.name} has no {what}{lost}")
        return file

    def _companion(self, tile: Tile, role: str) -> TileFile | None:
        return self._file(tile, role) if role in self._companions else None

    def extension(self, band: str) -> Extension:
        """Which extension of a file holds the image of a band."""
        return extension_of(self._options.extension, band, self._options.bands[band])

    @property
    def reads_parts(self) -> bool:
        """Where no pixel needs its whole image: without a mesh, and without weights whose scale is measured."""
        options = self._options
        return options.background != "mesh" and (options.weight is None or options.weight.kind != "weight")

    def read(self, tile: Tile, band: str) -> Image:
        """One band: scaled to nJy (or counts), background subtracted, with what companions the options declare."""
        return self._image(tile, band, None)

    def read_part(self, tile: Tile, band: str, part: Part) -> Image:
        """Some pixels of a band, in planes (1, M); WholeNeeded where they need the others."""
        return self._image(tile, band, part)

    def _image(self, tile: Tile, band: str, part: Part | None) -> Image:
        options = self._options
        with unchanged(self._file(tile, f"flux/{band}")) as uri:
            stored, header = pixels_of(uri, self.extension(band), part)
        shape = (stored.shape[0], stored.shape[1]) if part is None else part.shape
        wcs = self._wcs(header, shape, uri)
        scale = options.pixel_scale_arcsec or (local_pixel_scale_arcsec(wcs, shape) if wcs else self.pixel_scale_arcsec)
        factor = unit_per_count(options, band, header, uri, scale)
        mask = read_mask(options.mask, band, self._companion(tile, f"mask/{band}"), shape, part)
        weight = read_weight(options.weight, band, self._companion(tile, f"weight/{band}"), shape, part)
        level = saturation_level(options, band, header, uri)
        if level is not None:
            mask = np.zeros(stored.shape, dtype=np.uint16) if mask is None else mask
            mask[stored >= level] |= np.uint16(Plane.SATURATED)
        blank = missing(stored, options.blank_value, weight)
        flux = scaled(linear(stored, header, uri), factor)
        if blank is not None:
            flux[blank] = np.nan
        if not math.isfinite(float(flux.sum())):  # far cheaper than asking each pixel
            flux[~np.isfinite(flux)] = np.nan
        if options.background == "constant":
            flux -= np.float32(sky_level(flux, mask, weight, part))  # in place: the tile may be large
        else:
            flux = subtract_background(flux, mask, options.background, options.background_mesh_pixels, weight)
        ivar = None
        if weight is not None and options.weight is not None:
            ivar = inverse_variance(weight, options.weight.kind, factor, flux, mask)
        psf = self._psf(tile, band, ImageAsStored(uri, header, shape), scale)
        kept = {key: header[key] for key in options.header_keywords if isinstance(header.get(key), str | int | float)}
        return Image(flux, self.unit, scale, ivar, mask, wcs, psf, kept)

    def _psf(self, tile: Tile, band: str, image: ImageAsStored, scale: float) -> Psf | None:
        """The PSF as the options declare it; None where they say nothing for this band."""
        file = self._companion(tile, f"psf/{band}")
        return None if self._options.psf is None else read_psf(self._options.psf, band, file, image, scale)

    def _wcs(self, header: fits.Header, shape: tuple[int, int], uri: str) -> WCS | None:
        nominal = self._options.nominal
        return celestial_wcs(header, uri) if nominal is None else nominal_wcs(nominal, shape)

    def footprint(self, tile: Tile, band: str | None = None) -> Footprint:
        """Shape and WCS of a band, by default of the tile's first one with a readable header, from that alone."""
        problems = []
        for name in dict.fromkeys(b for b in (band, *tile.bands) if b in tile.bands):
            file = self._file(tile, f"flux/{name}")
            try:
                shape, header = stored_header(file, self.extension(name))
                return Footprint(self._wcs(header, shape, file.uri), shape)
            except DataError as error:
                problems.append(str(error))
        raise DataError(f"tile {tile.name} has no readable header: {'; '.join(problems) or 'no band is there'}")

    def inspect(self, tiles: Sequence[Tile]) -> list[Fault]:
        """What headers, file names and the first rows of catalogues show to be wrong; no pixels are read."""
        return Inspection(self, self._options, self._companions).of(tiles)

    @property
    def _catalog_uri(self) -> str:
        """Where the one catalogue of the survey lies."""
        return cast(CatalogOptions, self._options.catalog).uri_below(self._root)

    def read_own_catalog(self, tile: Tile, head: int | None = None) -> pa.Table:
        """The catalogue of a tile's own, or its first rows; DataError where it cannot be read."""
        options = cast(CatalogOptions, self._options.catalog)
        return catalog_of_tile(options, self._file(tile, "catalog"), tile, self.footprint, head)

    @functools.cached_property
    def _survey_table(self) -> pa.Table | None:
        options = self._options.catalog
        if options is None or options.per_tile or self._one_tile:
            return None
        return catalog_of_survey(options, self._catalog_uri, self.listed, self.footprint)

    def survey_catalog(self) -> pa.Table | None:
        """The catalogue that serves all tiles; None where each tile has its own rows."""
        return self._survey_table

    def catalog_schema(self, tile: Tile) -> pa.Schema:
        """Of a detection, of the survey-wide catalogue, or of the first rows of the tile's own."""
        if self._options.catalog is None:
            return schema(self.bands)
        if self._survey_table is not None:
            return self._survey_table.schema
        return with_positions(self.read_own_catalog(tile, head=_FIRST_ROWS), None).schema

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """The tile's own catalogue, its part of the survey's, or what is detected in its bands."""
        if self._options.catalog is None:
            return self._detect(tile, images or {band: self.read(tile, band) for band in tile.bands})
        reference = next((image for image in images.values()), None) if images else None
        if reference is not None:
            footprint = Footprint(reference.wcs, (reference.flux.shape[0], reference.flux.shape[1]))
        else:
            footprint = self.footprint(tile)
        if self._survey_table is not None:
            return rows_inside(with_positions(self._survey_table, footprint.wcs), footprint.shape)
        try:
            table = self.read_own_catalog(tile)
        except (SpecError, StoreError) as error:
            raise DataError(str(error)) from error  # of this tile's file; the check has told whether all are so
        table = with_positions(table, footprint.wcs)
        return rows_inside(table, footprint.shape) if is_part_of_sky(table) else table

    @functools.cached_property
    def _tile_keys(self) -> dict[str, int]:
        return tile_keys(self._images())

    def _detect(self, tile: Tile, images: Mapping[str, Image]) -> pa.Table:
        """Detected objects; a band that this tile lacks has null fluxes, so that all tiles have the same columns."""
        if tile.name not in self._tile_keys:
            raise DataError(f"tile {tile.name} is not among the tiles of {self.name}; list them again with tiles()")
        table = detect(images, self._options.detection, id_base(self._tile_keys[tile.name]))
        columns = {name: table[name] for name in table.column_names}
        layout = schema(self.bands)
        nothing = pa.nulls(table.num_rows, pa.float64())
        return pa.table([columns.get(field.name, nothing) for field in layout], schema=layout)
