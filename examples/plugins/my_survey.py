"""A survey as a plug-in: a folder of NPZ files, one a tile.

A file has ``flux`` and ``ivar`` (band, y, x) in nJy and 1/nJy^2, ``flags`` (y, x) with the survey's own bits, ``wcs``
(the text of a FITS header), and a number for each object in ``id``, ``x``, ``y`` (pixels from 0) and ``magnitude``. It
refuses to guess: a file without one of these is an error that names it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS
from pydantic import ConfigDict, Field

from galflow.errors import DataError, SpecError
from galflow.photometry import NJY
from galflow.surveys.base import Footprint, Image, Options, Plane, Survey, Tile
from galflow.surveys.reading import files
from galflow.surveys.reading.last_tile import LastTile
from galflow.surveys.reading.positions import pixel_to_icrs

PLANES = {1: Plane.SATURATED, 2: Plane.COSMIC_RAY, 4: Plane.BRIGHT_STAR}
"""The survey's own bits, in galflow's words."""
CONTENT = ("flux", "ivar", "flags", "wcs", "id", "x", "y", "magnitude")


class NpzTilesOptions(Options):
    """Options of a folder of NPZ tiles."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    locations: ClassVar[frozenset[str]] = frozenset({"root"})

    root: str
    """Folder or s3:// prefix of the files; ${NAME} is taken from the environment."""
    bands: tuple[str, ...] = ("g", "r", "i")
    """Names of the planes of flux and ivar, in their order."""
    pixel_scale_arcsec: Annotated[float, Field(gt=0)] = 0.2
    """Arcseconds in a pixel."""


class NpzTiles(Survey):
    """A folder of NPZ files, one a tile; see the module's docstring."""

    Options = NpzTilesOptions
    options: NpzTilesOptions

    def __init__(self, name: str, release: str, options: NpzTilesOptions) -> None:
        super().__init__(name, release, options)
        self._root = files.expand_root(options.root)
        self._last = LastTile[dict[str, np.ndarray]]()

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
        """The option of that name."""
        return self.options.pixel_scale_arcsec

    @property
    def unit(self) -> str:
        """nJy."""
        return NJY

    def tiles(self) -> list[Tile]:
        """One tile a file, named after it; a file's checksum is the tile's identity. SpecError if there is no file."""
        found = files.list_entries(self._root, "*.npz")
        if not found:
            raise SpecError(f"{self.name}: no file below {self._root} ends with .npz; check survey.options.root")
        names = [entry.uri.rpartition("/")[2].removesuffix(".npz") for entry in found]
        tiles = [Tile(n, (e.in_role("npz"),), self.bands) for n, e in zip(names, found, strict=True)]
        return sorted(tiles, key=lambda tile: tile.name)

    def read(self, tile: Tile, band: str) -> Image:
        """One band with its inverse variance, mask and WCS; DataError if the file or the band cannot be read."""
        if band not in self.bands:
            raise DataError(f"{self.name} has no band {band!r}; its bands are {', '.join(self.bands)}")
        content, number = self._content(tile), self.bands.index(band)
        mask = np.zeros(content["flags"].shape, np.uint16)
        for bit, plane in PLANES.items():
            mask[(content["flags"] & bit) != 0] |= np.uint16(plane)
        return Image(
            content["flux"][number].astype(np.float32),
            NJY,
            self.pixel_scale_arcsec,
            ivar=content["ivar"][number].astype(np.float32),
            mask=mask,
            wcs=self._wcs(content),
        )

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """A row an object; ``magnitude`` travels into the published catalogue."""
        content = self._content(tile)
        x, y = content["x"].astype(np.float64), content["y"].astype(np.float64)
        ra_deg, dec_deg = pixel_to_icrs(self._wcs(content), x, y)
        ids = pa.array(content["id"].astype(np.int64))
        columns = {"object_id": ids, "ra_deg": ra_deg, "dec_deg": dec_deg, "x": x, "y": y}
        return pa.table(columns | {"magnitude": content["magnitude"]})

    def footprint(self, tile: Tile, band: str | None = None) -> Footprint:
        """The WCS and the shape (y, x) in the file."""
        content = self._content(tile)
        return Footprint(self._wcs(content), content["flux"].shape[1:])

    @staticmethod
    def _wcs(content: Mapping[str, np.ndarray]) -> WCS:
        return WCS(fits.Header.fromstring(str(content["wcs"]), sep="\n"))

    def _content(self, tile: Tile) -> dict[str, np.ndarray]:
        """The arrays of a tile's file, read once for all bands."""
        return self._last.get(tile.identity, lambda: self._load(tile))

    def _load(self, tile: Tile) -> dict[str, np.ndarray]:
        (file,) = tile.files
        with files.unchanged(file) as uri:  # it must be the file that the run was planned with
            data = files.read_bytes(uri)
        try:
            with np.load(io.BytesIO(data)) as archive:
                content = {name: archive[name] for name in CONTENT}
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{file.uri} cannot be read ({error}); expected arrays {', '.join(CONTENT)}") from error
        if content["flux"].shape[:1] != (len(self.bands),) or content["ivar"].shape != content["flux"].shape:
            raise DataError(
                f"{file.uri} has flux {content['flux'].shape} and ivar {content['ivar'].shape}; expected "
                f"({len(self.bands)}, y, x) for bands {', '.join(self.bands)}"
            )
        return content
