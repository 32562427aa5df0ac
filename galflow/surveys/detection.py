"""Finding the galaxies of a tile that comes without a catalogue: threshold, deblend, measure (Bertin & Arnouts 96).

The work is done by sep (Barbary 16, JOSS 1, 58), SExtractor's core as a library. This file adds what a survey needs:
one detection image from all bands, missing pixels that never become objects, and ids that no other tile gives.
It tells no star from a galaxy.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import sep
from pydantic import Field
from scipy import ndimage

from galflow.errors import DataError, SpecError
from galflow.surveys.base import UNUSABLE, Image, Options
from galflow.surveys.identity import MAX_PIXELS, check_tile_size
from galflow.surveys.sky import measure_sky

_KRON_FACTOR = 2.5
_MINIMUM_RADIUS = 3.5
"""SExtractor's PHOT_AUTOPARAMS: the aperture in Kron radii, and its smallest radius in pixels."""
_FWHM_TO_SIGMA = 0.42466090014400953
_SEP = threading.Lock()
"""sep keeps the size of its pixel buffer in a global; it must not change under a running extraction."""


class DetectionOptions(Options):
    """How objects are found where the survey brings no catalogue."""

    threshold_sigma: float = Field(
        default=5.0, gt=0, description="Detection threshold, in standard deviations of the smoothed sky"
    )
    min_area_pixels: int = Field(default=5, ge=1, description="Smallest number of connected pixels above the threshold")
    deblend_levels: int = Field(
        default=32, ge=1, description="Number of thresholds between which merged objects are separated"
    )
    deblend_contrast: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="Fraction of the light that makes a peak an object of its own; 1: never deblend",
    )
    bands: tuple[str, ...] | None = Field(
        default=None, description="Bands to detect in; empty: all, summed in units of their sky noise"
    )
    smoothing_fwhm_pixels: float = Field(
        default=2.5, ge=0, description="FWHM of the Gaussian that smooths the detection image, in pixels; 0: none"
    )
    max_objects: int = Field(
        default=500_000,
        ge=1,
        description="A tile with more detections is refused as damaged, instead of flooding the run",
    )


def schema(bands: Sequence[str]) -> pa.Schema:
    """The columns of a detection table. Positions in 0-based pixels; fluxes in the unit of the images."""
    floats = ["x", "y", *(f"flux_{band}" for band in bands), "snr", "half_light_radius_pix"]
    return pa.schema(
        [("object_id", pa.int64()), ("ra_deg", pa.float64()), ("dec_deg", pa.float64())]
        + [(name, pa.float64()) for name in [*floats, "a_pix", "b_pix", "theta_rad"]]
        + [(name, pa.int32()) for name in ("area_pixels", "peak_x", "peak_y", "detection_flag")]
    )


def detect(images: Mapping[str, Image], options: DetectionOptions, id_base: int) -> pa.Table:
    """The objects of one tile, in the order of ``object_id``; columns as ``schema(images)``.

    ``images``: the tile's bands on one pixel grid; the first with a WCS gives the sky positions (else null).
    ``id_base``: ``identity.id_base(tile_key)``; an object's id is that plus peak_y * width + peak_x.
    Fluxes are Kron-like (2.5 Kron radii), in the same aperture in all bands, neighbours' pixels left out.
    ``snr`` is that of the detection image, from sky noise alone. ``detection_flag`` is sep's.

    An image without usable pixels gives an empty table. Raises DataError for bands of different shape, for more than
    ``max_objects``, or where none of ``options.bands`` is there.
    """
    if id_base % MAX_PIXELS:
        raise SpecError(f"id_base {id_base} is no multiple of 2^30; take it from identity.id_base(tile_key)")
    first = next(iter(images.values()), None)
    if first is None or len({image.flux.shape for image in images.values()}) != 1:
        shapes = {band: image.flux.shape for band, image in images.items()}
        raise DataError(f"detection needs at least one band, all of one shape (y, x); got {shapes or 'none'}")
    check_tile_size(first.flux.shape)
    chosen = [band for band in (options.bands or images) if band in images]
    if not chosen:
        raise DataError(
            f"detection is asked for in {', '.join(options.bands or ())}, but the tile has {', '.join(images)}; "
            "change detection.bands"
        )
    combined = _combine([images[band] for band in chosen])
    if combined is None:
        return schema(list(images)).empty_table()
    light, missing, noise = combined
    objects, segments = _extract(light, missing, noise, options)
    if len(objects) > options.max_objects:
        raise DataError(
            f"{len(objects)} detections, more than max_objects = {options.max_objects}: the tile is damaged, "
            "or detection.threshold_sigma is too low"
        )
    if len(objects) == 0:
        return schema(list(images)).empty_table()
    return _table(objects, segments, light, missing, images, id_base)


