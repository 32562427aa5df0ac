"""Maps between bands of any frame, against astropy's own world coordinates."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import FK4, FK5, ICRS, Galactic, SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from galflow.surveys.base import Image
from galflow.surveys.reading.grids import grid_in_band

CENTRE = SkyCoord(83.6, -5.4, unit="deg")


def frame_wcs(frame: str, scale: float = 0.2, latitude_first: bool = False, shape: tuple[int, int] = (200, 220)) -> WCS:
    made = WCS(naxis=2)
    systems = {"icrs": ICRS(), "fk5": FK5(equinox="J1975"), "fk4": FK4(equinox="B1950"), "galactic": Galactic()}
    place = CENTRE.transform_to(systems[frame]).spherical
    names = ["GLON-TAN", "GLAT-TAN"] if frame == "galactic" else ["RA---TAN", "DEC--TAN"]
    values, pitch = [place.lon.deg, place.lat.deg], [-scale / 3600, scale / 3600]
    if latitude_first:
        names, values, pitch = names[::-1], values[::-1], pitch[::-1]
    made.wcs.ctype, made.wcs.crval, made.wcs.cdelt = names, values, pitch
    made.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    if frame in ("fk5", "fk4"):
        made.wcs.radesys, made.wcs.equinox = frame.upper(), 1975.0 if frame == "fk5" else 1950.0
    made.wcs.set()
    return made


@pytest.mark.parametrize("latitude_first", [False, True])
@pytest.mark.parametrize("frame", ["icrs", "fk5", "fk4", "galactic"])
def test_bands_of_different_frames_are_aligned_on_the_sky(frame: str, latitude_first: bool) -> None:
    reference = Image(np.zeros((200, 220), np.float32), "nJy", 0.2, wcs=frame_wcs("icrs"))
    shape = (320, 300)
    band = Image(np.zeros(shape, np.float32), "nJy", 0.13, wcs=frame_wcs(frame, 0.13, latitude_first, shape))
    x, y = np.array([110.0, 60.0, 150.0]), np.array([90.0, 40.0, 170.0])
    grid = grid_in_band(x, y, 21, reference, band)
    assert grid.matrix is not None
    assert reference.wcs is not None
    assert band.wcs is not None
    xs, ys = grid.pixels(21)
    steps = np.arange(21) - 10
    for i in range(3):
        u, v = np.meshgrid(x[i] + steps, y[i] + steps)
        sky = reference.wcs.pixel_to_world(u, v).transform_to(wcs_to_celestial_frame(band.wcs))
        expected = band.wcs.world_to_pixel(sky)
        np.testing.assert_allclose(xs[i], expected[0], atol=1e-3)
        np.testing.assert_allclose(ys[i], expected[1], atol=1e-3)


def test_places_far_off_the_reference_cost_no_others() -> None:
    reference = Image(np.zeros((200, 220), np.float32), "nJy", 0.2, wcs=frame_wcs("galactic"))
    band = Image(np.zeros((200, 220), np.float32), "nJy", 0.25, wcs=frame_wcs("icrs", 0.25))
    x, y = np.array([110.0, 1e9, np.nan, np.inf, 60.0]), np.array([90.0, 1e9, 3.0, 7.0, -1e300])
    grid = grid_in_band(x, y, 16, reference, band)
    assert np.isfinite(grid.x).tolist() == [True, False, False, False, False]
    alone = grid_in_band(x[:1], y[:1], 16, reference, band)
    assert (grid.x[0], grid.y[0]) == (alone.x[0], alone.y[0])
