from __future__ import annotations

import galsim
import numpy as np
import pytest

from galflow.errors import DataError
from galflow.surveys.base import Psf
from galflow.surveys.drawing.galaxies import add_stamp, draw, psf_image, psf_profile, sersic, spiral_arms


@pytest.mark.parametrize("size", [64, 65])
def test_a_galaxy_is_centred_on_pixel_half_the_size_plus_the_offset(size: int) -> None:
    stamp = draw(
        sersic(1.0, 0.6, 1.0, 0.0), galsim.Gaussian(fwhm=0.7), size=size, pixel_scale_arcsec=0.2, dy=1.25, dx=-0.5
    )
    y, x = np.mgrid[:size, :size]
    assert stamp.shape == (size, size)
    assert stamp.sum() == pytest.approx(1.0, abs=0.01)
    assert (stamp * y).sum() / stamp.sum() == pytest.approx(size // 2 + 1.25, abs=0.05)
    assert (stamp * x).sum() / stamp.sum() == pytest.approx(size // 2 - 0.5, abs=0.05)


def test_the_half_light_radius_encloses_half_the_light() -> None:
    stamp = draw(
        sersic(2.04, 2.0, 1.0, 0.0), galsim.Gaussian(fwhm=0.3), size=401, pixel_scale_arcsec=0.1, dy=0.0, dx=0.0
    )
    y, x = np.mgrid[:401, :401] - 200
    assert stamp[np.hypot(y, x) <= 20.0].sum() == pytest.approx(0.5, abs=0.02)


def test_the_position_angle_runs_from_x_towards_y() -> None:
    stamp = draw(
        sersic(1.0, 1.0, 0.3, 30.0), galsim.Gaussian(fwhm=0.3), size=101, pixel_scale_arcsec=0.1, dy=0.0, dx=0.0
    )
    y, x = np.mgrid[:101, :101] - 50
    xx, yy, xy = ((stamp * product).sum() for product in (x * x, y * y, x * y))
    assert np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) == pytest.approx(30.0, abs=0.5)


def test_a_psf_image_is_used_as_it_is_whatever_its_sum() -> None:
    profile = psf_profile(Psf(fwhm_arcsec=0.8), 0.2)
    picture = psf_image(profile, 0.2, 41)
    assert picture.sum() == pytest.approx(1.0)
    peak = picture[20, 20]
    across = np.interp(0.5 * peak, picture[20, :21], np.arange(21))
    assert 2 * (20 - across) * 0.2 == pytest.approx(0.8, rel=0.03)
    again = psf_image(psf_profile(Psf(image=37.0 * picture), 0.2), 0.2, 41)
    np.testing.assert_allclose(again, picture, atol=2e-4 * peak)


def test_an_empty_psf_image_is_refused() -> None:
    with pytest.raises(DataError, match=r"PSF image of shape \(5, 5\) sums to 0; expected finite pixels"):
        psf_profile(Psf(image=np.zeros((5, 5))), 0.2)


@pytest.mark.parametrize("at", [(5, 6), (0, 0), (9, 11), (-1, 13), (-20, 5)])
def test_what_falls_off_the_canvas_is_dropped(at: tuple[int, int]) -> None:
    stamp = np.arange(1.0, 16.0).reshape(1, 3, 5)
    canvas = np.ones((2, 10, 12))
    add_stamp(canvas, stamp, *at)
    padded = np.zeros((70, 72))
    padded[30 + at[0] - 1 : 30 + at[0] + 2, 30 + at[1] - 2 : 30 + at[1] + 3] = stamp[0]
    np.testing.assert_array_equal(canvas[1], 1.0 + padded[30:40, 30:42])


def test_arms_have_a_smooth_discs_light_and_size_but_not_its_form() -> None:
    psf = psf_profile(Psf(fwhm_arcsec=0.5), 0.2)

    def drawn(galaxy: galsim.GSObject) -> np.ndarray:
        return draw(galaxy, psf, size=129, pixel_scale_arcsec=0.2, dy=0, dx=0)

    smooth = drawn(sersic(1.0, 1.5, 0.7, 30.0))
    arms = np.stack([drawn(spiral_arms(1.5, 0.7, 30.0, np.random.default_rng(i))) for i in range(60)])
    np.testing.assert_allclose(arms.sum((1, 2)), 1.0, atol=0.01)
    y, x = np.indices(smooth.shape) - 64
    inside = np.hypot(x, y) * 0.2 < 1.5
    assert arms[:, inside].sum(1).mean() == pytest.approx(smooth[inside].sum(), abs=0.06), "as large on average"
    correlation = [np.corrcoef(one.ravel(), smooth.ravel())[0, 1] for one in arms]
    assert max(correlation) < 0.97
    assert np.corrcoef(arms.mean(0).ravel(), smooth.ravel())[0, 1] > 0.97, "all together are the disc"
