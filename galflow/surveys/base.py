"""What every survey is: a name, a release, tiles, and a way to read one band of one tile.

A survey file translates its survey's quirks (mask bits, zero points, file names) into galflow's vocabulary, and does
nothing else: it does not cut, stretch, store or score.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError
from galflow.spec.selection import SelectionSpec
from galflow.surveys.options import Options as Options
from galflow.surveys.psf_field import FwhmMap as FwhmMap
from galflow.surveys.psf_field import Psf as Psf
from galflow.surveys.psf_field import PsfField as PsfField
from galflow.surveys.reading.fault import Fault as Fault
from galflow.surveys.reading.parts import Part, WholeNeeded

OUTSIDE_TILE = "outside"
"""Name of the tile that keeps the rows of a survey-wide catalogue which lie in no other."""
REQUIRED_COLUMNS = ("object_id", "ra_deg", "dec_deg", "x", "y")
"""A tile's catalogue: 64-bit integer id, position on the sky (null where no WCS), 0-based pixel position (y, x order
of arrays; x runs along the second axis) on the survey's reference band. Further columns travel along unchanged."""


class Plane(enum.IntFlag):
    """galflow's mask planes, into which each survey's own are translated."""

    NO_DATA = 1
    BAD = 2
    SATURATED = 4
    COSMIC_RAY = 8
    TRAIL = 16
    BRIGHT_STAR = 32
    EDGE = 64
    INTERPOLATED = 128


UNUSABLE = Plane.NO_DATA | Plane.BAD | Plane.COSMIC_RAY
"""A pixel with one of these has inverse variance 0: it is missing, not data."""


@dataclass(frozen=True, slots=True)
class TileFile:
    """One file of a tile and what it holds."""

    role: str
    """Such as "flux/r", "ivar/r", "mask/r", "psf/r", "catalog"."""
    uri: str
    checksum: str
    """Changes when the content does: an etag, or the SHA-256 of the bytes."""
    stamp: str = ""
    """Size and modification time of a local file when the checksum was taken; not part of the tile's identity."""


@dataclass(frozen=True)
class Tile:
    """The survey's own unit of work, with an identity that changes when its data do."""

    name: str
    """Letters, digits, ``. _ - /``: it becomes part of the products' URIs."""
    files: tuple[TileFile, ...]
    bands: tuple[str, ...]
    """The bands that this tile really has; a subset of the survey's."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", self.name):
            raise SpecError(
                f"tile name {self.name!r} cannot be part of a URI; use letters, digits and . _ - "
                "with / between parts, starting each part with a letter or digit"
            )

    @property
    def identity(self) -> str:
        """SHA-256 over the roles and checksums of the files (not where they lie: a moved file is the same tile)."""
        content = [self.name, list(self.bands), sorted((f.role, f.checksum) for f in self.files)]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def file(self, role: str) -> TileFile | None:
        """The file of that role, or None."""
        return next((f for f in self.files if f.role == role), None)


@dataclass(frozen=True)
class Footprint:
    """Where a tile lies, known from headers alone."""

    wcs: WCS | None
    shape: tuple[int, int]
    """(y, x)."""


@dataclass(frozen=True, eq=False)
class Image:
    """One band of one tile."""

    flux: np.ndarray
    """(y, x) float32 in ``unit``; background subtracted as the survey says; NaN where missing."""
    unit: str
    """"nJy" or "count" (galflow.photometry)."""
    pixel_scale_arcsec: float
    ivar: np.ndarray | None = None
    """(y, x) float32, 1/unit^2, or None: galflow then measures it from the sky."""
    mask: np.ndarray | None = None
    """(y, x) uint16 of ``Plane`` bits, or None: nothing is masked but non-finite pixels."""
    wcs: WCS | None = None
    psf: Psf | None = None
    header: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Header cards worth keeping beside the cutouts (SEEING, EXPTIME, ...)."""
    display_white: float | None = None
    """White, in ``unit``, of pixels that were stretched for display already; None: flux. NaN: there is no pixel."""

    def __post_init__(self) -> None:
        if self.flux.ndim != 2:
            raise DataError(f"an image has two axes (y, x); got shape {self.flux.shape}")
        for name in ("ivar", "mask"):
            plane = getattr(self, name)
            if plane is not None and plane.shape != self.flux.shape:
                raise DataError(f"{name} has shape {plane.shape}, its image {self.flux.shape}; they must be equal")


BaseOptions = Options
"""The same class under a name that ``Survey.Options`` does not shadow."""


