"""The eight symmetries of the square, drawn anew for every object: the sky has no preferred direction.

Only training uses this; validation, reference and scoring see every object as it lies on the sky.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError

SYMMETRIES = 8
"""The dihedral group of the square: bit 0 mirrors x, bit 1 mirrors y, bit 2 then transposes."""


@functools.lru_cache(maxsize=16)
def _sources(size: int, device: torch.device) -> Tensor:
    """(8, size * size): for each symmetry and pixel, the flat index of the pixel that lands there."""
    grid = torch.arange(size * size, device=device).view(size, size)
    rows = []
    for symmetry in range(SYMMETRIES):
        turned = grid.flip(-1) if symmetry & 1 else grid
        turned = turned.flip(-2) if symmetry & 2 else turned
        rows.append((turned.T if symmetry & 4 else turned).reshape(-1))
    return torch.stack(rows)


def turn(images: Tensor, symmetry: Tensor) -> Tensor:
    """Images (B, C, n, n) of any type, each under its own ``symmetry`` (B,), an integer from 0 to 7."""
    size = images.shape[-1]
    if images.shape[-2] != size:
        raise ModelError(
            f"images of {images.shape[-2]} x {size} pixels cannot be turned by 90 degrees; expected squares. "
            "Cut or pad them (a PSF, say) to squares, or set training.augment: false"
        )
    # One gather is several times faster than flipping whole batches and choosing among the results.
    source = _sources(size, images.device)[symmetry][:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, source).view(images.shape)


def turn_and_mirror(batch: Batch) -> Batch:
    """The batch with each object under a random symmetry; its pixels, observed, ivar and PSF turn together.

    The draw comes from torch's global generator of the batch's device, so that a resumed training repeats it.
    """
    symmetry = torch.randint(SYMMETRIES, (len(batch),), device=batch.pixels.device)
    return Batch(
        turn(batch.pixels, symmetry),
        turn(batch.observed, symmetry),
        None if batch.ivar is None else turn(batch.ivar, symmetry),
        None if batch.psf is None else turn(batch.psf, symmetry),
        batch.conditions,
    )
