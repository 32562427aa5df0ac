"""Where the objects of an emulated survey lie, and which tiles it has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from astropy.io import fits
from astropy.wcs import WCS

from galflow.errors import SpecError
from galflow.spec.emulation import EmulationSpec
from galflow.surveys.reading.files import expand_root
from galflow.surveys.reading.positions import icrs_to_pixel, unit_vectors
from galflow.surveys.reading.tables import read_catalog

MOST_TILES = 100_000
WIDEST_DEG = 20.0
"""Objects farther apart lie on no single tangential projection worth the name."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FieldTile:
    """One tile, a square of the common projection."""

    name: str
    column: int
    row: int
    size: int
    """Side in pixels."""
    cards: str
    """Its WCS, as the cards of a FITS header."""
    objects: pa.Table
    """Rows whose light may reach it: object_id, ra, dec, x, y (0-based pixels of this tile), home (bool: whether it
    lies in this tile), and the model's conditions (float64, NaN where unknown)."""

    @property
    def wcs(self) -> WCS:
        """Of its pixels, 0-based."""
        return WCS(fits.Header.fromstring(self.cards))


@dataclass(frozen=True, eq=False)
class Field:
    """The objects on a tangential projection about their middle."""

    wcs: WCS
    """Of the pixel (0, 0) at the lower left corner of tile (0, 0); north up, east left."""
    tile_size: int
    objects: pa.Table
    x: Floats
    y: Floats

    @classmethod
    def read(cls, spec: EmulationSpec, conditions: tuple[str, ...]) -> Field:
        """The field of a catalogue; ``conditions`` are the columns that the model is given.

        SpecError for columns that are not there, for no object with a position, and for more sky than one projection
        holds.
        """
        given = {name: spec.objects.columns.get(name, name) for name in conditions}
        own = {name: source for name, source in spec.objects.columns.items() if name not in given}
        table = read_catalog(expand_root(spec.objects.path), own)
        missing = [source for source in given.values() if source not in table.column_names]
        if missing:
            raise SpecError(
                f"{spec.objects.path} has no column {missing[0]!r}, which the model is given; it has "
                f"{', '.join(table.column_names)}. Name it in objects.columns"
            )
        if "ra_deg" not in table.column_names:
            raise SpecError(f"{spec.objects.path}: objects.columns must say which columns are ra_deg and dec_deg")
        ra, dec = (_floats(table[name]) for name in ("ra_deg", "dec_deg"))
        placed = np.isfinite(ra) & np.isfinite(dec)
        if not placed.any():
            raise SpecError(f"{spec.objects.path}: no row has a position")
        ra, dec = ra[placed], dec[placed]
        wcs = _projection(spec, ra, dec)
        x, y = icrs_to_pixel(wcs, ra, dec)
        x0, y0 = (math.floor(values.min()) - spec.tile_size // 8 for values in (x, y))
        wcs.wcs.crpix = [wcs.wcs.crpix[0] - x0, wcs.wcs.crpix[1] - y0]
        columns = {"object_id": table["object_id"].filter(pa.array(placed)), "ra": pa.array(ra), "dec": pa.array(dec)}
        columns |= {name: pa.array(_floats(table[source])[placed]) for name, source in given.items()}
        return cls(wcs, spec.tile_size, pa.table(columns), x - x0, y - y0)

    def tiles(self, reach: float) -> list[FieldTile]:
        """Every tile in which an object lies, with the objects whose light, ``reach`` pixels wide, touches it."""
        size = self.tile_size
        homes = np.stack([self.x // size, self.y // size], axis=1).astype(np.int64)
        places = np.unique(homes, axis=0)
        if len(places) > MOST_TILES:
            raise SpecError(f"the objects lie in {len(places):,} tiles of {size} pixels; take larger tiles")
        order = np.argsort(self.x, kind="stable")
        sorted_x = self.x[order]
        found = []
        for column, row in places.tolist():
            left, bottom = column * size, row * size
            near = order[slice(*np.searchsorted(sorted_x, [left - reach, left + size + reach]))]
            near = np.sort(near[(self.y[near] >= bottom - reach) & (self.y[near] < bottom + size + reach)])
            home = (homes[near] == (column, row)).all(axis=1)
            rows = self.objects.take(pa.array(near))
            for name, values in (("x", self.x[near] - left), ("y", self.y[near] - bottom), ("home", home)):
                rows = rows.append_column(name, pa.array(values))
            cards = self._cards(left, bottom)
            found.append(FieldTile(f"c{column:03d}r{row:03d}", column, row, size, cards, rows))
        return found

    def _cards(self, left: int, bottom: int) -> str:
        """The WCS of the tile whose lower left pixel is that one of the field's."""
        wcs = self.wcs.deepcopy()
        wcs.wcs.crpix = [wcs.wcs.crpix[0] - left, wcs.wcs.crpix[1] - bottom]
        return str(wcs.to_header().tostring())


def _floats(column: pa.ChunkedArray) -> Floats:
    """Numbers of a column, NaN where null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _projection(spec: EmulationSpec, ra: Floats, dec: Floats) -> WCS:
    """A tangential projection about the objects' middle."""
    directions = unit_vectors(ra, dec)
    middle = directions.mean(axis=0)
    middle /= np.linalg.norm(middle)
    widest = math.degrees(math.acos(min(1.0, max(-1.0, float((directions @ middle).min())))))
    if not widest <= WIDEST_DEG / 2:
        raise SpecError(
            f"{spec.objects.path}: objects lie up to {widest:.1f} degrees from their middle; an emulated survey has "
            f"one tangential projection, up to {WIDEST_DEG / 2:g} degrees from it: emulate a part at a time"
        )
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [math.degrees(math.atan2(middle[1], middle[0])) % 360.0, math.degrees(math.asin(middle[2]))]
    wcs.wcs.cdelt = [-spec.telescope.pixel_scale_arcsec / 3600.0, spec.telescope.pixel_scale_arcsec / 3600.0]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.set()
    return wcs
