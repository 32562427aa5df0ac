"""Turns the bytes of one ready-made image into pixels: FITS, NPZ and NPY, PNG, JPEG and TIFF; then crops and bins them.

Pixels come out as (band, y, x) float32 in the file's own unit. Pictures (PNG, JPEG) are display-stretched by whoever
made them and stay so: this file refuses to undo a stretch it cannot know, and opens no pickled array.
"""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from typing import Literal

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from PIL import Image as Picture

from galflow.errors import DataError

_FITS = (".fits", ".fit", ".fits.gz", ".fits.fz")
_ARRAYS = (".npz", ".npy")
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_DECODING_FAILED = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    Picture.DecompressionBombError,
    fits.VerifyError,
)
"""What decoders raise on damaged files: Pillow a SyntaxError for a broken PNG, astropy a TypeError for short data."""


def decode(
    content: bytes, name: str, *, bands: int, array: str | None = None, band_axis: int = 0, hdu: int | None = None
) -> np.ndarray:
    """(bands, y, x) float32 pixels of one image file; ``name`` tells its format.

    ``array``: which array of an NPZ (None: its only one). ``band_axis``: the axis of bands in FITS cubes and arrays.
    ``hdu``: which FITS extension (None: the first with an image). An alpha channel of a picture is dropped.
    Raises DataError, with file and reason, for a damaged file, an unknown format or another number of bands.
    """
    try:
        if name.lower().endswith(_FITS):
            pixels = np.moveaxis(_with_bands(_fits(content, hdu), band_axis), band_axis, 0)
        elif name.lower().endswith(_ARRAYS):
            pixels = np.moveaxis(_with_bands(_array(content, array), band_axis), band_axis, 0)
        elif name.lower().endswith(_PICTURES):
            pixels = _picture(content, bands)
        else:
            known = ", ".join(_FITS + _ARRAYS + _PICTURES)
            raise DataError(f"{name} is of no known format; expected a name that ends in one of {known}")
    except _DECODING_FAILED as error:
        raise DataError(f"{name} cannot be decoded ({type(error).__name__}: {error}); replace the file") from error
    if pixels.ndim != 3 or pixels.shape[0] != bands or 0 in pixels.shape:
        raise DataError(
            f"{name} holds an array of shape {pixels.shape} (band, y, x), but {bands} band(s) are declared; "
            "correct bands or band_axis"
        )
    return np.ascontiguousarray(pixels, dtype=np.float32)


def _with_bands(pixels: np.ndarray, band_axis: int) -> np.ndarray:
    """A plain image gets the axis of its one band."""
    return np.expand_dims(pixels, band_axis) if pixels.ndim == 2 else pixels


def _fits(content: bytes, hdu: int | None) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)  # cosmetic header faults; short data fail below
        with fits.open(io.BytesIO(content), memmap=False) as units:
            if hdu is None:
                images = [i for i, unit in enumerate(units) if unit.is_image and unit.header.get("NAXIS", 0) >= 2]
                if not images:
                    raise ValueError("no extension holds an image")
                hdu = images[0]
            return np.asarray(units[hdu].data, dtype=np.float32)


def _array(content: bytes, array: str | None) -> np.ndarray:
    loaded = np.load(io.BytesIO(content), allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if array is None and len(loaded.files) != 1:
            raise ValueError(f"it holds the arrays {', '.join(loaded.files)}; name one with the option array")
        return np.asarray(loaded[array or loaded.files[0]])


def _picture(content: bytes, bands: int) -> np.ndarray:
    with Picture.open(io.BytesIO(content)) as picture:
        coded = picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")
        pixels = np.asarray(picture.convert("RGB") if coded else picture, dtype=np.float32)
    if pixels.ndim == 2:
        return pixels[None]
    alpha = pixels.shape[2] == bands + 1 and picture.mode in ("LA", "RGBA")
    return np.moveaxis(pixels[..., :bands] if alpha else pixels, 2, 0)


def reshape(
    pixels: np.ndarray,
    name: str,
    *,
    background: Literal["none", "constant"] = "none",
    crop: int | None = None,
    block: int = 1,
    mode: Literal["sum", "mean"] = "sum",
) -> np.ndarray:
    """(B, y', x') pixels with the background taken off, cropped about the centre and averaged or summed in blocks.

    "constant": less the median of each band's rim, a sixteenth of the side wide (before cropping: there is most sky).
    ``crop``: side of the central square kept; its centre pixel ``crop // 2`` is the image's ``n // 2``. ``block``:
    pixels per block side; a remainder is cropped evenly. "sum" conserves flux, "mean" surface brightness.
    Raises DataError where the image is smaller than the crop or than a block.
    """
    if background == "constant":
        pixels = pixels - _rim_level(pixels)[:, None, None]
    height, width = pixels.shape[1:]
    if min(height, width) < (crop or block):
        wanted = f"crop = {crop}" if crop else f"bin = {block}"
        raise DataError(f"{name} has {height} x {width} pixels, too few for {wanted}; lower the option")
    target = [(crop or side) // block * block for side in (height, width)]
    top, left = height // 2 - target[0] // 2, width // 2 - target[1] // 2
    pixels = pixels[:, top : top + target[0], left : left + target[1]]
    if block == 1:
        return np.ascontiguousarray(pixels)
    blocks = pixels.reshape(len(pixels), target[0] // block, block, target[1] // block, block)
    return blocks.sum(axis=(2, 4)) if mode == "sum" else blocks.mean(axis=(2, 4))


def _rim_level(pixels: np.ndarray) -> np.ndarray:
    """(B,) median of each band's rim; 0 for a rim without a finite pixel."""
    height, width = pixels.shape[1:]
    rim = np.ones((height, width), dtype=bool)
    depth = max(1, min(height, width) // 16)
    rim[depth : height - depth, depth : width - depth] = False
    values = pixels[:, rim]
    observed = np.isfinite(values)
    return np.array([np.median(v[o]) if o.any() else 0.0 for v, o in zip(values, observed, strict=True)], np.float32)
