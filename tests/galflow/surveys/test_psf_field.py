"""PSFs that differ over an image: cells, grids and maps give each object its own."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.errors import DataError
from galflow.surveys.psf_field import FwhmMap, PsfField


def field(linear: bool, columns: int = 3, rows: int = 2) -> PsfField:
    y, x = np.divmod(np.arange(columns * rows), columns)
    stamps = np.random.default_rng(1).uniform(0.1, 1, (len(x), 5, 5))
    return PsfField(x * 10.0, y * 20.0, (stamps / stamps.sum((1, 2), keepdims=True)).astype(np.float32), linear)


def blend(made: PsfField, x: float, y: float) -> np.ndarray:
    nodes, weights = made.at(np.array([x]), np.array([y]))
    return np.einsum("k,kyx->yx", weights[0], made.images[nodes[0]])


def test_the_nearest_stamp_holds_in_cells() -> None:
    made = field(linear=False)
    for (x, y), number in {(4.9, 9): 0, (5.1, 9): 1, (99, 99): 5, (-50, 11): 3}.items():
        np.testing.assert_array_equal(blend(made, x, y), made.images[number])
    nodes, weights = made.at(np.full(3, np.nan), np.zeros(3))
    assert (nodes == 0).all()
    assert (weights.sum(axis=1) == 1).all()


def test_between_the_stamps_of_a_grid_it_is_interpolated_and_beyond_them_the_edge_holds() -> None:
    made = field(linear=True)
    first = made.images[:2]
    np.testing.assert_allclose(blend(made, 2.5, 0), 0.75 * first[0] + 0.25 * first[1], rtol=1e-5)
    middle = made.images[[1, 2, 4, 5]].mean(axis=0)
    np.testing.assert_allclose(blend(made, 15, 10), middle, rtol=1e-5)
    np.testing.assert_allclose(blend(made, 500, -3), made.images[2], rtol=1e-5)
    single = PsfField(np.array([4.0]), np.array([4.0]), made.images[:1], True)
    np.testing.assert_array_equal(blend(single, 7, 1), made.images[0])
    with pytest.raises(
        DataError, match=r"3 PSF stamps lie at 3 x and 3 y, which is no full grid; declare interpolation"
    ):
        PsfField(np.array([1.0, 2, 3]), np.array([3.0, 1, 2]), made.images[:3], True)
    with pytest.raises(DataError, match="6 PSF stamps have 2 positions"):
        PsfField(np.zeros(2), np.zeros(6), made.images)


def test_a_map_of_fwhm_is_read_at_the_objects() -> None:
    values = np.array([[0.7, 0.8], [0.0, np.nan]])
    sizes = FwhmMap(values, (40, 100))
    found = sizes.at(np.array([0.0, 49.4, 49.6, 99.4, 99.6, 10, np.nan]), np.array([0.0, 0, 19, 19, 0, 25, 0]))
    np.testing.assert_array_equal(found, [0.7, 0.7, 0.8, 0.8, np.nan, np.nan, np.nan])
    assert sizes.median == pytest.approx(0.75)
    assert FwhmMap(np.zeros((2, 2)), (4, 4)).median is None
