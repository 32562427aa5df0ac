from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image as Picture

from galflow.errors import DataError
from galflow.surveys.stamp_files import decode, reshape

CUBE = np.arange(3 * 6 * 8, dtype=np.float32).reshape(3, 6, 8)


def fits_bytes(*units: np.ndarray | None) -> bytes:
    held = fits.HDUList([fits.PrimaryHDU(units[0]), *(fits.ImageHDU(unit) for unit in units[1:])])
    buffer = io.BytesIO()
    held.writeto(buffer)
    return buffer.getvalue()


def npz_bytes(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def picture_bytes(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def test_fits_cubes_planes_and_extensions() -> None:
    np.testing.assert_array_equal(decode(fits_bytes(CUBE), "a.fits", bands=3), CUBE)
    np.testing.assert_array_equal(decode(fits_bytes(None, CUBE[0]), "a.FITS", bands=1), CUBE[:1])
    np.testing.assert_array_equal(decode(fits_bytes(CUBE[0], CUBE[1]), "a.fit", bands=1, hdu=1), CUBE[1:2])
    assert decode(fits_bytes(CUBE), "a.fits", bands=3).dtype == np.float32


def test_arrays_by_name_and_axis() -> None:
    last = np.moveaxis(CUBE, 0, 2)
    np.testing.assert_array_equal(decode(npz_bytes(images=last), "a.npz", bands=3, band_axis=2), CUBE)
    two = npz_bytes(images=CUBE, weights=2 * CUBE)
    np.testing.assert_array_equal(decode(two, "a.npz", bands=3, array="weights"), 2 * CUBE)
    with pytest.raises(DataError, match="it holds the arrays images, weights; name one with the option array"):
        decode(two, "a.npz", bands=3)
    with pytest.raises(DataError, match=r"a.npz cannot be decoded \(KeyError"):
        decode(two, "a.npz", bands=3, array="psfs")


def test_pictures_with_and_without_alpha() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(6, 8, 4), dtype=np.uint8)
    expected = np.moveaxis(pixels, 2, 0)
    np.testing.assert_array_equal(decode(picture_bytes(pixels[..., :3], "PNG"), "a.png", bands=3), expected[:3])
    np.testing.assert_array_equal(decode(picture_bytes(pixels, "PNG"), "a.png", bands=3), expected[:3])
    np.testing.assert_array_equal(decode(picture_bytes(pixels[..., 0], "PNG"), "a.png", bands=1), expected[:1])
    smooth = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], (64, 64, 3))
    lossy = decode(picture_bytes(smooth, "JPEG"), "a.JPG", bands=3)
    assert np.abs(lossy - np.moveaxis(smooth, 2, 0)).max() < 8


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.fits", fits_bytes(CUBE)[:3000]),
        ("a.fits", b"not a FITS file" * 500),
        ("a.fits", fits_bytes(None)),
        ("a.npz", npz_bytes(images=CUBE)[:200]),
        ("a.npy", b"garbage"),
        ("a.png", picture_bytes(np.zeros((60, 60, 3), np.uint8) + 7, "PNG")[:90]),
        ("a.jpg", picture_bytes(np.zeros((60, 60, 3), np.uint8) + 7, "JPEG")[:400]),
        ("a.jpg", b""),
    ],
)
def test_a_damaged_file_is_a_data_error_with_its_name(name: str, content: bytes) -> None:
    with pytest.raises(DataError, match=rf"{name} cannot be decoded \(\w+: .*\); replace the file"):
        decode(content, name, bands=3)


def test_pickled_arrays_unknown_formats_and_other_bands_are_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(buffer.getvalue(), "a.npy", bands=1)
    with pytest.raises(DataError, match=r"a\.txt is of no known format; expected a name that ends in one of \.fits"):
        decode(b"x", "a.txt", bands=1)
    with pytest.raises(DataError, match=r"array of shape \(3, 6, 8\) \(band, y, x\), but 2 band\(s\) are declared"):
        decode(fits_bytes(CUBE), "a.fits", bands=2)


def test_blocks_conserve_flux_or_level_and_keep_the_centre() -> None:
    pixels = np.random.default_rng(1).normal(10.0, 1.0, size=(2, 25, 26)).astype(np.float32)
    summed = reshape(pixels, "a", block=4)
    assert summed.shape == (2, 6, 6)
    np.testing.assert_allclose(summed.sum(), pixels[:, :24, 1:25].sum(), rtol=1e-6)
    expected = np.array(
        [
            [[pixels[b, 4 * i : 4 * i + 4, 1 + 4 * j : 5 + 4 * j].mean() for j in range(6)] for i in range(6)]
            for b in range(2)
        ]
    )
    np.testing.assert_allclose(reshape(pixels, "a", block=4, mode="mean"), expected, rtol=1e-5)
    for side, crop in ((25, 9), (26, 9), (26, 8), (25, 8)):
        marked = np.zeros((1, side, side), np.float32)
        marked[0, side // 2, side // 2] = 1.0
        cropped = reshape(marked, "a", crop=crop)
        assert cropped.shape == (1, crop, crop)
        assert cropped[0, crop // 2, crop // 2] == 1.0
    with pytest.raises(DataError, match="a has 25 x 26 pixels, too few for crop = 30; lower the option"):
        reshape(pixels, "a", crop=30)


def test_the_background_is_the_rims_median_and_ignores_the_galaxy() -> None:
    pixels = np.full((2, 32, 32), 5.0, np.float32)
    pixels[1] = 9.0
    pixels[:, 8:24, 8:24] += 100.0
    pixels[0, 0, :4] = np.nan
    level = reshape(pixels, "a", background="constant", crop=20)
    assert (level[:, 0, 0] == 0.0).all()
    assert (level[:, 10, 10] == 100.0).all()
    assert np.isnan(reshape(np.full((1, 8, 8), np.nan, np.float32), "a", background="constant")).all()
