"""The verb of joining: what the tiles around one tile have of its objects, kept beside the tile's cutout set.

A tile's join depends on its own cutout set and on its neighbours', and on nothing else: a changed tile changes its
neighbours' joins alone. Objects that galflow detected keep the id that an earlier release of the tile gave them. No
pixels are read.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_NORMAL, NOT_SCORED, has_flag
from galflow.cutouts.identities import Identities, can_be_primary, hashed_unit, own_primary, split_hash
from galflow.cutouts.likeness import KnownCopies, read_likeness
from galflow.cutouts.matching import (
    ARCSEC_PER_RADIAN,
    TileRows,
    chord,
    least_of_neighbours,
    mutual_pairs,
    primary_rows,
)
from galflow.errors import GalflowError
from galflow.spec.run import JoinSpec, fingerprint
from galflow.storage.products import write_one_file
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.reading.positions import unit_vectors

JOIN_VERSION = "1"
"""Raised when the same cutout sets would give other joins."""
RADIUS_PIXELS = 3.0
"""Of the match where the PSF is unknown."""
SPLIT_RADIUS_ARCSEC = 1.0
"""At least; twice the PSF's FWHM where that is more."""
LARGEST_RADIUS_ARCSEC = 10.0
"""Of a default: a PSF that is wider than this is a beam, not a seeing."""
_READERS = 8


@dataclass(frozen=True)
class JoinInput:
    """A tile's cutout set, and the join of an earlier release of the tile whose ids it keeps."""

    tile: str
    fingerprint: str
    product: str
    ancestor: str | None = None
    """Key of the earlier join; None: there is none, or the survey's ids are its own."""


@dataclass(frozen=True)
class JoinTask:
    """One join to make."""

    own: JoinInput
    others: tuple[JoinInput, ...]
    matches: bool
    """Whether rows of different tiles may be one object; else they only matter for each other's splits."""
    product: str
    fingerprint: str
    inputs: Mapping[str, str]
    """For the receipt."""
    details: Mapping[str, str | int]


def join_base(spec: JoinSpec, matches: bool, own: str, others: Sequence[str]) -> str:
    """A fingerprint of what a join depends on but for ids that are kept: settings and cutout sets' fingerprints.

    ``matches``: whether rows of different tiles may be one object.
    """
    return fingerprint(JOIN_VERSION, spec, matches, own, sorted(others))


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows of one tile as joining needs them."""

    matched: TileRows
    """Planted copies and rows that repeat an id have no direction here: they match nothing."""
    identity: np.ndarray
    """(N,) each row's own id, or the one that it keeps from an earlier release."""
    group_hash: np.ndarray
    """(N,) hash of the group of near-duplicates; NaN for a row without one."""
    own_primary: np.ndarray | None
    counts: np.ndarray
    """(N,) bool: rows that can be primary at all."""
    normal: np.ndarray
    split_radius_arcsec: float
    ra: np.ndarray
    dec: np.ndarray
    on_sky: bool
    """Whether rows have positions on the sky; else their directions mean nothing beside another tile's."""
    likeness: tuple[np.ndarray, np.ndarray] | None
    """By what copies of one image are found."""

    def take(self, rows: np.ndarray) -> _Rows:
        """Some of them."""
        own = None if self.own_primary is None else self.own_primary[rows]
        arrays = (self.counts[rows], self.normal[rows])
        return _Rows(
            self.matched.take(rows), self.identity[rows], self.group_hash[rows], own, *arrays,
            self.split_radius_arcsec, self.ra[rows], self.dec[rows], self.on_sky, None,
        )  # fmt: skip


def join_tiles(store: Store, tasks: Sequence[JoinTask], spec: JoinSpec) -> Iterator[tuple[JoinTask, Receipt | str]]:
    """Make these joins one after another, each tile read once; each with its receipt, or why it could not be made.

    A tile's rows are kept until its last neighbour is joined: in the order of tiles' names that is a strip of the sky.
    """
    ordered = sorted(tasks, key=lambda task: task.own.tile)
    uses = Counter(part.product for task in ordered for part in (task.own, *task.others))
    copies = KnownCopies()
    loaded: dict[str, _Rows | GalflowError] = {}

    def load(part: JoinInput) -> _Rows | GalflowError:
        try:
            return _read(store, part, spec)
        except GalflowError as error:
            return error

    with ThreadPoolExecutor(_READERS, thread_name_prefix="galflow-join") as readers:
        for task in ordered:
            parts = (task.own, *task.others)
            missing = [part for part in parts if part.product not in loaded]
            loaded |= dict(zip((p.product for p in missing), readers.map(load, missing), strict=True))
            yield task, _join(store, task, [loaded[part.product] for part in parts], copies)
            uses.subtract(part.product for part in parts)
            for part in parts:
                if uses[part.product] == 0:
                    del loaded[part.product]