class Survey(ABC):
    """A survey or simulation. One file a kind; the specification's ``survey.kind`` names the file."""

    Options: ClassVar[type[BaseOptions]]
    """The pydantic model of ``survey.options``; its field descriptions are the help texts of the form."""
    version: ClassVar[str] = "1"
    """Raised when the same files would give other pixels or positions."""
    selection: SelectionSpec | None = None
    """Which of its objects are wanted; whoever asks for its catalogue applies it. None: all."""

    def __init__(self, name: str, release: str, options: BaseOptions) -> None:
        self.name = name
        self.release = release
        self.options = options

    @property
    @abstractmethod
    def bands(self) -> tuple[str, ...]:
        """All bands; the first of the specification's choice is the reference band of positions."""

    @property
    @abstractmethod
    def pixel_scale_arcsec(self) -> float:
        """Nominal pixel scale."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """ "nJy" or "count", the same for all images."""

    @abstractmethod
    def tiles(self) -> list[Tile]:
        """All tiles, sorted by name, each with its identity; reads no pixels beyond what checksums need."""

    @functools.cached_property
    def listed(self) -> list[Tile]:
        """``tiles()``, asked once for as long as this object lives."""
        return self.tiles()

    @abstractmethod
    def read(self, tile: Tile, band: str) -> Image:
        """One band of a tile. Raises DataError, with file and reason, if it cannot be read."""

    @property
    def reads_parts(self) -> bool:
        """Whether ``read_part`` can give some pixels of a band without reading the others."""
        return False

    def read_part(self, tile: Tile, band: str, part: Part) -> Image:
        """The pixels ``part`` of a band as ``read`` would give them, in planes (1, M).

        WholeNeeded where they do not follow from themselves and the part's sample of the sky.
        """
        raise WholeNeeded(f"survey {self.name} is read tile by tile")

    @abstractmethod
    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """The tile's objects (``REQUIRED_COLUMNS`` and more), given or detected.

        ``images`` are the bands already read, so that a detection reads nothing twice; None: read what is needed.
        """

    def inspect(self, tiles: Sequence[Tile]) -> list[Fault]:
        """What is wrong, as far as file names, headers and the first rows of catalogues show it; reads no pixels.

        ``tiles`` are those that ``tiles()`` gave. Whatever breaks on one tile is that tile's fault, never an exception.
        """
        return []

    def prepared(self, tile: Tile) -> Mapping[str, Any]:
        """What was done to the tile's images before they were cut, counted, as JSON values; empty: nothing to tell."""
        return {}

    @property
    def root_uri(self) -> str | None:
        """Where its files lie; None: it has none, or they lie anywhere."""
        return None

    def below_root(self, uri: str) -> str:
        """A file's path below the root, which holds wherever the survey is moved; else its URI."""
        root = self.root_uri
        return uri.removeprefix(f"{root.rstrip('/')}/") if root else uri

    @property
    def joins_tiles(self) -> bool:
        """Whether rows of different tiles may be one object of the sky: so it is where each tile has its own rows."""
        return True

    @property
    def ready_made(self) -> bool:
        """Whether its objects are ready-made images, of which some may be copies of others."""
        return False

    def displayed(self, tile: Tile) -> Mapping[str, bool]:
        """What of the tile -> whether it was stretched for display already, as far as no pixels need to be read.

        By default nothing was: all is flux.
        """
        return {tile.name: False}

    def attributes(self, tile: Tile) -> Mapping[str, Any]:
        """What a tile's cutout set says of how its images were made, as JSON values; by default nothing."""
        return {}

    @property
    def detects(self) -> bool:
        """Whether object ids are galflow's own, from where an object peaks, and not the survey's."""
        return False

    def footprint(self, tile: Tile, band: str | None = None) -> Footprint | None:
        """Where the tile lies, from headers alone; None: unknown without reading it.

        ``band``: the reference band, in whose pixels positions are; None: the survey's own choice.
        """
        return None

    def survey_catalog(self) -> pa.Table | None:
        """A catalogue that covers all tiles (object_id, ra_deg, dec_deg, ...); None: each tile brings its own.

        With one, galflow assigns each object to the tile in which it lies farthest from an edge, and ``catalog`` is
        not called.
        """
        return None

    @property
    def catalog_columns(self) -> frozenset[str] | None:
        """Names of its objects' columns where they are known without reading a tile; None: they are not."""
        table = self.survey_catalog()
        return None if table is None else frozenset(table.column_names)

    def catalog_schema(self, tile: Tile) -> pa.Schema | None:
        """The columns of ``catalog(tile)`` (or of the survey-wide catalogue) without reading pixels; None: unknown.

        The type of a column of which only the name is known is null. DataError or SpecError: it cannot be read.
        """
        table = self.survey_catalog()
        if table is not None:
            return table.schema
        known = self.catalog_columns
        return None if known is None else pa.schema([(n, pa.null()) for n in sorted({*REQUIRED_COLUMNS, *known})])

    def with_columns(self, table: pa.Table, tile: Tile) -> pa.Table:
        """Rows of a tile with the columns that follow from the tile itself; by default they are as they are.

        What ``catalog`` gives has them. Rows of a survey-wide catalogue get them when they are given to a tile.
        """
        return table

    @property
    def largest_cutout(self) -> int | None:
        """The largest cutout side in pixels that makes sense (ready-made stamps have a size); None: any."""
        return None
