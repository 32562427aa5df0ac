"""SKIRT's images (Camps & Baes 20, A&C 31, 100381): one band a file, or layers of a cube.

The unit is BUNIT's; the scale CDELT1's, parsec or an angle by CUNIT1 or CTYPE1; the wavelength is WLEFF in Angstrom (as
RealSim's inputs have it), or that of a cube's layer by its table of GRID_POINTS. An angle becomes a length by the
distance of the REDSHIFT, or by DISTANGD of DISTUNIT. What the header does not say must be declared; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from galflow.errors import DataError
from galflow.logs import quiet
from galflow.surveys.reading.files import open_bytes
from galflow.surveys.reading.fits_contents import contents
from galflow.surveys.reading.fits_io import checked_hdus, unzipped
from galflow.surveys.reading.surface_brightness import njy_per_arcsec2

_WAVELENGTHS = "GRID_POINTS"


@dataclass(frozen=True)
class Declared:
    """What a person says of files whose headers do not, and how an angle becomes a length."""

    kpc_per_arcsec: Callable[[float], float]
    """At a redshift, in the cosmology of the observation."""
    unit: str | None = None
    kpc_per_pixel: float | None = None
    distance_mpc: float | None = None
    """Of a scale in angle: the distance from which the image was made."""


@dataclass(frozen=True, eq=False)
class SkirtImage:
    """One band of one view."""

    light: np.ndarray
    """(y, x) float32, nJy per square arcsecond."""
    kpc_per_pixel: float
    redshift: float | None
    camera: str | None


def check_header(uri: str, declared: Declared) -> None:
    """DataError where neither header nor declaration says what a pixel is; reads no pixels."""
    header = next((h.header for h in contents(uri) if h.kind.endswith("image") and len(h.shape) in (2, 3)), None)
    if header is None:
        raise _no_image(uri)
    _unit(header, declared, uri)
    _kpc_per_pixel(header, declared, uri)


def _unit(header: fits.Header, declared: Declared, uri: str) -> str:
    """The header's unit, else the declared one."""
    unit = str(header.get("BUNIT", "")).strip() or (declared.unit or "")
    if not unit:
        raise DataError(
            f"{uri}: its header has no BUNIT; expected a unit of surface brightness, declare the option unit"
        )
    return unit


def _redshift(header: fits.Header) -> float | None:
    """REDSHIFT, where it is a number."""
    value = header.get("REDSHIFT")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _kpc_per_pixel(header: fits.Header, declared: Declared, uri: str) -> float:
    """Proper side of a pixel in kpc. DataError where it is not known, or pixels are not square."""
    step, other = header.get("CDELT1"), header.get("CDELT2", header.get("CDELT1"))
    text = str(header.get("CUNIT1", "") or header.get("CTYPE1", "")).strip()
    try:
        unit = units.Unit(text) if text else None
    except ValueError:
        unit = None
    known = unit is not None and (unit.is_equivalent(units.kpc) or unit.is_equivalent(units.arcsec))
    if unit is None or not known or not isinstance(step, int | float) or step == 0:
        if declared.kpc_per_pixel is not None:
            return declared.kpc_per_pixel
        raise DataError(
            f"{uri}: its header gives CDELT1 = {step} of {text or 'no unit'}; expected a scale in parsec or angle "
            "(CUNIT1 or CTYPE1), declare the option kpc_per_pixel"
        )
    if not math.isclose(abs(float(step)), abs(float(other)), rel_tol=1e-3):
        raise DataError(f"{uri}: its pixels are {step} x {other} {text}; expected square ones")
    if unit.is_equivalent(units.kpc):
        return float((abs(step) * unit).to_value(units.kpc))
    angle = float((abs(step) * unit).to_value(units.arcsec))
    redshift = _redshift(header)
    if redshift is not None and redshift > 0:
        return angle * declared.kpc_per_arcsec(redshift)
    return angle * math.pi / 648000.0 * 1000.0 * _distance_mpc(header, declared, uri)


def _distance_mpc(header: fits.Header, declared: Declared, uri: str) -> float:
    distance, unit = header.get("DISTANGD"), str(header.get("DISTUNIT", "Mpc")).strip()
    if isinstance(distance, int | float) and distance > 0:
        try:
            return float((distance * units.Unit(unit)).to_value(units.Mpc))
        except (ValueError, units.UnitConversionError) as error:
            raise DataError(f"{uri}: DISTUNIT is {unit!r} ({error}); expected a length") from error
    if declared.distance_mpc is not None:
        return declared.distance_mpc
    raise DataError(
        f"{uri}: its scale is an angle, and neither a positive REDSHIFT nor DISTANGD says from how far; declare the "
        "option distance_mpc or kpc_per_pixel"
    )


def read_layers(
    uri: str, layers: list[int] | None, declared: Declared, wavelength_m: list[float | None]
) -> list[SkirtImage]:
    """The image of a file (``layers`` None), or these layers of its cube, from 0 on.

    ``wavelength_m``: of each, as declared, where no card and no table gives it. Raises DataError, which names the file.
    """
    with unzipped(open_bytes(uri), uri) as (file, length), quiet(AstropyWarning, UserWarning):
        hdus = checked_hdus(file, uri, length)
        hdu = next((h for h in hdus if h.is_image and h.header.get("NAXIS", 0) in (2, 3)), None)
        if hdu is None:
            raise _no_image(uri)
        header, planes = hdu.header, _planes(np.asarray(hdu.data), layers, uri)
        table = next((h.data for h in hdus if _is_wavelengths(h)), None)
    unit = _unit(header, declared, uri)
    scale = _kpc_per_pixel(header, declared, uri)
    camera = str(header.get("CAMERA", "")).strip() or None
    found = []
    for number, plane, stated in zip(layers or [0], planes, wavelength_m, strict=True):
        wavelength = _wavelength_m(header, table, number, of_cube=layers is not None) or stated
        light = njy_per_arcsec2(plane, unit, wavelength, uri).astype(np.float32)
        found.append(SkirtImage(light, scale, _redshift(header), camera))
    return found


def _no_image(uri: str) -> DataError:
    return DataError(f"{uri} holds no image of two axes and no cube; expected an image that SKIRT wrote")


def _planes(pixels: np.ndarray, layers: list[int] | None, uri: str) -> list[np.ndarray]:
    if layers is None:
        if pixels.ndim == 3 and len(pixels) == 1:
            pixels = pixels[0]
        if pixels.ndim != 2:
            raise DataError(
                f"{uri} is a cube of shape {pixels.shape}; the option layers says which layer is which band"
            )
        return [pixels]
    if pixels.ndim != 3 or max(layers) >= len(pixels):
        raise DataError(f"{uri} has shape {pixels.shape} (layer, y, x); the option layers asks for layer {max(layers)}")
    return [pixels[number] for number in layers]


def _is_wavelengths(hdu: object) -> bool:
    return isinstance(hdu, fits.BinTableHDU) and _WAVELENGTHS in hdu.columns.names


def _wavelength_m(header: fits.Header, table: fits.FITS_rec | None, number: int, *, of_cube: bool) -> float | None:
    """By the cube's table in micron, or WLEFF in Angstrom; None: the file does not say."""
    if of_cube and table is not None and number < len(table):
        unit = units.Unit(table.columns[_WAVELENGTHS].unit or "micron")
        return float((float(table[_WAVELENGTHS][number]) * unit).to_value(units.m))
    value = None if of_cube else header.get("WLEFF")
    return float(value) * 1e-10 if isinstance(value, int | float) and not isinstance(value, bool) else None
