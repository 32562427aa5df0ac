"""Known anomalies painted into copies of real cutouts, so that a run can say what its scores find."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.cutouts.flags import NOT_SCORED, Flag, has_flag
from galflow.cutouts.set_writing import Pixels
from galflow.errors import DataError
from galflow.spec.run import PlantSpec
from galflow.surveys.drawing.anomalies import KINDS
from galflow.surveys.drawing.anomalies import plant as paint

PLANTED_COLUMN = "planted_kind"
"""Text: the kind painted into a planted copy; null for a real object."""
_PSF_FWHM_PIXELS = 3.0
"""Where the survey gives no PSF: the width, in pixels, of what is painted."""


class Planting:
    """Which objects of a tile are copied and what is painted into each copy, in the order of the copies.

    A copy's object id is the bitwise complement of its original's (``~object_id``), which leads back to the original;
    an object whose complement is itself an object of the tile is not chosen. The choice depends on the seed, the tile's
    name and its objects alone, not on the order of its rows.
    """

    def __init__(self, rows: pa.Table, attributes: Mapping[str, Any], spec: PlantSpec, tile: str) -> None:
        """``rows``: of the real objects, with their flags. DataError where a band's sky sigma is unknown."""
        flags, ids = (rows.column(name).to_numpy() for name in ("flags", "object_id"))
        spoilt = NOT_SCORED | Flag.EDGE | Flag.MISSING_PIXELS | Flag.SATURATED | Flag.TRAIL
        candidates = np.flatnonzero(~has_flag(flags, spoilt) & ~np.isin(~ids, ids))
        candidates = candidates[np.argsort(ids[candidates], kind="stable")]
        count = min(spec.per_tile, len(candidates))
        self._sigma = np.array([s if s else np.nan for s in attributes["sky_sigma"]], dtype=np.float64)
        if count and not np.isfinite(self._sigma).all():
            raise DataError(f"tile {tile}: anomalies cannot be painted to scale, since a band's sky sigma is unknown")
        few = f"{count} anomalies planted instead of {spec.per_tile}: too few objects"
        self.reasons = [] if count == spec.per_tile else [few]
        """Why fewer were planted than asked."""
        seed = int.from_bytes(hashlib.sha256(tile.encode()).digest()[:8], "big")
        self._rng = np.random.default_rng([spec.seed, seed])
        chosen = np.sort(self._rng.choice(len(candidates), count, replace=False)) if count else np.zeros(0, np.int64)
        self.chosen = candidates[chosen]
        """(n,) rows of the originals."""
        kinds = spec.kinds or KINDS
        self._kinds = [kinds[i % len(kinds)] for i in range(count)]
        self._fwhm_pixels = psf_fwhm_pixels(attributes)
        self._painted = 0

    def paint(self, originals: Pixels) -> Pixels:
        """The next copies, made of the cutouts of their originals."""
        flux = np.empty_like(originals.flux)
        for i in range(len(originals)):
            kind = self._kinds[self._painted]
            flux[i] = paint(
                kind, originals.flux[i], originals.mask[i],
                sky_sigma=self._sigma, psf_fwhm_pix=self._fwhm_pixels, rng=self._rng,
            )  # fmt: skip
            self._painted += 1
        return Pixels(flux, originals.ivar, originals.mask)

    def rows(self, rows: pa.Table, flags: np.ndarray) -> pa.Table:
        """The real objects' rows, and those of the copies after them, which have ``flags``, (n,), and PLANTED."""
        with_kind = rows.append_column(PLANTED_COLUMN, pa.nulls(len(rows), pa.string()))
        return pa.concat_tables([with_kind, _copies(rows, self.chosen, self._kinds, flags)])


def psf_fwhm_pixels(attributes: Mapping[str, Any]) -> float:
    """The PSF's full width at half maximum in pixels, as ``stellar_fwhm_pixels``; 3 where nothing tells it."""
    width = stellar_fwhm_pixels(attributes)
    return width if math.isfinite(width) else _PSF_FWHM_PIXELS


def stellar_fwhm_pixels(attributes: Mapping[str, Any]) -> float:
    """A star's full width at half maximum in pixels: the median over bands of what the survey gives, or of the tile's
    own stars in its reference band; NaN where neither tells."""
    widths = [w for w in attributes["psf_fwhm_arcsec"] if w]
    if widths:
        return float(np.median(widths)) / float(attributes["pixel_scale_arcsec"])
    return float(attributes.get("stellar_fwhm_pixels") or math.nan)


def _copies(rows: pa.Table, chosen: np.ndarray, kinds: list[str], flags: np.ndarray) -> pa.Table:
    copies = rows.take(pa.array(chosen))
    ids = copies.column("object_id").to_numpy()
    flags = flags | int(Flag.PLANTED)
    copies = copies.set_column(copies.column_names.index("object_id"), "object_id", pa.array(~ids))
    copies = copies.set_column(copies.column_names.index("flags"), "flags", pa.array(flags))
    return copies.append_column(PLANTED_COLUMN, pa.array(kinds, pa.string()))
