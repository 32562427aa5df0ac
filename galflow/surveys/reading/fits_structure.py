"""Whether a FITS file's headers can be true, before any library acts on them: sizes, numbers of axes, lengths.

A damaged header may claim a thousand million axes or twelve terabytes of pixels. It is refused here, by reading the
headers' own cards and nothing else, in milliseconds and without memory for what is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from galflow.errors import DataError

BLOCK = 2880
_CARD = 80
MOST_AXES = 999
"""Of the FITS standard 4.0, section 4.4.1."""
_MOST_HEADER_BLOCKS = 10_000
"""A header of 28 MB is none."""
_WANTED = re.compile(
    rb"^(SIMPLE|XTENSION|BITPIX|TFIELDS|NAXIS\d*|PCOUNT|GCOUNT|ZNAXIS\d*|GROUPS|BSCALE|BZERO|END) *(?:=|$)"
)
_REAL = re.compile(rb"=\s*[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?\s*(?:/.*)?$")
_INTEGER = re.compile(rb"=\s*([+-]?\d+)\s*(?:/.*)?$")


@dataclass(frozen=True)
class Span:
    """Where one HDU lies in the file."""

    header: int
    """First byte of its header."""
    data: int
    """First byte of its data."""
    end: int
    """First byte behind its data, padding included."""


def spans(file: BinaryIO, uri: str, length: int) -> Iterator[Span]:
    """The HDUs of a file one after another; DataError where a header claims what cannot be.

    ``length``: of the file; data beyond it are a truncation.
    """
    start = 0
    while True:
        file.seek(start)
        first = file.read(BLOCK)
        if not first or (start and not first.strip(b"\0 ")):
            return
        cards, data = _header(file, first, start, uri)
        size = _data_bytes(cards, uri)
        end = data + -(-size // BLOCK) * BLOCK
        if data + size > length:
            raise DataError(f"{uri} is truncated: {length} bytes, its header promises {end}; fetch it again")
        yield Span(start, data, end)
        start = end


def _header(file: BinaryIO, block: bytes, start: int, uri: str) -> tuple[dict[bytes, bytes], int]:
    """The cards that say how large the data are, and where these begin."""
    cards: dict[bytes, bytes] = {}
    for number in range(_MOST_HEADER_BLOCKS):
        if len(block) < BLOCK:
            break
        for at in range(0, BLOCK, _CARD):
            card = block[at : at + _CARD]
            found = _WANTED.match(card[:9].rstrip() if card[8:9] != b"=" else card[:9])
            if found is None:
                continue
            if found[1] == b"END":
                return cards, start + (number + 1) * BLOCK
            cards.setdefault(found[1], card)
        block = file.read(BLOCK)
    raise DataError(f"{uri} is truncated or no FITS file: the header at byte {start} has no END card; fetch it again")


def _number(cards: dict[bytes, bytes], name: bytes, default: int, uri: str) -> int:
    card = cards.get(name)
    if card is None:
        return default
    found = _INTEGER.search(card[8:].rstrip())
    if found is None:
        text = card.decode("ascii", "replace").strip()
        raise DataError(
            f"{uri}: its header says {text!r}; expected a whole number; the file is damaged, fetch it again"
        )
    return int(found[1])


def _require_number(cards: dict[bytes, bytes], name: bytes, uri: str) -> None:
    """Of the scale of pixels: without it they have no values."""
    card = cards.get(name)
    if card is not None and _REAL.search(card[8:].rstrip()) is None:
        text = card.decode("ascii", "replace").strip()
        raise DataError(
            f"{uri}: its header says {text!r}; expected a number; correct the card, or fetch the file again"
        )


def _data_bytes(cards: dict[bytes, bytes], uri: str) -> int:
    """Bytes of data that a header promises, without padding."""
    bits = _number(cards, b"BITPIX", 8, uri)
    axes = [_number(cards, name, 0, uri) for name in (b"NAXIS", b"ZNAXIS")]
    if not all(0 <= number <= MOST_AXES for number in axes) or bits not in (8, 16, 32, 64, -32, -64):
        raise DataError(
            f"{uri}: its header claims {max(axes)} axes of {bits} bits; expected at most {MOST_AXES} axes of 8, 16, 32 "
            "or 64 bits. The file is damaged, fetch it again"
        )
    for name in (b"BSCALE", b"BZERO"):
        _require_number(cards, name, uri)
    if not 0 <= _number(cards, b"TFIELDS", 0, uri) <= MOST_AXES:
        raise DataError(f"{uri}: its header claims more than {MOST_AXES} columns; the file is damaged, fetch it again")
    sides = [_number(cards, b"NAXIS%d" % i, 0, uri) for i in range(1, axes[0] + 1)]
    sides += [_number(cards, b"ZNAXIS%d" % i, 0, uri) for i in range(1, axes[1] + 1)]
    extra, groups = _number(cards, b"PCOUNT", 0, uri), _number(cards, b"GCOUNT", 1, uri)
    if any(side < 0 for side in sides) or extra < 0 or groups < 0:
        raise DataError(f"{uri}: its header claims a negative size; the file is damaged, fetch it again")
    if not axes[0]:
        return 0
    own = sides[: axes[0]]
    if own[0] == 0 and b"GROUPS" in cards:
        own = own[1:]
    pixels = 1
    for side in own:
        pixels *= side
    return abs(bits) // 8 * groups * (extra + pixels)
