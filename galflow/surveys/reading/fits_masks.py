"""Survey flags as galflow's mask planes: by bit number, or by the name that the file's own header gives a bit.

HSC and LSST write MP_<NAME> = bit, LSST's newer files MSKNnnnn = name and MSKMnnnn = value, Legacy Surveys MBIT_<bit> =
name; numbers differ between files, so that the header is right where it contradicts a declared number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from astropy.io import fits

from galflow.errors import DataError
from galflow.surveys.base import Plane
from galflow.surveys.reading.fits_options import MaskMeaning

STANDARD = {
    "SAT": "SATURATED",
    "SATURATE": "SATURATED",
    "SATURATED": "SATURATED",
    "CR": "COSMIC_RAY",
    "CRAY": "COSMIC_RAY",
    "COSMIC_RAY": "COSMIC_RAY",
    "BAD": "BAD",
    "BPM": "BAD",
    "NO_DATA": "NO_DATA",
    "INTRP": "INTERPOLATED",
    "INTERP": "INTERPOLATED",
    "INTERPOLATED": "INTERPOLATED",
    "EDGE": "EDGE",
    "DETECTION_EDGE": "EDGE",
    "BRIGHT_OBJECT": "BRIGHT_STAR",
    "BRIGHT": "BRIGHT_STAR",
    "STREAK": "TRAIL",
    "TRAIL": "TRAIL",
}
"""What surveys call a plane -> galflow's."""


def named_bits(header: fits.Header) -> dict[str, int]:
    """Name -> bit number of the planes that a header names."""
    bits: dict[str, int] = {}
    for card in header.cards:
        name, value = card.keyword.upper().removeprefix("HIERARCH "), card.value
        if name.startswith("MP_") and isinstance(value, int):
            bits[name[3:]] = value
        elif (found := re.fullmatch(r"MBIT_?(\d+)", name)) and isinstance(value, str):
            bits[value.strip().upper()] = int(found[1])
        elif (found := re.fullmatch(r"MSKN(\d+)", name)) and isinstance(value, str):
            mask = header.get(f"MSKM{found[1]}")
            bits[value.strip().upper()] = mask.bit_length() - 1 if isinstance(mask, int) and mask > 0 else int(found[1])
    bits |= _by_value({c.keyword[3:]: c.value for c in header.cards if c.keyword.startswith("MB_")})
    return {name: bit for name, bit in bits.items() if 0 <= bit < 64}


def _by_value(values: Mapping[str, object]) -> dict[str, int]:
    """Of MB_<NAME> = value cards: values are powers of two."""
    numbers = {name.upper(): value for name, value in values.items() if isinstance(value, int) and value > 0}
    if any(value & (value - 1) for value in numbers.values()):
        return dict(numbers)  # no powers of two: bit numbers
    return {name: value.bit_length() - 1 for name, value in numbers.items()}


def bit_planes(options: MaskMeaning, header: fits.Header, uri: str) -> dict[int, str]:
    """Bit number -> galflow's plane, for one file. DataError for a name that its header does not have."""
    bits = named_bits(header)
    found: dict[int, str] = {}
    for given, plane in (options.planes or {}).items():
        if isinstance(given, str):
            bit = bits.get(given.upper().removeprefix("MP_"))
            if bit is None:
                raise DataError(
                    f"{uri}: its header names no mask plane {given!r}; it names {', '.join(sorted(bits)) or 'none'}. "
                    "Change mask.planes"
                )
            found[bit] = plane
            continue
        own = {STANDARD[name]: bit for name, bit in bits.items() if name in STANDARD}
        contradicted = any(bit == given and STANDARD[n] != plane for n, bit in bits.items() if n in STANDARD)
        found[own[plane] if contradicted and plane in own else given] = plane
    return found


def mask_planes(pixels: np.ndarray, header: fits.Header, options: MaskMeaning, uri: str) -> np.ndarray:
    """(y, x) uint16 ``Plane`` bits of a survey's flags. A flag that is not a number is taken as BAD."""
    lost = ~np.isfinite(pixels)
    planes = np.zeros(pixels.shape, dtype=np.uint16)
    if options.planes is None:
        flagged = pixels == 0 if options.invert else pixels != 0
        planes[flagged] = Plane.BAD
    else:
        bits = np.where(lost, 0, pixels).astype(np.uint64 if pixels.dtype.kind == "u" else np.int64)
        for bit, name in bit_planes(options, header, uri).items():
            planes[(bits >> bits.dtype.type(bit)) & bits.dtype.type(1) == 1] |= np.uint16(Plane[name])
    planes[lost] |= np.uint16(Plane.BAD)
    return planes
