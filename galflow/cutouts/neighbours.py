"""Which pixels of a cutout are another object's light, and what a model may see in their place.

Peaks of the bands' mean are told apart by steepest ascent (a watershed). What hangs together with the object in the
middle, and what lies alike on both sides of it (rings, spiral arms), is the object's own. Many objects at once, in
float32, by no other numbers than the cutout's. It cannot know what is bound to what: a companion in a merger and a
chance neighbour look alike.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.spec.neighbours import Neighbours

LIT_SIGMA, PEAK_SIGMA = 2.0, 5.0
"""Smoothed light above so many sigmas of the rim's belongs to somebody; a neighbour's peak is at least so high."""
CONTRAST = 0.5
"""Two peaks are one object's where the saddle between them is at least this part of the lower one."""
ONE_SIDED = 0.5
"""Of a neighbour's light at least this part is missing on the other side of the centre."""
_ROUNDS = 6
"""Peaks join the object one behind another, so many deep."""
_RIM = 2
"""Pixels of the outermost frame, by which the sky is known."""
_PIXELS_AT_ONCE = 1 << 18
_TINY = 1e-20
_SEED = 7
"""Of the order in which pixels of the sky stand in for others."""
SKY, OBJECT, NEIGHBOUR = 0, 1, 2


def segments(flux: Tensor, ivar: Tensor) -> Tensor:
    """(N, y, x) uint8: whose light is in each pixel of cutouts (N, band, y, x), nobody's, the object's, a neighbour's.

    ``ivar`` is 0 where a pixel is missing.
    """
    step = max(1, _PIXELS_AT_ONCE // max(1, flux[:1].numel()))
    parts = [_segments(flux[i : i + step], ivar[i : i + step]) for i in range(0, len(flux), step)]
    return torch.cat(parts) if parts else torch.zeros(flux[:, 0].shape, dtype=torch.uint8, device=flux.device)


def without_neighbours(flux: Tensor, ivar: Tensor, how: Neighbours) -> tuple[Tensor, Tensor]:
    """Flux and inverse variance, (N, band, y, x), as a model sees them; missing pixels have flux and ``ivar`` 0.

    "mask": a neighbour's pixels are missing. "sky": each takes the values, in all bands, of a pixel of the same
    cutout's sky; in a cutout without any it is missing. The tensors given are not changed.
    """
    if how == "keep":
        return flux, ivar
    parts = segments(flux, ivar).flatten(1)
    row, place = (parts == NEIGHBOUR).nonzero(as_tuple=True)
    if not len(row):
        return flux, ivar
    source, known = place, torch.zeros_like(place)
    seen = (ivar > 0).flatten(2)
    if how == "sky":
        bands = seen.sum(1)
        source, known = _sky_pixels((parts == SKY) & (bands == bands.amax(1, keepdim=True)), row, place)
    kept = known[:, None] * seen[row, :, place]  # what the survey lacks stays missing
    found = []
    for planes in (flux, ivar):
        flat = planes.flatten(2).clone()
        flat[row, :, place] = flat[row, :, source] * kept
        found.append(flat.view_as(planes))
    return found[0], found[1]


def _sky_pixels(sky: Tensor, row: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """(k,) a pixel of the row's ``sky``, (N, pixels) bool, for each of the pixels (row, place); and 1 if there is one.

    A row's come in an order that is the same for all: what an object gets depends on itself alone.
    """
    order = torch.randperm(sky.shape[1], generator=torch.Generator().manual_seed(_SEED)).to(sky.device)
    pixels = order[sky[:, order].nonzero(as_tuple=True)[1]]
    count = sky.sum(1)
    start, number = count.cumsum(0) - count, torch.bincount(row, minlength=len(sky))
    turn = torch.arange(len(row), device=row.device) - (number.cumsum(0) - number)[row]
    known = (count > 0)[row]
    chosen = torch.where(known, start[row] + turn % count[row].clamp_min(1), 0)
    return (pixels[chosen] if len(pixels) else place), known.to(row.dtype)


def _segments(flux: Tensor, ivar: Tensor) -> Tensor:
    smooth = _signal(flux, ivar)
    flat = smooth.flatten(1)
    basin = _basins(smooth)
    peak = flat.gather(1, basin)
    lit = flat > LIT_SIGMA
    own = _own_light(smooth, basin, peak, lit)
    # Of each basin its light, and the part of it that the other side of the centre lacks.
    mirror = torch.from_numpy(_mirror_places(*smooth.shape[1:])).to(flat.device)
    light = torch.where(lit, flat, 0)
    lacking = torch.where(lit, (flat - flat[:, mirror]).clamp_min(0), 0)
    # In double precision, for on a GPU the order of the terms is by chance.
    total, lacked = (
        torch.zeros_like(flat, dtype=torch.float64).scatter_add_(1, basin, part.double()) for part in (light, lacking)
    )
    one_sided = (lacked > ONE_SIDED * total).gather(1, basin)
    other = lit & ~own & one_sided & (peak > PEAK_SIGMA)
    # A pixel more: the faint rim of a neighbour. It ends where the object's own light begins.
    wider = _highest_around(other.to(torch.uint8).view_as(smooth)).flatten(1)
    found = torch.where(own, OBJECT, wider * NEIGHBOUR)
    return found.to(torch.uint8).view_as(smooth)


def _mirror_places(side_y: int, side_x: int) -> np.ndarray:
    """(pixels,) for each pixel the one on the other side of the object's, side // 2; at the edge the nearest to it."""
    y, x = ((2 * (side // 2) - np.arange(side)).clip(0, side - 1) for side in (side_y, side_x))
    return (y[:, None] * side_x + x).ravel()


def _signal(flux: Tensor, ivar: Tensor) -> Tensor:
    """(N, y, x) mean of the bands weighted by inverse variance, of nine pixels each, in sigmas of the rim's."""
    weight = ivar / ivar.amax((1, 2, 3), keepdim=True).clamp_min(torch.finfo(ivar.dtype).tiny)
    known = torch.where(ivar > 0, flux, torch.nan)
    level = _rim(known).nanmedian(-1).values.nan_to_num(0.0)[..., None, None]
    light = torch.where(ivar > 0, flux - level, 0) * weight
    signal = light.sum(1) / weight.sum(1).clamp_min(_TINY).sqrt()
    smooth = F.avg_pool2d(signal[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    rim = _rim(smooth).sort(-1).values
    middle = rim[:, rim.shape[1] // 2]
    # By the fainter half: the brighter one has neighbours in it.
    sigma = (middle - rim[:, round(0.16 * rim.shape[1])]).clamp_min(_TINY)
    return (smooth - middle[:, None, None]) / sigma[:, None, None]


def _rim(planes: Tensor) -> Tensor:
    """(..., k) pixels of the outermost frame of (..., y, x)."""
    ends = [*range(_RIM), *range(-_RIM, 0)]
    rows, columns = planes[..., ends, :], planes[..., _RIM:-_RIM, :][..., ends]
    return torch.cat([rows.flatten(-2), columns.flatten(-2)], dim=-1)


def _basins(smooth: Tensor) -> Tensor:
    """(N, pixels) where steepest ascent ends, from each pixel of (N, y, x)."""
    _, at = F.max_pool2d(smooth[:, None], 3, 1, 1, return_indices=True)
    at = at.flatten(1)
    while not torch.equal(further := at.gather(1, at), at):
        at = further
    return at


def _highest_around(planes: Tensor) -> Tensor:
    """(N, y, x) the highest of nine pixels; quicker on a CPU than max_pool2d, which also says where it was."""
    for axis in (1, 2):
        count, found = planes.shape[axis] - 1, planes.clone()
        before, after = (found.narrow(axis, start, count) for start in (0, 1))
        torch.maximum(before, planes.narrow(axis, 1, count), out=before)
        torch.maximum(after, planes.narrow(axis, 0, count), out=after)
        planes = found
    return planes


def _own_light(smooth: Tensor, basin: Tensor, peak: Tensor, lit: Tensor) -> Tensor:
    """(N, pixels) bool: lit pixels of the basins that hang together with the middle's, see ``CONTRAST``."""
    side_y, side_x = smooth.shape[1:]
    flat = smooth.flatten(1)
    y, x = side_y // 2, side_x // 2
    near = smooth[:, y - 1 : y + 2, x - 1 : x + 2].flatten(1).argmax(1, keepdim=True)
    first = basin.gather(1, (y - 1 + near // 3) * side_x + x - 1 + near % 3)
    own = lit & (basin == first)
    row, place = (lit & ~own).nonzero(as_tuple=True)  # a small part of all pixels
    value, top = flat[row, place], peak[row, place]
    needed = torch.minimum(CONTRAST * torch.minimum(top, flat.gather(1, first)[row, 0]), top - LIT_SIGMA)
    of = row * flat.shape[1] + basin[row, place]
    for _ in range(_ROUNDS if len(row) else 0):
        reach = _highest_around(flat.masked_fill(~own, -torch.inf).view_as(smooth)).flatten(1)
        saddle = torch.minimum(reach[row, place], value)
        highest = flat.new_full((flat.numel(),), -torch.inf).scatter_reduce_(0, of, saddle, "amax")[of]
        joined = highest > needed
        before = own[row, place]
        if torch.equal(joined | before, before):
            break
        own[row[joined], place[joined]] = True
    return own
