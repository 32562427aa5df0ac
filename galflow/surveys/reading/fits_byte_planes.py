"""A mask of three axes: the third holds bytes, and bit n of the mask is bit n % 8 of byte n // 8.

So lsst.images keeps a mask in memory, and its early releases wrote it so, (y, x, bytes); its HDF5 files have
(bytes, y, x). Names are in MSKNnnnn cards or, where the header has none, in the file's JSON tree
(python/lsst/images/_mask.py of github.com/lsst/images: MaskSchema, MaskSerializationModel). Here such a mask becomes
one of two axes, and its header names the planes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.io import fits

from galflow.errors import DataError

MOST_BYTES = 8
"""Of a pixel."""


def is_byte_mask(hdu: Any) -> bool:
    """Whether an image HDU is a mask of three axes."""
    shape = tuple(getattr(hdu, "shape", ()))
    named = str(hdu.name).strip().upper() == "MASK"
    return named and len(shape) == 3 and hdu.header.get("BITPIX") == 8 and 1 < min(shape[0], shape[2]) <= MOST_BYTES


def image_shape(shape: tuple[int, int, int]) -> tuple[int, int]:
    """(y, x) of a mask of (y, x, bytes) or (bytes, y, x)."""
    return (shape[0], shape[1]) if shape[2] <= shape[0] else (shape[1], shape[2])


def joined_bytes(pixels: np.ndarray) -> np.ndarray:
    """(y, x) unsigned integers of the bytes of each pixel, the first the lowest."""
    planes = np.moveaxis(pixels, -1, 0) if pixels.shape[2] <= pixels.shape[0] else pixels
    kind = np.dtype(f"u{1 << (len(planes) - 1).bit_length()}")
    found = np.zeros(planes.shape[1:], kind)
    for number, plane in enumerate(planes):
        found |= plane.astype(kind) << kind.type(8 * number)
    return found


def named(header: fits.Header, tree: bytes | None, uri: str) -> fits.Header:
    """A copy of the mask's header, with MSKNnnnn and MSKMnnnn cards of the whole mask's bits.

    ``tree``: the file's JSON, asked where the header names no plane.
    """
    found = header.copy()
    names = {int(card[4:]): str(header[card]) for card in header if card[:4] == "MSKN" and card[4:].isdigit()}
    if not names and tree is not None:
        names = dict(_planes(tree, uri))
    for number, name in names.items():
        found[f"MSKN{number:04d}"], found[f"MSKM{number:04d}"] = name, 1 << number
    return found


def _planes(tree: bytes, uri: str) -> Iterator[tuple[int, str]]:
    """(bit, name) as the tree's mask lists its planes; a bit without one is kept for later use."""
    try:
        planes = json.loads(tree)["mask"]["planes"]
        for number, plane in enumerate(planes):
            if plane is not None:
                yield number, str(plane["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{uri}: neither the header of MASK nor the file's JSON names the mask's planes "
            f"({type(error).__name__}: {error}); expected mask.planes, a list of names. Fetch the file again"
        ) from error
