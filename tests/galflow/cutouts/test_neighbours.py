"""Whose light is in a pixel, and what is put in the place of a neighbour's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from galflow.cutouts.batches import make_batch
from galflow.cutouts.neighbours import NEIGHBOUR, OBJECT, SKY, _sky_pixels, segments, without_neighbours
from galflow.photometry import AsinhStretch
from galflow.spec.neighbours import Neighbours

SIDE, BANDS = 32, 3
Source = tuple[float, float, float]
"""Peak in sigmas, and how far (y, x) from the middle."""


def sky(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3.0, 1.0, (BANDS, SIDE, SIDE)).astype(np.float32)


def blob(peak: float, y: float, x: float, width: float = 1.8) -> np.ndarray:
    axis = np.arange(SIDE) - SIDE // 2
    return peak * np.exp(-((axis[:, None] - y) ** 2 + (axis - x) ** 2) / (2 * width**2))


def cutout(*sources: Source, seed: int = 0) -> Tensor:
    """(1, band, y, x) with noise of 1 on a level of 3."""
    light = sum((blob(*source) for source in sources), np.zeros((SIDE, SIDE)))
    return torch.from_numpy(sky(seed) + light.astype(np.float32))[None]


def ones(flux: Tensor) -> Tensor:
    return torch.ones_like(flux)


def test_each_pixel_has_an_owner() -> None:
    flux = cutout((30, 0, 0), (60, 10, -8))
    (found,) = segments(flux, ones(flux))
    assert found[16, 16] == OBJECT
    assert found[26, 8] == NEIGHBOUR
    assert found[4, 28] == SKY
    # All of the neighbour's light that noise does not hide, and nothing of the object's.
    bright, own = torch.from_numpy(blob(60, 10, -8) > 2), torch.from_numpy(blob(30, 0, 0) > 3)
    assert (found[bright] == NEIGHBOUR).float().mean() > 0.95
    assert (found[own] == NEIGHBOUR).sum() == 0


@pytest.mark.parametrize(
    "sources",
    [
        [(40, 0, 0)],
        [(40, 0, 0), (30, 3, 3)],  # a second nucleus, with no dark between them
        [(40, 0, 0), (30, 9, 0), (30, -9, 0)],  # alike on both sides, as arms and rings are
        [(5, 0, 0), (9, 3, 0)],  # on its flank
    ],
)
def test_what_is_the_objects_own_is_no_neighbours(sources: list[Source]) -> None:
    flux = cutout(*sources)
    assert (segments(flux, ones(flux)) != NEIGHBOUR).all()


def test_noise_and_an_empty_cutout_are_nobodys() -> None:
    flux = torch.cat([cutout(seed=seed) for seed in range(100)])
    shares = (segments(flux, ones(flux)) == NEIGHBOUR).float().mean((1, 2))
    assert (shares > 0).float().mean() <= 0.02
    nothing = torch.zeros(2, BANDS, SIDE, SIDE)
    assert (segments(nothing, nothing) == SKY).all()
    assert segments(nothing[:0], nothing[:0]).shape == (0, SIDE, SIDE)


def test_a_band_of_more_noise_counts_less_and_a_missing_pixel_is_no_light() -> None:
    flux = cutout((30, 0, 0), (40, -9, 6))
    expected = segments(flux, ones(flux))
    ivar = ones(flux)
    flux[:, 1] = torch.from_numpy(np.random.default_rng(5).normal(0, 1000, (SIDE, SIDE)).astype(np.float32))
    ivar[:, 1] = 1e-6
    assert (segments(flux, ivar) == expected).float().mean() > 0.97
    ivar[:, :, 3:12, 18:27] = 0  # where the neighbour is
    assert (segments(torch.where(ivar > 0, flux, 0), ivar) != NEIGHBOUR).all()


def test_it_depends_on_the_object_alone() -> None:
    """Not on who else is in the batch, on the unit, or on the sky's level."""
    flux = torch.cat([cutout((20 + i, 0, 0), (30, 9, i % 10 - 5), seed=i) for i in range(200)])
    together = segments(flux, ones(flux))
    assert (together == NEIGHBOUR).any(2).any(1).all()
    for i in (0, 77, 199):
        assert torch.equal(segments(flux[i : i + 1], ones(flux[:1]))[0], together[i])
    scaled = segments(flux * 1e6 + 1e5, ones(flux) * 1e-12)
    assert (scaled == together).float().mean() > 0.999


