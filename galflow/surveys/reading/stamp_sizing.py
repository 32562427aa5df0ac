"""Brings ready-made images of mixed sizes and scales to one: resampled, cropped, padded, binned, and says which.

Flux is conserved (or the level kept), variances are propagated, flags carried over. What is padded is missing: NaN,
inverse variance 0, NO_DATA. That resampling and the drizzling before it correlate noise is not modelled. It refuses an
image that is smaller than what is asked for unless padding is declared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import UNUSABLE, Plane
from galflow.surveys.reading.grids import Grid
from galflow.surveys.reading.resample import Planes, resample

SAME_SCALE = 1e-4
"""Two scales that differ by less are one: over a stamp it is far less than a pixel."""


@dataclass(frozen=True, eq=False)
class StampPlanes:
    """One ready-made image, (B, h, w) each."""

    flux: np.ndarray
    """float32, NaN where missing."""
    ivar: np.ndarray | None = None
    """float32, 0 where missing; None: not known."""
    mask: np.ndarray | None = None
    """uint16 of ``Plane`` bits; None: nothing is flagged."""

    def sliced(self, rows: slice, columns: slice) -> StampPlanes:
        """A part of it."""
        parts = (None if p is None else p[:, rows, columns] for p in (self.flux, self.ivar, self.mask))
        return StampPlanes(*parts)  # type: ignore[arg-type]

    def scaled(self, factor: float) -> StampPlanes:
        """In a unit of which ``factor`` are one of this one's."""
        if factor == 1:
            return self
        ivar = None if self.ivar is None else self.ivar * np.float32(factor**-2)
        return StampPlanes(self.flux * np.float32(factor), ivar, self.mask)


@dataclass(frozen=True)
class Sizing:
    """What is done to each image, in this order."""

    resample_arcsec: float | None = None
    """Pixel scale to resample to."""
    crop: int | None = None
    """Side of the central square that is kept."""
    pad: bool = False
    """Whether smaller images are padded to ``crop``; else they are refused."""
    block: int = 1
    """Pixels in the side of a block that becomes one."""
    mode: Literal["sum", "mean"] = "sum"
    """Whether flux is conserved, or the level kept, where pixels change their size."""

    def ratio(self, scale_arcsec: float) -> float:
        """Pixels of an image of that scale in the side of a resampled one; 1 where none is resampled."""
        wanted = scale_arcsec if self.resample_arcsec is None else self.resample_arcsec
        ratio = wanted / scale_arcsec
        return 1.0 if abs(ratio - 1) < SAME_SCALE else ratio

    def gain(self, scale_arcsec: float) -> float:
        """By how much the largest value of a pixel grows."""
        return (self.ratio(scale_arcsec) * self.block) ** 2 if self.mode == "sum" else 1.0


@dataclass(frozen=True)
class SizeChange:
    """What was done to an image."""

    native: tuple[int, int]
    """(y, x) pixels that the file has."""
    resampled: bool = False
    cropped: bool = False
    padded: bool = False
    binned: bool = False


