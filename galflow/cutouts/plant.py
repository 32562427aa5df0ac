"""Known anomalies painted into copies of real cutouts, so that a run can say what its scores find."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa

from galflow.cutouts.cutout_set import CutoutData
from galflow.cutouts.flags import NOT_SCORED, Flag
from galflow.errors import DataError
from galflow.spec import PlantSpec
from galflow.surveys.anomalies import KINDS
from galflow.surveys.anomalies import plant as paint

PLANTED_COLUMN = "planted_kind"
"""Text: the kind painted into a planted copy; null for a real object."""
_PSF_FWHM_PIXELS = 3.0
"""Where the survey gives no PSF: the width, in pixels, of what is painted."""


def add_planted(data: CutoutData, spec: PlantSpec, tile: str) -> tuple[CutoutData, list[str]]:
    """``data`` with planted copies after its real objects, and the reasons if fewer were planted than asked.

    A copy's object id is the bitwise complement of its original's (``~object_id``), which leads back to the original;
    an object whose complement is itself an object of the tile is not chosen. The choice depends on the seed, the tile's
    name and its objects alone.
    """
    flags = data.rows.column("flags").to_numpy()
    spoilt = int(NOT_SCORED | Flag.EDGE | Flag.MISSING_PIXELS | Flag.SATURATED | Flag.TRAIL)
    ids = data.rows.column("object_id").to_numpy()
    candidates = np.flatnonzero(((flags & spoilt) == 0) & ~np.isin(~ids, ids))
    count = min(spec.per_tile, len(candidates))
    reasons = (
        [] if count == spec.per_tile else [f"{count} anomalies planted instead of {spec.per_tile}: too few objects"]
    )
    tile_seed = int.from_bytes(hashlib.sha256(tile.encode()).digest()[:8], "big")
    rng = np.random.default_rng([spec.seed, tile_seed])
    chosen = np.sort(rng.choice(candidates, count, replace=False)) if count else np.zeros(0, np.int64)
    kinds = [(spec.kinds or KINDS)[i % len(spec.kinds or KINDS)] for i in range(count)]
    sigma = np.array([s if s else np.nan for s in data.attributes["sky_sigma"]], dtype=np.float64)
    if count and not np.isfinite(sigma).all():
        raise DataError(f"tile {tile}: anomalies cannot be painted to scale, since a band's sky sigma is unknown")
    fwhm = _fwhm_pixels(data)
    painted = np.empty((count, *data.flux.shape[1:]), np.float32)
    for i, row in enumerate(chosen):
        painted[i] = paint(kinds[i], data.flux[row], data.mask[row], sky_sigma=sigma, psf_fwhm_pix=fwhm, rng=rng)
    rows = data.rows.append_column(PLANTED_COLUMN, pa.nulls(len(data.rows), pa.string()))
    copies = _copies(data.rows, chosen, kinds)
    return (
        CutoutData(
            np.concatenate([data.flux, painted]),
            np.concatenate([data.ivar, data.ivar[chosen]]),
            np.concatenate([data.mask, data.mask[chosen]]),
            pa.concat_tables([rows, copies]),
            data.attributes,
            data.psf,
        ),
        reasons,
    )


def _fwhm_pixels(data: CutoutData) -> float:
    widths = [w for w in data.attributes["psf_fwhm_arcsec"] if w]
    return float(np.median(widths)) / data.attributes["pixel_scale_arcsec"] if widths else _PSF_FWHM_PIXELS


def _copies(rows: pa.Table, chosen: np.ndarray, kinds: list[str]) -> pa.Table:
    copies = rows.take(pa.array(chosen))
    ids = copies.column("object_id").to_numpy()
    flags = copies.column("flags").to_numpy() | int(Flag.PLANTED)
    copies = copies.set_column(copies.column_names.index("object_id"), "object_id", pa.array(~ids))
    copies = copies.set_column(copies.column_names.index("flags"), "flags", pa.array(flags))
    return copies.append_column(PLANTED_COLUMN, pa.array(kinds, pa.string()))
