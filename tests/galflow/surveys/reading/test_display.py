"""Pictures that were stretched for display are known by their bits; whatever is declared goes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image as Picture
from pydantic import ValidationError

from galflow.surveys.reading.display import displayed_files, told
from galflow.surveys.reading.stamps_options import StampsOptions
from galflow.surveys.stamps import Stamps

RGB = ("r", "g", "b")


def survey(root: Path, pattern: str, bands: tuple[str, ...] = RGB, **options: object) -> Stamps:
    base: dict[str, object] = {"root": str(root), "pattern": pattern, "bands": bands, "pixel_scale_arcsec": 0.2}
    return Stamps("stamps", "1", StampsOptions.model_validate(base | options))


def white(made: Stamps) -> list[float | None]:
    (tile,) = made.tiles()
    return [made.read(tile, band).display_white for band in made.bands]


def values(top: int, dtype: str = "uint8", channels: int = 3) -> np.ndarray:
    shape = (8, 8, channels) if channels > 1 else (8, 8)
    return np.random.default_rng(0).integers(0, top, shape).astype(dtype)


def write(path: Path) -> Path:
    """A small file of the kind that its name says."""
    kind = path.name
    if kind == "rgb.png":
        Picture.fromarray(values(255)).save(path)
    elif kind == "rgba.png":
        Picture.fromarray(values(255, channels=4), "RGBA").save(path)
    elif kind == "rgb.jpg":
        Picture.fromarray(values(255)).save(path, quality=95)
    elif kind in ("grey.png", "grey.tif"):
        Picture.fromarray(values(255, channels=1)).save(path)
    elif kind == "deep.png":
        Picture.fromarray(values(60000, "uint16", 1)).save(path)
    elif kind == "bytes.npy":
        np.save(path, values(255).transpose(2, 0, 1))
    elif kind == "counts.npy":
        np.save(path, values(255, "float32").transpose(2, 0, 1))
    elif kind == "flux.fits":
        fits.writeto(path, values(255).transpose(2, 0, 1))
    else:
        raise AssertionError(kind)
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rgb.png", 255.0), ("rgba.png", 255.0), ("rgb.jpg", 255.0), ("grey.png", 255.0), ("grey.tif", 255.0),
        ("bytes.npy", 255.0), ("deep.png", None), ("counts.npy", None), ("flux.fits", None),
    ],
)  # fmt: skip
def test_what_has_eight_bits_was_stretched_for_display(tmp_path: Path, name: str, expected: float | None) -> None:
    write(tmp_path / name)
    bands = ("g",) if name.startswith(("grey", "deep")) else RGB
    made = survey(tmp_path, "*", bands)
    assert white(made) == [expected] * len(bands)
    (tile,) = made.tiles()
    # The first look says the same, or nothing where it takes the pixels to tell.
    assert set(made.displayed(tile).values()) <= {expected is not None}
    assert bool(made.displayed(tile)) is (name not in ("grey.tif", "bytes.npy", "counts.npy"))


def test_declarations_go_first(tmp_path: Path) -> None:
    write(tmp_path / "rgb.png")
    for options, expected in (
        ({"display_stretched": False}, None),
        ({"unit": "nJy"}, None),
        ({"zero_point_ab": 27.0}, None),
        ({"display_white": 200.0}, 200.0),
        ({"bin": 2}, 4 * 255.0),
        ({"bin": 2, "bin_mode": "mean"}, 255.0),
    ):
        made = survey(tmp_path, "*.png", **options)
        assert white(made) == [expected] * 3, options
        assert list(made.displayed(made.tiles()[0]).values()) == [expected is not None], options
    write(tmp_path / "deep.png")
    assert white(survey(tmp_path, "deep.png", ("g",), display_stretched=True)) == [65535.0]


def test_floats_that_are_declared_stretched_need_a_white(tmp_path: Path) -> None:
    write(tmp_path / "counts.npy")
    made = survey(tmp_path, "*.npy", display_stretched=True)
    (row,) = made.catalog(made.tiles()[0]).to_pylist()
    assert "declare display_white" in row["read_error"]
    assert white(survey(tmp_path, "*.npy", display_white=1.0)) == [1.0] * 3


def test_the_odd_one_of_a_tile_is_unreadable_and_says_why(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}").mkdir()
        write(tmp_path / f"{i}" / ("bytes.npy" if i else "counts.npy"))
    made = survey(tmp_path, "*/*.npy")
    assert white(made) == [255.0] * 3
    errors = {row["file"]: row["read_error"] for row in made.catalog(made.tiles()[0]).to_pylist()}
    assert [name for name, error in errors.items() if error] == ["0/counts.npy"]
    assert "its pixels are flux, those of most others in its tile stretched for display (white 255)" in str(
        errors["0/counts.npy"]
    )


def test_a_tile_without_a_readable_image_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    made = survey(tmp_path, "*.png")
    assert np.isnan(np.array(white(made), dtype=float)).all()
    assert displayed_files(made.tiles()[0].files) == {}


def test_bands_have_whites_of_their_own(tmp_path: Path) -> None:
    Picture.fromarray(values(255, channels=1)).save(tmp_path / "a-r.png")
    Picture.fromarray(values(60000, "uint16", 1)).save(tmp_path / "a-g.png")
    made = survey(tmp_path, "{id}-{band}.png", ("r", "g"), display_stretched=True)
    assert white(made) == [255.0, 65535.0]
    assert white(survey(tmp_path, "{id}-{band}.png", ("r", "g"))) == [255.0, None]
    assert told((255.0, None)) == "stretched for display (white 255), flux"


@pytest.mark.parametrize(
    "options",
    [
        {"zero_point_ab": 27.0, "display_stretched": True},
        {"unit": "nJy", "display_white": 1.0},
        {"display_stretched": False, "display_white": 1.0},
    ],
)
def test_contradictions_are_refused(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="display_"):
        survey(tmp_path, "*.png", **options)