def reshape(planes: StampPlanes, sizing: Sizing, scale_arcsec: float, name: str) -> tuple[StampPlanes, SizeChange]:
    """The image as ``sizing`` says, (B, y', x'), and what was done to it; ``scale_arcsec``: of the file's pixels.

    The centre pixel of ``n`` is ``n // 2`` throughout. A remainder of blocks is cropped evenly. A block with a missing
    pixel is missing; of resampled pixels those of which more than 1 % of the area is. Raises DataError, with ``name``,
    where the image is smaller than the crop or than a block.
    """
    native = planes.flux.shape[1:]
    ratio = sizing.ratio(scale_arcsec)
    if ratio != 1:
        planes = _resampled(planes, ratio, sizing.mode, name)
    height, width = planes.flux.shape[1:]
    side, block = sizing.crop, sizing.block
    if (side is None or not sizing.pad) and min(height, width) < (side or block):
        wanted = f"crop = {side}" if side else f"bin = {block}"
        made = "" if ratio == 1 else f" of {sizing.resample_arcsec:g} arcsec"
        raise DataError(
            f"{name} has {height} x {width} pixels{made}, too few for {wanted}; lower the option, or pad: true"
        )
    change = SizeChange(
        (native[0], native[1]), ratio != 1, side is not None and max(height, width) > side,
        side is not None and min(height, width) < side, block > 1,
    )  # fmt: skip
    planes = _centred(planes, [(side or n) // block * block for n in (height, width)])
    return (_binned(planes, block, sizing.mode) if block > 1 else planes), change


def centre_pixel(shape: tuple[int, int], sizing: Sizing, scale_arcsec: float) -> tuple[float, float]:
    """(y, x) in the file's own 0-based pixels of the middle of the centre pixel, n // 2, of what ``reshape`` gives."""
    ratio, block = sizing.ratio(scale_arcsec), sizing.block
    centre = []
    for side in shape:
        side_made = side if ratio == 1 else sum(_whole_pixels(side, ratio)) + 1
        target = (sizing.crop or side_made) // block * block
        beside = target // block // 2 * block - target // 2 + (block - 1) / 2
        centre.append(side // 2 + ratio * beside)
    return centre[0], centre[1]


def without_background(flux: np.ndarray) -> np.ndarray:
    """(B, h, w) less the median of each band's rim, a sixteenth of the side wide: before cropping there is most sky."""
    return flux - _rim_level(flux)[:, None, None]


def _whole_pixels(side: int, ratio: float) -> tuple[int, int]:
    """How many whole pixels of ``ratio`` file pixels lie before and after that on the centre pixel, ``side // 2``.

    So many that the centre is again n // 2.
    """
    before, after = int((side // 2 + 0.5) / ratio - 0.5 + 1e-9), int((side - side // 2 - 0.5) / ratio - 0.5 + 1e-9)
    after = max(0, min(before, after))
    return max(0, min(before, after + 1)), after


def _resampled(planes: StampPlanes, ratio: float, mode: Literal["sum", "mean"], name: str) -> StampPlanes:
    """On pixels ``ratio`` times as large."""
    bands, height, width = planes.flux.shape
    up, left = _whole_pixels(height, ratio), _whole_pixels(width, ratio)
    size = max(sum(up), sum(left)) + 1
    if min(height, width) < ratio:
        raise DataError(f"{name} has {height} x {width} pixels, less than one after resampling; lower resample_arcsec")
    grid = Grid(np.array([width // 2], float), np.array([height // 2], float), np.eye(2)[None] * ratio)
    observed = np.isfinite(planes.flux)
    ivar = np.where(observed, 1.0 if planes.ivar is None else planes.ivar, 0.0).astype(np.float32)
    mask = np.zeros(planes.flux.shape, np.uint16) if planes.mask is None else planes.mask
    made = [resample(Planes(planes.flux[b], ivar[b], mask[b]), grid, size) for b in range(bands)]
    flux, ivar, mask = (np.concatenate([getattr(p, what) for p in made]) for what in ("flux", "ivar", "mask"))
    # All that is kept lies within the image.
    rows, columns = (slice(size // 2 - before, size // 2 + after + 1) for before, after in (up, left))
    area = np.float32(ratio**2 if mode == "mean" else 1)
    whole = StampPlanes(
        flux / area, None if planes.ivar is None else ivar * area**2, None if planes.mask is None else mask
    )
    return whole.sliced(rows, columns)


def _centred(planes: StampPlanes, target: list[int]) -> StampPlanes:
    """Cropped or padded to ``target`` (y, x) about the centre pixel."""
    offset = [n // 2 - t // 2 for n, t in zip(planes.flux.shape[1:], target, strict=True)]
    inner = [slice(max(0, o), min(n, o + t)) for o, t, n in zip(offset, target, planes.flux.shape[1:], strict=True)]
    part = planes.sliced(*inner)
    before = [max(0, -o) for o in offset]
    after = [t - b - n for t, b, n in zip(target, before, part.flux.shape[1:], strict=True)]
    if not any(before + after):
        return replace(part, flux=np.ascontiguousarray(part.flux))
    around = ((0, 0), *zip(before, after, strict=True))
    return StampPlanes(
        np.pad(part.flux, around, constant_values=np.nan),
        None if part.ivar is None else np.pad(part.ivar, around),
        np.pad(
            np.zeros(part.flux.shape, np.uint16) if part.mask is None else part.mask,
            around,
            constant_values=int(Plane.NO_DATA),
        ),
    )


def _binned(planes: StampPlanes, block: int, mode: Literal["sum", "mean"]) -> StampPlanes:
    """Blocks joined; a block with a missing pixel is missing."""
    bands, height, width = planes.flux.shape

    def blocks(plane: np.ndarray) -> np.ndarray:
        return plane.reshape(bands, height // block, block, width // block, block)

    flux, ivar, mask = blocks(planes.flux), None, None
    joined = flux.sum(axis=(2, 4)) if mode == "sum" else flux.mean(axis=(2, 4))
    if planes.ivar is not None:
        known = blocks(planes.ivar > 0)
        variance = (1 / np.where(known, blocks(planes.ivar), 1)).sum(axis=(2, 4), dtype=np.float64)
        share = 1.0 if mode == "sum" else float(block) ** 4
        ivar = np.where(known.all(axis=(2, 4)), share / variance, 0).astype(np.float32)
    if planes.mask is not None:
        mask = np.bitwise_or.reduce(np.bitwise_or.reduce(blocks(planes.mask), axis=4), axis=2)
        if ivar is not None:  # a padded block is no more than missing
            ivar[(mask & np.uint16(UNUSABLE)) != 0] = 0
    return StampPlanes(joined, ivar, mask)


def _rim_level(pixels: np.ndarray) -> np.ndarray:
    """(B,) median of each band's rim; 0 for a rim without a finite pixel."""
    height, width = pixels.shape[1:]
    rim = np.ones((height, width), dtype=bool)
    depth = max(1, min(height, width) // 16)
    rim[depth : height - depth, depth : width - depth] = False
    values = pixels[:, rim]
    observed = np.isfinite(values)
    return np.array([np.median(v[o]) if o.any() else 0.0 for v, o in zip(values, observed, strict=True)], np.float32)
