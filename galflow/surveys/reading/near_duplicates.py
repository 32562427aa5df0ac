"""Images that are copies of each other up to compression, scale, offset and some noise, found without comparing all.

An image becomes a 64-bit hash: is a cell brighter than its left neighbour, once the mean on circles about the centre is
taken off? (A plain difference hash is nearly the same for all round galaxies.) Copies differ in a few bits; candidates
are found by banding, since hashes that differ in k bits agree in one of k + 1 pieces. Pairs are verified by their
pixels where vectors are given. Turned, mirrored or shifted copies, and new exposures of one object, are not found:
those need positions. This file knows nothing of surveys.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from galflow.constants import SIGMA_PER_MAD
from galflow.errors import DataError

NO_HASH = np.uint64(0xFFFFFFFFFFFFFFFF)
"""The hash of an image without structure (constant, or nothing observed): it is never in a group."""
SIDE = 32
"""Cells on a side of the grid of area averages on which images are compared."""
_ROWS, _COLUMNS, _BITS = 8, 9, 64
"""Cells of the grid that is hashed, and the differences along its rows."""
_FLAT = 1e-6
"""An image whose cells differ by less than this part of its brightest one is constant: float32 knows no better."""
_SHARED_TEXTURE = 0.5
"""Least correlation of what is left when each cell loses the mean of its four neighbours: copies share their noise."""
_LEAST_MISFIT, _MOST_MISFIT = 2e-5, 0.02
"""Bounds of 1 - correlation of the images themselves; between them it must be below half their share of noise."""
_PIXELS_AT_ONCE = 1 << 24
_VERIFIED_AT_ONCE = 1 << 13
_COARSE = 8
"""Cells on a side of the blocks by which most pairs are told apart."""
_ROUNDING = 1e-5
"""Of vectors stored in 16 bits."""


def image_hashes(flux: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(n,) uint64 hashes of cutouts ``flux`` (n, band, y, x), of the mean of their bands where ``observed`` is true.

    An offset or a positive factor changes nothing; turned, mirrored and shifted images have other hashes. ``NO_HASH``
    for an image without structure. Raises DataError for arrays of other shapes.
    """
    hashes = np.empty(len(flux), np.uint64)
    for part, grid in _grids(flux, observed):
        uneven = _off_circles(grid)
        cells = _overlaps(SIDE, _ROWS) @ uneven @ _overlaps(SIDE, _COLUMNS).T
        bits = (cells[:, :, 1:] > cells[:, :, :-1]).reshape(len(grid), _BITS)
        found = np.packbits(bits, axis=1).view(">u8").reshape(-1).astype(np.uint64)
        found[found == NO_HASH] -= np.uint64(1)
        found[_without_structure(grid)] = NO_HASH
        hashes[part] = found
    return hashes


