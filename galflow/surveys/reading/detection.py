"""Finding the galaxies of a tile that comes without a catalogue: threshold, deblend, measure (Bertin & Arnouts 96).

The work is done by sep (Barbary 16, JOSS 1, 58), SExtractor's core as a library. This file adds what a survey needs:
one detection image from all bands, missing pixels that never become objects, and ids that no other tile gives.
It tells no star from a galaxy.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import sep
from pydantic import Field
from scipy import ndimage

from galflow.errors import DataError, SpecError
from galflow.surveys.base import Image, Options
from galflow.surveys.reading.common_grid import on_grid
from galflow.surveys.reading.detection_image import DetectionImage, combine
from galflow.surveys.reading.grids import WCS_FAULTS, cause
from galflow.surveys.reading.identity import MAX_PIXELS, check_tile_size
from galflow.surveys.reading.observed import usable_pixels
from galflow.surveys.reading.positions import pixel_to_icrs
from galflow.surveys.reading.sky import complete_image, look_at_sky

logger = logging.getLogger(__name__)

_KRON_FACTOR = 2.5
_MINIMUM_RADIUS = 3.5
"""SExtractor's PHOT_AUTOPARAMS: the aperture in Kron radii, and its smallest radius in pixels."""
_LEAST_COVERED = 0.5
"""A band that covers less of an aperture than this has no flux in it."""
_FWHM_TO_SIGMA = 0.42466090014400953
SEP_LOCK = threading.Lock()
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

    ``images``: the tile's bands; positions and shapes are in pixels of the first. A band on another grid is resampled
    onto it, its flux kept, for the detection image and for its own fluxes; one that cannot be aligned takes no part.
    The first band with a WCS gives the sky positions (ICRS; else null).
    ``id_base``: ``identity.id_base(tile_key)``; an object's id is that plus peak_y * width + peak_x.
    Fluxes are Kron-like (2.5 Kron radii), in the same aperture in all bands, neighbours' pixels left out; null where
    the band has no data in half of the aperture or more.
    ``snr`` is that of the detection image, from sky noise alone; in images without any noise, from a nominal one (0.001
    of the brightest pixel). ``detection_flag`` is sep's.

    An image without usable pixels gives an empty table. Raises DataError for more than ``max_objects``, where none of
    ``options.bands`` is there or can be aligned, and where memory does not suffice.
    """
    if id_base % MAX_PIXELS:
        raise SpecError(f"id_base {id_base} is no multiple of 2^30; take it from identity.id_base(tile_key)")
    if not images:
        raise DataError("detection needs at least one band; got none")
    chosen = [band for band in (options.bands or images) if band in images]
    if not chosen:
        raise DataError(
            f"detection is asked for in {', '.join(options.bands or ())}, but the tile has {', '.join(images)}; "
            "change detection.bands"
        )
    try:
        return _detect(images, chosen, options, id_base)
    except MemoryError as error:
        shapes = ", ".join(f"{band} {image.flux.shape}" for band, image in images.items())
        raise DataError(f"detection ran out of memory ({shapes}, (y, x)): {error}; give workers more memory") from error


def _detect(images: Mapping[str, Image], chosen: Sequence[str], options: DetectionOptions, id_base: int) -> pa.Table:
    reference = next(iter(images.values()))
    check_tile_size(reference.flux.shape)
    aligned: dict[str, Image] = {}
    problems: dict[str, str] = {}
    for band, image in images.items():
        try:
            given = image if image.ivar is not None and image.mask is not None else complete_image(image).image
            aligned[band] = on_grid(given, reference)
        except DataError as error:
            problems[band] = str(error)
            logger.warning("band %s takes no part in the detection: %s", band, error)
    usable = [aligned[band] for band in chosen if band in aligned]
    if not usable:
        raise DataError(
            "no band of the detection lies on the reference's grid: "
            + "; ".join(f"band {band}: {problems[band]}" for band in chosen)
        )
    combined = combine(usable)
    if combined is None:
        return schema(list(images)).empty_table()
    objects, segments = _extract(combined, options)
    if len(objects) > options.max_objects:
        raise DataError(
            f"{len(objects)} detections, more than max_objects = {options.max_objects}: the tile is damaged, "
            "or detection.threshold_sigma is too low"
        )
    if len(objects) == 0:
        return schema(list(images)).empty_table()
    return _table(objects, segments, combined, images, aligned, id_base)


def _extract(combined: DetectionImage, options: DetectionOptions) -> tuple[Any, np.ndarray]:
    """sep's objects (a structured array) and its segment map, both from the smoothed image."""
    light, missing, noise, absent = combined.light, combined.missing, combined.noise, combined.absent
    smooth = light
    width = options.smoothing_fwhm_pixels * _FWHM_TO_SIGMA
    if width > 0:
        smooth = ndimage.gaussian_filter(light, width, truncate=3.0)
        # Noise leaks into its quieter neighbourhood just as light does.
        noise = None if noise is None else ndimage.gaussian_filter(noise, width, truncate=3.0)
    sky = look_at_sky(smooth, absent, smoothed=combined.noisy)
    smooth = np.ascontiguousarray(smooth - np.float32(sky.level), dtype=np.float32)
    if noise is not None:
        noise = np.maximum(noise, np.float32(1e-3))
    sigma = 1.0
    if combined.noisy:
        sky = look_at_sky(smooth if noise is None else smooth / noise, absent, smoothed=True)
        if not sky.sigma > 0:
            raise DataError(f"detection has no threshold, for the smoothed image has no noise: {sky.problem}")
        sigma = sky.sigma
    error = None if noise is None else np.ascontiguousarray(noise * np.float32(sigma))
    threshold = options.threshold_sigma * (sigma if error is None else 1.0)
    with SEP_LOCK:
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
    combined: DetectionImage,
    images: Mapping[str, Image],
    aligned: Mapping[str, Image],
    id_base: int,
) -> pa.Table:
    """Measure the objects and put them into a table."""
    light, missing = combined.light, combined.missing
    x, y = objects["x"], objects["y"]
    major = np.maximum(np.nan_to_num(objects["a"], nan=1.0), 0.5)
    minor = np.clip(np.nan_to_num(objects["b"], nan=1.0), 0.5, major)
    theta = np.clip(np.nan_to_num(objects["theta"]), -np.pi / 2, np.pi / 2)
    others = {"seg_id": np.arange(1, len(objects) + 1, dtype=np.int32), "segmap": segments}
    kron, _ = sep.kron_radius(light, x, y, major, minor, theta, 6.0, mask=missing, **others)
    kron = np.clip(np.nan_to_num(kron, nan=1.0), 1.0, 6.0)
    scale = np.maximum(_KRON_FACTOR * kron, _MINIMUM_RADIUS / np.sqrt(major * minor))
    sky_sigma = look_at_sky(light, combined.absent, smoothed=True).sigma if combined.noisy else 1.0
    ellipse = (x, y, major, minor, theta, scale)
    total, error, flag = sep.sum_ellipse(light, *ellipse, err=sky_sigma, mask=missing, subpix=5, **others)
    radius, _ = sep.flux_radius(light, x, y, scale * major, 0.5, normflux=total, mask=missing, subpix=5, **others)
    columns: dict[str, Any] = {}
    for band in images:
        image = aligned.get(band)
        columns[f"flux_{band}"] = np.full(len(x), np.nan) if image is None else _aperture_fluxes(image, ellipse, others)
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


