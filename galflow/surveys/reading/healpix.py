"""HEALPix pixels in nested numbering: where they lie, so that only those near a tile are opened.

Gorski+05 (ApJ 622, 759), sections 4 and 5. It numbers no positions; whoever writes partitions uses a library.
"""

from __future__ import annotations

import numpy as np

_RING_OF_FACE = np.repeat([2, 3, 4], 4)
"""Rings from the north pole to the southern corner of each of the twelve base pixels, in units of a base pixel."""
_LONGITUDE_OF_FACE = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])
"""Longitude of its middle, in units of 45 degrees."""


def pixel_centres(order: int, pixels: np.ndarray) -> np.ndarray:
    """(n, 3) unit vectors of the centres of (n,) nested pixels of an order, 0 to 29."""
    side = 1 << order
    inside = np.asarray(pixels, np.int64)
    face, inside = inside >> (2 * order), inside & (side * side - 1)
    x, y = _even_bits(inside), _even_bits(inside >> 1)
    ring = _RING_OF_FACE[face] * side - x - y - 1
    across = np.minimum(np.minimum(ring, 4 * side - ring), side)
    north, south = ring < side, ring > 3 * side
    shifted = np.where(north | south, 0, (ring - side) & 1)
    cap = across.astype(np.float64) ** 2 / (3.0 * float(side) ** 2)
    z = np.where(north, 1 - cap, np.where(south, cap - 1, (2 * side - ring) * 2.0 / (3.0 * side)))
    number = (_LONGITUDE_OF_FACE[face] * across + x - y + 1 + shifted) / 2
    longitude = (number - (shifted + 1) / 2) * (np.pi / 2) / across
    flat = np.sqrt((1 - z) * (1 + z))
    return np.stack([flat * np.cos(longitude), flat * np.sin(longitude), z], axis=-1)


def pixel_reach_deg(order: int) -> float:
    """The largest angle between the centre of a pixel of an order and one of its corners."""
    side = float(1 << order)
    middle = _direction(2 / 3, np.pi / (4 * side))
    corner = _direction(1 - (1 - 1 / side) ** 2 / 3, 0.0)
    return float(np.rad2deg(2 * np.arcsin(np.linalg.norm(middle - corner) / 2)))


def _direction(z: float, longitude: float) -> np.ndarray:
    flat = np.sqrt(1 - z * z)
    return np.array([flat * np.cos(longitude), flat * np.sin(longitude), z])


def _even_bits(values: np.ndarray) -> np.ndarray:
    """The number of every other bit, from the lowest."""
    found = np.zeros_like(values)
    for bit in range(30):
        found |= ((values >> (2 * bit)) & 1) << bit
    return found