def _usable(image: Image) -> np.ndarray:
    """(y, x) bool: pixels that are data."""
    usable = np.isfinite(image.flux)
    if image.mask is not None:
        usable &= (image.mask & np.uint16(UNUSABLE)) == 0
    if image.ivar is not None:
        usable &= image.ivar > 0
    return usable


def _combine(bands: Sequence[Image]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """The bands' mean in units of sky sigma, where no band has data, and the relative noise if inverse variances vary.

    All (y, x); None where no band has a measurable sky.
    """
    shape = bands[0].flux.shape
    light = np.zeros(shape, dtype=np.float32)
    covered = np.zeros(shape, dtype=bool)
    variance = np.zeros(shape, dtype=np.float32)
    varies, used = False, 0
    for image in bands:
        usable = _usable(image)
        try:
            sky = measure_sky(image.flux, np.where(usable, np.uint16(0), np.uint16(UNUSABLE)))
        except DataError:
            continue  # a band that is empty here takes no part; the others do
        light += np.where(usable, (image.flux - np.float32(sky.level)) / np.float32(sky.sigma), np.float32(0))
        covered |= usable
        used += 1
        if image.ivar is None:
            variance += usable
        else:
            typical = np.float32(np.median(image.ivar[usable][:: max(1, usable.sum() // 100_000)]))
            variance[usable] += typical / image.ivar[usable]
            varies = varies or bool(np.ptp(image.ivar[usable]) > 0)
    if used == 0:
        return None
    light /= np.float32(used)
    noise = np.sqrt(variance / np.float32(used)) if varies else None
    return light, ~covered, noise


def _extract(
    light: np.ndarray, missing: np.ndarray, noise: np.ndarray | None, options: DetectionOptions
) -> tuple[Any, np.ndarray]:
    """sep's objects (a structured array) and its segment map, both from the smoothed image."""
    smooth, absent = light, np.where(missing, np.uint16(UNUSABLE), np.uint16(0))
    width = options.smoothing_fwhm_pixels * _FWHM_TO_SIGMA
    if width > 0:
        smooth = ndimage.gaussian_filter(light, width, truncate=3.0)
        # Noise leaks into its quieter neighbourhood just as light does.
        noise = None if noise is None else ndimage.gaussian_filter(noise, width, truncate=3.0)
    smooth = np.ascontiguousarray(smooth - np.float32(measure_sky(smooth, absent).level), dtype=np.float32)
    if noise is not None:
        noise = np.maximum(noise, np.float32(1e-3))
    sigma = measure_sky(smooth if noise is None else smooth / noise, absent).sigma
    error = None if noise is None else np.ascontiguousarray(noise * np.float32(sigma))
    threshold = options.threshold_sigma * (sigma if error is None else 1.0)
    with _SEP:
        # The buffer holds pixels above the threshold only, so their number is always enough.
        above = np.count_nonzero(smooth > threshold * (1 if error is None else error))
        sep.set_extract_pixstack(max(300_000, int(above) + 1000))
        sep.set_sub_object_limit(1 << 15)
        try:
            objects, segments = sep.extract(
                smooth,
                threshold,
                err=error,
                mask=missing,
                minarea=options.min_area_pixels,
                filter_kernel=None,
                deblend_nthresh=options.deblend_levels,
                deblend_cont=options.deblend_contrast,
                segmentation_map=True,
            )
        except Exception as error:  # sep raises bare Exceptions for its full buffers
            raise DataError(f"detection failed: {error}; raise detection.threshold_sigma") from error
    return objects, segments


def _table(
    objects: Any,
    segments: np.ndarray,
    light: np.ndarray,
    missing: np.ndarray,
    images: Mapping[str, Image],
    id_base: int,
) -> pa.Table:
    """Measure the objects and put them into a table."""
    x, y = objects["x"], objects["y"]
    major = np.maximum(np.nan_to_num(objects["a"], nan=1.0), 0.5)
    minor = np.clip(np.nan_to_num(objects["b"], nan=1.0), 0.5, major)
    theta = np.clip(np.nan_to_num(objects["theta"]), -np.pi / 2, np.pi / 2)
    others = {"seg_id": np.arange(1, len(objects) + 1, dtype=np.int32), "segmap": segments}
    kron, _ = sep.kron_radius(light, x, y, major, minor, theta, 6.0, mask=missing, **others)
    kron = np.clip(np.nan_to_num(kron, nan=1.0), 1.0, 6.0)
    scale = np.maximum(_KRON_FACTOR * kron, _MINIMUM_RADIUS / np.sqrt(major * minor))
    sky_sigma = measure_sky(light, np.where(missing, np.uint16(UNUSABLE), np.uint16(0))).sigma
    ellipse = (x, y, major, minor, theta, scale)
    total, error, flag = sep.sum_ellipse(light, *ellipse, err=sky_sigma, mask=missing, subpix=5, **others)
    radius, _ = sep.flux_radius(light, x, y, scale * major, 0.5, normflux=total, mask=missing, subpix=5, **others)
    columns: dict[str, Any] = {}
    for band, image in images.items():
        usable = _usable(image)
        pixels = np.ascontiguousarray(np.where(usable, image.flux, 0), dtype=np.float32)
        columns[f"flux_{band}"], _, _ = sep.sum_ellipse(pixels, *ellipse, mask=~usable, subpix=5, **others)
    peak_x, peak_y = objects["xpeak"].astype(np.int64), objects["ypeak"].astype(np.int64)
    columns |= {
        "object_id": np.int64(id_base) + peak_y * light.shape[1] + peak_x,
        "x": x,
        "y": y,
        "snr": total / error,
        "half_light_radius_pix": radius,
        "a_pix": objects["a"],
        "b_pix": objects["b"],
        "theta_rad": objects["theta"],
        "area_pixels": objects["npix"],
        "peak_x": peak_x,
        "peak_y": peak_y,
        "detection_flag": objects["flag"] | flag,
    }
    columns |= _sky_positions(images, x, y)
    layout = schema(list(images))
    # In the rare case of two deblended pieces with one peak pixel the larger one keeps it: ids stay unique.
    order = np.lexsort((-objects["npix"], columns["object_id"]))
    order = order[np.r_[True, np.diff(columns["object_id"][order]) > 0]]
    arrays = [pa.array(columns[field.name][order], type=field.type, from_pandas=True, safe=False) for field in layout]
    return pa.Table.from_arrays(arrays, schema=layout)


def _sky_positions(images: Mapping[str, Image], x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """ra_deg and dec_deg from the first band that has a WCS; NaN (null in the table) without one."""
    wcs = next((image.wcs for image in images.values() if image.wcs is not None), None)
    if wcs is None:
        return {"ra_deg": np.full(len(x), np.nan), "dec_deg": np.full(len(x), np.nan)}
    ra, dec = wcs.all_pix2world(x, y, 0)
    return {"ra_deg": np.asarray(ra), "dec_deg": np.asarray(dec)}
