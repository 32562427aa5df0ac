"""Turns the bytes of one ready-made image into pixels: FITS, NPZ and NPY, PNG, JPEG and TIFF.

Pixels come out as (band, y, x) float32 in the file's own unit, of 16-bit pictures with all their bits. Pictures (PNG,
JPEG) are display-stretched by whoever made them and stay so: this file refuses to undo a stretch it cannot know, and
opens no pickled array. Zero is a number like any other: what is missing is NaN, BLANK, or declared.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from PIL import Image as Picture

from galflow.errors import DataError
from galflow.logs import quiet
from galflow.surveys.reading.array_headers import PARSING
from galflow.surveys.reading.display import largest_of
from galflow.surveys.reading.png16 import decode_deep_colour, is_deep_colour

_FITS = (".fits", ".fit", ".fits.gz", ".fits.fz")
_ARRAYS = (".npz", ".npy")
_TIFF = (".tif", ".tiff")
_PICTURES = (".png", ".jpg", ".jpeg", *_TIFF)
_MOST_AXES = 999
"""Of a FITS image, by the standard; a header that claims a billion would keep astropy busy for ever."""
_DECODING_FAILED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    RuntimeError,
    EOFError,
    SyntaxError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    Picture.DecompressionBombError,
    Picture.DecompressionBombWarning,
    fits.VerifyError,
)
"""What decoders raise on damaged files: Pillow a SyntaxError for a broken PNG, astropy a TypeError for short data, each
a MemoryError where a header claims too much."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """One image file."""

    pixels: np.ndarray
    """(band, y, x) float32, NaN where the file says that nothing is known."""
    header: fits.Header | None = None
    """Of a FITS image."""
    largest: float | None = None
    """What the integers of a picture or an array can be at most; None of floats and of FITS."""


def decode(content: bytes, name: str, **how: Any) -> np.ndarray:
    """(bands, y, x) float32 pixels of one image file: those of ``decode_file``, which says what ``how`` may be."""
    return decode_file(content, name, **how).pixels


def decode_file(
    content: bytes,
    name: str,
    *,
    bands: int,
    array: str | None = None,
    band_axis: int = 0,
    hdu: int | str | None = None,
) -> Decoded:
    """Pixels and FITS header of one image file; ``name`` tells its format.

    ``array``: which array of an NPZ (None: its only one). ``band_axis``: the axis of bands in FITS cubes and arrays.
    ``hdu``: which FITS extension (None: the first with an image). An alpha channel of a picture is dropped.
    Raises DataError, with file and reason, for a damaged file, an unknown format or another number of bands.
    """
    pixels, header, largest = _stored(content, name, bands, array, band_axis, hdu)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, hence missing
        values = np.ascontiguousarray(pixels, dtype=np.float32)
    if values.ndim != 3 or values.shape[0] != bands or 0 in values.shape:
        raise DataError(
            f"{name} holds an array of shape {values.shape} (band, y, x), but {bands} band(s) are declared; "
            "correct bands or band_axis"
        )
    if not np.isfinite(values).all():
        values = np.where(np.isfinite(values), values, np.float32(np.nan))
    return Decoded(values, header, largest)


def decode_plane(
    content: bytes, name: str, *, bands: int, array: str | None, band_axis: int, hdu: int | str | None
) -> tuple[np.ndarray, fits.Header | None]:
    """What goes with an image (weights, flags, PSFs), (bands, y, x) or (1, y, x) of the type that is stored, and its
    FITS header; else as ``decode_file``.
    """
    pixels, header, _ = _stored(content, name, bands, array, band_axis, hdu)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, bands) or 0 in pixels.shape:
        raise DataError(
            f"{name}: {array or hdu or 'it'} has shape {pixels.shape} (band, y, x); expected one plane, or one for "
            f"each of {bands} bands"
        )
    return pixels, header


def _stored(
    content: bytes, name: str, bands: int, array: str | None, band_axis: int, hdu: int | str | None
) -> tuple[np.ndarray, fits.Header | None, float | None]:
    """Pixels (band, y, x) as stored, FITS header, and the largest value that integers of pictures and arrays have."""
    header, largest = None, None
    try:
        if name.lower().endswith(_FITS):
            stored, header = _fits(content, hdu)
            pixels = np.moveaxis(_with_bands(stored, band_axis), band_axis, 0)
        elif name.lower().endswith(_ARRAYS):
            stored = _array(content, array)
            pixels, largest = np.moveaxis(_with_bands(stored, band_axis), band_axis, 0), largest_of(stored.dtype)
        elif name.lower().endswith(_PICTURES):
            pixels = _picture(content, name, bands)
            largest = largest_of(pixels.dtype)
        else:
            known = ", ".join(_FITS + _ARRAYS + _PICTURES)
            raise DataError(f"{name} is of no known format; expected a name that ends in one of {known}")
        if pixels.dtype.kind not in "biuf":
            raise ValueError(f"its values are of type {pixels.dtype}, expected real numbers")
    except _DECODING_FAILED as error:
        raise DataError(f"{name} cannot be decoded ({type(error).__name__}: {error}); replace the file") from error
    return pixels, header, largest


def _with_bands(pixels: np.ndarray, band_axis: int) -> np.ndarray:
    """A plain image gets the axis of its one band; axes of one pixel beyond three (Stokes, frequency) are dropped."""
    while pixels.ndim > 3 and 1 in pixels.shape:
        pixels = pixels.squeeze(pixels.shape.index(1))
    return np.expand_dims(pixels, band_axis) if pixels.ndim == 2 else pixels


def _fits(content: bytes, hdu: int | str | None) -> tuple[np.ndarray, fits.Header]:
    """Pixels as float, scaled by BSCALE and BZERO, NaN where BLANK, and the header."""
    for card in re.finditer(rb"NAXIS   = +(\d+)", content):
        if card.start() % 80 == 0 and int(card.group(1)) > _MOST_AXES:
            raise ValueError(f"its header claims {int(card.group(1))} axes")
    # Header faults are cosmetic: short data fail below. Unsigned integers are read as floats: of those alone astropy
    # honours BLANK.
    with quiet(AstropyWarning), fits.open(io.BytesIO(content), memmap=False, uint=False) as units:
        if hdu is None:
            images = [i for i, unit in enumerate(units) if unit.is_image and unit.header.get("NAXIS", 0) >= 2]
            if not images:
                raise ValueError("no extension holds an image")
            hdu = images[0]
        unit = units[hdu]
        return np.asarray(unit.data), unit.header


def _array(content: bytes, array: str | None) -> np.ndarray:
    if not content.startswith(b"PK"):
        return _npy(content)
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:  # which opens the archive and reads no array yet
        if array is None and len(loaded.files) != 1:
            raise ValueError(f"it holds the arrays {', '.join(loaded.files)}; name one with the option array")
        if array is not None and array not in loaded.files:
            raise ValueError(f"it has no array {array!r}, but {', '.join(loaded.files)}")
        member = loaded.zip.read(f"{array or loaded.files[0]}.npy")
    return _npy(member)


def _npy(content: bytes) -> np.ndarray:
    with PARSING:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def _picture(content: bytes, name: str, bands: int) -> np.ndarray:
    """(band, y, x) of a picture with all its bits; grey ones of one band whatever their coding, without alpha."""
    if is_deep_colour(content):
        pixels = decode_deep_colour(content)
        return _without_alpha(pixels, bands, alpha=pixels.shape[2] in (2, 4))
    if name.lower().endswith(_TIFF) and _is_beyond_pillow(content):
        return _tiff(content, bands)
    with Picture.open(io.BytesIO(content)) as picture:
        coded = picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")
        pixels = np.asarray(picture.convert("RGB") if coded else picture)
        alpha = picture.mode in ("LA", "RGBA")
    if pixels.ndim == 2:
        return pixels[None]
    if coded and bands == 1 and (pixels == pixels[..., :1]).all():
        return pixels[None, ..., 0]  # a palette of greys
    return _without_alpha(pixels, bands, alpha=alpha)


def _without_alpha(pixels: np.ndarray, bands: int, *, alpha: bool) -> np.ndarray:
    """(band, y, x) of (y, x, channel); the last channel goes if it is one of opacity and one too many."""
    return np.moveaxis(pixels[..., :bands] if alpha and pixels.shape[2] == bands + 1 else pixels, 2, 0)


def _is_beyond_pillow(content: bytes) -> bool:
    """Whether a TIFF has several channels of more than 8 bits, which Pillow cuts down or refuses."""
    import tifffile  # here: few surveys have such files

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        return bool(page.samplesperpixel > 1 and page.bitspersample > 8)


def _tiff(content: bytes, bands: int) -> np.ndarray:
    """(band, y, x) of a TIFF's first picture."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        pixels, axes = page.asarray(), page.axes
        extra = len(page.extrasamples) == 1
    if axes == "SYX":
        pixels = np.moveaxis(pixels, 0, 2)
    elif axes != "YXS":
        raise ValueError(f"its axes are {axes}, expected a picture")
    return _without_alpha(pixels, bands, alpha=extra)