def test_masked_pixels_are_missing_and_the_others_as_they_were() -> None:
    flux = torch.cat([cutout((30, 0, 0), (60, 10, -8)), cutout((30, 0, 0), seed=1)])
    theirs = (segments(flux, ones(flux)) == NEIGHBOUR)[:, None].expand_as(flux)
    kept = without_neighbours(flux, ones(flux), "keep")
    assert kept[0] is flux
    found, ivar = without_neighbours(flux, ones(flux), "mask")
    assert (found[theirs] == 0).all()
    assert (ivar[theirs] == 0).all()
    assert torch.equal(found[~theirs], flux[~theirs])
    assert (ivar[~theirs] == 1).all()
    assert theirs[0].any()
    assert not theirs[1].any()


def test_sky_takes_the_place_of_neighbours() -> None:
    """Whole pixels of the cutout's own sky, all bands and their inverse variance together."""
    flux = torch.cat([cutout((30, 0, 0), (60, 10, -8)), cutout((30, 0, 0), (400, 8, -8), seed=1)])
    weight = torch.rand(flux.shape, generator=torch.Generator().manual_seed(1)) + 0.5
    parts = segments(flux, weight)
    before = flux.clone()
    found, ivar = without_neighbours(flux, weight, "sky")
    assert torch.equal(flux, before)
    for i in range(2):
        theirs, sky = parts[i] == NEIGHBOUR, parts[i] == SKY
        assert torch.equal(found[i][:, ~theirs], flux[i][:, ~theirs])
        both = torch.cat([flux[i], weight[i]])[:, sky].T.tolist()
        put = torch.cat([found[i], ivar[i]])[:, theirs].T.tolist()
        assert {tuple(pixel) for pixel in put} <= {tuple(pixel) for pixel in both}
        assert len({tuple(pixel) for pixel in put}) == min(len(put), len(both))
        assert abs(float(found[i][:, theirs].mean()) - 3) < 0.3
    alone, _ = without_neighbours(flux[1:], weight[1:], "sky")
    assert torch.equal(alone[0], found[1])


@pytest.mark.parametrize("how", ["mask", "sky"])
def test_what_the_survey_lacks_stays_missing(how: Neighbours) -> None:
    """Also beside a neighbour, and in one band alone."""
    flux = cutout((30, 0, 0), (60, 10, -8))
    weight = ones(flux)
    weight[:, 1, 24:, 4:12] = 0
    weight[:, :, 26, 8] = 0
    found, ivar = without_neighbours(torch.where(weight > 0, flux, 0), weight, how)
    assert (segments(flux, weight) == NEIGHBOUR).any()
    assert (ivar[weight == 0] == 0).all()
    assert (found[weight == 0] == 0).all()


def test_where_no_sky_is_seen_a_neighbours_pixels_are_missing() -> None:
    flux = cutout((30, 0, 0), (60, 10, -8))
    parts = segments(flux, ones(flux))[0]
    blind = torch.where(parts == SKY, 0.0, 1.0).expand_as(flux).clone()
    blind[:, :, :2] = blind[:, :, -2:] = blind[..., :2] = blind[..., -2:] = 1  # the rim, by which the sky is known
    seen = segments(torch.where(blind > 0, flux, 0), blind)[0]
    found, ivar = without_neighbours(torch.where(blind > 0, flux, 0), blind, "sky")
    here = (seen == SKY) & (blind[0, 0] > 0)
    put = found[0][:, seen == NEIGHBOUR].T.tolist()
    assert here.any()
    assert {tuple(pixel) for pixel in put} <= {tuple(pixel) for pixel in flux[0][:, here].T.tolist()}
    assert (ivar[0][:, seen == NEIGHBOUR] == 1).all()
    source, known = _sky_pixels(torch.zeros(2, 9, dtype=torch.bool), torch.tensor([0, 1]), torch.tensor([3, 4]))
    assert known.tolist() == [0, 0]
    assert source.tolist() == [3, 4]


def test_a_batch_is_made_of_what_is_left() -> None:
    stretch = AsinhStretch(3.0, 1000.0, (1.0,) * BANDS)
    flux = (cutout((30, 0, 0), (300, 10, -8)) - 3).numpy()
    ivar = np.ones_like(flux)
    kept, masked, filled = (
        make_batch(flux, ivar, stretch, with_ivar=True, neighbours=how) for how in ("keep", "mask", "sky")
    )
    assert kept.observed.all()
    assert filled.observed.all()
    assert not masked.observed.all()
    assert masked.ivar is not None
    assert (masked.ivar[~masked.observed] == 0).all()
    assert (masked.pixels[~masked.observed] == 0).all()
    assert kept.pixels.max() > 1.5 * filled.pixels.max()
    assert make_batch(flux, ivar, stretch, neighbours="mask").ivar is None
