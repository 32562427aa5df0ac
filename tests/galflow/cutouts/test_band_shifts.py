"""A band beside the others is found; two colours side by side, noise and a single band are none."""

from __future__ import annotations

import numpy as np

from galflow.cutouts.band_shifts import is_shifted

COUNT, SIDE = 100, 40
_Y, _X = np.mgrid[:SIDE, :SIDE] - SIDE // 2


def _source(y: float = 0.0, x: float = 0.0, width: float = 2.0) -> np.ndarray:
    return np.exp(-((_Y - y) ** 2 + (_X - x) ** 2) / 2 / width**2)


def _seen(*bands: np.ndarray) -> np.ndarray:
    """(band, n, y, x) of a source each, 40 to 400 sigmas high."""
    rng = np.random.default_rng(0)
    height = 10 ** rng.uniform(1.6, 2.6, (1, COUNT, 1, 1))
    noise = rng.normal(size=(len(bands), COUNT, SIDE, SIDE))
    return (height * np.stack(bands)[:, None] + noise).astype(np.float32)


def test_a_band_that_lies_beside_the_others_is_found() -> None:
    assert is_shifted(_seen(_source(), _source(3, 1), _source())).all()
    assert is_shifted(_seen(_source(), _source(0, -3))).all()
    group = _source() + _source(8, 5, 1.5)
    assert is_shifted(_seen(group, group, np.roll(group, (0, 4), (0, 1)))).all()


def test_bands_that_agree_or_differ_as_galaxies_do_are_none() -> None:
    assert not is_shifted(_seen(_source(), 0.3 * _source(), _source())).any()
    assert not is_shifted(_seen(_source(), _source(0.5, 0.5), _source(width=3.0))).any()
    # A red and a blue galaxy side by side: only where nothing of the other is seen in a band it could be one.
    red, blue = _source(0, -4), _source(0, 4, 3.0)
    assert is_shifted(_seen(red + 0.1 * blue, 0.5 * (red + blue), 0.1 * red + blue)).mean() < 0.05
    assert not is_shifted(_seen(red + 0.3 * blue, 0.6 * (red + blue), 0.3 * red + blue)).any()


def test_where_nothing_is_seen_nothing_is_said() -> None:
    noise = np.random.default_rng(1).normal(size=(3, 500, SIDE, SIDE)).astype(np.float32)
    assert not is_shifted(noise).any()
    assert not is_shifted(_seen(_source(), 0.01 * _source(5, 5), 0.01 * _source(-5, 0))).any()
    assert not is_shifted(_seen(_source(2, 2))).any()
    assert not is_shifted(np.full((3, 4, SIDE, SIDE), np.nan, np.float32)).any()
    assert is_shifted(noise[:, :0]).shape == (0,)
    assert not is_shifted(noise[..., :10, :10]).any()
