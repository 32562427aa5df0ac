from __future__ import annotations

import io

import matplotlib
import numpy as np
from PIL import Image

from galflow.report.pictures import MISSING_RGB
from galflow.report.residuals import RESIDUAL_LIMIT, residual_legend_png, residual_png, strongest_residual


def test_residuals_are_in_sigmas_of_the_band_where_they_are_largest():
    flux, model = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    flux[0, 0, 0], flux[1, 0, 0] = 6.0, -4.0  # 3 sigma against -4 sigma: these must not cancel
    model[0, 1, 1] = 10.0
    np.testing.assert_allclose(strongest_residual(flux, model, (2.0, 1.0)), [[-4.0, 0.0], [0.0, -5.0]])


def test_a_pixel_missing_in_one_band_is_judged_by_the_other_and_in_all_is_unknown():
    flux = np.zeros((2, 1, 2))
    flux[0, 0, 0] = np.nan
    flux[1, 0, 0] = 3.0
    flux[:, 0, 1] = np.nan
    np.testing.assert_array_equal(strongest_residual(flux, np.zeros_like(flux), (1.0, 1.0)), [[3.0, np.nan]])


def test_the_map_is_symmetric_clipped_and_marks_missing_pixels():
    residual = np.array([[-50.0, -RESIDUAL_LIMIT, 0.0], [RESIDUAL_LIMIT, 1e9, np.nan]])
    image = np.asarray(Image.open(io.BytesIO(residual_png(residual))).convert("RGB"))
    ends = np.round(255 * matplotlib.colormaps["RdBu_r"](np.array([0.0, 1.0]))[:, :3])
    np.testing.assert_array_equal(image[0, 0], ends[0])
    np.testing.assert_array_equal(image[0, 1], ends[0])
    np.testing.assert_array_equal(image[1, 0], ends[1])
    np.testing.assert_array_equal(image[1, 1], ends[1])
    assert image[0, 2].min() > 240  # nothing left over is white
    assert tuple(image[1, 2]) == MISSING_RGB


def test_the_legend_runs_from_too_faint_to_too_bright():
    image = np.asarray(Image.open(io.BytesIO(residual_legend_png())).convert("RGB")).astype(int)
    assert image[0, 0, 2] > image[0, 0, 0]
    assert image[0, -1, 0] > image[0, -1, 2]
    assert not (image == MISSING_RGB).all(axis=-1).any()
