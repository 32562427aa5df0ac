"""Held-out objects and copies of them with known anomalies, in memory alone: what scores are judged on.

Unlike planted copies (galflow.cutouts.plant) they are stored nowhere, need no setting, and their originals have trained
no model: a score cannot know them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from galflow.cutouts.batches import BatchFields, CutoutRows, ObjectReader, missing_inputs
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_SCORED, Flag, has_flag
from galflow.cutouts.identities import hashed_unit
from galflow.cutouts.observed_shares import INCOMPLETE, shares_of
from galflow.cutouts.plant import psf_fwhm_pixels, stellar_fwhm_pixels
from galflow.cutouts.splits import Split, normal_rows, splits
from galflow.errors import DataError
from galflow.surveys.drawing.anomalies import KINDS, plant

_TILES = 16
"""At most so many tiles are opened."""
_CHOICE, _PAINT, _MASKS = 11, 12, 13
"""Streams of random numbers of one seed, apart from each other."""
_SPOILT = Flag.EDGE | Flag.MISSING_PIXELS | Flag.BAND_MISSING


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Objects that trained no model, as they are stored, tile by tile, and where each tile's sky lies."""

    tiles: tuple[CutoutRows, ...]
    sky_sigma: tuple[np.ndarray, ...]
    """(band,) of each tile, in the unit of its flux."""
    fwhm_pixels: tuple[float, ...]
    """The PSF's, of each tile."""
    stellar_fwhm_pixels: tuple[float, ...]
    """Of what a star looks like there, of each tile; NaN where neither the survey nor the tile's stars tell."""
    flags: tuple[np.ndarray, ...]
    """(n,) of each tile's objects."""

    def __len__(self) -> int:
        return sum(len(rows.flux) for rows in self.tiles)


@dataclass(frozen=True, eq=False)
class Painted:
    """Copies with one kind of anomaly in each."""

    tiles: tuple[CutoutRows, ...]
    original: np.ndarray
    """(m,) number of each copy's original among the held-out objects."""
    kind: np.ndarray
    """(m,) texts."""


def held_out_objects(
    sets: Sequence[CutoutSet], contents: BatchFields, shares: tuple[float, float] | None, most: int, seed: int
) -> HeldOut:
    """At most ``most`` complete, normal objects of the reference split, from at most sixteen tiles all over the survey.

    ``shares``: of objects that validate and that calibrate; None where nothing was trained on this survey, which then
    holds out every normal object. DataError where a model needs what a chosen tile has not.
    """
    tiles, sky, widths, stellar, flags = [], [], [], [], []
    wanted = [_candidates(cutouts, shares) for cutouts in _spread(sets, seed)]
    total = sum(len(rows) for _, rows in wanted)
    for cutouts, rows in wanted:
        if not len(rows):
            continue
        if (reason := missing_inputs(cutouts, contents)) is not None:
            raise DataError(reason)
        share = max(1, round(len(rows) * min(1.0, most / total)))
        order = np.argsort(hashed_unit(cutouts.join.object_id[rows].astype(np.uint64) ^ np.uint64(seed)), kind="stable")
        chosen = np.sort(rows[order[:share]])
        tiles.append(_read(cutouts, contents, chosen))
        sky.append(np.array([s if s else np.nan for s in cutouts.attributes["sky_sigma"]], dtype=np.float64))
        widths.append(psf_fwhm_pixels(cutouts.attributes))
        stellar.append(stellar_fwhm_pixels(cutouts.attributes))
        flags.append(cutouts.read("flags")[chosen])
    return HeldOut(tuple(tiles), tuple(sky), tuple(widths), tuple(stellar), tuple(flags))


def _spread(sets: Sequence[CutoutSet], seed: int) -> list[CutoutSet]:
    filled = sorted((s for s in sets if len(s)), key=lambda s: s.product)
    chosen = np.random.default_rng([seed, _CHOICE]).permutation(len(filled))[:_TILES]
    return [filled[i] for i in sorted(chosen)]


def _candidates(cutouts: CutoutSet, shares: tuple[float, float] | None) -> tuple[CutoutSet, np.ndarray]:
    whole = ~has_flag(cutouts.read("flags"), _SPOILT)
    if shares is None:
        return cutouts, np.flatnonzero(normal_rows(cutouts) & whole)
    return cutouts, np.flatnonzero((splits(cutouts, *shares) == str(Split.REFERENCE)) & whole)