def _join(store: Store, task: JoinTask, parts: Sequence[_Rows | GalflowError], copies: KnownCopies) -> Receipt | str:
    started = time.perf_counter()
    rows: list[_Rows] = []
    for part in parts:
        if isinstance(part, GalflowError):
            return str(part)
        rows.append(part)
    products = [part.product for part in (task.own, *task.others)]
    if (alike := copies.of(products, [r.likeness for r in rows])) is not None:
        group = np.where(np.isnan(rows[0].group_hash), alike, rows[0].group_hash)
        rows[0] = replace(rows[0], group_hash=group)
    found = joined(rows[0], rows[1:], matches=task.matches)
    columns = {name: getattr(found, name) for name in Identities.__dataclass_fields__}
    # Positions are for later releases, whose objects keep these ids.
    sink = pa.BufferOutputStream()
    table = pa.table(columns | {"ra": _known(rows[0].ra, rows[0]), "dec": _known(rows[0].dec, rows[0])})
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    counts = {"primary": int(found.is_primary.sum()), "second_rows": int((rows[0].counts & ~found.is_primary).sum())}
    receipt = Receipt(
        product=task.product,
        fingerprint=task.fingerprint,
        inputs=dict(task.inputs),
        rows=len(found.object_id),
        details=dict(task.details) | counts,
    )
    return write_one_file(store, receipt, data, started)


def _known(values: np.ndarray, rows: _Rows) -> pa.Array:
    return pa.array(values, mask=~(rows.counts & np.isfinite(values)))


def _read(store: Store, part: JoinInput, spec: JoinSpec) -> _Rows:
    cutouts = CutoutSet(store, part.product)
    attributes = cutouts.attributes
    object_id, flags = cutouts.read("object_id"), cutouts.read("flags")
    ra, dec = (cutouts.read(name).astype(np.float64) for name in ("ra", "dec"))
    counts = can_be_primary(flags)
    scale, fwhm, radius = float(attributes["pixel_scale_arcsec"]), _fwhm(attributes), match_radius(spec, attributes)
    apart = spec.split_radius_arcsec
    if apart is None:
        apart = min(max(SPLIT_RADIUS_ARCSEC, 2 * fwhm if fwhm else radius), LARGEST_RADIUS_ARCSEC)
    direction = _directions(cutouts, ra, dec, scale)
    direction[~counts] = np.nan
    depth = _depth_pixels(cutouts) * scale
    matched = TileRows(part.tile, direction, ~has_flag(flags, NOT_SCORED), depth, radius)
    identity = object_id if part.ancestor is None else _kept_ids(store, part.ancestor, matched, object_id)
    # Hashing the ids here, and again once rows are joined, costs nothing; what differs is a group's.
    group = split_hash(cutouts, object_id)
    group = np.where(group == hashed_unit(object_id), np.nan, group)
    normal = ~has_flag(flags, NOT_NORMAL)
    known = (own_primary(cutouts), counts, normal, apart, ra, dec, bool(np.isfinite(ra).any()), read_likeness(cutouts))
    return _Rows(matched, identity, group, *known)


def match_radius(spec: JoinSpec, attributes: Mapping[str, Any]) -> float:
    """Arcsec within which rows of different tiles are one object: as asked for, or as a set's attributes suggest."""
    default = _fwhm(attributes) or RADIUS_PIXELS * float(attributes["pixel_scale_arcsec"])
    return spec.radius_arcsec or min(default, LARGEST_RADIUS_ARCSEC)


def _fwhm(attributes: Mapping[str, Any]) -> float | None:
    """Arcsec, the median of the bands'; None: unknown."""
    widths = [f for f in attributes["psf_fwhm_arcsec"] if f]
    return float(np.median(widths)) if widths else None


