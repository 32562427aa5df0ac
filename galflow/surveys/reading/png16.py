"""Colour PNG pictures of 16 bits a channel, of which Pillow keeps the upper 8 bits only.

Only what Pillow cannot do is done here: grey pictures and 8 bits are Pillow's. Interlaced pictures are refused.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 4: 2, 6: 4}
"""Colour type: number of channels (RGB, grey with alpha, RGB with alpha)."""


def is_deep_colour(content: bytes) -> bool:
    """Whether the bytes are a PNG of 16 bits in several channels."""
    return content.startswith(_SIGNATURE) and len(content) > 28 and content[24] == 16 and content[25] in _CHANNELS


def decode_deep_colour(content: bytes) -> np.ndarray:
    """(y, x, channel) uint16 of a PNG that ``is_deep_colour``. Raises ValueError, or zlib.error for damaged data."""
    width, height = struct.unpack(">II", content[16:24])
    channels = _CHANNELS[content[25]]
    if content[28]:
        raise ValueError("it is interlaced and has 16 bits a channel; store it without interlacing")
    stride = 2 * channels * width
    expected = height * (stride + 1)
    packed = b"".join(_image_data(content))
    inflater = zlib.decompressobj()
    raw = inflater.decompress(packed, expected)
    if len(raw) != expected:
        raise ValueError(f"its {len(raw)} bytes of pixels are fewer than the {expected} of its size")
    rows = np.frombuffer(raw, np.uint8).reshape(height, stride + 1)
    pixels = _unfiltered(rows, 2 * channels)
    return pixels.view(">u2").reshape(height, width, channels).astype(np.uint16)


def _image_data(content: bytes) -> list[bytes]:
    """The contents of the IDAT chunks; a chunk whose checksum is wrong is refused."""
    found, at = [], len(_SIGNATURE)
    while at + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        data = content[at + 8 : at + 8 + length]
        if content[at + 8 + length : at + 12 + length] != struct.pack(">I", zlib.crc32(kind + data)):
            raise ValueError(f"the checksum of its chunk {kind!r} is wrong")
        if kind == b"IDAT":
            found.append(data)
        at += 12 + length
    return found


def _unfiltered(rows: np.ndarray, step: int) -> np.ndarray:
    """(y, stride) bytes with each row's filter undone (PNG specification, 9.2); ``step``: bytes in a pixel."""
    height, stride = len(rows), rows.shape[1] - 1
    pixels = np.zeros((height, stride), np.uint8)
    above = np.zeros(stride, np.uint8)
    for y, row in enumerate(rows):
        kind, stored = int(row[0]), row[1:]
        if kind == 0:
            pixels[y] = stored
        elif kind == 1:
            pixels[y] = np.cumsum(stored.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)
        elif kind == 2:
            pixels[y] = stored + above
        elif kind in (3, 4):
            pixels[y] = np.frombuffer(_sequential(stored.tobytes(), above.tobytes(), step, kind == 4), np.uint8)
        else:
            raise ValueError(f"row {y} has the unknown filter {kind}")
        above = pixels[y]
    return pixels


def _sequential(stored: bytes, above: bytes, step: int, paeth: bool) -> bytes:
    """One row of the average or Paeth filter, in which each byte needs the one before."""
    row = bytearray(stored)
    for i in range(len(row)):
        left = row[i - step] if i >= step else 0
        up = above[i]
        if not paeth:
            predicted = (left + up) >> 1
        else:
            corner = above[i - step] if i >= step else 0
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            predicted = left if to_left <= to_up and to_left <= to_corner else up if to_up <= to_corner else corner
        row[i] = (row[i] + predicted) & 0xFF
    return bytes(row)
