"""Small files after the data models that surveys have published: one tile each, a few stars on an empty sky.

Nothing of galflow makes them: numpy draws, astropy writes. Each function says which document it follows; none of them
has seen a file of that survey unless it says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

SHAPE = (150, 170)
"""(y, x)."""
STARS = ((40, 50), (75, 120), (110, 35), (50, 145), (120, 90))
"""(y, x) of the stars' centres."""
SIGMA_PIXELS = 1.6
SKY_SIGMA_NJY = 5.0
RA, DEC = 150.1, 2.2


def star_njy(number: int) -> float:
    """Flux of a star."""
    return 20_000.0 * (number + 1)


def sky_njy(seed: int) -> np.ndarray:
    """(y, x) float64: stars on noise without a level."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flux = np.random.default_rng(seed).normal(0, SKY_SIGMA_NJY, SHAPE)
    for number, (row, column) in enumerate(STARS):
        profile = np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / SIGMA_PIXELS**2)
        flux += star_njy(number) * profile / (2 * np.pi * SIGMA_PIXELS**2)
    return np.asarray(flux)


def njy_per_count(zero_point: float) -> float:
    """By the definition of AB magnitudes (Oke & Gunn 1983), not by galflow's own function."""
    return float(3631e9 * 10 ** (-0.4 * zero_point))


def header(scale_arcsec: float, shift: float = 0.0, **cards: Any) -> fits.Header:
    """A TAN WCS with north up, ``shift`` degrees to the north, and more cards."""
    found = fits.Header(
        {
            **{"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": RA, "CRVAL2": DEC + shift},
            **{"CRPIX1": 85.0, "CRPIX2": 75.0, "CDELT1": -scale_arcsec / 3600, "CDELT2": scale_arcsec / 3600},
            **{"CUNIT1": "deg", "CUNIT2": "deg", "RADESYS": "ICRS"},
        }
    )
    for name, value in cards.items():
        found[name.replace("_", "-") if name in ("DATE_OBS", "MJD_OBS") else name] = value
    return found


def write(path: Path, *hdus: Any) -> Path:
    """The HDUs as a file, an empty primary one before them where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first = [] if isinstance(hdus[0], fits.PrimaryHDU) else [fits.PrimaryHDU()]
    fits.HDUList([*first, *hdus]).writeto(path, overwrite=True)
    return path


def bad_pixels() -> dict[str, tuple[slice, slice]]:
    """Places of flags, away from the stars."""
    return {
        name: (slice(5, 8), slice(10 * i, 10 * i + 4))
        for i, name in enumerate(("BAD", "SAT", "CR", "INTRP", "NO_DATA", "EDGE", "DETECTED", "BRIGHT"))
    }


def flags(bits: dict[str, int], kind: type = np.int32) -> np.ndarray:
    """(y, x) flags with each named plane's bit at its place."""
    found = np.zeros(SHAPE, kind)
    for name, where in bad_pixels().items():
        if name in bits:
            found[where] |= kind(1 << bits[name])
    return found


HSC_BITS = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "NO_DATA": 8, "BRIGHT": 9}


def hsc(root: Path, seed: int = 0, patch: str = "4,4", shift: float = 0.0, zero_point: float = 27.0) -> None:
    """calexp of Aihara+22 (PASJ 74, 247) as the LSST stack's afw.image.ExposureF writes it: HDU 1 image, HDU 2 int32
    mask with MP_* cards, HDU 3 variance, opaque tables; FLUXMAG0 in the primary header."""
    for i, band in enumerate(("HSC-I", "HSC-R")):
        unit = njy_per_count(zero_point)
        counts = (sky_njy(seed + i) / unit).astype(np.float32)
        cards = header(0.168, shift, EXTNAME="IMAGE")
        bits = HSC_BITS | ({"NO_DATA": 10} if band == "HSC-R" else {})
        mask = fits.Header({f"MP_{'BRIGHT_OBJECT' if n == 'BRIGHT' else n}": bit for n, bit in bits.items()})
        variance = np.full(SHAPE, (SKY_SIGMA_NJY / unit) ** 2, np.float32)
        variance[flags({"NO_DATA": 0}) > 0] = np.nan
        counts[flags({"NO_DATA": 0}) > 0] = np.nan
        opaque = fits.BinTableHDU.from_columns([fits.Column("blob", "8B", array=np.zeros((3, 8), np.uint8))])
        write(
            root / f"deepCoadd-results/{band}/9813/{patch}/calexp-{band}-9813-{patch}.fits",
            fits.PrimaryHDU(header=fits.Header({"FLUXMAG0": 10 ** (0.4 * zero_point)})),
            fits.ImageHDU(counts, cards),
            fits.ImageHDU(flags(bits), cards + mask, name="MASK"),
            fits.ImageHDU(variance, cards, name="VARIANCE"),
            opaque,
        )