def _directions(cutouts: CutoutSet, ra: np.ndarray, dec: np.ndarray, scale_arcsec: float) -> np.ndarray:
    """(N, 3) unit vectors. Where no row has a sky position they lie about the pole as the pixels do in the tile."""
    if np.isfinite(ra).any():
        return unit_vectors(ra, dec)
    x, y = (cutouts.read(name) * scale_arcsec / ARCSEC_PER_RADIAN for name in ("x_pixel", "y_pixel"))
    vectors = np.stack([x, y, np.ones(len(x))], axis=-1)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _depth_pixels(cutouts: CutoutSet) -> np.ndarray:
    """(N,) distance to the nearest edge of the tile's reference image; NaN where unknown."""
    shape = cutouts.attributes.get("tile_shape")
    x, y = cutouts.read("x_pixel"), cutouts.read("y_pixel")
    if shape is None:
        return np.full(len(x), np.nan)
    height, width = shape
    return np.minimum(np.minimum(x + 0.5, width - 0.5 - x), np.minimum(y + 0.5, height - 0.5 - y))


def _kept_ids(store: Store, ancestor: str, rows: TileRows, object_id: np.ndarray) -> np.ndarray:
    """Ids of an earlier release for the objects that it had, their own for the others; (N,) int64."""
    table = pq.read_table(pa.BufferReader(store.get(ancestor)), columns=["object_id", "ra", "dec"])
    ra, dec = (table.column(n).to_numpy() for n in ("ra", "dec"))
    earlier = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    placed = np.flatnonzero(rows.placed)
    new, old = mutual_pairs(rows.direction[placed], unit_vectors(ra[earlier], dec[earlier]), rows.radius_arcsec)
    kept = object_id.copy()
    kept[placed[new]] = table.column("object_id").to_numpy()[earlier[old]]
    fresh = np.setdiff1d(np.arange(len(kept)), placed[new])
    # A new object that peaks on the pixel that once named another one needs a name of its own.
    taken = np.isin(kept[fresh], kept[placed[new]])
    while taken.any():
        salted = hashed_unit(kept[fresh[taken]].astype(np.uint64))
        kept[fresh[taken]] = (salted * 2.0**62).astype(np.int64)
        taken = np.isin(kept[fresh], kept[placed[new]])
    return kept


def joined(own: _Rows, others: Sequence[_Rows], *, matches: bool = True) -> Identities:
    """Who the rows of a tile are, given those of its neighbours."""
    near = [own, *(_near(own, other) for other in others if own.on_sky and other.on_sky)]
    owners = primary_rows([rows.matched for rows in near], matches=matches)
    starts = np.cumsum([0, *(len(rows.identity) for rows in near)])
    # As bits: int64 and uint64 put together would go through floats.
    ids = np.concatenate([rows.identity.view(np.uint64) for rows in near])
    identity = [
        ids[starts[pairs[:, 0]] + pairs[:, 1]].view(rows.identity.dtype)
        for rows, pairs in zip(near, owners, strict=True)
    ]
    primary = [_primary(i, rows, pairs) for i, (rows, pairs) in enumerate(zip(near, owners, strict=True))]
    hashes = [
        np.where(np.isnan(rows.group_hash), hashed_unit(ids), rows.group_hash)
        for rows, ids in zip(near, identity, strict=True)
    ]
    eligible = np.concatenate([rows.normal & p for rows, p in zip(near, primary, strict=True)])
    direction = np.concatenate([rows.matched.direction for rows in near])
    radius = np.concatenate([np.full(len(rows.matched), rows.split_radius_arcsec) for rows in near])
    least = least_of_neighbours(
        np.where(eligible[:, None], direction, np.nan), np.concatenate(hashes), radius
    )  # fmt: skip
    return Identities(identity[0], primary[0], hashes[0], least[: len(own.matched)])


def _primary(number: int, rows: _Rows, owners: np.ndarray) -> np.ndarray:
    """(N,) bool: as the survey says where it says so, else the rows that own themselves."""
    if rows.own_primary is not None:
        return rows.own_primary & rows.counts
    own: np.ndarray = (owners[:, 0] == number) & (owners[:, 1] == np.arange(len(owners)))
    return own & rows.counts


def _near(own: _Rows, other: _Rows) -> _Rows:
    """The rows of a neighbour that may decide anything about this tile's: chains of matches are a few radii long."""
    reach = 4 * max(own.matched.radius_arcsec, other.matched.radius_arcsec)
    reach += max(own.split_radius_arcsec, other.split_radius_arcsec)
    here, there = np.flatnonzero(own.matched.placed), np.flatnonzero(other.matched.placed)
    if not len(here) or not len(there):
        return other.take(np.zeros(0, np.int64))
    distance, _ = cKDTree(own.matched.direction[here]).query(
        other.matched.direction[there], distance_upper_bound=float(chord(reach))
    )
    return other.take(there[np.isfinite(distance)])
