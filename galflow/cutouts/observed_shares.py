"""How much of a cutout is observed, in a few numbers: by which masked cutouts are told to be alike."""

from __future__ import annotations

import numpy as np

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag, has_flag

INCOMPLETE = Flag.MISSING_PIXELS | Flag.BAND_MISSING


def shares_of(observed: np.ndarray) -> np.ndarray:
    """(N, 2 B) float32: of each band the observed share of all pixels, then of those in the central third of the side.

    ``observed``: (N, band, y, x) bool.
    """
    side_y, side_x = observed.shape[2:]
    middle = observed[:, :, side_y // 3 : side_y - side_y // 3, side_x // 3 : side_x - side_x // 3]
    return np.concatenate([part.mean(axis=(2, 3), dtype=np.float32) for part in (observed, middle)], axis=1)


def observed_shares(cutouts: CutoutSet) -> np.ndarray:
    """(N, 2 B) of a set's rows; pixels are read of those alone that miss some."""
    incomplete = has_flag(cutouts.read("flags"), INCOMPLETE)
    shares = np.ones((len(cutouts), 2 * cutouts.pixel_shape[0]), np.float32)
    for chunk in cutouts.chunks():
        inside = np.flatnonzero(incomplete[chunk])
        if len(inside):
            shares[inside + chunk.start] = shares_of(cutouts.read("ivar", chunk)[inside] > 0)
    return shares
