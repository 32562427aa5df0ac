"""A tile's bands and rows, before anything is cut: bands are read whole, or as far as its cutouts need them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pyarrow as pa

from galflow.cutouts.flags import repeated
from galflow.cutouts.sparse import sparse_reading
from galflow.cutouts.tile_images import TileImages
from galflow.errors import DataError
from galflow.spec.run import CutoutSpec
from galflow.surveys.base import REQUIRED_COLUMNS, Image, Survey, Tile


def opened_tile(
    stack: ExitStack, survey: Survey, tile: Tile, spec: CutoutSpec, bands: tuple[str, ...], given: pa.Table | None
) -> tuple[TileImages, pa.Table, list[str], str]:
    """A tile's bands and rows, what is wrong with the rows, and why all bands are read whole ("": they are not)."""
    sparse, whole = sparse_reading(survey, tile, bands, spec)
    lines = spec.defects is True
    if sparse is not None:
        rows, reasons = (given, []) if given is not None else _own_rows(survey, tile, sparse.reference)
        sparse.place(rows)
        images = stack.enter_context(TileImages(survey, tile, bands, sparse, lines=lines))
        if all(band in images for band in sparse.reference):
            return images, rows, reasons, ""
        whole = "the pixels of the reference band cannot be read"
    images = stack.enter_context(TileImages(survey, tile, bands, lines=lines))
    rows, reasons = (given, []) if given is not None else _own_rows(survey, tile, images)
    return images, rows, reasons, whole


def _own_rows(survey: Survey, tile: Tile, images: Mapping[str, Image]) -> tuple[pa.Table, list[str]]:
    """The tile's own catalogue; an empty one with the reason if there is none to be had."""
    reasons: list[str] = []
    try:
        rows = survey.catalog(tile, images)
    except DataError as error:
        rows = pa.table({n: pa.array([], pa.int64() if n == "object_id" else pa.float64()) for n in REQUIRED_COLUMNS})
        reasons = [f"catalogue: {error}"]
    return rows.append_column("repeated_id", pa.array(repeated(rows.column("object_id")))), reasons
