"""Ready-made images as a survey: a folder of thumbnails, a simulation's mock observations, a benchmark set.

Images are dealt into tiles by a hash of their names, and a tile is read as one mosaic with missing pixels between the
images, so that the one extraction path serves here too. An image that cannot be read keeps its row, with the reason in
``read_error`` and missing pixels in its place. A stamp with a WCS in its FITS header has a position on the sky. This
survey refuses to find objects: the object is each image's centre.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from galflow.errors import DataError, SpecError
from galflow.photometry import NJY, njy_per_count
from galflow.surveys.base import Image, Psf, Survey, Tile, TileFile
from galflow.surveys.reading import files, stamp_files, stamp_labels, stamp_names
from galflow.surveys.reading.display import displayed_files, of_one_stretch
from galflow.surveys.reading.last_tile import LastTile
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.reading.stamp_reading import Stamp, check_unchanged, of_like_size, sky_position
from galflow.surveys.reading.stamps_options import StampsOptions
from galflow.surveys.reading.table_metadata import reasons_of, with_reasons

_ALL_BANDS = "*"
_SIDE_OF_NOTHING = 32
"""Side of the cells of a tile in which no image can be read."""
_READERS = 8
"""Threads that fetch and decode: the latency of an object store is what they hide."""


@dataclass(frozen=True, eq=False)
class _Decoded:
    """The images of one tile, in the order of their names."""

    pixels: tuple[np.ndarray | None, ...]
    """Each (B, h, w) float32, or None if it cannot be read."""
    errors: tuple[str | None, ...]
    sky: np.ndarray
    """(n, 2) ICRS degrees of each centre pixel, NaN where no WCS tells."""
    reasons: tuple[str, ...]
    """What is wrong with stamps that can be read all the same."""
    side: int
    """The largest."""
    white: tuple[float | None, ...]
    """Per band, as ``Image.display_white``."""

    @property
    def mosaic(self) -> Mosaic:
        return Mosaic(len(self.pixels), self.side)


class Stamps(Survey):
    """Ready-made images as a survey; see the module's docstring."""

    Options = StampsOptions
    version = "3"
    options: StampsOptions

    def __init__(self, name: str, release: str, options: StampsOptions) -> None:
        super().__init__(name, release, options)
        self._root = files.expand_root(options.root)
        self._last = LastTile[_Decoded]()

    @property
    def ready_made(self) -> bool:
        """It is nothing else."""
        return True

    def displayed(self, tile: Tile) -> Mapping[str, bool]:
        """As declared, or of a file of each kind: pictures of 8 bits."""
        declared = self.options.declares_display
        return displayed_files(tile.files) if declared is None else {tile.name: declared}

    @property
    def catalog_columns(self) -> frozenset[str]:
        """Known of names and labels alone."""
        return frozenset(("file_name", "source_name", "read_error", *self._describe([]).column_names))

    @property
    def root_uri(self) -> str:
        """The option root."""
        return self._root

    @property
    def bands(self) -> tuple[str, ...]:
        """The option of that name."""
        return self.options.bands

    @property
    def pixel_scale_arcsec(self) -> float:
        """That of the binned images."""
        return self.options.pixel_scale_arcsec * self.options.bin

    @property
    def unit(self) -> str:
        """nJy with a zero point, else as declared."""
        return NJY if self.options.zero_point_ab is not None else self.options.unit

    @property
    def largest_cutout(self) -> int | None:
        """Twice the side of an image (of the first readable tile where no crop says it): more sees its neighbour."""
        if self.options.crop is not None:
            return 2 * (self.options.crop // self.options.bin)
        for tile in self.tiles():
            decoded = self._decoded(tile)
            if any(pixels is not None for pixels in decoded.pixels):
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
        """The files of each image, by the image's key: its path below the root, or {id} where bands lie apart."""
        patterns = [self.options.pattern] if isinstance(self.options.pattern, str) else self.options.pattern
        found: dict[str, list[TileFile]] = {}
        for pattern in patterns:
            wanted = stamp_names.path_pattern(pattern, self.bands)
            for entry in files.list_entries(self._root, wanted.glob):
                path = entry.uri.removeprefix(self._root + "/")
                match = wanted.match(path)
                if match is None:
                    continue
                band, key = match.get("band", _ALL_BANDS), match.get("id", path)
                role = f"flux/{band}/{key}"
                if all(file.role != role for file in found.setdefault(key, [])):
                    found[key].append(TileFile(role, entry.uri, entry.checksum))
        return found

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
    def _members(tile: Tile) -> dict[str, dict[str, TileFile]]:
        """The tile's images by key, sorted; of each, its files by band."""
        members: dict[str, dict[str, TileFile]] = {}
        for file in tile.files:
            if file.role.startswith("flux/"):
                _, band, key = file.role.split("/", 2)
                members.setdefault(key, {})[band] = file
        return dict(sorted(members.items()))

    def _decoded(self, tile: Tile) -> _Decoded:
        return self._last.get(tile.identity, lambda: self._decode(tile))

    def _decode(self, tile: Tile) -> _Decoded:
        members = self._members(tile)
        with ThreadPoolExecutor(_READERS) as readers:
            stamps = of_like_size(of_one_stretch(list(readers.map(self._decode_one, members, members.values()))))
        sides = [max(stamp.pixels.shape[1:]) for stamp in stamps if stamp.pixels is not None]
        expected = (self.options.crop or _SIDE_OF_NOTHING * self.options.bin) // self.options.bin
        return _Decoded(
            tuple(stamp.pixels for stamp in stamps),
            tuple(stamp.error for stamp in stamps),
            np.array([stamp.sky for stamp in stamps], dtype=np.float64).reshape(-1, 2),
            tuple(stamp.reason for stamp in stamps if stamp.reason is not None),
            max(sides, default=expected),
            next((stamp.white for stamp in stamps if stamp.pixels is not None), (np.nan,) * len(self.bands)),
        )

    def _decode_one(self, key: str, of_band: Mapping[str, TileFile]) -> Stamp:
        """One image. A store out of reach, or a file that was replaced, is no fault of an image: it raises."""
        options = self.options
        try:
            if _ALL_BANDS in of_band:
                loaded = [self._load(of_band[_ALL_BANDS], len(self.bands))] * len(self.bands)
                stored = loaded[0].pixels
            else:
                absent = [band for band in self.bands if band not in of_band]
                if absent:
                    raise DataError(f"{key} has no file for band {absent[0]}; expected one for each band")
                loaded = [self._load(of_band[band], 1) for band in self.bands]
                stored = np.concatenate([image.pixels for image in loaded])
            white = tuple(options.white_of(image.largest, key) for image in loaded)
            pixels = stamp_files.reshape(
                stored,
                key,
                blank_value=options.blank_value,
                background=options.background,
                crop=options.crop,
                block=options.bin,
                mode=options.bin_mode,
            )
            if options.zero_point_ab is not None:
                pixels = pixels * np.float32(njy_per_count(options.zero_point_ab))
        except (DataError, ValueError, MemoryError) as error:  # ValueError: bands of different shapes do not join
            return Stamp(None, str(error) or f"{key} needs more memory than there is; crop or bin it")
        height, width = stored.shape[1:]
        place = stamp_files.centre_pixel((height, width), crop=options.crop, block=options.bin)
        try:
            return Stamp(pixels, sky=sky_position(loaded[0].header, key, place), white=white)
        except DataError as error:
            return Stamp(pixels, reason=f"{error}: the stamp has no position on the sky", white=white)

    def _load(self, file: TileFile, bands: int) -> stamp_files.Decoded:
        content = files.read_bytes(file.uri)
        check_unchanged(file, content)
        return stamp_files.decode_file(
            content,
            file.uri,
            bands=bands,
            array=self.options.array,
            band_axis=self.options.band_axis,
            hdu=self.options.hdu,
        )

    def read(self, tile: Tile, band: str) -> Image:
        """The mosaic of one band: NaN between the images and in place of unreadable ones."""
        if band not in self.bands:
            raise DataError(f"{self.name} has no band {band!r}; its bands are {', '.join(self.bands)}")
        decoded, channel = self._decoded(tile), self.bands.index(band)
        planes = [None if pixels is None else pixels[channel] for pixels in decoded.pixels]
        psf = Psf(fwhm_arcsec=self.options.psf_fwhm_arcsec) if self.options.psf_fwhm_arcsec else None
        flux = decoded.mosaic.assemble(planes, np.nan, np.float32)
        return Image(flux, self.unit, self.pixel_scale_arcsec, psf=psf, display_white=decoded.white[channel])

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """One row an image: its id, its centre in the mosaic and on the sky, its names, labels and ``read_error``.

        ``file_name`` is the (first) file's path below the root, ``file`` the same or what {id} stands for. Without an
        ``id_pattern``, ``source_name`` is what {id} stands for or the file's name without folder and ending.
        """
        decoded = self._decoded(tile)
        members = self._members(tile)
        keys = list(members)
        y, x = decoded.mosaic.centres
        paths = [
            next(of_band[b] for b in (_ALL_BANDS, *self.bands) if b in of_band).uri for of_band in members.values()
        ]
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
