"""Where tiles lie on the sky and which of them are neighbours, known from headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from galflow.surveys.base import Footprint
from galflow.surveys.reading.positions import pixel_to_icrs, unit_vectors

_SLACK = 1.02
"""A tile's edges bulge beyond the circle through its corners where its projection is strong."""


@dataclass(frozen=True)
class Place:
    """A circle on the sky that holds a tile."""

    direction: tuple[float, float, float]
    """Unit vector of its centre."""
    radius_deg: float

    @classmethod
    def of(cls, footprint: Footprint | None) -> Place | None:
        """The circle through the corners of an image; None without a WCS, or where it has no position there."""
        if footprint is None or footprint.wcs is None:
            return None
        height, width = footprint.shape
        x = np.array([0.5, 0, 1, 0, 1, 0.5, 0.5, 0, 1]) * width - 0.5
        y = np.array([0.5, 0, 0, 1, 1, 0, 1, 0.5, 0.5]) * height - 0.5
        points = unit_vectors(*pixel_to_icrs(footprint.wcs, x, y))
        if not np.isfinite(points[0]).all():
            return None
        inside = points[np.isfinite(points).all(axis=1)]
        chords = np.linalg.norm(inside - points[0], axis=1)
        radius = np.rad2deg(2 * np.arcsin(np.clip(chords.max() / 2, 0, 1))) * _SLACK
        return cls(tuple(np.round(points[0], 12).tolist()), round(float(radius), 9))

    def reaches(self, directions: np.ndarray, more_deg: float = 0.0) -> np.ndarray:
        """(n,) whether places, (n, 3) unit vectors, lie in the circle, or within ``more_deg`` of it; NaN do not."""
        angle = np.deg2rad(min(self.radius_deg + more_deg, 180.0))
        with np.errstate(invalid="ignore"):
            return np.asarray(np.linalg.norm(directions - np.array(self.direction), axis=-1) <= 2 * np.sin(angle / 2))


def all_places(footprints: Iterable[Footprint | None]) -> tuple[Place, ...] | None:
    """The circle of each; None where one of them may lie anywhere."""
    places = [Place.of(footprint) for footprint in footprints]
    return None if None in places else tuple(place for place in places if place is not None)


def neighbours(places: Mapping[str, Place | None], margin_arcsec: float) -> dict[str, tuple[str, ...]]:
    """For each tile the others whose circle comes nearer to its own than the margin, sorted by name."""
    from scipy.spatial import cKDTree

    known = {name: place for name, place in places.items() if place is not None}
    found: dict[str, tuple[str, ...]] = dict.fromkeys(places, ())
    if len(known) < 2:
        return found
    names = sorted(known)
    centres = np.array([known[n].direction for n in names])
    radii = np.deg2rad(np.array([known[n].radius_deg for n in names]) + margin_arcsec / 3600.0)
    reach = np.minimum(radii + radii.max(), np.pi)
    near = cKDTree(centres).query_ball_point(centres, 2 * np.sin(reach / 2) + 1e-12)
    for i, others in enumerate(near):
        chosen = np.array([j for j in others if j != i], dtype=np.int64)
        distance = 2 * np.arcsin(np.clip(np.linalg.norm(centres[chosen] - centres[i], axis=1) / 2, 0, 1))
        # The margin stands in both radii: once is enough.
        touching = distance <= radii[chosen] + radii[i] - np.deg2rad(margin_arcsec / 3600.0)
        found[names[i]] = tuple(sorted(names[j] for j in chosen[touching]))
    return found
