"""The catalogue that a survey of FITS files brings, of one tile or of all; of a HATS catalogue the rows near them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import pyarrow as pa

from galflow.errors import DataError, SpecError
from galflow.surveys.base import Footprint, Tile, TileFile
from galflow.surveys.reading.files import unchanged
from galflow.surveys.reading.fits_options import CatalogOptions
from galflow.surveys.reading.places import Place, all_places
from galflow.surveys.reading.table_files import is_hats
from galflow.surveys.reading.table_ids import ids_of_tile
from galflow.surveys.reading.tables import read_catalog

Seen = Callable[[Tile], Footprint]
"""Where a tile lies; DataError where its headers do not say it."""


def catalog_of_tile(
    options: CatalogOptions, file: TileFile, tile: Tile, seen: Seen, head: int | None = None
) -> pa.Table:
    """The rows of a tile's own catalogue, or the first ``head``; DataError where it cannot be read."""
    with unchanged(file) as uri:
        table = _read(options, uri, [tile], seen, head)
    return ids_of_tile(table, tile.name) if options.ids_per_tile else table


def catalog_of_survey(options: CatalogOptions, uri: str, tiles: Sequence[Tile], seen: Seen) -> pa.Table:
    """The rows of the catalogue that serves all tiles. SpecError where it has no places on the sky."""
    table = _read(options, uri, tiles, seen, None)
    if "ra_deg" not in table.column_names:
        raise SpecError(
            f"{uri} serves all tiles, so it needs ra_deg and dec_deg: map them in catalog.columns, "
            "or give one catalogue per tile with {tile} in catalog.path"
        )
    return table


def _read(options: CatalogOptions, uri: str, tiles: Sequence[Tile], seen: Seen, head: int | None) -> pa.Table:
    places = _places(tiles, seen) if is_hats(uri) else None
    return read_catalog(uri, options.columns, options.pixel_origin, options.extension, head=head, places=places)


def _places(tiles: Sequence[Tile], seen: Seen) -> tuple[Place, ...] | None:
    """Where tiles lie whose headers can be read; None: one of them may lie anywhere."""
    found = []
    for tile in tiles:
        with contextlib.suppress(DataError):  # an inspection tells it
            found.append(seen(tile))
    return all_places(found)
