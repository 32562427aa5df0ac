"""One stretch for all pixels of a run: linear for pictures, asinh for flux, and never both."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import DISPLAY_WHITE, common_white, display_attribute
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.cutouts.stream import stretch_for
from galflow.errors import DataError
from galflow.photometry import AsinhStretch, LinearStretch
from galflow.spec.run import CutoutSpec
from galflow.spec.stretch import StretchSpec
from galflow.storage.store import Store
from galflow.surveys.base import Image

MakeData = Callable[..., CutoutData]
SIGMA: list[float | None] = [2.0, 4.0]


@pytest.fixture
def sets(local_store: Store, data: MakeData) -> Callable[..., list[CutoutSet]]:
    """Sets with these whites, two bands each; None: a set that says nothing of them."""
    numbers = itertools.count()

    def made(*whites: list[float | None] | None, sigma: list[float | None] = SIGMA) -> list[CutoutSet]:
        found = []
        for i, white in enumerate(whites):
            content = data(2)
            content.attributes.update({"sky_sigma": sigma, "tile": f"t{i}"})
            content.attributes.update({} if white is None else {DISPLAY_WHITE: white})
            key = f"{next(numbers)}.zarr"
            write_cutout_set(local_store, key, content, CutoutSpec(size=8))
            found.append(CutoutSet(local_store, key))
        return found

    return made


def test_pictures_are_seen_linearly_and_flux_is_not(sets: Callable[..., list[CutoutSet]]) -> None:
    pictures = sets([255.0, 127.5], [255.0, None])
    assert common_white(pictures) == (255.0, 127.5)
    assert stretch_for(pictures, StretchSpec()) == LinearStretch((255.0, 127.5), (2.0, 4.0))
    flux = sets(None, [None, None])
    assert common_white(flux) is None
    assert stretch_for(flux, StretchSpec()) == AsinhStretch(3.0, 1000.0, (2.0, 4.0))


def test_what_is_chosen_goes_first(sets: Callable[..., list[CutoutSet]]) -> None:
    pictures, flux = sets([255.0, 255.0]), sets(None)
    assert stretch_for(pictures, StretchSpec(white_sigma=50)) == AsinhStretch(3.0, 50.0, (2.0, 4.0))
    assert stretch_for(pictures, StretchSpec(kind="asinh")) == AsinhStretch(3.0, 1000.0, (2.0, 4.0))
    in_sigmas = StretchSpec(kind="linear", white_sigma=50)
    assert stretch_for(pictures, in_sigmas) == LinearStretch((100.0, 200.0), (2.0, 4.0))
    assert stretch_for(flux, in_sigmas) == LinearStretch((100.0, 200.0), (2.0, 4.0))


def test_pictures_need_no_noise(sets: Callable[..., list[CutoutSet]]) -> None:
    pictures = sets([255.0, 255.0], sigma=[2.0, None])
    assert stretch_for(pictures, StretchSpec()) == LinearStretch((255.0, 255.0), (2.0, 1.0))
    with pytest.raises(DataError, match=r"declare stretch\.sky_sigma"):
        stretch_for(pictures, StretchSpec(kind="asinh"))


@pytest.mark.parametrize(
    ("whites", "expected"),
    [
        ((None, [255.0, 255.0]), r"band b0 of tile t0 is flux, but band b0 of tile t1 was stretched .*white 255"),
        (([255.0, 255.0], [65535.0, 255.0]), r"tile t0 was stretched .*255\), but .* t1 was stretched .*65535"),
        (([255.0, 0.0],), r"band b1 of tile t0 is flux, but band b0 of tile t0 was stretched"),
    ],
)
def test_two_kinds_are_refused_with_both_sides_named(
    sets: Callable[..., list[CutoutSet]], whites: tuple[list[float | None] | None, ...], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        stretch_for(sets(*whites), StretchSpec())


def test_a_band_that_no_tile_observed_is_named(sets: Callable[..., list[CutoutSet]]) -> None:
    with pytest.raises(DataError, match="no tile observed band 'b1', so its white is unknown"):
        common_white(sets([255.0, None]))


def image(white: float | None) -> Image:
    return Image(np.zeros((4, 4), np.float32), "count", 0.2, display_white=white)


def test_a_set_says_so_only_where_something_was_stretched() -> None:
    bands = ("g", "r")
    assert display_attribute(bands, {"g": image(None)}) == {}
    assert display_attribute(bands, {"g": image(255.0), "r": image(255.0)}) == {DISPLAY_WHITE: [255.0, 255.0]}
    assert display_attribute(bands, {"g": image(255.0), "r": image(None)}) == {DISPLAY_WHITE: [255.0, 0.0]}
    assert display_attribute(bands, {"g": image(255.0)}) == {DISPLAY_WHITE: [255.0, None]}
    assert display_attribute(bands, {"g": image(float("nan"))}) == {DISPLAY_WHITE: [None, None]}
