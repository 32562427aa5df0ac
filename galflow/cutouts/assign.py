"""Which tile an object of a survey-wide catalogue is cut from: the one in which it lies farthest from an edge.

Every row ends in exactly one tile, or among those outside every tile; none is lost and none is cut twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from galflow.cutouts.flags import repeated
from galflow.errors import DataError, SpecError
from galflow.surveys.base import Footprint
from galflow.surveys.reading.grids import WCS_FAULTS, cause
from galflow.surveys.reading.positions import icrs_to_pixel, pixel_to_icrs, unit_vectors

logger = logging.getLogger(__name__)

_WIDE = 1.0
"""A tile with a larger radius (as a chord, 60 degrees) may bulge beyond a circle through its corners."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """Rows of a survey-wide catalogue, tile by tile."""

    by_tile: dict[str, pa.Table]
    """Each with columns x and y, 0-based pixels of the reference band; in catalogue order."""
    outside: pa.Table
    """Rows in no tile, x and y NaN."""
    problems: dict[str, str] = field(default_factory=dict)
    """Tiles whose WCS gives no positions, and why: no row is assigned to them."""


def assign(catalog: pa.Table, footprints: Mapping[str, Footprint | None]) -> Assignment:
    """Assign each row (object_id, ra_deg, dec_deg, ...; ICRS degrees) to a tile by position, in whatever frame it lies.

    A WCS that has no pixel for some positions does not cover them; one that has none for its own tile costs that tile,
    with a reason. Rows that repeat the object id of an earlier one are marked in a boolean column ``repeated_id``.
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
    tree = cKDTree(unit_vectors(ra[finite], dec[finite]))
    names = sorted(footprints)
    problems: dict[str, str] = {}
    for index, name in enumerate(names):
        footprint = footprints[name]
        if footprint is None or footprint.wcs is None:
            continue
        try:
            centre, chord = _circle(footprint.wcs, footprint.shape)
            icrs_to_pixel(footprint.wcs, *(np.atleast_1d(v) for v in _degrees(centre)))
        except (*WCS_FAULTS, DataError) as error:
            problems[name] = f"its WCS gives no positions: {cause(error)}; check its cards"
            logger.warning("tile %s covers no object: %s", name, problems[name])
            continue
        near = finite[np.sort(np.asarray(tree.query_ball_point(centre, chord), dtype=np.int64))]
        if not len(near):
            continue
        x, y = _pixels(footprint.wcs, ra[near], dec[near])
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
    return Assignment(dict(zip(names, parts[1:], strict=True)), parts[0], problems)


def _floats(catalog: pa.Table, name: str) -> np.ndarray:
    column = pc.cast(catalog.column(name), pa.float64())
    return column.to_pandas().to_numpy(dtype=np.float64)


def _pixels(wcs: WCS, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y, (n,); NaN for positions at which the WCS raises, which are found by halving."""
    try:
        with np.errstate(all="ignore"):
            return icrs_to_pixel(wcs, ra, dec)
    except WCS_FAULTS:
        if len(ra) == 1:
            return np.full(1, np.nan), np.full(1, np.nan)
    half = len(ra) // 2
    first, second = _pixels(wcs, ra[:half], dec[:half]), _pixels(wcs, ra[half:], dec[half:])
    return np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]])


def _circle(wcs: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Centre (unit vector) and radius (chord) of a circle on the sky that holds the tile's edge.

    A tile of which the projection does not reach all corners may lie anywhere: its circle is the whole sphere.
    """
    height, width = shape
    across, up = np.linspace(-0.5, width - 0.5, 9), np.linspace(-0.5, height - 0.5, 9)
    xs = np.concatenate([[(width - 1) / 2], across, across, np.full(9, -0.5), np.full(9, width - 0.5)])
    ys = np.concatenate([[(height - 1) / 2], np.full(9, -0.5), np.full(9, height - 0.5), up, up])
    with np.errstate(all="ignore"):
        points = unit_vectors(*pixel_to_icrs(wcs, xs, ys))
    seen = np.isfinite(points).all(axis=1)
    if not seen.any():
        raise DataError("no pixel of the tile has a position")
    radius = float(np.linalg.norm(points[1:] - points[0], axis=1).max()) if seen.all() else 2.0
    if radius > _WIDE or not seen.all():
        return points[seen][0], 2.0
    return points[0], radius * 1.02 + 1e-6


def _degrees(point: np.ndarray) -> tuple[float, float]:
    """Right ascension and declination of a unit vector."""
    ra, dec = np.arctan2(point[1], point[0]), np.arcsin(np.clip(point[2], -1.0, 1.0))
    return float(np.rad2deg(ra)) % 360.0, float(np.rad2deg(dec))
