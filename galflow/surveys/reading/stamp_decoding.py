"""One ready-made image out of its files: pixels, weights, flags and PSF, sized as declared, and its place on the sky.

Each file is read once, whatever of it is wanted. What is wrong with an image is that image's fault and kept as its
reason; a store out of reach, or a file that was replaced, is no fault of an image: it raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from galflow.errors import DataError
from galflow.photometry import njy_per_count
from galflow.surveys.base import UNUSABLE, TileFile
from galflow.surveys.reading import files
from galflow.surveys.reading.fits_masks import mask_planes
from galflow.surveys.reading.fits_planes import psf_image, relative_ivar
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec
from galflow.surveys.reading.stamp_files import Decoded, decode_file, decode_plane
from galflow.surveys.reading.stamp_psf import resized_psf
from galflow.surveys.reading.stamp_reading import Stamp, check_unchanged, sky_position
from galflow.surveys.reading.stamp_sizing import StampPlanes, centre_pixel, reshape, without_background
from galflow.surveys.reading.stamps_options import StampPlane, StampsOptions

ALL_BANDS = "*"
"""In the place of a band's name: a file with all of them."""
Files = Mapping[str, Mapping[str, TileFile]]
"""Role ("flux", "weight", "mask", "psf") -> band or ``ALL_BANDS`` -> file."""