def _read(cutouts: CutoutSet, contents: BatchFields, rows: np.ndarray) -> CutoutRows:
    reader = ObjectReader.of(cutouts, contents)
    parts = []
    for chunk in cutouts.chunks():
        inside = rows[(rows >= chunk.start) & (rows < chunk.stop)] - chunk.start
        if len(inside):
            parts.append(reader.read(chunk, inside))
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    flux, ivar = (np.concatenate([getattr(part, name) for part in parts]) for name in ("flux", "ivar"))
    own = [part.psf for part in parts if part.psf is not None and part.psf.ndim == 4]
    return CutoutRows(flux, ivar, np.concatenate(own) if own else parts[0].psf, columns)


@dataclass(frozen=True, eq=False)
class Masked:
    """Held-out objects under masks that the survey laid over others."""

    tiles: tuple[CutoutRows, ...]
    shares: np.ndarray
    """(m, 2 B) of galflow.cutouts.observed_shares."""
    original: np.ndarray
    """(m,) number of each one's original among the held-out objects."""


def survey_masks(sets: Sequence[CutoutSet], most: int, seed: int) -> np.ndarray:
    """(m, band, y, x) bool: where incomplete objects of the survey are observed, at most ``most`` of them."""
    found = []
    for cutouts in _spread(sets, seed):
        flags = cutouts.read("flags")
        rows = np.flatnonzero(has_flag(flags, INCOMPLETE) & ~has_flag(flags, NOT_SCORED | Flag.PLANTED))
        rows = np.sort(np.random.default_rng([seed, _MASKS]).permutation(rows)[: -(-most // _TILES)])
        for chunk in cutouts.chunks():
            inside = rows[(rows >= chunk.start) & (rows < chunk.stop)] - chunk.start
            if len(inside):
                found.append(cutouts.read("ivar", chunk)[inside] > 0)
    return np.concatenate(found) if found else np.zeros((0, 0, 0, 0), bool)


def masked_objects(objects: HeldOut, masks: np.ndarray, count: int, seed: int) -> Masked:
    """About ``count`` of the held-out objects, drawn with repetition, each under one of the masks, all used alike."""
    rng = np.random.default_rng([seed, _MASKS, 1])
    tiles, shares, originals, first = [], [], [], 0
    for rows in objects.tiles:
        number = len(rows.flux)
        drawn = rng.integers(number, size=round(count * number / len(objects)))
        mask = masks[rng.permutation(len(drawn)) % len(masks)]
        columns = {name: values[drawn] for name, values in rows.columns.items()}
        ivar = np.where(mask, rows.ivar[drawn], np.float32(0))
        tiles.append(CutoutRows(rows.flux[drawn], ivar, rows.psf_of(drawn), columns))
        shares.append(shares_of(mask))
        originals.append(first + drawn)
        first += number
    return Masked(tuple(tiles), np.concatenate(shares).astype(np.float64), np.concatenate(originals))


def painted_copies(objects: HeldOut, copies: int, seed: int, kinds: Sequence[str] = KINDS) -> Painted:
    """``copies`` of each kind, of originals drawn without repetition within a kind where there are enough.

    DataError where a band's sky sigma is unknown, or the cutouts are too small to paint in.
    """
    rng = np.random.default_rng([seed, _PAINT])
    tile_of = np.repeat(np.arange(len(objects.tiles)), [len(rows.flux) for rows in objects.tiles])
    first = np.searchsorted(tile_of, np.arange(len(objects.tiles)))
    original = np.concatenate([_drawn(rng, len(objects), copies) for _ in kinds])
    kind = np.repeat(np.asarray(kinds, dtype=object), copies)
    order = np.argsort(tile_of[original], kind="stable")
    original, kind = original[order], kind[order]
    tiles = []
    for number, rows in enumerate(objects.tiles):
        mine = np.flatnonzero(tile_of[original] == number)
        local = original[mine] - first[number]
        flux = np.empty((len(mine), *rows.flux.shape[1:]), np.float32)
        for i, (row, name) in enumerate(zip(local, kind[mine], strict=True)):
            flux[i] = plant(
                name, rows.flux[row], None,
                sky_sigma=objects.sky_sigma[number], psf_fwhm_pix=objects.fwhm_pixels[number], rng=rng,
            )  # fmt: skip
        columns = {name: values[local] for name, values in rows.columns.items()}
        tiles.append(CutoutRows(flux, rows.ivar[local], rows.psf_of(local), columns))
    return Painted(tuple(tiles), original, kind)


def _drawn(rng: np.random.Generator, objects: int, copies: int) -> np.ndarray:
    whole = [rng.permutation(objects) for _ in range(-(-copies // objects))]
    return np.concatenate(whole)[:copies]
