"""Whose pixels are whose: the object's, a neighbour's, nobody's; and a neighbour does not change a fit."""

from __future__ import annotations

import math

import numpy as np
import torch

from benchmarks.measured_galaxies import Galaxy, draw, noisy, psf_image
from galflow.measurements.segmentation import segment
from galflow.measurements.sersic_fit import fit_sersic
from galflow.measurements.sersic_parameters import PARAMETERS

SIZE = 48
MIDDLE = np.full((1, 2), (SIZE - 1) / 2)


def test_a_neighbour_is_left_out_and_the_fit_does_not_see_it() -> None:
    galaxy = Galaxy(1.5, 2.5, 0.7, 40, 0.0, 0.0)
    both = draw(galaxy, SIZE) + 0.7 * draw(Galaxy(1.0, 1.5, 1.0, 0, 13.0, 9.0), SIZE)
    image, sigma = noisy(both, 300, 1)
    ivar = np.full((1, SIZE, SIZE), sigma**-2)
    found = segment(image[None], ivar, MIDDLE)
    assert found.own[0, 23, 23]
    assert found.neighbour[0, 32, 36]
    assert not (found.own & found.neighbour).any()
    weight = torch.from_numpy(np.where(found.neighbour, 0, ivar))
    fit = fit_sersic(torch.from_numpy(image[None]), weight, torch.from_numpy(psf_image()))
    values = dict(zip(PARAMETERS, fit.values[0].tolist(), strict=True))
    assert abs(values["flux"] - 1) < 0.03
    assert abs(values["r50"] / (2.5 / math.sqrt(0.7)) - 1) < 0.04
    assert abs(values["n"] - 1.5) < 0.15
    blind = fit_sersic(torch.from_numpy(image[None]), torch.from_numpy(ivar), torch.from_numpy(psf_image()))
    assert abs(float(blind.values[0, 0]) - 1) > 0.1, "with the neighbour's pixels the fit is wrong"


def test_where_nothing_stands_out_nothing_is_the_objects() -> None:
    rng = np.random.default_rng(0)
    found = segment(rng.normal(5, 1, (3, SIZE, SIZE)), np.ones((3, SIZE, SIZE)), np.repeat(MIDDLE, 3, 0))
    assert not found.own.any()
    np.testing.assert_allclose(found.sky, 5, atol=0.1)


def test_missing_pixels_and_cutouts_without_any_are_nobodys() -> None:
    image = np.tile(draw(Galaxy(1.0, 3.0, 1.0, 0, 0, 0), SIZE), (2, 1, 1))
    ivar = np.full(image.shape, 1e6)
    ivar[0, 20:24] = 0
    ivar[1] = 0
    found = segment(image, ivar, np.repeat(MIDDLE, 2, 0))
    assert not found.own[0, 20:24].any()
    assert found.own[0].any()
    assert not found.own[1].any()


def test_noiseless_images_are_segmented_by_their_light() -> None:
    """As a simulation gives them: no noise is stated but a nominal one."""
    image = draw(Galaxy(1.0, 3.0, 1.0, 0, 0, 0), SIZE)
    found = segment(image[None], np.full((1, SIZE, SIZE), 1e20), MIDDLE)
    assert 100 < found.own.sum() < 1500