def image_vectors(flux: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(n, 1024) float16 area averages of ``flux`` (n, band, y, x), mean 0, length 1: their products are correlations.

    Zero for an image without structure. Two kilobytes an image.
    """
    vectors = np.zeros((len(flux), SIDE * SIDE), np.float16)
    for part, grid in _grids(flux, observed):
        flat = grid.reshape(len(grid), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        length = np.sqrt((flat**2).sum(axis=1, keepdims=True))
        length[_without_structure(grid) | (length[:, 0] == 0)] = np.inf
        vectors[part] = flat / length
    return vectors


def near_duplicate_groups(hashes: np.ndarray, max_distance: int = 5, vectors: np.ndarray | None = None) -> np.ndarray:
    """(n,) int64: for each image the index of the first image of its group; images of one group are near-duplicates.

    ``hashes`` (n,) uint64 of ``image_hashes``: two that differ in at most ``max_distance`` bits (0 to 15) are
    candidates. With ``vectors`` of ``image_vectors`` a pair counts only if the pixels agree too: without them, smooth
    noise-free galaxies of one shape fall together. Time grows as n where hashes are spread, as n^2 where they are not.
    """
    if not 0 <= max_distance < 16:
        raise DataError(f"max_distance is {max_distance}; expected 0 to 15 of the 64 bits")
    if vectors is not None and len(vectors) != len(hashes):
        raise DataError(f"{len(vectors)} vectors were given for {len(hashes)} hashes; expected one each")
    known = np.flatnonzero(hashes != NO_HASH)
    given = hashes[known].astype(np.uint64)
    order = np.argsort(given, kind="stable")
    same = np.flatnonzero(given[order][1:] == given[order][:-1])
    pixels = _Pixels(None if vectors is None else vectors[known])
    pairs = [pixels.copies(order[same], order[same + 1])]
    groups = _components(len(given), pairs)
    for one, other in _candidates(given, groups, max_distance):
        pairs.append(pixels.copies(one, other))
    groups = _components(len(given), pairs)
    first = np.full(len(given), len(hashes), np.int64)
    np.minimum.at(first, groups, known)
    labels = np.arange(len(hashes), dtype=np.int64)
    labels[known] = first[groups]
    return labels


def _components(count: int, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(count,) number of the connected component of each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _candidates(hashes: np.ndarray, groups: np.ndarray, max_distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of indices of hashes within the distance that are not in one group yet, each pair once.

    Of equal hashes in one group the first stands for all. Sorted by one piece of the hash, those that agree in it are
    neighbours: each is compared with the next, the one after that, and so on as long as the piece is the same.
    """
    _, kept = np.unique(np.stack([hashes, groups.astype(np.uint64)]), axis=1, return_index=True)
    edges = np.linspace(0, _BITS, max_distance + 2).astype(int).tolist()
    masks = [np.uint64((1 << end) - (1 << start)) for start, end in itertools.pairwise(edges)]
    for band, mask in enumerate(masks):
        order = kept[np.argsort(hashes[kept] & mask, kind="stable")]
        pieces, place = hashes[order] & mask, np.arange(len(order))
        for step in range(1, len(order)):
            place = place[: np.searchsorted(place, len(order) - step)]
            place = place[pieces[place] == pieces[place + step]]
            if not len(place):
                break
            one, other = order[place], order[place + step]
            differing = hashes[one] ^ hashes[other]
            wanted = (np.bitwise_count(differing) <= max_distance) & (groups[one] != groups[other])
            for earlier in masks[:band]:
                wanted &= (differing & earlier) != 0  # else that band has given the pair
            if wanted.any():
                yield one[wanted], other[wanted]


class _Pixels:
    """Says which pairs of images are copies, by their vectors; without vectors all are."""

    def __init__(self, vectors: np.ndarray | None) -> None:
        self._vectors = vectors
        if vectors is None:
            return
        self._noise = np.empty(len(vectors), np.float32)
        self._coarse = np.empty((len(vectors), _COARSE * _COARSE), np.float32)
        block = SIDE // _COARSE
        for start in range(0, len(vectors), _VERIFIED_AT_ONCE):
            part = slice(start, start + _VERIFIED_AT_ONCE)
            images = _as_images(vectors[part])
            self._noise[part] = _noise_share(images)
            blocks = images.reshape(-1, _COARSE, block, _COARSE, block).sum(axis=(2, 4)) / block
            self._coarse[part] = blocks.reshape(len(blocks), -1)

    def copies(self, one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of the pairs of rows whose images are copies."""
        if self._vectors is None or not len(one):
            return one, other
        keep = np.zeros(len(one), bool)
        for start in range(0, len(one), _VERIFIED_AT_ONCE):
            part = slice(start, start + _VERIFIED_AT_ONCE)
            keep[part] = self._are_copies(self._vectors, one[part], other[part])
        return one[keep], other[keep]

    def _are_copies(self, vectors: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        allowed = np.clip(np.maximum(self._noise[one], self._noise[other]) / 2, _LEAST_MISFIT, _MOST_MISFIT)
        # 1 - correlation is half the squared distance, which averaging over blocks only makes smaller.
        near = ((self._coarse[one] - self._coarse[other]) ** 2).sum(axis=1) / 2 <= allowed + _ROUNDING
        images = _as_images(vectors[one[near]]), _as_images(vectors[other[near]])
        alike = 1.0 - _correlation(*images) <= allowed[near]
        alike &= _correlation(*map(_texture, images)) >= _SHARED_TEXTURE
        near[near] = alike
        return near


def _as_images(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float32).reshape(-1, SIDE, SIDE)


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) of images (n, y, x) whose mean is 0; 0 where one of them is 0 throughout."""
    product, first, second = (np.einsum("nyx,nyx->n", a, b) for a, b in ((one, other), (one, one), (other, other)))
    length = np.sqrt(first * second)
    return np.where(length > 0, product / np.where(length > 0, length, 1), 0.0)


def _texture(images: np.ndarray) -> np.ndarray:
    """(n, y, x) less the mean of the four neighbours of each cell."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = wide[:, :-2, 1:-1] + wide[:, 2:, 1:-1] + wide[:, 1:-1, :-2] + wide[:, 1:-1, 2:]
    return images - around / 4


def _noise_share(images: np.ndarray) -> np.ndarray:
    """(n,) part of the variance of images (n, y, x) that is white noise, from differences of neighbouring cells."""
    differences = images[:, 1:, 1:] - images[:, 1:, :-1] - images[:, :-1, 1:] + images[:, :-1, :-1]
    sigma = SIGMA_PER_MAD * np.median(np.abs(differences), axis=(1, 2)) / 2
    total = np.einsum("nyx,nyx->n", images, images)
    return sigma**2 * images[0].size / np.where(total > 0, total, 1) if len(images) else sigma


def _off_circles(grid: np.ndarray) -> np.ndarray:
    """(n, y, x) less the mean on circles of one cell's width about the centre."""
    y, x = np.indices(grid.shape[1:]) - (SIDE - 1) / 2
    ring = np.hypot(y, x).astype(int).reshape(-1)
    member = (ring[:, None] == np.arange(ring.max() + 1)).astype(np.float64)
    flat = grid.reshape(len(grid), -1)
    means = flat @ (member / member.sum(axis=0))
    return (flat - means[:, ring]).reshape(grid.shape)


def _without_structure(grid: np.ndarray) -> np.ndarray:
    """(n,) bool: all cells are equal but for rounding."""
    return np.ptp(grid, axis=(1, 2)) <= _FLAT * np.abs(grid).max(axis=(1, 2))


def _grids(flux: np.ndarray, observed: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Parts of the images and their (m, 32, 32) float64 area averages of what is observed, bands averaged.

    A cell in which nothing is observed takes the image's mean.
    """
    if flux.ndim != 4 or flux.shape != observed.shape or min(flux.shape[1:], default=0) < 1:
        raise DataError(
            f"flux has shape {flux.shape} and observed {observed.shape}; expected both (object, band, y, x)"
        )
    down, across = _overlaps(flux.shape[2], SIDE), _overlaps(flux.shape[3], SIDE)
    step = max(1, _PIXELS_AT_ONCE // int(np.prod(flux.shape[1:])))
    for start in range(0, len(flux), step):
        part = slice(start, start + step)
        seen = observed[part].astype(bool) & np.isfinite(flux[part])
        light = np.where(seen, flux[part], 0).sum(axis=1, dtype=np.float64)
        counts = seen.sum(axis=1, dtype=np.float64)
        weight = down @ counts @ across.T
        total = counts.sum(axis=(1, 2))
        mean = light.sum(axis=(1, 2)) / np.where(total > 0, total, 1)
        filled = weight > 1e-9
        cells = (down @ light @ across.T) / np.where(filled, weight, 1)
        yield part, np.where(filled, cells, mean[:, None, None])


def _overlaps(pixels: int, cells: int) -> np.ndarray:
    """(cells, pixels) which part of each pixel lies in each cell of a row of ``pixels`` divided evenly."""
    edges = np.arange(cells + 1) * (pixels / cells)
    pixel = np.arange(pixels)
    upper = np.minimum(edges[1:, None], pixel + 1)
    lower = np.maximum(edges[:-1, None], pixel)
    return np.clip(upper - lower, 0.0, None)
