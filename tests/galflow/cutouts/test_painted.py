"""Held-out objects and painted copies of them: who is chosen, and what the copies are."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.cutouts.batches import PIXELS_ALONE
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.observed_shares import observed_shares, shares_of
from galflow.cutouts.painted import held_out_objects, masked_objects, painted_copies, survey_masks
from galflow.cutouts.splits import Split, splits
from galflow.spec.run import CutoutSpec, SurveySpec
from galflow.storage.store import Store
from galflow.surveys.drawing.anomalies import KINDS
from galflow.surveys.resolve import open_survey

SHARES = (0.1, 0.4)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[CutoutSet]:
    store = Store.open(tmp_path_factory.mktemp("painted"))
    options = {"tiles": 2, "tile_size": 200, "objects_per_tile": 60, "overlap_pixels": 0}
    survey = open_survey(SurveySpec(kind="synthetic", options=options))
    spec = CutoutSpec(size=16)
    return [CutoutSet(store, cut_tile(store, survey, tile, spec, tile.name).product) for tile in survey.tiles()]


def test_only_objects_that_trained_nobody_are_taken(sets: list[CutoutSet]) -> None:
    found = held_out_objects(sets, PIXELS_ALONE, SHARES, 1000, 3)
    held_out = [(s, np.flatnonzero(splits(s, *SHARES) == str(Split.REFERENCE))) for s in sets]
    whole = [s.read("flux")[rows[(s.read("ivar")[rows] > 0).all((1, 2, 3))]] for s, rows in held_out]
    for tile, expected in zip(found.tiles, whole, strict=True):
        assert 0 < len(tile.flux) <= len(expected)
        assert all((cutout == expected).all((1, 2, 3)).any() for cutout in tile.flux)
        assert (tile.ivar > 0).all()
    few = held_out_objects(sets, PIXELS_ALONE, SHARES, 10, 3)
    assert 2 <= len(few) <= 12
    assert len(held_out_objects(sets, PIXELS_ALONE, None, 1000, 3)) > len(found)


def test_copies_differ_from_their_originals_by_what_is_painted(sets: list[CutoutSet]) -> None:
    objects = held_out_objects(sets, PIXELS_ALONE, SHARES, 1000, 3)
    painted = painted_copies(objects, 5, 3)
    flux = np.concatenate([tile.flux for tile in objects.tiles])
    copies = np.concatenate([tile.flux for tile in painted.tiles])
    assert {name: int((painted.kind == name).sum()) for name in KINDS} == dict.fromkeys(KINDS, 5)
    changed = (copies != flux[painted.original]).reshape(len(copies), -1).any(1)
    assert changed.all()
    rays = painted.kind == "cosmic_ray"
    assert (copies[rays] == flux[painted.original][rays]).mean() > 0.9  # a few pixels of one band
    again = painted_copies(objects, 5, 3)
    np.testing.assert_array_equal(np.concatenate([tile.flux for tile in again.tiles]), copies)


def test_the_halves_that_choose_and_judge_both_hold_every_kind(sets: list[CutoutSet]) -> None:
    """The numbers that paint and the numbers that halve come from one seed, and must not be the same."""
    objects = held_out_objects(sets, PIXELS_ALONE, None, 1000, 0)
    painted = painted_copies(objects, len(objects) // 3, 0)
    first = np.zeros(len(objects), bool)
    first[np.random.default_rng([0, 1]).permutation(len(objects))[: len(objects) // 2]] = True
    for name in KINDS:
        assert 0.2 < first[painted.original[painted.kind == name]].mean() < 0.8


def test_the_surveys_own_masks_are_laid_over_whole_objects(sets: list[CutoutSet]) -> None:
    masks = survey_masks(sets, 40, 3)
    assert 2 < len(masks) <= 64
    assert (~masks).any((1, 2, 3)).all()
    objects = held_out_objects(sets, PIXELS_ALONE, SHARES, 1000, 3)
    found = masked_objects(objects, masks, 100, 3)
    observed = np.concatenate([tile.ivar > 0 for tile in found.tiles])
    assert 95 <= len(observed) <= 105
    laid = {mask.tobytes() for mask in observed}
    assert laid <= {mask.tobytes() for mask in masks}
    assert len(laid) == len({mask.tobytes() for mask in masks})
    flux = np.concatenate([tile.flux for tile in objects.tiles])
    np.testing.assert_array_equal(np.concatenate([tile.flux for tile in found.tiles]), flux[found.original])
    np.testing.assert_allclose(found.shares, shares_of(observed))


def test_shares_are_of_the_whole_and_of_the_middle(sets: list[CutoutSet]) -> None:
    observed = np.ones((2, 2, 9, 9), bool)
    observed[1, 0] = False
    observed[1, 1, :3] = False
    np.testing.assert_allclose(shares_of(observed), [[1, 1, 1, 1], [0, 2 / 3, 0, 1]], rtol=1e-6)
    for cutouts in sets:
        np.testing.assert_allclose(observed_shares(cutouts), shares_of(cutouts.read("ivar") > 0))
