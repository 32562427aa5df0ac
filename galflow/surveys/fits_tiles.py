"""A survey that is a folder or an s3:// prefix of FITS images, one file per tile and band, whatever they are called.

Names, units, weights, masks and PSFs are translated as the options declare; nothing is guessed from file names, and a
file that is truncated or corrupt is a DataError, never pixels. Bands of one tile must share a pixel grid.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError
from galflow.photometry import COUNT, NJY
from galflow.surveys.base import BaseOptions, Footprint, Image, Plane, Psf, Survey, Tile, TileFile
from galflow.surveys.detection import detect, schema
from galflow.surveys.files import StoredFile, checksum, expand_root
from galflow.surveys.fits_io import celestial_wcs, local_pixel_scale_arcsec, read_header, read_image
from galflow.surveys.fits_names import files_by_tile, tile_names
from galflow.surveys.fits_options import CatalogOptions, FitsTilesOptions
from galflow.surveys.fits_planes import (
    header_number,
    inverse_variance,
    make_psf,
    mask_planes,
    nominal_wcs,
    psf_image,
    read_companion,
    saturation_level,
    scaled,
    unit_per_count,
)
from galflow.surveys.identity import id_base, tile_keys
from galflow.surveys.sky import sky_level, subtract_background
from galflow.surveys.tables import read_catalog, rows_inside, with_positions


class FitsTiles(Survey):
    """Any FITS images as a survey. Keep one instance per process: it lists the folder once for its object ids."""

    Options = FitsTilesOptions

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
        declared = self._options.zero_point is not None or self._options.zero_point_keyword is not None
        return NJY if declared else COUNT

    @functools.cached_property
    def _nominal_scale(self) -> float:
        footprint = self.footprint(self.tiles()[0])
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
        found = {band: files_by_tile(self._root, pattern, band) for band, pattern in self._options.bands.items()}
        raw = {self._raw_name(name) for files in found.values() for name in files}
        if not raw:
            patterns = ", ".join(self._options.bands.values())
            raise SpecError(f"no file below {self._root} matches {patterns}; check survey root and bands")
        names = tile_names(raw)
        tiles: dict[str, dict[str, StoredFile]] = {name: {} for name in sorted(names.values())}
        for band, files in found.items():
            for name, file in files.items():
                tiles[names[self._raw_name(name)]][band] = file
        return tiles

    def _raw_name(self, name: str | None) -> str:
        """What {tile} stands for, or the declared or folder's name of the only tile."""
        return name or self._options.tile or self._root.rsplit("/", 1)[-1]

    def tiles(self) -> list[Tile]:
        """Every tile of which at least one band is there, with the bands it has. Local files are read for checksums."""
        tiles = self._images()
        files: dict[str, list[TileFile]] = {name: [] for name in tiles}
        for name, images in tiles.items():
            files[name] += [TileFile(f"flux/{band}", file.uri, file.checksum) for band, file in images.items()]
        for role, pattern in self._companions().items():
            for raw, file in files_by_tile(self._root, pattern, role.rsplit("/", 1)[-1]).items():
                owners = list(tiles) if raw is None else [n for n in tile_names([raw]).values() if n in tiles]
                for name in owners:
                    files[name].append(TileFile(role, file.uri, file.checksum))
        if self._one_tile and self._options.catalog is not None:
            uri = self._catalog_uri
            for name in tiles:
                files[name].append(TileFile("catalog", uri, checksum(uri)))
        return [Tile(name, tuple(files[name]), tuple(images)) for name, images in tiles.items()]

    def _companions(self) -> dict[str, str]:
        """Role -> pattern of all declared companions of the images."""
        options = self._options
        sources = {"weight": options.weight, "mask": options.mask}
        roles = {
            f"{role}/{band}": pattern
            for role, source in sources.items()
            for band in self.bands
            if source is not None and (pattern := source.pattern_for(band)) is not None
        }
        if options.psf is not None and options.psf.pattern is not None:
            patterns = options.psf.pattern
            per_band = dict.fromkeys(self.bands, patterns) if isinstance(patterns, str) else patterns
            roles |= {f"psf/{band}": pattern for band, pattern in per_band.items()}
        if options.catalog is not None and options.catalog.per_tile:
            roles["catalog"] = options.catalog.path
        return roles

    def _file(self, tile: Tile, role: str, declared: bool = True) -> str | None:
        """The URI of a tile's file; None if the options declare none, DataError if it is declared and not there."""
        file = tile.file(role)
        if file is None and declared:
            raise DataError(f"tile {tile.name} of {self.name} has no file for {role}; expected one below {self._root}")
        return file.uri if file is not None and declared else None

    def read(self, tile: Tile, band: str) -> Image:
        """One band: scaled to nJy (or counts), background subtracted, with what companions the options declare."""
        options = self._options
        uri = cast(str, self._file(tile, f"flux/{band}"))
        stored, header = read_image(uri, options.extension)
        shape = (stored.shape[0], stored.shape[1])
        factor = unit_per_count(options, band, header, uri)
        companions = self._companions()
        mask = self._mask(tile, band, stored, header, f"mask/{band}" in companions)
        blank = None if options.blank_value is None else stored == options.blank_value
        flux = scaled(stored, factor)
        if blank is not None:
            flux[blank] = np.nan
        if not math.isfinite(float(flux.sum())):  # far cheaper than asking each pixel
            flux[~np.isfinite(flux)] = np.nan
        if options.background == "constant":
            flux -= np.float32(sky_level(flux, mask))  # in place: the tile may be large
        else:
            flux = subtract_background(flux, mask, options.background, options.background_mesh_pixels)
        ivar = None
        weight_uri = self._file(tile, f"weight/{band}", f"weight/{band}" in companions)
        if weight_uri is not None and options.weight is not None:
            pixels = read_companion(weight_uri, options.weight.extension, shape)
            ivar = inverse_variance(pixels, options.weight.kind, factor, flux, mask)
        wcs = self._wcs(header, shape, uri)
        scale = options.pixel_scale_arcsec or (local_pixel_scale_arcsec(wcs, shape) if wcs else self.pixel_scale_arcsec)
        psf = self._psf(tile, band, header, scale, f"psf/{band}" in companions)
        kept = {key: header[key] for key in options.header_keywords if isinstance(header.get(key), str | int | float)}
        return Image(flux, self.unit, scale, ivar, mask, wcs, psf, kept)

    def _mask(
        self, tile: Tile, band: str, stored: np.ndarray, header: fits.Header, declared: bool
    ) -> np.ndarray | None:
        """The survey's mask and saturated pixels, as planes; None where neither is declared."""
        options = self._options
        mask = None
        mask_uri = self._file(tile, f"mask/{band}", declared)
        if mask_uri is not None and options.mask is not None:
            pixels = read_companion(mask_uri, options.mask.extension, (stored.shape[0], stored.shape[1]))
            mask = mask_planes(pixels, options.mask)
        level = saturation_level(options, band, header, cast(str, self._file(tile, f"flux/{band}")))
        if level is not None:
            mask = np.zeros(stored.shape, dtype=np.uint16) if mask is None else mask
            mask[stored >= level] |= np.uint16(Plane.SATURATED)
        return mask

    def _psf(self, tile: Tile, band: str, header: fits.Header, scale: float, declared: bool) -> Psf | None:
        """The PSF as the options declare it; None where they say nothing for this band."""
        options = self._options.psf
        if options is None:
            return None
        uri = cast(str, self._file(tile, f"flux/{band}"))
        psf_uri = self._file(tile, f"psf/{band}", declared)
        image = None if psf_uri is None else psf_image(read_image(psf_uri, options.extension)[0], psf_uri)
        fwhm: Any = options.fwhm_arcsec
        if isinstance(fwhm, dict):
            fwhm = fwhm.get(band)
        elif options.fwhm_keyword is not None:
            fwhm = header_number(header, options.fwhm_keyword, uri) * (scale if options.fwhm_unit == "pixel" else 1.0)
        return None if image is None and fwhm is None else make_psf(image, fwhm, uri)

    def _wcs(self, header: fits.Header, shape: tuple[int, int], uri: str) -> WCS | None:
        nominal = self._options.nominal
        return celestial_wcs(header, uri) if nominal is None else nominal_wcs(nominal, shape)

    def footprint(self, tile: Tile) -> Footprint:
        """Shape and WCS of the tile's first readable band, from its header alone."""
        problems = []
        for band in tile.bands:
            uri = cast(str, self._file(tile, f"flux/{band}"))
            try:
                shape, header = read_header(uri, self._options.extension)
                return Footprint(self._wcs(header, shape, uri), shape)
            except DataError as error:
                problems.append(str(error))
        raise DataError(f"tile {tile.name} has no readable header: {'; '.join(problems)}")

    @property
    def _catalog_uri(self) -> str:
        """Where the one catalogue of the survey lies."""
        path = cast(CatalogOptions, self._options.catalog).path
        absolute = "://" in path or path.startswith("/") or "${" in path
        return expand_root(path) if absolute else f"{self._root}/{path}"

    def _read_catalog(self, uri: str) -> pa.Table:
        options = cast(CatalogOptions, self._options.catalog)
        return read_catalog(uri, options.columns, options.pixel_origin, options.extension)

    @functools.cached_property
    def _survey_table(self) -> pa.Table | None:
        options = self._options.catalog
        if options is None or options.per_tile or self._one_tile:
            return None
        table = self._read_catalog(self._catalog_uri)
        if "ra_deg" not in table.column_names:
            raise SpecError(
                f"{self._catalog_uri} serves all tiles, so it needs ra_deg and dec_deg: map them in catalog.columns, "
                "or give one catalogue per tile with {tile} in catalog.path"
            )
        return table

    def survey_catalog(self) -> pa.Table | None:
        """The catalogue of all tiles; None where objects are detected, or tiles' own catalogues have no sky positions.

        Catalogues of single tiles that give ra and dec are put together, and a row that two of them repeat is taken
        once: an object in the overlap of tiles is to be cut once.
        """
        options = self._options.catalog
        if options is None or not options.per_tile:
            return self._survey_table
        uris = [uri for tile in self.tiles() if (uri := self._file(tile, "catalog")) is not None]
        tables = [self._read_catalog(uri) for uri in uris]
        if not tables or any("ra_deg" not in table.column_names for table in tables):
            return None
        whole = pa.concat_tables([t.drop_columns([c for c in ("x", "y") if c in t.column_names]) for t in tables],
                                 promote_options="default")  # fmt: skip
        keys = pd.DataFrame({name: whole.column(name).to_pandas() for name in ("object_id", "ra_deg", "dec_deg")})
        return whole.filter(pa.array(~keys.duplicated().to_numpy()))

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """The tile's own catalogue, its part of the survey's, or what is detected in its bands."""
        if self._options.catalog is None:
            return self._detect(tile, images or {band: self.read(tile, band) for band in tile.bands})
        footprint = self.footprint(tile)
        if self._survey_table is not None:
            return rows_inside(with_positions(self._survey_table, footprint.wcs), footprint.shape)
        return with_positions(self._read_catalog(cast(str, self._file(tile, "catalog"))), footprint.wcs)

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
