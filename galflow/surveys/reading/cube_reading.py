"""Rows of a file of many ready-made images, decoded and sized: stamps as any others, with what is said beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from galflow.errors import DataError
from galflow.photometry import njy_per_count
from galflow.surveys.base import UNUSABLE, Plane
from galflow.surveys.reading.cube_options import CubeOptions
from galflow.surveys.reading.display import largest_of
from galflow.surveys.reading.fits_planes import psf_image, relative_ivar
from galflow.surveys.reading.stamp_arrays import StampArrays
from galflow.surveys.reading.stamp_psf import resized_psf
from galflow.surveys.reading.stamp_reading import Stamp
from galflow.surveys.reading.stamp_sizing import StampPlanes, reshape, without_background

Names = str | Mapping[str, str]


@dataclass(frozen=True)
class CubeReader:
    """Reads rows of an open file."""

    options: CubeOptions
    bands: tuple[str, ...]
    """The survey's, in the order of the file's channels."""

    def stamps(self, arrays: StampArrays, start: int, stop: int) -> tuple[Stamp, ...]:
        """The images of these rows; one that cannot be used says why."""
        options = self.options
        stored = self._channels(arrays, options.flux, start, stop)
        if stored.shape[1] != len(self.bands):
            raise DataError(
                f"{arrays.uri}: {options.flux or 'its array'} has {stored.shape[1]} bands, but {len(self.bands)} are "
                "named; correct bands or band_axis"
            )
        largest = largest_of(stored.dtype)
        weights = None if options.weight is None else self._channels(arrays, options.weight, start, stop)
        flags = None if options.mask is None else self._channels(arrays, options.mask, start, stop)
        psfs = None if options.psf is None else self._channels(arrays, options.psf, start, stop, bands_last=False)
        scales = self.scales(arrays, start, stop)
        made = []
        for row in range(stop - start):
            where = f"{arrays.uri} row {start + row}"
            beside = [None if cube is None else cube[row] for cube in (weights, flags, psfs)]
            made.append(self._stamp(stored[row], beside, largest, float(scales[row]), where))
        return tuple(made)

    def _stamp(
        self, stored: np.ndarray, beside: Sequence[np.ndarray | None], largest: float | None, scale: float, where: str
    ) -> Stamp:
        weights, flags, psfs = beside
        options = self.options
        try:
            if not (np.isfinite(scale) and scale > 0):
                raise DataError(f"{where}: its pixel scale is {scale} arcsec; expected a positive number")
            flux = _float32(stored)
            if options.blank_value is not None:
                flux[flux == np.float32(options.blank_value)] = np.nan
            ivar = mask = None
            if weights is not None:
                ivar = np.stack([relative_ivar(w, options.weight_kind) for w in _like(weights, flux, where, "weight")])
            if flags is not None:
                wrong = (_like(flags, flux, where, "mask") != 0) != options.mask_good
                mask = np.where(wrong, np.uint16(Plane.BAD), np.uint16(0))
                flux[(mask & np.uint16(UNUSABLE)) != 0] = np.nan
            if ivar is not None:
                ivar[~np.isfinite(flux)] = 0
            if options.background == "constant":
                flux = without_background(flux)
            white = options.white_of(largest, where, scale)
            planes, change = reshape(StampPlanes(flux, ivar, mask), options.sizing, scale, where)
            planes = planes.scaled(1.0 if options.zero_point_ab is None else njy_per_count(options.zero_point_ab))
            psf = None
            if psfs is not None:
                images = [psf_image(image, where) for image in psfs]
                psf = resized_psf(images, options.sizing.ratio(scale) * options.bin)
        except (DataError, MemoryError) as error:
            return Stamp(None, str(error) or f"{where} needs more memory than there is; crop or bin it")
        whites = (white,) * len(self.bands)
        return Stamp(planes.flux, white=whites, ivar=planes.ivar, mask=planes.mask, psf=psf, change=change)

    def _channels(
        self, arrays: StampArrays, names: Names, start: int, stop: int, *, bands_last: bool | None = None
    ) -> np.ndarray:
        """(n, band, y, x) of an array, or of one for each band."""
        if not isinstance(names, str):
            planes = [self._rows(arrays, names[band], start, stop) for band in self.bands]
            try:
                return np.stack(planes, axis=1)
            except ValueError as error:
                raise DataError(f"{arrays.uri}: the bands' arrays differ in shape ({error})") from error
        stored = self._rows(arrays, names, start, stop)
        if stored.ndim == 3:
            return stored[:, None]
        if stored.ndim != 4:
            raise DataError(f"{arrays.uri}: {names or 'its array'} has shape {stored.shape}; expected (N, band, y, x)")
        last = self.options.band_axis == "last" if bands_last is None else bands_last
        return np.moveaxis(stored, 3, 1) if last else stored

    @staticmethod
    def _rows(arrays: StampArrays, name: str, start: int, stop: int) -> np.ndarray:
        count = arrays.require(name)[0]
        if count < stop:
            raise DataError(f"{arrays.uri}: {name or 'its array'} has {count} rows; expected at least {stop}")
        return arrays.read(name, start, stop)

    def scales(self, arrays: StampArrays, start: int, stop: int) -> np.ndarray:
        """(n,) arcsec in a pixel of each image, before resizing; of the first band where bands have their own."""
        if self.options.scale is None:
            return np.full(stop - start, self.options.pixel_scale_arcsec or np.nan)
        given = np.asarray(self._rows(arrays, self.options.scale, start, stop), np.float64)
        return given.reshape(len(given), -1)[:, 0]

    def fwhm_arcsec(self, arrays: StampArrays, start: int, stop: int) -> np.ndarray | None:
        """(n, band) FWHM of the PSF, NaN where it is not a positive number; None where no array says it."""
        if self.options.psf_fwhm is None:
            return None
        given = np.asarray(self._rows(arrays, self.options.psf_fwhm, start, stop), np.float64).reshape(stop - start, -1)
        given = np.broadcast_to(given, (len(given), len(self.bands))) if given.shape[1] == 1 else given
        if given.shape[1] != len(self.bands):
            raise DataError(
                f"{arrays.uri}: {self.options.psf_fwhm} has {given.shape[1]} values a row; expected {len(self.bands)}"
            )
        return np.where(np.isfinite(given) & (given > 0), given, np.nan)

    def columns(self, arrays: StampArrays, start: int, stop: int, taken: frozenset[str]) -> dict[str, np.ndarray]:
        """The arrays of one value a row that go into the catalogue, but those ``taken``."""
        shapes, options = arrays.shapes(), self.options
        count = shapes[_first(options.flux)][0] if _first(options.flux) in shapes else 0
        wanted = options.columns or [n for n, s in shapes.items() if n not in taken and len(s) == 1 and s[0] == count]
        return {name: np.asarray(self._rows(arrays, name, start, stop)) for name in wanted}


def _first(names: Names) -> str:
    return names if isinstance(names, str) else next(iter(names.values()))


def row_count(arrays: StampArrays, options: CubeOptions) -> int:
    """How many images a file holds."""
    return arrays.require(_first(options.flux))[0]


def _float32(stored: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32 is infinite, hence missing
        flux: np.ndarray[Any, np.dtype[np.float32]] = stored.astype(np.float32)
    flux[~np.isfinite(flux)] = np.nan
    return flux


def _like(planes: np.ndarray, flux: np.ndarray, where: str, what: str) -> np.ndarray:
    """(band, y, x) of one plane for all bands, or of one each; DataError where they are of another shape."""
    if planes.shape[1:] != flux.shape[1:] or planes.shape[0] not in (1, len(flux)):
        raise DataError(f"{where}: its {what} has shape {planes.shape} (band, y, x), its image {flux.shape}")
    return np.broadcast_to(planes, flux.shape)
