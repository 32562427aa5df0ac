"""Stars in the place of held-out objects, and held-out objects beside others: what a triage must tell from galaxies.

As in galflow.cutouts.painted, copies are made in memory alone. A blend's second object is of the same half of the
objects as its first, so that what is judged on one half has nothing of the other.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from galflow.cutouts.batches import CutoutRows
from galflow.cutouts.painted import HeldOut, Painted
from galflow.errors import DataError

STAR, BLEND = "star", "blend"
_PAINT = 15
"""Stream of random numbers, apart from galflow.cutouts.painted's."""
_MOFFAT_BETA = 3.0
_LIT_SIGMA = 2.0
"""Smoothed light above so many sigmas belongs to an object that is laid beside another."""
_DONORS = 4
"""Of so many the brightest is laid beside: one that nobody sees makes no blend."""


def painted_sources(objects: HeldOut, half: np.ndarray, copies: int, seed: int, *, stars: bool) -> Painted:
    """``copies`` blends and, if ``stars``, as many stars, tile by tile.

    ``half``: (n,) bool, on which side each held-out object is. A star is the tile's PSF (its image, or a Moffat profile
    of its FWHM) with half to eight times another object's light, where the original's own has been taken away: its
    median at each distance from the centre. A blend's second object lies 0.2 to 0.45 sides away.
    """
    rng = np.random.default_rng([seed, _PAINT])
    sizes = [len(rows.flux) for rows in objects.tiles]
    first = np.concatenate([[0], np.cumsum(sizes)])
    kinds = (STAR, BLEND) if stars else (BLEND,)
    tiles, originals, names = [], [], []
    for number, rows in enumerate(objects.tiles):
        sigma = objects.sky_sigma[number]
        if not (np.isfinite(sigma) & (sigma > 0)).all():
            raise DataError(f"stars and blends cannot be painted to scale: a band's sky sigma is {sigma!r}")
        scene = _Tile(rows, sigma, objects.fwhm_pixels[number], half[first[number] : first[number + 1]])
        count = round(copies * sizes[number] / max(1, len(objects)))
        drawn = np.concatenate([_drawn(rng, sizes[number], count) for _ in kinds])
        kind = np.repeat(np.asarray(kinds, dtype=object), count)
        made = [
            scene.star(row, rng) if k == STAR else scene.blend(row, rng) for row, k in zip(drawn, kind, strict=True)
        ]
        flux = np.stack(made) if made else np.zeros((0, *rows.flux.shape[1:]), np.float32)
        columns = {name: values[drawn] for name, values in rows.columns.items()}
        tiles.append(CutoutRows(flux.astype(np.float32), rows.ivar[drawn], rows.psf_of(drawn), columns))
        originals.append(first[number] + drawn)
        names.append(kind)
    return Painted(tuple(tiles), np.concatenate(originals), np.concatenate(names))


def _drawn(rng: np.random.Generator, objects: int, count: int) -> np.ndarray:
    whole = [rng.permutation(objects) for _ in range(-(-count // objects))]
    return np.concatenate([np.zeros(0, np.int64), *whole])[:count]


class _Tile:
    """The held-out objects of one tile, and what is made of them."""

    def __init__(self, rows: CutoutRows, sigma: np.ndarray, fwhm: float, half: np.ndarray) -> None:
        self._flux, self._sigma, self._half = rows.flux, sigma, half
        side = rows.flux.shape[-1]
        axis = np.arange(side) - side // 2
        self._y, self._x = axis[:, None], axis[None, :]
        self._ring = np.rint(np.hypot(self._y, self._x)).astype(np.int64)
        self._psf = self._profiles(rows.mean_psf, fwhm)
        near = self._ring <= max(3, side // 6)
        self._light = np.maximum(rows.flux[:, :, near].sum(2), 20.0 * sigma * fwhm)
        """(n, band) of each object near its centre, at least that of a source seen clearly."""
        self._rank = (self._light / sigma).sum(1)

    def _profiles(self, psf: np.ndarray | None, fwhm: float) -> np.ndarray:
        """(band, y, x) with sum 1."""
        side = self._flux.shape[-1]
        if psf is not None:
            found = np.zeros((len(self._sigma), side, side))
            for out, image in zip(found, psf, strict=True):
                reach = min(side // 2, image.shape[-1] // 2, side - 1 - side // 2)
                middle, centre = image.shape[-1] // 2, side // 2
                own = image[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
                out[centre - reach : centre + reach + 1, centre - reach : centre + reach + 1] = own
            return np.asarray(found / found.sum((1, 2), keepdims=True))
        core = fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / _MOFFAT_BETA) - 1.0))
        moffat = (1.0 + (self._y**2 + self._x**2) / core**2) ** -_MOFFAT_BETA
        return np.broadcast_to(moffat / moffat.sum(), (len(self._sigma), side, side))

    def star(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """The object's surroundings with a star in its place, (band, y, x)."""
        flux = self._flux[row].astype(np.float64)
        reach = flux.shape[-1] // 3
        rings = np.arange(reach)
        for plane in flux:
            level = np.median(plane[self._ring >= reach])
            profile = np.array([np.median(plane[self._ring == r]) for r in rings]) - level
            plane -= np.append(np.maximum(profile, 0.0), 0.0)[np.minimum(self._ring, reach)]
        # What the median leaves of a bright original (its arms, its ellipticity) is cut off at the noise.
        inner = self._ring < reach
        limit = 3.0 * self._sigma[:, None, None]
        flux = np.where(inner, np.clip(flux, -limit, limit), flux)
        other = rng.integers(len(self._flux))
        light = self._light[other] * np.exp(rng.uniform(np.log(0.5), np.log(8.0)))
        shift = rng.uniform(-0.5, 0.5, size=2)
        psf = np.stack([ndimage.shift(plane, shift, order=1, mode="nearest") for plane in self._psf])
        return flux + light[:, None, None] * psf

    def blend(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """The object with another one beside it, (band, y, x)."""
        side = self._flux.shape[-1]
        same = np.flatnonzero(self._half == self._half[row])
        donors = rng.choice(same, min(_DONORS, len(same)))
        donor = donors[np.argmax(self._rank[donors])]
        distance, angle = rng.uniform(0.2, 0.45) * side, rng.uniform(0, 2 * np.pi)
        shift = np.rint([distance * np.sin(angle), distance * np.cos(angle)]).astype(np.int64)
        light = self._own_light(donor)
        # Turned by quarters and mirrored, so that a donor is no copy of an object in the set.
        light = np.rot90(light, int(rng.integers(4)), axes=(1, 2))
        moved = ndimage.shift(light, (0, *shift), order=0, mode="constant", cval=0.0)
        return np.asarray(self._flux[row] + moved)

    def _own_light(self, row: int) -> np.ndarray:
        """An object without its surroundings: (band, y, x), 0 beyond the light that hangs together with its centre."""
        flux = self._flux[row].astype(np.float64)
        smooth = ndimage.uniform_filter((flux / self._sigma[:, None, None]).mean(0), 3, mode="nearest")
        labels, _ = ndimage.label(smooth > _LIT_SIGMA / np.sqrt(len(self._sigma)))
        centre = smooth.shape[0] // 2
        inside = labels == labels[centre, centre] if labels[centre, centre] else self._ring <= 2
        return np.where(ndimage.binary_dilation(inside), flux, 0.0)
