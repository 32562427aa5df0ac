from __future__ import annotations

import gc
import io
import struct
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image as Picture

from galflow.errors import DataError
from galflow.surveys.reading.stamp_files import decode

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
    with pytest.raises(DataError, match=r"a.npz cannot be decoded \(ValueError: it has no array"):
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


DEEP = np.random.default_rng(3).integers(0, 65536, size=(7, 9, 4), dtype=np.uint16)


def png_of(pixels: np.ndarray, colour_type: int, filters: list[int]) -> bytes:
    """A 16-bit PNG whose rows take ``filters`` in turn (PNG specification, chapters 5 and 9)."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    step = rows.shape[1] // width
    left = np.pad(rows, ((0, 0), (step, 0)))[:, :-step]
    up = np.pad(rows, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(left, ((1, 0), (0, 0)))[:-1]
    guess = left + up - corner
    distance = np.abs(np.stack([left, up, corner]) - guess)
    paeth = np.choose(distance.argmin(0), [left, up, corner])
    predicted = [np.zeros_like(rows), left, up, (left + up) // 2, paeth]
    lines = [bytes([f]) + ((rows[y] - predicted[f][y]) % 256).astype(np.uint8).tobytes() for y, f in enumerate(filters)]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    packed = zlib.compress(b"".join(lines))
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", packed[:50]), chunk(b"IDAT", packed[50:]), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff_of(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [np.uint16, np.dtype(">u2"), np.int32, np.float32])
def test_grey_pictures_keep_all_their_bits(kind: type) -> None:
    plane = DEEP[..., 0].astype(kind)
    np.testing.assert_array_equal(decode(picture_bytes(plane, "TIFF"), "a.tif", bands=1)[0], DEEP[..., 0])
    if np.dtype(kind) == np.uint16:
        np.testing.assert_array_equal(decode(picture_bytes(plane, "PNG"), "a.png", bands=1)[0], DEEP[..., 0])


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("filters", [[0] * 7, [1] * 7, [2] * 7, [3] * 7, [4] * 7, [4, 3, 2, 1, 0, 3, 4]])
def test_colour_pictures_of_16_bits_keep_them(colour_type: int, channels: int, filters: list[int]) -> None:
    pixels = DEEP[..., :channels]
    bands = {2: 3, 4: 1, 6: 3}[colour_type]
    decoded = decode(png_of(pixels, colour_type, filters), "a.png", bands=bands)
    np.testing.assert_array_equal(decoded, np.moveaxis(pixels[..., :bands], 2, 0))


def test_damaged_colour_pictures_of_16_bits_are_data_errors() -> None:
    content = png_of(DEEP[..., :3], 2, [4] * 7)
    for damaged, text in (
        (content[:95], "fewer than the"),
        (content[:-30] + b"\0" + content[-29:], "the checksum of its chunk"),
        (content[:28] + b"\1" + content[29:], "it is interlaced"),
    ):
        with pytest.raises(DataError, match=text):
            decode(damaged, "a.png", bands=3)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
@pytest.mark.parametrize("options", [{"byteorder": ">"}, {"planarconfig": "separate"}, {"compression": "zlib"}])
def test_colour_tiffs_keep_all_their_bits(kind: type, options: dict[str, object]) -> None:
    pixels = DEEP[..., :3].astype(kind)
    planar = "planarconfig" in options
    stored = np.ascontiguousarray(np.moveaxis(pixels, 2, 0)) if planar else pixels
    content = tiff_of(stored, photometric="rgb", **options)
    np.testing.assert_array_equal(decode(content, "a.tiff", bands=3), np.moveaxis(pixels, 2, 0))


def test_a_palette_of_greys_is_one_band() -> None:
    grey = (DEEP[..., 0] >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    Picture.fromarray(grey).convert("P").save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue(), "a.png", bands=1)[0], grey)


@pytest.mark.parametrize(
    ("values", "cards", "expected"),
    [
        (np.array([[1, -5]], np.int16), {"BLANK": -5}, [1.0, np.nan]),
        (np.array([[1, -5]], np.int16), {"BLANK": -5, "BZERO": 32768}, [32769.0, np.nan]),
        (np.array([[4, -5]], np.int32), {"BLANK": -5, "BSCALE": 0.25, "BZERO": 1.0}, [2.0, np.nan]),
        (np.array([[0.0, np.inf]], np.float32), {}, [0.0, np.nan]),
        (np.array([[0.0, 1e300]], np.float64), {}, [0.0, np.nan]),
    ],
)
def test_a_fits_stamp_means_what_its_cards_say(values: np.ndarray, cards: dict[str, float], expected: list) -> None:  # type: ignore[type-arg]
    unit = fits.PrimaryHDU(values)
    content = fits.HDUList([unit])
    buffer = io.BytesIO()
    content.writeto(buffer)
    for key, value in cards.items():
        end = buffer.getvalue().index(b"END" + b" " * 77)
        raw = bytearray(buffer.getvalue())
        raw[end : end + 160] = fits.Card(key, value).image.encode() + b"END" + b" " * 77
        buffer = io.BytesIO(bytes(raw))
    np.testing.assert_array_equal(decode(buffer.getvalue(), "a.fits", bands=1)[0, 0], np.array(expected, np.float32))


def test_axes_of_one_pixel_are_dropped() -> None:
    np.testing.assert_array_equal(decode(fits_bytes(CUBE[None]), "a.fits", bands=3), CUBE)
    np.testing.assert_array_equal(decode(fits_bytes(CUBE[:1][None]), "a.fits", bands=1), CUBE[:1])


def test_headers_that_claim_too_much_are_data_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = fits_bytes(CUBE[0]).replace(b"NAXIS   =                    2", b"NAXIS   =           1000000000")
    with pytest.raises(DataError, match="its header claims 1000000000 axes"):
        decode(axes, "a.fits", bands=1)
    large = fits_bytes(CUBE[0]).replace(b"NAXIS1  =                    8", b"NAXIS1  =        1000000000000")
    with pytest.raises(DataError, match=r"a.fits cannot be decoded"):
        decode(large, "a.fits", bands=1)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)})
    with pytest.raises(DataError, match=r"a.npy cannot be decoded"):
        decode(buffer.getvalue(), "a.npy", bands=1)
    monkeypatch.setattr(Picture, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"a.png cannot be decoded \(Decompression"):
        decode(picture_bytes(np.zeros((60, 60, 3), np.uint8), "PNG"), "a.png", bands=3)


@contextmanager
def collecting_within_ast(pool: ThreadPoolExecutor, file: tuple[bytes, str]) -> Iterator[list[Future[np.ndarray]]]:
    """Whenever the garbage collector runs while a header is parsed, another thread decodes ``file`` meanwhile.

    Where that thread has to wait it is not waited for. CPython collects in the midst of a parse until 3.11 alone.
    """
    others: list[Future[np.ndarray]] = []

    def meanwhile(phase: str, _: dict[str, int]) -> None:
        frame: Any = sys._getframe(1) if phase == "start" else None
        if frame is not None and frame.f_code.co_filename.endswith("ast.py"):
            others.append(pool.submit(decode, *file, bands=3))
            wait(others, timeout=0.02)

    threshold = gc.get_threshold()
    gc.callbacks.append(meanwhile)
    gc.set_threshold(1)
    try:
        yield others
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(meanwhile)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_two_threads_may_read_headers_of_arrays_at_once(kind: str) -> None:
    buffer = io.BytesIO()
    np.save(buffer, CUBE)
    file = (buffer.getvalue() if kind == "npy" else npz_bytes(images=CUBE), f"a.{kind}")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # its thread is there before anything is collected
        with collecting_within_ast(pool, file) as others:
            found = decode(*file, bands=3)
        assert others or sys.version_info >= (3, 12), "nothing was collected while the header was parsed"
        for made in (found, *(other.result(timeout=10) for other in others)):
            np.testing.assert_array_equal(made, CUBE)


def test_values_that_are_no_real_numbers_are_refused() -> None:
    for values in (np.zeros((3, 3), complex), np.full((3, 3), "a"), np.zeros((3, 3), "datetime64[s]")):
        buffer = io.BytesIO()
        np.save(buffer, values)
        with pytest.raises(DataError, match="expected real numbers"):
            decode(buffer.getvalue(), "a.npy", bands=1)
