"""Object ids for objects that galflow detects itself, tile by tile, without one tile knowing of another.

An id is 63 bits: 33 bits that only this tile has, and 30 bits that say at which pixel of the tile the object peaks.
A pixel belongs to one object, so no two objects share an id; the same tile detected again gives the same ids.
This file refuses tiles of more than 2^30 pixels and hands out no id by counting, since counts change with every
detection setting.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np

from galflow.errors import DataError, SpecError

KEY_BITS = 33
PIXEL_BITS = 30
MAX_PIXELS = 1 << PIXEL_BITS


def tile_keys(names: Iterable[str], bits: int = KEY_BITS) -> dict[str, int]:
    """A key of ``bits`` bits for each tile name, all different.

    A key is the head of the SHA-256 of the name. Where two names meet, the later in sorted order is hashed again with
    a salt until its key is free: the result depends on the set of names alone, never on their order. So a key can
    change with another tile's arrival only through such a meeting (probability about n^2 / 2^34 for n tiles).

    Raises SpecError for a name given twice, or for more names than keys.
    """
    ordered = sorted(names)
    if len(set(ordered)) != len(ordered):
        twice = next(a for a, b in itertools.pairwise(ordered) if a == b)
        raise SpecError(f"tile name {twice!r} is given twice; each tile of a survey needs a name of its own")
    if not 1 <= bits <= 64 or len(ordered) > 1 << bits:
        raise SpecError(f"{len(ordered)} tiles do not fit keys of {bits} bits; split the survey into several")
    keys: dict[str, int] = {}
    taken: set[int] = set()
    for name in ordered:
        key, salt = _key(name, 0, bits), 0
        while key in taken:
            salt += 1
            key = _key(name, salt, bits)
        taken.add(key)
        keys[name] = key
    return keys


def _key(name: str, salt: int, bits: int) -> int:
    """The first ``bits`` bits of the SHA-256 of the name, with a salt after a zero byte where there is one."""
    content = name.encode() if salt == 0 else name.encode() + b"\0" + str(salt).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> (64 - bits)


def id_base(tile_key: int) -> int:
    """The id that the tile's first pixel would give; ``detect`` adds the index of an object's peak pixel."""
    if not 0 <= tile_key < 1 << KEY_BITS:
        raise SpecError(f"tile key {tile_key} is outside 0 ... 2^{KEY_BITS} - 1; take it from tile_keys")
    return tile_key << PIXEL_BITS


def check_tile_size(shape: tuple[int, int], what: str = "a tile") -> None:
    """Refuse ``what`` if its pixels cannot be counted in 30 bits. ``shape`` is (y, x)."""
    if shape[0] * shape[1] > MAX_PIXELS:
        raise DataError(
            f"{what} of {shape[0]} x {shape[1]} pixels is larger than the 2^{PIXEL_BITS} pixels that object ids can "
            "count; cut it into smaller tiles, or give a catalogue with ids of its own"
        )


def object_ids(tile_key: int, peak_index: np.ndarray) -> np.ndarray:
    """(n,) int64 ids, below 2^63, of objects that peak at ``peak_index`` = peak_y * width + peak_x, (n,) integers."""
    index = np.asarray(peak_index)
    if index.size and (index.min() < 0 or index.max() >= MAX_PIXELS):
        raise DataError(
            f"peak pixel indices run from {index.min()} to {index.max()}; expected 0 ... 2^{PIXEL_BITS} - 1, "
            "the pixels of one tile"
        )
    return np.int64(id_base(tile_key)) + index.astype(np.int64)
