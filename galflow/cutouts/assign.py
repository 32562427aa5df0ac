"""Which tile an object of a survey-wide catalogue is cut from: the one in which it lies farthest from an edge.

Every row ends in exactly one tile, or among those outside every tile; none is lost and none is cut twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from galflow.errors import SpecError
from galflow.surveys.base import Footprint

OUTSIDE_TILE = "outside"
"""Name of the cutout set that keeps the rows which lie in no tile."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """Rows of a survey-wide catalogue, tile by tile."""

    by_tile: dict[str, pa.Table]
    """Each with columns x and y, 0-based pixels of the reference band; in catalogue order."""
    outside: pa.Table
    """Rows in no tile, x and y NaN."""


def repeated(object_id: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Whether an earlier row has the same object id. (N,) bool."""
    values = object_id.to_numpy(zero_copy_only=False) if isinstance(object_id, pa.Array) else object_id.to_numpy()
    _, first = np.unique(values, return_index=True)
    again = np.ones(len(values), bool)
    again[first] = False
    return again


def assign(catalog: pa.Table, footprints: Mapping[str, Footprint | None]) -> Assignment:
    """Assign each row (object_id, ra_deg, dec_deg, ...) to a tile by position.

    Rows that repeat the object id of an earlier one are marked in a boolean column ``repeated_id``.
    """
    blind = [name for name, footprint in footprints.items() if footprint is None or footprint.wcs is None]
    if blind:
        raise SpecError(
            f"tile {blind[0]!r} has no WCS, so a catalogue with ra and dec cannot be assigned to it; "
            "declare a nominal WCS, or give a catalogue with pixel positions for each tile"
        )
    ra = _floats(catalog, "ra_deg")
    dec = _floats(catalog, "dec_deg")
    best = np.full(len(ra), -1)
    depth = np.zeros(len(ra))
    x_best, y_best = np.full(len(ra), np.nan), np.full(len(ra), np.nan)
    finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    tree = cKDTree(_unit_vectors(np.deg2rad(ra[finite]), np.deg2rad(dec[finite])))
    names = sorted(footprints)
    for index, name in enumerate(names):
        footprint = footprints[name]
        if footprint is None or footprint.wcs is None:
            continue
        centre, chord = _circle(footprint.wcs, footprint.shape)
        near = finite[np.sort(np.asarray(tree.query_ball_point(centre, chord), dtype=np.int64))]
        if not len(near):
            continue
        x, y = (np.asarray(v) for v in footprint.wcs.all_world2pix(ra[near], dec[near], 0, quiet=True))
        height, width = footprint.shape
        # Distance to the nearest edge of the image, whose first pixel begins at -0.5; positive inside.
        with np.errstate(invalid="ignore"):
            inner = np.minimum(np.minimum(x + 0.5, width - 0.5 - x), np.minimum(y + 0.5, height - 0.5 - y))
        better = np.isfinite(inner) & (inner > depth[near])
        chosen = near[better]
        best[chosen], depth[chosen] = index, inner[better]
        x_best[chosen], y_best[chosen] = x[better], y[better]
    marked = catalog.append_column("repeated_id", pa.array(repeated(catalog.column("object_id"))))
    marked = marked.append_column("x", pa.array(x_best)).append_column("y", pa.array(y_best))
    order = np.argsort(best, kind="stable")
    first = np.searchsorted(best[order], np.arange(len(names)))
    parts = [marked.take(pa.array(rows)) for rows in np.split(order, first)]
    return Assignment(dict(zip(names, parts[1:], strict=True)), parts[0])


def _floats(catalog: pa.Table, name: str) -> np.ndarray:
    column = pc.cast(catalog.column(name), pa.float64())
    return column.to_pandas().to_numpy(dtype=np.float64)


def _circle(wcs: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Centre (unit vector) and radius (chord) of a circle on the sky that holds the tile's corners."""
    height, width = shape
    xs = np.array([(width - 1) / 2, -0.5, width - 0.5, -0.5, width - 0.5])
    ys = np.array([(height - 1) / 2, -0.5, -0.5, height - 0.5, height - 0.5])
    sky = np.deg2rad(np.array(wcs.all_pix2world(xs, ys, 0)))
    points = _unit_vectors(sky[0], sky[1])
    return points[0], float(np.linalg.norm(points[1:] - points[0], axis=1).max()) * 1.02 + 1e-6


def _unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
