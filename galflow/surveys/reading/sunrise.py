"""Sunrise's broadband files, as the Illustris project publishes them (Torrey+15, MNRAS 447, 2753).

For each camera ``CAMERA<n>-BROADBAND-NONSCATTER`` (without dust; ``CAMERA<n>-BROADBAND`` with it) is a cube (filter, y,
x) of I_lambda in W/m/m^2/sr; FILTERS is a table of the filters' names, wavelengths in metres and absolute AB
magnitudes; CAMERA<n>-PARAMETERS has the field of view ``linear_fov`` in kpc; HDU 1 the REDSHIFT. A filter's pivot
wavelength is (c ewidth_lambda / ewidth_nu)^1/2 where the table has both widths, as Sunrise's magnitudes do, else
lambda_eff. A cube that does not sum to its file's own magnitude is not believed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from galflow.errors import DataError
from galflow.logs import quiet
from galflow.surveys.reading.files import open_bytes
from galflow.surveys.reading.fits_contents import contents
from galflow.surveys.reading.fits_io import checked_hdus, unzipped
from galflow.surveys.reading.simulated_view import SimulatedView
from galflow.surveys.reading.surface_brightness import SPEED_OF_LIGHT, absolute_magnitude, njy_per_arcsec2

UNIT = "W/m/m2/sr"
_CAMERA = re.compile(r"CAMERA(\d+)-BROADBAND(-NONSCATTER)?")


def recognised_cameras(uri: str, *, dust: bool) -> tuple[int, ...]:
    """The cameras of a Sunrise file, by its HDUs' names alone; DataError for any other file."""
    return _cameras([hdu.name for hdu in contents(uri)], uri, dust=dust)


def _cameras(names: Sequence[str], uri: str, *, dust: bool) -> tuple[int, ...]:
    found = [match for name in names if (match := _CAMERA.fullmatch(name.strip().upper()))]
    cameras = sorted(int(match[1]) for match in found if bool(match[2]) is not dust)
    if not cameras or "FILTERS" not in [name.strip().upper() for name in names]:
        raise DataError(
            f"{uri} is no broadband file of Sunrise; expected extensions FILTERS and {cube_name(0, dust=dust)}, it has "
            f"{', '.join(filter(None, names)) or 'none with a name'}"
        )
    return tuple(cameras)


def cube_name(camera: int, *, dust: bool) -> str:
    """Name of the extension that holds a camera's images."""
    return f"CAMERA{camera}-BROADBAND{'' if dust else '-NONSCATTER'}"


def read_views(
    uri: str, filters: Mapping[str, str], cameras: Sequence[int] | None, *, dust: bool, tolerance_mag: float
) -> list[SimulatedView]:
    """A file's views, those of ``cameras`` (None: of all) in order; ``filters``: band -> name in the file.

    Raises DataError, which names the file, for one that is damaged, of another kind, or without a filter. A camera that
    is not there, or whose magnitude does not agree within ``tolerance_mag``, is a view with its ``error``.
    """
    with unzipped(open_bytes(uri), uri) as (file, length), quiet(AstropyWarning, UserWarning):
        hdus = checked_hdus(file, uri, length)
        there = _cameras([str(hdu.name) for hdu in hdus], uri, dust=dust)
        table = hdus["FILTERS"].data
        rows = _filter_rows(table, filters, uri)
        redshift = _number(hdus[1].header, "REDSHIFT")
        views = []
        for camera in there if cameras is None else cameras:
            try:
                if camera not in there:
                    told = ", ".join(map(str, there))
                    raise DataError(f"{uri} has no camera {camera}; it has {told}. Change the option cameras")
                views.append(_view(hdus, table, rows, camera, redshift, uri, dust, tolerance_mag))
            except DataError as error:
                views.append(SimulatedView(f"camera{camera}", redshift=redshift, error=str(error)))
    return views


def _filter_rows(table: Any, filters: Mapping[str, str], uri: str) -> dict[str, int]:
    """Band -> row of the table; names count without blanks, whatever their case."""
    names = [str(name).strip() for name in table["filter"]]
    folded = [name.lower() for name in names]
    absent = [name for name in filters.values() if name.strip().lower() not in folded]
    if absent:
        raise DataError(f"{uri} has no filter {absent[0]!r}; it has {', '.join(names)}. Change the option bands")
    return {band: folded.index(name.strip().lower()) for band, name in filters.items()}


def _view(
    hdus: fits.HDUList,
    table: Any,
    rows: Mapping[str, int],
    camera: int,
    redshift: float | None,
    uri: str,
    dust: bool,
    tolerance_mag: float,
) -> SimulatedView:
    name = cube_name(camera, dust=dust)
    cube, parameters = hdus[name], hdus[f"CAMERA{camera}-PARAMETERS"].header
    if cube.data is None or cube.data.ndim != 3 or len(cube.data) != len(table):
        shape = None if cube.data is None else cube.data.shape
        raise DataError(f"{uri}: {name} has shape {shape}; expected (filter, y, x) for its {len(table)} filters")
    unit = str(cube.header.get("IMUNIT", cube.header.get("BUNIT", UNIT))).strip() or UNIT
    fov = _number(parameters, "linear_fov")
    if fov is None or not fov > 0:
        raise DataError(f"{uri}: CAMERA{camera}-PARAMETERS gives linear_fov = {fov}; expected the field of view in kpc")
    scale = fov / cube.data.shape[2]
    layers = []
    for band, row in rows.items():
        light = njy_per_arcsec2(cube.data[row], unit, _pivot_m(table, row), f"{uri}: {name}")
        column = f"AB_mag{'' if dust else '_nonscatter'}{camera}"
        stated = float(table[column][row]) if column in table.names else math.nan
        found = absolute_magnitude(light, scale)
        if not math.isfinite(stated) or abs(found - stated) > tolerance_mag:
            raise DataError(
                f"{uri}: band {band} of camera {camera} sums to absolute magnitude {found:.3f}, and {column} is "
                f"{stated:.3f}; expected agreement within {tolerance_mag:g} mag (option magnitude_tolerance). "
                "Fetch the file again"
            )
        layers.append(light.astype(np.float32))
    angles = {f"camera_{a}": value for a in ("theta", "phi") if (value := _number(parameters, a)) is not None}
    return SimulatedView(f"camera{camera}", np.stack(layers), scale, redshift, angles)


def _pivot_m(table: Any, row: int) -> float:
    """Pivot wavelength of a filter in metres."""
    if "ewidth_lambda" in table.names and "ewidth_nu" in table.names:
        ratio = float(table["ewidth_lambda"][row]) / float(table["ewidth_nu"][row] or math.nan)
        if math.isfinite(ratio) and ratio > 0:
            return math.sqrt(SPEED_OF_LIGHT * ratio)
    return float(table["lambda_eff"][row])


def _number(header: fits.Header, card: str) -> float | None:
    value = header.get(card)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
