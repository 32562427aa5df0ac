"""Among its like a bright object is odd for what it is, not for being bright."""

from __future__ import annotations

import numpy as np

from galflow.scores.alike import NEIGHBOURS, Alike


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Light and size, and a score that follows light."""
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(n, 2)) * [1.0, 0.2]
    return covariates, 3.0 * covariates[:, 0] + rng.normal(size=n)


def test_what_follows_brightness_is_uniform_among_its_like_at_any_brightness() -> None:
    alike = Alike.of(*drawn(4000, 1))
    covariates, values = drawn(4000, 2)
    p = alike.p_values(covariates, values)
    bright = covariates[:, 0] > 1.0
    for which in (bright, ~bright):
        assert 0.07 < (p[which] <= 0.1).mean() < 0.14
    plain = (1 + (alike.values[None, :] >= values[:, None]).sum(axis=1)) / (1 + len(alike.values))
    assert (plain[bright] <= 0.1).mean() > 0.3


def test_an_odd_faint_object_is_found_where_bright_ones_hide_it() -> None:
    alike = Alike.of(*drawn(4000, 1))
    p = alike.p_values(np.array([[-1.5, 0.0]]), np.array([1.0]))  # bright ones score 3 and more
    assert p[0] <= 3 / (1 + NEIGHBOURS)


def test_the_number_is_that_of_its_nearest() -> None:
    covariates, values = drawn(500, 3)
    alike = Alike.of(covariates, values)
    asked, value = np.array([0.3, 0.1]), 1.0
    scatter = 1.4826 * np.median(np.abs(covariates - np.median(covariates, axis=0)), axis=0)
    near = np.argsort(np.hypot(*((covariates - asked) / scatter).T))[:NEIGHBOURS]
    expected = (1 + (values[near] >= value).sum()) / (1 + NEIGHBOURS)
    assert alike.p_values(asked[None], np.array([value]))[0] == expected


def test_without_numbers_or_enough_held_out_objects_nothing_is_said() -> None:
    covariates, values = drawn(500, 4)
    alike = Alike.of(covariates, values)
    covariates[0], values[1] = np.nan, np.nan
    found = alike.p_values(covariates, values)
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2:]).all()
    few = Alike.of(covariates[10:100], values[10:100])
    assert np.isnan(few.p_values(covariates, values)).all()
