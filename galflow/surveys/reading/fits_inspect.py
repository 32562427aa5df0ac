"""What is wrong with a survey of FITS files, as far as names, headers and first rows show it: told before any work.

Each fault names the field of the specification, the tile and a file. No pixels are read. A fault that all tiles share
refuses the run (galflow.runs.check); of others the run goes on without what is lacking.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import pyarrow as pa
from astropy.io import fits

from galflow.errors import DataError, SpecError, StoreError
from galflow.surveys.base import Footprint, Tile, TileFile
from galflow.surveys.reading.fault import Fault
from galflow.surveys.reading.files import DANGLING
from galflow.surveys.reading.fits_io import Extension, read_header
from galflow.surveys.reading.fits_masks import bit_planes
from galflow.surveys.reading.fits_options import FitsTilesOptions, extension_of
from galflow.surveys.reading.fits_planes import header_number, unit_per_count, zero_point_of
from galflow.surveys.reading.fits_units import flux_unit, is_magnitude, njy_per_unit
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec
from galflow.surveys.reading.positions import separation_arcsec
from galflow.surveys.reading.tables import rows_inside, with_positions

_READERS = 8
_HEADERS_KEPT = 4096
_FIRST_ROWS = 100
_ELSEWHERE_ARCSEC = 10.0
_MANY = 0.2
"""Share of the first rows' ids."""
Header = tuple[tuple[int, int], fits.Header]


def stored_header(file: TileFile, extension: Extension) -> Header:
    """Shape (y, x) and header of an image, read once for as long as the file is the same."""
    return _stored_header(file.uri, file.checksum, file.stamp, extension)


@functools.lru_cache(maxsize=_HEADERS_KEPT)
def _stored_header(uri: str, checksum: str, stamp: str, extension: Extension) -> Header:
    return read_header(uri, extension)


class Inspected(Protocol):
    """What an inspection asks of a survey of FITS files (galflow.surveys.fits_tiles.FitsTiles)."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands."""
        ...

    def extension(self, band: str) -> Extension:
        """Which of the file's extensions holds the band."""
        ...

    def footprint(self, tile: Tile) -> Footprint:
        """Where the tile lies."""
        ...

    def read_own_catalog(self, tile: Tile, head: int | None = None) -> pa.Table:
        """The tile's own catalogue; its first ``head`` rows."""
        ...

    def survey_catalog(self) -> pa.Table | None:
        """The one catalogue of all tiles."""
        ...


