"""Reading side by side must change neither what is found nor what is reported."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from galflow.cutouts.assign import OUTSIDE_TILE
from galflow.cutouts.tile_images import TileImages
from galflow.errors import DataError, StoreError
from galflow.surveys.base import Image, Survey, Tile

MakeSurvey = Callable[..., Survey]
Catalog = Callable[..., pa.Table]


def _sky(seed: int, sigma: float = 2.0) -> Image:
    return Image(np.random.default_rng(seed).normal(0, sigma, (60, 60)).astype(np.float32), "nJy", 0.2)


@pytest.fixture
def survey(array_survey: MakeSurvey, catalog: Catalog) -> Survey:
    images = {"g": _sky(1), "r": DataError("file r is truncated"), "i": _sky(2, sigma=5.0)}
    return array_survey(images, catalog([30], [30]), bands=("g", "r", "i", "z"))


def test_readable_bands_are_there_and_the_others_have_their_reasons(survey: Survey) -> None:
    with TileImages(survey, survey.tiles()[0], ("i", "r", "z", "g")) as images:
        assert list(images) == ["i", "g"]
        assert len(images) == 2
        assert "r" not in images
        assert images.get("z") is None
        assert images.reasons == ["band r: file r is truncated", "band z: the tile has no such file"]
        assert images.sigma("i") == pytest.approx(5, rel=0.1)
        assert images.sigma("g") == pytest.approx(2, rel=0.1)
        assert math.isnan(images.sigma("r"))
        assert images["i"].ivar is not None
        assert images["i"].ivar[0, 0] == pytest.approx(images.sigma("i") ** -2)


def test_no_reason_is_given_where_no_file_can_be(survey: Survey) -> None:
    with TileImages(survey, Tile(OUTSIDE_TILE, (), ()), ("g", "i")) as images:
        assert not images
        assert images.reasons == []


def test_one_band_is_given_while_another_is_still_being_read(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    read = survey.read

    def slow(tile: Tile, band: str) -> Image:
        if band == "i":
            assert go_on.wait(20)
        return read(tile, band)

    monkeypatch.setattr(survey, "read", slow)
    with TileImages(survey, survey.tiles()[0], ("i", "g")) as images:
        assert images["g"].flux.shape == (60, 60)
        assert not go_on.is_set()
        go_on.set()
        assert list(images) == ["i", "g"]


def test_a_fault_of_the_store_is_raised_where_the_band_is_asked_for(
    survey: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(tile: Tile, band: str) -> Image:
        raise StoreError(f"s3://survey/{band}.fits cannot be read")

    monkeypatch.setattr(survey, "read", unreachable)
    with (
        pytest.raises(StoreError, match=r"s3://survey/g.fits cannot be read"),
        TileImages(survey, survey.tiles()[0], ("g",)) as images,
    ):
        images["g"]
