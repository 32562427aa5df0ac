"""Reading side by side must change neither what is found nor what is reported."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from astropy.io.fits.verify import VerifyError

from galflow.cutouts.tile_images import TileImages
from galflow.errors import ChangedError, DataError, StoreError
from galflow.surveys.base import OUTSIDE_TILE, Image, Survey, Tile

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


@pytest.mark.parametrize(
    "fault",
    [MemoryError("Unable to allocate 12 TiB"), ValueError("bad card"), OSError("truncated"), KeyError("NAXIS1"),
     ZeroDivisionError("by zero"), VerifyError("unparsable")],
)  # fmt: skip
def test_whatever_a_library_raises_costs_that_band_and_is_logged(
    survey: Survey, fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = survey.read

    def broken(tile: Tile, band: str) -> Image:
        if band == "i":
            raise fault
        return read(tile, band)

    monkeypatch.setattr(survey, "read", broken)
    with TileImages(survey, survey.tiles()[0], ("i", "g")) as images:
        assert list(images) == ["g"]
        assert images.reasons == [f"band i: {type(fault).__name__} while it was read: {fault}"]
    assert "tile t, band i cannot be read" in caplog.text
    assert "Traceback" in caplog.text


def test_a_file_that_was_replaced_fails_the_tile(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced(tile: Tile, band: str) -> Image:
        raise ChangedError("g.fits is not the file that was planned with")

    monkeypatch.setattr(survey, "read", replaced)
    with (
        pytest.raises(ChangedError, match="not the file that was planned with"),
        TileImages(survey, survey.tiles()[0], ("g",)) as images,
    ):
        len(images)


def test_bands_without_noise_or_without_data_are_told_apart(array_survey: MakeSurvey, catalog: Catalog) -> None:
    y, x = np.mgrid[:60, :60]
    smooth = 100 * np.exp(-((y - 30) ** 2 + (x - 30) ** 2) / 50)
    found = {
        "g": _sky(1),
        "r": Image(smooth.astype(np.float32), "nJy", 0.2),
        "i": Image(np.zeros((60, 60), np.float32), "nJy", 0.2),
    }
    survey = array_survey(found, catalog([30], [30]))
    with TileImages(survey, survey.tiles()[0], ("g", "r", "i")) as images:
        assert list(images) == ["g", "r", "i"]
        assert math.isnan(images.sigma("r"))
        assert len(images.doubts) == len(images.reasons) == 1
        assert images.doubts[0].startswith("band r: no noise is measurable")
        assert "nominal, 1 / (0.001 of the brightest pixel)^2 = 1 / (0.1)^2" in images.doubts[0]
        assert images.reasons[0].startswith("band i: its pixels all have the value 0")