class Inspection:
    """One look at a survey's tiles."""

    def __init__(self, survey: Inspected, options: FitsTilesOptions, companions: Mapping[str, str]) -> None:
        self._survey = survey
        self._options = options
        self._companions = companions
        """Role -> pattern."""
        self._places: dict[int, list[tuple[float, float]]] = {}
        """Object id -> positions of the first rows that have it, of tiles' own catalogues."""

    def of(self, tiles: Sequence[Tile]) -> list[Fault]:
        """All faults, tile by tile."""
        with ThreadPoolExecutor(_READERS, thread_name_prefix="galflow-inspect") as readers:
            found = list(readers.map(lambda tile: list(self._tile(tile)), tiles))
        faults = [fault for of_tile in found for fault in of_tile]
        return faults + list(self._survey_catalog(tiles)) + list(self._ids())

    def _tile(self, tile: Tile) -> Iterator[Fault]:
        for band in self._survey.bands:
            file = tile.file(f"flux/{band}")
            field = f"survey.options.bands.{band}"
            if file is None:
                yield Fault(field, f"band {band} has no file", "the band is missing there; add it", None, tile.name)
            elif file.checksum == DANGLING:
                yield Fault(
                    field, f"the file of band {band} is a link to nothing", "mend the link", file.uri, tile.name
                )
            else:
                yield from self._band(tile, band, file)
        if self._options.catalog is not None and self._options.catalog.per_tile:
            yield from self._catalog(tile)

    def _band(self, tile: Tile, band: str, file: TileFile) -> Iterator[Fault]:
        try:
            shape, header = stored_header(file, self._survey.extension(band))
        except (DataError, StoreError) as error:
            yield self._said("survey.options.bands", "an image cannot be read", error, file, tile)
            return
        for field, problem, question in self._questions(band, file.uri, shape, header):
            try:
                question()
            except DataError as error:
                yield self._said(f"survey.options.{field}", problem, error, file, tile)
        yield from self._unit(band, header, file, tile)
        for kind in ("weight", "mask", "psf"):
            yield from self._companion(tile, kind, band, shape)

    def _questions(self, band: str, uri: str, shape: tuple[int, int], header: fits.Header):  # type: ignore[no-untyped-def]
        """(field, problem, what raises a DataError if it is so) of one image's header."""
        options = self._options
        keyword = options.zero_point_keyword
        yield (
            "zero_point_keyword",
            f"{keyword} is no usable zero point",
            lambda: zero_point_of(options, band, header, uri),
        )
        if flux_unit(str(header.get("BUNIT", ""))) and options.unit == "count":
            yield "zero_point", "the zero point contradicts BUNIT", lambda: self._agreement(band, shape, header, uri)
        yield "pixel_scale_arcsec", "neither a WCS nor a pixel scale is known", lambda: self._scale(header, uri)
        if options.saturation_keyword is not None:
            name = options.saturation_keyword
            yield "saturation_keyword", f"{name} is missing", lambda: header_number(header, name, uri)
        if options.psf is not None and options.psf.fwhm_keyword is not None:
            seeing = options.psf.fwhm_keyword
            yield "psf.fwhm_keyword", f"{seeing} is missing", lambda: header_number(header, seeing, uri)

    def _agreement(self, band: str, shape: tuple[int, int], header: fits.Header, uri: str) -> None:
        try:
            wcs = celestial_wcs(header, uri)
            zero_point_of(self._options, band, header, uri)
        except DataError:
            return  # told by another question
        scale = local_pixel_scale_arcsec(wcs, shape) if wcs is not None else None
        unit_per_count(self._options, band, header, uri, self._options.pixel_scale_arcsec or scale)

    def _scale(self, header: fits.Header, uri: str) -> None:
        options = self._options
        if options.nominal is not None:
            return
        if celestial_wcs(header, uri) is None and options.pixel_scale_arcsec is None:
            raise DataError(f"{uri}: no WCS; declare pixel_scale_arcsec or nominal")

    def _unit(self, band: str, header: fits.Header, file: TileFile, tile: Tile) -> Iterator[Fault]:
        options, text = self._options, str(header.get("BUNIT", "")).strip()
        counts = (
            options.zero_point is None and options.zero_point_keyword is None and "unit" not in options.model_fields_set
        )
        if is_magnitude(text):
            problem = f"pixels are magnitudes (BUNIT = {text})"
            yield Fault("survey.options.bands", problem, "give images of counts or flux", file.uri, tile.name)
        elif counts and flux_unit(text):
            problem = f"BUNIT = {text}, but pixels are taken for counts"
            mend = "declare unit: bunit for fluxes in nJy, or unit: count if BUNIT is wrong"
            yield Fault("survey.options.unit", problem, mend, file.uri, tile.name)
        elif options.unit == "bunit":
            try:
                njy_per_unit(text, 1.0, file.uri)
            except DataError as error:
                yield self._said("survey.options.unit", f"BUNIT = {text!r} is no flux density", error, file, tile)

    def _companion(self, tile: Tile, kind: str, band: str, shape: tuple[int, int]) -> Iterator[Fault]:
        role, field = f"{kind}/{band}", f"survey.options.{kind}"
        if role not in self._companions:
            return
        file = tile.file(role)
        if file is None:
            problem = f"no {kind} file is there for band {band} ({self._companions[role]})"
            yield Fault(field, problem, f"correct the pattern, or leave {kind} out", None, tile.name)
            return
        options = getattr(self._options, kind)
        pattern = options.pattern if isinstance(options.pattern, str) else options.pattern.get(band)
        try:
            if file.checksum == DANGLING:
                raise DataError(f"{file.uri} is a link to nothing")
            if kind == "psf" and options.varies != "no":
                return  # stamps of any number of axes, or a coarser map: read with the image
            own, header = stored_header(file, extension_of(options.extension, band, pattern))
            if kind != "psf" and own != shape:
                raise DataError(f"{file.uri} has shape {own} (y, x), its image {shape}; they must be equal")
            if kind == "mask" and self._options.mask is not None:
                bit_planes(self._options.mask, header, file.uri)
        except (DataError, StoreError) as error:
            yield self._said(field, f"a {kind} file of band {band} cannot be used", error, file, tile)

    def _catalog(self, tile: Tile) -> Iterator[Fault]:
        """Of a tile's own catalogue."""
        file = tile.file("catalog")
        if file is None:
            yield Fault("survey.options.catalog.path", "a tile has no catalogue", "add it", None, tile.name)
            return
        try:
            table = self._survey.read_own_catalog(tile, head=_FIRST_ROWS)
            footprint = self._survey.footprint(tile)
        except (DataError, SpecError, StoreError) as error:
            yield self._said("survey.options.catalog", "a catalogue cannot be used", error, file, tile)
            return
        self._note(with_positions(table, footprint.wcs))
        if len(table) and "ra_deg" in table.column_names and footprint.wcs is not None:
            inside = rows_inside(with_positions(table, footprint.wcs), footprint.shape)
            if not len(inside):
                yield Fault(
                    "survey.options.catalog.columns", f"none of the first rows lies in the tile{_guess(table)}",
                    "correct the columns of ra_deg and dec_deg, or their unit", file.uri, tile.name,
                )  # fmt: skip

    def _note(self, table: pa.Table) -> None:
        names = ("object_id", "ra_deg", "dec_deg")
        for number, ra, dec in zip(*(table.column(name).to_pylist() for name in names), strict=True):
            if ra is not None and dec is not None:
                self._places.setdefault(number, []).append((ra, dec))

    def _ids(self) -> Iterator[Fault]:
        """Ids that mean other objects in other tiles."""
        several = [np.array(places) for places in self._places.values() if len(places) > 1]
        apart = sum(1 for p in several if separation_arcsec(*p[0], *p[1:].T).max() > _ELSEWHERE_ARCSEC)
        if apart and apart >= _MANY * len(self._places):
            yield Fault(
                "survey.options.catalog",
                f"{apart} of {len(self._places)} ids name objects at other places in other tiles",
                "declare catalog.ids_per_tile: true if each tile counts its own, else give ids that differ",
            )  # fmt: skip

    def _survey_catalog(self, tiles: Sequence[Tile]) -> Iterator[Fault]:
        """Of the one catalogue of all tiles."""
        if self._options.catalog is None or self._options.catalog.per_tile:
            return
        try:
            table = self._survey.survey_catalog()
        except (SpecError, DataError, StoreError) as error:
            yield Fault("survey.options.catalog", str(error), "correct it")
            return
        if table is None or not len(table):
            return
        placed = False
        for tile in tiles:
            try:
                footprint = self._survey.footprint(tile)
            except DataError:
                continue  # told of that tile already
            if footprint.wcs is None:
                continue
            placed = True
            if len(rows_inside(with_positions(table, footprint.wcs), footprint.shape)):
                return
        if not placed:
            return
        yield Fault(
            "survey.options.catalog.columns",
            f"none of its {len(table)} rows lies in any tile{_guess(table)}",
            "correct the columns of ra_deg and dec_deg, or their unit",
        )

    @staticmethod
    def _said(field: str, problem: str, error: Exception, file: TileFile, tile: Tile) -> Fault:
        return Fault(field, problem, str(error), file.uri, tile.name)


def _guess(table: pa.Table) -> str:
    """What positions look like that are not where they should be."""
    ra, dec = (np.asarray(table.column(n).to_numpy(zero_copy_only=False), float) for n in ("ra_deg", "dec_deg"))
    known = np.isfinite(ra) & np.isfinite(dec)
    if not known.any():
        return ": they have no position"
    if np.abs(ra[known]).max() <= 2 * math.pi and np.abs(dec[known]).max() <= math.pi / 2:
        return ": they look like radians, not degrees"
    if np.abs(ra[known]).max() <= 24:
        return ": right ascensions look like hours, not degrees"
    return ""