@dataclass(frozen=True)
class StampDecoder:
    """Decodes images of one survey; threads may share it."""

    options: StampsOptions

    def decode(self, key: str, of_image: Files) -> Stamp:
        """The image of that name, or why there is none."""
        options = self.options
        contents = _Contents()
        try:
            loaded = self._images(key, of_image["flux"], contents)
            stored = np.concatenate([image.pixels for image in loaded])
            scale = self._scale(loaded[0].header, (stored.shape[1], stored.shape[2]), key)
            white = tuple(options.white_of(image.largest, key, scale) for image in loaded for _ in image.pixels)
            planes = self._planes(stored, key, of_image, contents)
            planes, change = reshape(planes, options.sizing, scale, key)
            planes = planes.scaled(1.0 if options.zero_point_ab is None else njy_per_count(options.zero_point_ab))
            psf = self._psf(scale, of_image, contents)
        except (DataError, ValueError, MemoryError) as error:  # ValueError: bands of different shapes do not join
            return Stamp(None, str(error) or f"{key} needs more memory than there is; crop or bin it")
        stamp = Stamp(planes.flux, white=white, ivar=planes.ivar, mask=planes.mask, psf=psf, change=change)
        place = centre_pixel(change.native, options.sizing, scale)
        try:
            return stamp.at(sky_position(loaded[0].header, key, place))
        except DataError as error:
            return stamp.doubted(f"{error}: the stamp has no position on the sky")

    def _images(self, key: str, of_band: Mapping[str, TileFile], contents: _Contents) -> list[Decoded]:
        """One of all bands, or one of each."""
        options, bands = self.options, self.options.bands

        def decoded(file: TileFile, count: int, hdu: int | str | None) -> Decoded:
            return decode_file(
                contents.of(file), file.uri, bands=count, array=options.array, band_axis=options.band_axis, hdu=hdu
            )

        hdu = options.hdu
        if ALL_BANDS not in of_band:
            absent = [band for band in bands if band not in of_band]
            if absent:
                raise DataError(f"{key} has no file for band {absent[0]}; expected one for each band")
            return [decoded(of_band[band], 1, hdu[band] if isinstance(hdu, dict) else hdu) for band in bands]
        file = of_band[ALL_BANDS]
        if isinstance(hdu, dict):
            return [decoded(file, 1, hdu[band]) for band in bands]
        return [decoded(file, len(bands), hdu)]

    def _scale(self, header: fits.Header | None, shape: tuple[int, int], key: str) -> float:
        """Arcseconds in a pixel of the file: of its WCS where images are resampled, else as declared."""
        if header is None or self.options.resample_arcsec is None:
            return self.options.pixel_scale_arcsec
        wcs = celestial_wcs(header, key)
        return self.options.pixel_scale_arcsec if wcs is None else local_pixel_scale_arcsec(wcs, shape)

    def _planes(self, stored: np.ndarray, key: str, of_image: Files, contents: _Contents) -> StampPlanes:
        """Flux, inverse variance and flags in the file's unit and of its size."""
        options = self.options
        if options.blank_value is not None:
            stored = np.where(stored == np.float32(options.blank_value), np.float32(np.nan), stored)
        ivar = mask = None
        if options.weight is not None:
            kind = options.weight.kind
            weights = self._beside("weight", options.weight, of_image, contents)
            ivar = _of_shape(np.stack([relative_ivar(plane, kind) for plane, _ in weights]), stored, key, "weight")
        if options.mask is not None:
            flags = self._beside("mask", options.mask, of_image, contents)
            named = np.stack([mask_planes(p, h or fits.Header(), options.mask, key) for p, h in flags])
            mask = _of_shape(named, stored, key, "mask")
            lost = (mask & np.uint16(UNUSABLE)) != 0
            stored = np.where(lost, np.float32(np.nan), stored)
        if ivar is not None:
            ivar = np.where(np.isfinite(stored), ivar, np.float32(0))
        if options.background == "constant":
            stored = without_background(stored)
        return StampPlanes(stored, ivar, mask)

    def _beside(
        self, role: str, source: StampPlane, of_image: Files, contents: _Contents
    ) -> list[tuple[np.ndarray, fits.Header | None]]:
        """The planes of a role, one (y, x) for each band, or one for all, each with its header."""
        of_band = of_image["flux"] if source.pattern is None else of_image.get(role, {})
        axis = self.options.band_axis if source.band_axis is None else source.band_axis
        if not of_band:
            raise DataError(f"it has no {role} file; expected one that {source.pattern} names")
        apart = ALL_BANDS not in of_band
        if apart or isinstance(source.hdu, dict):
            found = []
            for band in self.options.bands:
                file = of_band.get(band if apart else ALL_BANDS)
                if file is None:
                    raise DataError(f"it has no {role} file for band {band}; expected one that {source.pattern} names")
                hdu = source.hdu[band] if isinstance(source.hdu, dict) else source.hdu
                plane, header = decode_plane(
                    contents.of(file), file.uri, bands=1, array=source.array, band_axis=axis, hdu=hdu
                )
                found.append((plane[0], header))
            return found
        file, count = of_band[ALL_BANDS], len(self.options.bands)
        planes, header = decode_plane(
            contents.of(file), file.uri, bands=count, array=source.array, band_axis=axis, hdu=source.hdu
        )
        return [(plane, header) for plane in planes]

    def _psf(self, scale: float, of_image: Files, contents: _Contents) -> np.ndarray | None:
        """(B, side, side) PSF of sum 1 on the pixels of the sized image."""
        options = self.options
        if options.psf is None:
            return None
        found = self._beside("psf", options.psf, of_image, contents)
        images = [psf_image(plane, "the PSF") for plane, _ in found]
        images = images * len(options.bands) if len(images) == 1 else images
        return resized_psf(images, options.sizing.ratio(scale) * options.bin)


class _Contents:
    """The bytes of an image's files, each read once and compared with what was planned."""

    def __init__(self) -> None:
        self._read: dict[str, bytes] = {}

    def of(self, file: TileFile) -> bytes:
        if file.uri not in self._read:
            content = files.read_bytes(file.uri)
            check_unchanged(file, content)
            self._read[file.uri] = content
        return self._read[file.uri]


def _of_shape(planes: np.ndarray, stored: np.ndarray, key: str, role: str) -> np.ndarray:
    """The planes as (B, y, x); DataError where they are of another shape than the pixels."""
    if planes.shape[1:] != stored.shape[1:]:
        raise DataError(f"{key}: its {role} has shape {planes.shape[1:]} (y, x), its image {stored.shape[1:]}")
    return np.ascontiguousarray(np.broadcast_to(planes, stored.shape)) if len(planes) == 1 else planes
