"""What the names of ready-made images say: which image a file belongs to, which band it holds, the object's id.

It refuses two images with one id; it never numbers images by their order, which changes with every new image.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from galflow.errors import SpecError
from galflow.surveys.reading.path_patterns import Hole, PathPattern
from galflow.surveys.reading.text_patterns import TextPattern

IMAGE_ENDINGS = (".fits.gz", ".fits.fz", ".fits", ".fit", ".npz", ".npy", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Endings of the formats that stamp_files reads."""


def path_pattern(pattern: str, bands: Sequence[str]) -> PathPattern:
    """Which paths below the root ``pattern`` means, and what {id} and {band} stand for in them."""
    wanted = PathPattern(pattern, {"id": Hole(lazy=True), "band": Hole(among=tuple(bands))})
    if wanted.names == {"band"}:
        raise SpecError(f"pattern {pattern!r} has {{band}} without {{id}}; give both, or {{id}} alone, or neither")
    return wanted


def hash64(text: str) -> int:
    """The first 64 bits of the SHA-256 of the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def dealt(keys: Sequence[str], per_tile: int, bits: int | None = None) -> dict[str, list[int]]:
    """Tile name ``h<bits>-<number>`` -> rows of ``keys``, by the first ``bits`` bits of each key's hash.

    Without ``bits`` the fewest that leave ``per_tile`` or less in a tile on average.
    """
    if bits is None:
        bits = max(0, (-(-len(keys) // per_tile) - 1).bit_length())
    rows: dict[int, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(hash64(key) >> (64 - bits), []).append(row)
    return {f"h{bits}-{number:0{max(1, (bits + 3) // 4)}x}": members for number, members in sorted(rows.items())}


def source_name(key: str) -> str:
    """The name by which its owner knows an image: the file's without folder and ending, or the {id} that it is."""
    name = PurePosixPath(key).name
    for ending in IMAGE_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def object_ids(keys: Sequence[str], id_pattern: str | None) -> np.ndarray:
    """(n,) int64 ids below 2^63, all different: the number that ``id_pattern`` finds in each key, or a hash of the key.

    Raises SpecError where the pattern finds no such number, or where two images would share an id.
    """
    ids = [hash64(key) >> 1 for key in keys] if id_pattern is None else _numbers(keys, id_pattern)
    owner: dict[int, str] = {}
    for number, key in zip(ids, keys, strict=True):
        if number in owner:
            raise SpecError(
                f"the images {owner[number]} and {key} have the same object id {number}; "
                "rename one, or correct id_pattern"
            )
        owner[number] = key
    return np.array(ids, dtype=np.int64)


def _numbers(keys: Sequence[str], id_pattern: str) -> list[int]:
    """The numbers that ``id_pattern`` finds in the names: of its group ``id``, or of the first."""
    pattern = TextPattern(id_pattern)
    group = "id" if "id" in pattern.names else pattern.groups[0]
    numbers = []
    for key, text in zip(keys, pattern.find(keys, group).to_pylist(), strict=True):
        if text is None or not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= 1 << 63:
            raise SpecError(
                f"id_pattern {id_pattern!r} finds {text!r} in {key}; expected an integer below 2^63: correct the "
                "pattern, or leave it out for ids that are hashes of the names"
            )
        numbers.append(int(text))
    return numbers
