"""Which positions lie in regions of the sky, and which circles around tiles lie wholly beyond them. Opens no file.

Edges belong to a region. A box is bounded by circles of constant declination, a polygon by great circles, which are
straight lines on the plane that touches the sphere in the polygon's middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from galflow.spec.selection import BoxSpec, CircleSpec, RegionSpec, SelectionSpec
from galflow.surveys.reading.places import Place
from galflow.surveys.reading.positions import unit_vectors

_ROUNDING = 1e-12


def inside(regions: Sequence[RegionSpec], ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """(N,) bool: which positions, (N,) degrees, lie in any of the regions; not those that are NaN."""
    found = np.zeros(len(ra_deg), bool)
    placed = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    ra, dec = ra_deg[placed], dec_deg[placed]
    direction = unit_vectors(ra, dec)
    within = np.zeros(len(ra), bool)
    for region in regions:
        if region.circle is not None:
            within |= _angles(direction, _direction(region.circle)) <= region.circle.radius_deg + _ROUNDING
        elif region.box is not None:
            within |= _in_box(region.box, ra, dec)
        else:
            within |= _in_polygon(region, direction)
    found[placed] = within
    return found


def out_of_reach(selection: SelectionSpec | None, place: Place | None) -> bool:
    """Whether a tile's circle touches none of the selected regions. A tile of which no place is known may hold any."""
    if selection is None or not selection.regions or place is None:
        return False
    direction = np.asarray(place.direction)
    return all(_beyond(region, direction, place.radius_deg) for region in selection.regions)


def _direction(circle: CircleSpec) -> np.ndarray:
    return unit_vectors(np.asarray(circle.ra_deg), np.asarray(circle.dec_deg))


def _angles(directions: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Degrees between unit vectors, (..., 3); exact for small angles and large ones."""
    crossed = np.linalg.norm(np.cross(directions, other), axis=-1)
    return np.asarray(np.rad2deg(np.arctan2(crossed, (directions * other).sum(axis=-1))))


def _in_box(box: BoxSpec, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    south, north = box.dec_deg
    from_west = np.mod(ra - box.ra_deg[0], 360.0)
    return np.asarray((dec >= south) & (dec <= north) & (from_west <= box.width_deg))


def _vertices(region: RegionSpec) -> np.ndarray:
    """(V, 3) unit vectors."""
    ra, dec = np.asarray(region.polygon, dtype=np.float64).T
    return unit_vectors(ra, dec)


def _in_polygon(region: RegionSpec, direction: np.ndarray) -> np.ndarray:
    """By the number of edges that a ray crosses on the plane that touches the middle."""
    middle, vertices = np.asarray(region.middle), _vertices(region)
    near = np.flatnonzero(_angles(direction, middle) <= _angles(vertices, middle).max() + _ROUNDING)
    pole = np.array([0.0, 0.0, 1.0]) if abs(middle[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    across = np.cross(pole, middle)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(middle, across)])
    x, y = _on_plane(direction[near], middle, axes)
    vx, vy = _on_plane(vertices, middle, axes)
    odd = np.zeros(len(near), bool)
    edge = np.zeros(len(near), bool)
    for x0, y0, x1, y1 in zip(vx, vy, np.roll(vx, -1), np.roll(vy, -1), strict=True):
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        between = (y0 > y) != (y1 > y)
        odd ^= between & ((side > 0) == (y1 > y0))
        length = math.hypot(x1 - x0, y1 - y0)
        along = (x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)
        edge |= (np.abs(side) <= _ROUNDING * length) & (along >= 0) & (along <= length**2)
    found = np.zeros(len(direction), bool)
    found[near] = odd | edge
    return found


def _on_plane(direction: np.ndarray, middle: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y, (n,), of the gnomonic projection."""
    x, y = (direction @ axes.T / (direction @ middle)[:, None]).T
    return x, y


def _beyond(region: RegionSpec, direction: np.ndarray, radius_deg: float) -> bool:
    if region.circle is not None:
        return float(_angles(direction, _direction(region.circle))) > region.circle.radius_deg + radius_deg + _ROUNDING
    if region.box is not None:
        return _beyond_box(region.box, direction, radius_deg)
    vertices = _vertices(region)
    if _in_polygon(region, direction[None])[0]:
        return False
    return float(_to_edges(vertices, direction).min()) > radius_deg + _ROUNDING


def _beyond_box(box: BoxSpec, direction: np.ndarray, radius_deg: float) -> bool:
    dec = math.degrees(math.asin(max(-1.0, min(1.0, direction[2]))))
    south, north = box.dec_deg
    if dec + radius_deg < south - _ROUNDING or dec - radius_deg > north + _ROUNDING:
        return True
    if box.width_deg >= 360.0 or abs(dec) + radius_deg >= 90.0:
        return False
    # Meridians that touch the circle.
    reach = math.degrees(math.asin(min(1.0, math.sin(math.radians(radius_deg)) / math.cos(math.radians(dec)))))
    ra = math.degrees(math.atan2(direction[1], direction[0]))
    from_west = (ra - box.ra_deg[0]) % 360.0
    return from_west > box.width_deg + reach + _ROUNDING and 360.0 - from_west > reach + _ROUNDING


def _to_edges(vertices: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(V,) degrees from a position to each edge of a polygon."""
    ends = np.roll(vertices, -1, axis=0)
    normal = np.cross(vertices, ends)
    length = np.linalg.norm(normal, axis=1)
    normal = normal / np.where(length > 0, length, 1.0)[:, None]
    foot = direction - (normal @ direction)[:, None] * normal
    on_arc = (np.cross(vertices, foot) * normal).sum(1) >= 0
    on_arc &= (np.cross(foot, ends) * normal).sum(1) >= 0
    on_arc &= length > 0
    to_ends = np.minimum(_angles(vertices, direction), _angles(ends, direction))
    to_line = np.rad2deg(np.arcsin(np.clip(np.abs(normal @ direction), 0, 1)))
    return np.where(on_arc, to_line, to_ends)
