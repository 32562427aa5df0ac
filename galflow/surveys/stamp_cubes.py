"""Cubes of ready-made images as a survey: files that hold many stamps each, as arrays by name (HDF5, NPZ, FITS, ...).

A tile is some rows of one file. As in ``stamps`` it is read as one mosaic with missing pixels between the images, and
sizes, scales and units are brought to one as declared. Only a tile's rows are in memory. It refuses to find objects:
the object is each image's centre.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.errors import DataError, SpecError
from galflow.surveys.base import BaseOptions, Fault, Image, Tile, TileFile
from galflow.surveys.reading.cube_options import CubeOptions
from galflow.surveys.reading.cube_reading import CubeReader, row_count
from galflow.surveys.reading.display import of_one_stretch
from galflow.surveys.reading.files import StoredFile, list_entries, unchanged
from galflow.surveys.reading.fits_names import tile_names
from galflow.surveys.reading.last_tile import LastTile
from galflow.surveys.reading.stamp_arrays import ENDINGS, StampArrays, opened_arrays
from galflow.surveys.reading.stamp_names import hash64
from galflow.surveys.reading.stamp_reading import of_like_size
from galflow.surveys.reading.stamp_tile import StampTile, with_fwhm
from galflow.surveys.reading.table_arrays import column_of
from galflow.surveys.reading.table_ids import identify
from galflow.surveys.reading.table_metadata import notes, with_reasons
from galflow.surveys.ready_made_images import ReadyMadeImages

_ROLE = re.compile(r"flux/\*/(.*)#(\d+)-(\d+)")
_ARRAYS_OF_OPTIONS = ("flux", "weight", "mask", "psf", "psf_fwhm", "scale", "object_id", "ra_deg", "dec_deg")
_RESERVED = frozenset({"object_id", "ra_deg", "dec_deg", "x", "y", "file_name", "source_name", "read_error"})


class StampCubes(ReadyMadeImages):
    """Cubes of stamps; see the module's docstring."""

    Options = CubeOptions
    options: CubeOptions

    def __init__(self, name: str, release: str, options: BaseOptions) -> None:
        if not isinstance(options, CubeOptions):
            raise SpecError(f"{type(self).__name__} needs CubeOptions, got {type(options).__name__}")
        super().__init__(name, release, options)
        self._last = LastTile[tuple[StampTile, pa.Table, np.ndarray | None]]()

    @property
    def bands(self) -> tuple[str, ...]:
        """The option of that name."""
        return self.options.bands

    @property
    def pixel_scale_arcsec(self) -> float:
        """That of the images as they are resampled and binned."""
        return (self.options.resample_arcsec or self._native_scale) * self.options.bin

    @cached_property
    def _native_scale(self) -> float:
        if self.layout.scale is None and self.options.pixel_scale_arcsec is not None:
            return self.options.pixel_scale_arcsec
        with opened_arrays(self.entries[0].uri) as arrays:
            return round(float(self._reader.scales(arrays, 0, 1)[0]), 6)

    def displayed(self, tile: Tile) -> Mapping[str, bool]:
        """As declared; what only the arrays' type tells is left out."""
        declared = self.options.declares_display
        return {} if declared is None else {tile.name: declared}

    @property
    def largest_cutout(self) -> int | None:
        """Twice the side of an image (of the first tile where no crop says it): more sees its neighbour."""
        if self.options.crop is not None:
            return 2 * (self.options.crop // self.options.bin)
        decoded = self._decoded(self.listed[0])[0]
        return decoded.mosaic.cell_side if any(s.pixels is not None for s in decoded.stamps) else None

    @property
    def layout(self) -> CubeOptions:
        """Which arrays hold what."""
        return self.options

    def verify(self, arrays: StampArrays, start: int, stop: int) -> None:
        """Raise DataError where rows are otherwise than the first file's first; nothing to compare by default."""

    @cached_property
    def _reader(self) -> CubeReader:
        return CubeReader(self.layout, self.bands)

    @property
    def entries(self) -> list[StoredFile]:
        """The files, by path; SpecError where there are none."""
        found = [e for e in list_entries(self._root, self.options.pattern) if e.uri.lower().endswith(ENDINGS)]
        if not found:
            raise SpecError(
                f"{self.name}: no file below {self._root} matches {self.options.pattern!r} and ends in one of "
                f"{', '.join(ENDINGS)}; check survey root and pattern"
            )
        return found

    def tiles(self) -> list[Tile]:
        """Tiles <path>/<number>, each of up to ``images_per_tile`` rows of a file, with its checksum as identity.

        A file that cannot be read is a tile without bands, and is told.
        """
        settings = hashlib.sha256(json.dumps([self.version, self.options.content()], sort_keys=True).encode())
        options = TileFile("options", "", settings.hexdigest())
        entries = {entry.uri[len(self._root) + 1 :]: entry for entry in self.entries}
        names = tile_names(entries)
        found: list[Tile] = []
        step = self.options.images_per_tile
        for path, entry in entries.items():
            count = self._count(entry)
            for start in range(0, max(1, count or 1), step):
                stop = min(start + step, count or 1)
                file = TileFile(f"flux/*/{path}#{start}-{stop}", entry.uri, entry.checksum, entry.stamp)
                name = f"{names[path]}/{start // step:05d}"
                found.append(Tile(name, (options, file), self.bands if count else ()))
        return sorted(found, key=lambda tile: tile.name)

    def _count(self, entry: StoredFile) -> int | None:
        """Images in a file; None where it cannot be read."""
        try:
            with opened_arrays(entry.uri) as arrays:
                return row_count(arrays, self.layout)
        except DataError:
            return None  # told by inspect, and by the tile's receipt

    def inspect(self, tiles: Sequence[Tile]) -> list[Fault]:
        """Files that cannot be read, or lack an array."""
        faults, seen = [], set[str]()
        for tile in tiles:
            path, file, start, stop = self._part(tile)
            if path in seen:
                continue
            seen.add(path)
            try:
                with opened_arrays(file.uri) as arrays:
                    row_count(arrays, self.layout)
                    for option in _ARRAYS_OF_OPTIONS:
                        for name in _names_in(getattr(self.layout, option)):
                            arrays.require(name)
                    self._reader.scales(arrays, start, stop)
                    self.verify(arrays, start, stop)
            except DataError as error:
                problem = "a file of stamps cannot be used"
                faults.append(Fault("survey.options.root", problem, str(error), file.uri, tile.name))
        return faults

    @staticmethod
    def _part(tile: Tile) -> tuple[str, TileFile, int, int]:
        """(path, file, first row, row after the last)."""
        for file in tile.files:
            found = _ROLE.fullmatch(file.role)
            if found is not None:
                return found[1], file, int(found[2]), int(found[3])
        raise DataError(f"tile {tile.name} has no file of stamps")

    def _decoded(self, tile: Tile) -> tuple[StampTile, pa.Table, np.ndarray | None]:
        return self._last.get(tile.identity, lambda: self._decode(tile))

    def _decode(self, tile: Tile) -> tuple[StampTile, pa.Table, np.ndarray | None]:
        """Images, rows but for their places in the mosaic, and FWHM (n, band)."""
        _, file, start, stop = self._part(tile)
        with unchanged(file) as uri, opened_arrays(uri) as arrays:
            self.verify(arrays, start, stop)
            stamps = of_like_size(of_one_stretch(list(self._reader.stamps(arrays, start, stop))))
            fwhm = self._reader.fwhm_arcsec(arrays, start, stop)
            taken = {name for option in _ARRAYS_OF_OPTIONS for name in _names_in(getattr(self.layout, option))}
            given = self._reader.columns(arrays, start, stop, frozenset(taken))
            own = {name: getattr(self.layout, name) for name in ("object_id", "ra_deg", "dec_deg")}
            given |= {name: np.asarray(arrays.read(array, start, stop)) for name, array in own.items() if array}
        crop = self.options.crop
        return (
            StampTile(tuple(stamps), self.bands, crop and crop // self.options.bin),
            self._rows(tile, given, fwhm),
            fwhm,
        )

    def _rows(self, tile: Tile, given: dict[str, np.ndarray], fwhm: np.ndarray | None) -> pa.Table:
        """Ids, places on the sky and further columns of the rows; a column that is none is left out and told."""
        path, file, start, stop = self._part(tile)
        reasons: list[str] = []
        columns: dict[str, pa.Array | pa.ChunkedArray] = {}
        if "object_id" in given:
            ids = identify(pa.chunked_array([column_of(given.pop("object_id"))]), "object_id", file.uri, typed=True)
            columns |= {"object_id": ids.ids} | ({} if ids.names is None else {"source_name": ids.names})
            reasons += ids.reasons
        else:
            names = [f"{path}#{row}" for row in range(start, stop)]
            columns["object_id"] = pa.array([hash64(name) >> 1 for name in names], pa.int64())
        for name in ("ra_deg", "dec_deg"):
            values = np.asarray(given.pop(name, np.full(stop - start, np.nan)), np.float64)
            columns[name] = pa.array(np.where(np.isfinite(values), values, np.nan), from_pandas=True)
        columns["file_name"] = pa.array([path] * (stop - start), pa.string())
        for name, stored in given.items():
            try:
                columns[f"{name}_in_file" if name in _RESERVED else name.replace("/", ".")] = column_of(stored)
            except ValueError as error:
                reasons.append(f"{file.uri}: column {name!r} is left out ({error})")
        fields = [pa.field(name, column.type) for name, column in columns.items()]
        for number, band in enumerate(self.bands if fwhm is not None else ()):
            values = pa.array(fwhm[:, number], from_pandas=True)  # type: ignore[index]
            columns[f"psf_fwhm_{band}"] = values
            fields.append(
                pa.field(f"psf_fwhm_{band}", values.type, metadata=notes("arcsec", f"FWHM of the PSF in band {band}"))
            )
        return with_reasons(pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields)), reasons)

    def read(self, tile: Tile, band: str) -> Image:
        """The mosaic of one band: missing between the images and in place of unusable ones."""
        if band not in self.bands:
            raise DataError(f"{self.name} has no band {band!r}; its bands are {', '.join(self.bands)}")
        decoded, _, fwhm = self._decoded(tile)
        image = decoded.image(band, self.unit, self.pixel_scale_arcsec)
        known = self.options.psf_fwhm_arcsec
        if known is None and fwhm is not None and np.isfinite(fwhm[:, self.bands.index(band)]).any():
            known = float(np.nanmedian(fwhm[:, self.bands.index(band)]))
        return image if known is None else with_fwhm(image, known)

    def prepared(self, tile: Tile) -> Mapping[str, Any]:
        """What was done to the sizes of the tile's images, counted."""
        return self._decoded(tile)[0].sizes_told

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """One row an image: its id, its centre in the mosaic and on the sky, further columns, and ``read_error``."""
        decoded, rows, _ = self._decoded(tile)
        y, x = decoded.mosaic.centres
        table = rows.append_column("x", pa.array(x.astype(np.float64)))
        table = table.append_column("y", pa.array(y.astype(np.float64)))
        return table.append_column("read_error", pa.array(decoded.errors, pa.string()))


def _names_in(given: str | Mapping[str, str] | None) -> list[str]:
    """The arrays that an option names."""
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given.values())
