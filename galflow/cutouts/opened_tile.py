"""A tile's bands and rows, before anything is cut: bands are read whole, or as far as its cutouts need them."""

from __future__ import annotations

from contextlib import ExitStack

import pyarrow as pa

from galflow.cutouts.sparse import sparse_reading
from galflow.cutouts.tile_images import TileImages
from galflow.cutouts.tile_rows import TileRows, finds_stars, rows_to_cut, tile_catalog
from galflow.spec.run import CutoutSpec
from galflow.surveys.base import Survey, Tile


def opened_tile(
    stack: ExitStack, survey: Survey, tile: Tile, spec: CutoutSpec, bands: tuple[str, ...], given: pa.Table | None
) -> tuple[TileImages, TileRows, str]:
    """A tile's bands, its rows that are cut, and why all bands are read whole ("": they are not)."""
    sparse, whole = sparse_reading(survey, tile, bands, spec)
    lines, stars = spec.defects is True, finds_stars(survey, spec)
    if sparse is not None:
        catalog = tile_catalog(survey, tile, sparse.reference, given)
        sparse.place(catalog.table, catalog.taken, stars=stars)
        images = stack.enter_context(TileImages(survey, tile, bands, sparse, lines=lines))
        if all(band in images for band in sparse.reference):
            return images, rows_to_cut(survey, bands, images, catalog, stars=stars), ""
        whole = "the pixels of the reference band cannot be read"
    images = stack.enter_context(TileImages(survey, tile, bands, lines=lines))
    catalog = tile_catalog(survey, tile, images, given)
    return images, rows_to_cut(survey, bands, images, catalog, stars=stars), whole