def _aperture_fluxes(image: Image, ellipse: tuple[np.ndarray, ...], others: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) sums in apertures, without the neighbours' pixels; NaN where too little of an aperture has data."""
    usable = usable_pixels(image.flux, image.mask, image.ivar)
    pixels = np.ascontiguousarray(np.where(usable, image.flux, 0), dtype=np.float32)
    flux, _, _ = sep.sum_ellipse(pixels, *ellipse, mask=~usable, subpix=5, **others)
    if usable.all():
        return flux
    seen, _, _ = sep.sum_ellipse(usable.astype(np.float32), *ellipse, subpix=5, **others)
    whole, _, _ = sep.sum_ellipse(np.ones(usable.shape, np.float32), *ellipse, subpix=5, **others)
    return np.where(seen > _LEAST_COVERED * whole, flux, np.nan)


def _sky_positions(images: Mapping[str, Image], x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """ra_deg and dec_deg from the first band that has a WCS; NaN (null in the table) without one."""
    wcs = next((image.wcs for image in images.values() if image.wcs is not None), None)
    if wcs is None:
        return {"ra_deg": np.full(len(x), np.nan), "dec_deg": np.full(len(x), np.nan)}
    try:
        ra, dec = pixel_to_icrs(wcs, x, y)
    except WCS_FAULTS as error:
        raise DataError(f"the tile's WCS gives no positions: {cause(error)}; check its cards") from error
    return {"ra_deg": ra, "dec_deg": dec}
