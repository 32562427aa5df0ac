"""Ready-made images as a survey: a folder of thumbnails, a simulation's mock observations, a benchmark set.

Images are dealt into tiles by a hash of their names, and a tile is read as one mosaic with missing pixels between the
images, so that the one extraction path serves here too. An image that cannot be read keeps its row, with the reason in
``read_error`` and missing pixels in its place. A stamp with a WCS in its FITS header has a position on the sky. This
survey refuses to find objects: the object is each image's centre.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.errors import DataError, SpecError
from galflow.surveys.base import Image, Tile, TileFile
from galflow.surveys.reading import files, stamp_labels, stamp_names
from galflow.surveys.reading.display import displayed_files, of_one_stretch
from galflow.surveys.reading.last_tile import LastTile
from galflow.surveys.reading.stamp_decoding import ALL_BANDS, StampDecoder
from galflow.surveys.reading.stamp_reading import of_like_size
from galflow.surveys.reading.stamp_tile import StampTile, with_fwhm
from galflow.surveys.reading.stamps_options import StampsOptions
from galflow.surveys.reading.table_metadata import reasons_of, with_reasons
from galflow.surveys.ready_made_images import ReadyMadeImages

_READERS = 8
"""Threads that fetch and decode: the latency of an object store is what they hide."""


class Stamps(ReadyMadeImages):
    """Ready-made images as a survey; see the module's docstring."""

    Options = StampsOptions
    version = "3"
    options: StampsOptions

    def __init__(self, name: str, release: str, options: StampsOptions) -> None:
        super().__init__(name, release, options)
        self._last = LastTile[StampTile]()
        self._decoder = StampDecoder(options)

    def displayed(self, tile: Tile) -> Mapping[str, bool]:
        """As declared, or of a file of each kind: pictures of 8 bits."""
        declared = self.options.declares_display
        return displayed_files(tile.files) if declared is None else {tile.name: declared}

    @property
    def catalog_columns(self) -> frozenset[str]:
        """Known of names and labels alone."""
        return frozenset(("file_name", "source_name", "read_error", *self._describe([]).column_names))

    @property
    def bands(self) -> tuple[str, ...]:
        """The option of that name."""
        return self.options.bands

    @property
    def pixel_scale_arcsec(self) -> float:
        """That of the images as they are resampled and binned."""
        return self.options.scale_made_arcsec

    @property
    def largest_cutout(self) -> int | None:
        """Twice the side of an image (of the first readable tile where no crop says it): more sees its neighbour."""
        if self.options.crop is not None:
            return 2 * (self.options.crop // self.options.bin)
        for tile in self.tiles():
            decoded = self._decoded(tile)
            if any(stamp.pixels is not None for stamp in decoded.stamps):
                return decoded.mosaic.cell_side
        return None

    def tiles(self) -> list[Tile]:
        """Tiles h<bits>-<number>, each with its images' checksums and labels as identity.

        Raises SpecError where nothing matches, or where two images would share an object id.
        """
        found = self._find()
        table = self._describe(sorted(found))
        table = table.filter(stamp_labels.selected(table, self.options.select))
        if len(table) == 0:
            raise SpecError(
                f"{self.name}: no image below {self._root} matches {self.options.pattern!r} and select = "
                f"{self.options.select}; {len(found)} match the pattern alone"
            )
        keys = table["file"].to_pylist()
        stamp_names.object_ids(keys, self.options.id_pattern)
        settings = hashlib.sha256(json.dumps([self.version, self.options.content()], sort_keys=True).encode())
        return [
            Tile(
                name=name,
                files=(
                    TileFile("options", "", settings.hexdigest()),
                    TileFile("labels", "", stamp_labels.checksum(table.take(members))),
                    *(file for row in members for file in found[keys[row]]),
                ),
                bands=self.bands,
            )
            for name, members in stamp_names.dealt(keys, self.options.images_per_tile, self.options.tile_bits).items()
        ]

    def _find(self) -> dict[str, list[TileFile]]:
        """The files of each image, by the image's key: its path below the root, or what {id} stands for."""
        patterns = [self.options.pattern] if isinstance(self.options.pattern, str) else self.options.pattern
        found: dict[str, list[TileFile]] = {}
        for pattern in patterns:
            for key, file in self._matching("flux", pattern):
                if all(other.role != file.role for other in found.setdefault(key, [])):
                    found[key].append(file)
        for role, source in self.options.planes.items():
            for key, file in self._matching(role, source.pattern) if source.pattern is not None else ():
                if key in found:
                    found[key].append(file)
        return found

    def _matching(self, role: str, pattern: str) -> Iterator[tuple[str, TileFile]]:
        """(key of its image, file) of what lies below the root and matches."""
        wanted = stamp_names.path_pattern(pattern, self.bands)
        for entry in files.list_entries(self._root, wanted.glob):
            path = entry.uri.removeprefix(self._root + "/")
            match = wanted.match(path)
            if match is not None:
                key = match.get("id", path)
                yield key, TileFile(f"{role}/{match.get('band', ALL_BANDS)}/{key}", entry.uri, entry.checksum)

    @cached_property
    def _labels(self) -> pa.Table | None:
        if self.options.labels is None:
            return None
        uri = files.expand_root(self.options.labels)
        return stamp_labels.read_labels(uri, self.options.label_file_column, self.options.label_columns)

    def _describe(self, keys: Sequence[str]) -> pa.Table:
        return stamp_labels.describe(
            keys,
            folder_column=self.options.folder_column,
            name_pattern=self.options.name_pattern,
            numbers=self.options.numbers,
            labels=self._labels,
        )

    @staticmethod
    def _members(tile: Tile) -> dict[str, dict[str, dict[str, TileFile]]]:
        """The tile's images by key, sorted; of each, its files by role and band."""
        members: dict[str, dict[str, dict[str, TileFile]]] = {}
        for file in tile.files:
            role, *rest = file.role.split("/", 2)
            if rest:
                members.setdefault(rest[1], {}).setdefault(role, {})[rest[0]] = file
        return dict(sorted(members.items()))

    def _decoded(self, tile: Tile) -> StampTile:
        return self._last.get(tile.identity, lambda: self._decode(tile))

    def _decode(self, tile: Tile) -> StampTile:
        members = self._members(tile)
        with ThreadPoolExecutor(_READERS) as readers:
            stamps = of_like_size(of_one_stretch(list(readers.map(self._decoder.decode, members, members.values()))))
        return StampTile(tuple(stamps), self.bands, self.options.crop and self.options.crop // self.options.bin)

    def read(self, tile: Tile, band: str) -> Image:
        """The mosaic of one band: missing between the images and in place of unreadable ones."""
        if band not in self.bands:
            raise DataError(f"{self.name} has no band {band!r}; its bands are {', '.join(self.bands)}")
        image = self._decoded(tile).image(band, self.unit, self.pixel_scale_arcsec)
        declared = self.options.psf_fwhm_arcsec
        return image if declared is None else with_fwhm(image, declared)

    def prepared(self, tile: Tile) -> Mapping[str, Any]:
        """What was done to the sizes of the tile's images, counted."""
        return self._decoded(tile).sizes_told

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """One row an image: its id, its centre in the mosaic and on the sky, its names, labels and ``read_error``.

        ``file_name`` is the (first) file's path below the root, ``file`` the same or what {id} stands for. Without an
        ``id_pattern``, ``source_name`` is what {id} stands for or the file's name without folder and ending.
        """
        decoded = self._decoded(tile)
        members = self._members(tile)
        keys = list(members)
        y, x = decoded.mosaic.centres
        flux = [of_image["flux"] for of_image in members.values()]
        paths = [next(of_band[b] for b in (ALL_BANDS, *self.bands) if b in of_band).uri for of_band in flux]
        columns = {
            "object_id": pa.array(stamp_names.object_ids(keys, self.options.id_pattern)),
            "ra_deg": pa.array(decoded.sky[:, 0], from_pandas=True),
            "dec_deg": pa.array(decoded.sky[:, 1], from_pandas=True),
            "x": pa.array(x.astype(np.float64)),
            "y": pa.array(y.astype(np.float64)),
            "file_name": pa.array([path.removeprefix(self._root + "/") for path in paths], pa.string()),
        }
        if self.options.id_pattern is None:
            columns["source_name"] = pa.array([stamp_names.source_name(key) for key in keys], pa.string())
        described = self._describe(keys)
        columns |= {name: described[name] for name in described.column_names}
        table = pa.table(columns | {"read_error": pa.array(decoded.errors, pa.string())})
        return with_reasons(table, [*reasons_of(described), *decoded.reasons])
