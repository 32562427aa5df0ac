"""The verb of ingest: one tile -> one cutout set with its receipt.

Whatever is wrong with a tile is recorded: a band that cannot be read is missing, a tile that cannot be read at all is
empty or keeps its catalogue's rows without pixels. Only the store's own faults are raised.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa

from galflow.cutouts.assign import OUTSIDE_TILE, repeated
from galflow.cutouts.column_encoding import GIVEN_NAME
from galflow.cutouts.cutout_set import CutoutData, quantise, write_cutout_set
from galflow.cutouts.extract import BandCutouts, corners, cut_band, grid_in_band, is_flawless, leaves_image
from galflow.cutouts.flags import Flag, flag_counts, pixel_flags
from galflow.cutouts.likeness import IMAGE_HASH, IMAGE_VECTOR, likeness
from galflow.cutouts.plant import add_planted
from galflow.cutouts.tile_images import TileImages
from galflow.errors import DataError, SpecError
from galflow.products import write_product
from galflow.receipts import DOUBTS_DETAIL, Outcome, Receipt
from galflow.spec import CutoutSpec, fingerprint
from galflow.store import Store
from galflow.surveys.base import REQUIRED_COLUMNS, Image, Plane, Survey, Tile
from galflow.surveys.sky import all_finite
from galflow.surveys.table_metadata import reasons_of, without_reasons

CUTOUTS_VERSION = "2"
"""Raised when the same tile and specification would give other cutouts."""
_OWN_NAMES = frozenset(
    {"flags", "planted_kind", "ra", "dec", IMAGE_HASH, IMAGE_VECTOR, "flux", "ivar", "mask", "psf", "band", "object"}
)
"""What galflow itself stores; a catalogue's column of that name becomes ``catalog_flux`` and so on."""


def chosen_bands(survey: Survey, spec: CutoutSpec) -> tuple[str, ...]:
    """The bands to cut, reference first; SpecError if the survey has no such band."""
    bands = spec.bands or survey.bands
    for band in bands:
        if band not in survey.bands:
            raise SpecError(
                f"cutouts.bands: {band!r} is not a band of survey {survey.name}; it has {', '.join(survey.bands)}"
            )
    largest = survey.largest_cutout
    if largest is not None and spec.size > largest:
        raise SpecError(
            f"cutouts.size: {spec.size} pixels is more than the {largest} that survey {survey.name}'s images allow"
        )
    return tuple(bands)


def cutouts_fingerprint(survey: Survey, tile: Tile, spec: CutoutSpec, rows: pa.Table | None = None) -> str:
    """Of what a tile's cutout set depends on: its data, the survey's options, the specification, the rows given."""
    content = [
        CUTOUTS_VERSION,
        type(survey).__qualname__,
        survey.version,
        survey.options.content(),
        survey.name,
        tile.identity,
        list(chosen_bands(survey, spec)),
        spec,
    ]
    return fingerprint(*content, None if rows is None else _rows_digest(rows))


def _rows_digest(rows: pa.Table) -> str:
    """SHA-256 over the catalogue's values (pixel positions follow from them and the tile)."""
    digest = hashlib.sha256()
    for name in sorted(set(rows.column_names) - {"x", "y"}):
        column = rows.column(name).combine_chunks()
        digest.update(f"{name}:{column.type}:".encode())
        plain = (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) and not column.null_count
        if plain:
            digest.update(column.to_numpy(zero_copy_only=False).tobytes())
        else:
            digest.update(json.dumps(column.to_pylist(), default=str).encode())
    return digest.hexdigest()


def cutouts_product(survey_name: str, release: str, tile: str, product_fingerprint: str) -> str:
    """Key of a tile's cutout set."""
    return f"cutouts/{survey_name}/{release}/{tile}/{product_fingerprint}.zarr"


def cut_tile(
    store: Store,
    survey: Survey,
    tile: Tile,
    spec: CutoutSpec,
    product_fingerprint: str,
    rows: pa.Table | None = None,
) -> Receipt:
    """Cut one tile, store its cutout set and receipt, and return the receipt.

    ``rows`` are the objects assigned from a survey-wide catalogue (galflow.cutouts.assign); None: the tile's own.
    """
    started = time.perf_counter()
    bands = chosen_bands(survey, spec)
    with TileImages(survey, tile, bands) as images:
        problem: list[str] = []
        if rows is None:
            rows, problem = _own_rows(survey, tile, images)
        problem += reasons_of(rows)
        data, reasons = _cut(survey, tile, spec, bands, images, without_reasons(rows))
        reasons = images.reasons + problem + reasons
        doubts = images.doubts
    if spec.plant is not None:
        try:
            data, fewer = add_planted(data, spec.plant, tile.name)
            reasons += fewer
        except DataError as error:
            reasons.append(str(error))
    if survey.ready_made:
        data = replace(data, likeness=likeness(data))
    if spec.pixels == "quantised":
        sigma = np.array([s or np.nan for s in data.attributes["sky_sigma"]])
        data = replace(data, flux=quantise(data.flux, sigma, spec.quantum_sigma))
    product = cutouts_product(survey.name, survey.release, tile.name, product_fingerprint)
    receipt = Receipt(
        product=product,
        fingerprint=product_fingerprint,
        inputs={"tile": tile.identity},
        rows=len(data.rows),
        outcome=Outcome.EMPTY if not len(data.rows) else Outcome.PARTIAL if reasons else Outcome.DONE,
        reasons=tuple(reasons) or (("no object in this tile",) if not len(data.rows) else ()),
        details={
            "tile": tile.name,
            "flags": flag_counts(data.rows.column("flags").to_numpy()),
            "sky_sigma": data.attributes["sky_sigma"],
            DOUBTS_DETAIL: "; ".join(doubts),
            "files": [
                {"role": file.role, "file": survey.below_root(file.uri), "checksum": file.checksum}
                for file in tile.files
            ],
        },
    )
    return write_product(store, receipt, lambda key: write_cutout_set(store, key, data, spec), started)


def _own_rows(survey: Survey, tile: Tile, images: TileImages) -> tuple[pa.Table, list[str]]:
    """The tile's own catalogue; an empty one with the reason if there is none to be had."""
    reasons: list[str] = []
    try:
        rows = survey.catalog(tile, images)
    except DataError as error:
        rows = pa.table({n: pa.array([], pa.int64() if n == "object_id" else pa.float64()) for n in REQUIRED_COLUMNS})
        reasons = [f"catalogue: {error}"]
    return rows.append_column("repeated_id", pa.array(repeated(rows.column("object_id")))), reasons


def _cut(
    survey: Survey,
    tile: Tile,
    spec: CutoutSpec,
    bands: tuple[str, ...],
    images: TileImages,
    rows: pa.Table,
) -> tuple[CutoutData, list[str]]:
    """The cutouts of all rows, and what is wrong with them."""
    reasons: list[str] = []
    n, size = len(rows), spec.size
    shape = (n, len(bands), size, size)
    flux, ivar, mask = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint16)
    non_finite, whole = np.zeros(n, bool), np.ones(n, bool)
    x, y = (_positions(rows, name) for name in ("x", "y"))
    placed = np.isfinite(x) & np.isfinite(y)
    reference = next((images[b] for b in bands if b in images), None)
    for i, band in enumerate(bands):
        cut = BandCutouts(flux[:, i], ivar[:, i], mask[:, i])
        image = images.get(band)
        try:
            whole &= _cut_placed(cut, x, y, placed, size, reference, image)
        except DataError as error:
            cut.clear()
            whole[:] = False
            reasons.append(f"band {band}: {error}")
            continue
        if image is not None and not is_flawless(image) and not all_finite(image.flux):
            non_finite |= _non_finite(cut)
    flags = pixel_flags(flux, ivar, mask, spec.minimum_observed, whole)
    outside = np.isfinite(_positions(rows, "ra_deg")) & np.isfinite(_positions(rows, "dec_deg"))
    outside &= tile.name == OUTSIDE_TILE
    flags[~placed & outside] |= Flag.OUTSIDE
    flags[~placed & ~outside] |= Flag.NO_POSITION
    if reference is not None and n:
        safe_x, safe_y = np.where(placed, x, 0.0), np.where(placed, y, 0.0)
        beyond = leaves_image(corners(safe_x, size), corners(safe_y, size), size, reference.flux.shape)
        flags[beyond & placed] |= Flag.EDGE
    flags[non_finite] |= Flag.NON_FINITE
    flags[rows.column("repeated_id").to_numpy()] |= Flag.DUPLICATE_ID
    if (flags & Flag.DUPLICATE_ID).any():
        reasons.append(f"{int(((flags & Flag.DUPLICATE_ID) != 0).sum())} rows repeat an earlier row's object id")
    attributes = _attributes(survey, tile, bands, images)
    attributes["tile_shape"] = None if reference is None else list(reference.flux.shape)
    return CutoutData(flux, ivar, mask, _ordered(rows, flags), attributes, _psf_images(bands, images)), reasons


def _cut_placed(
    cut: BandCutouts,
    x: np.ndarray,
    y: np.ndarray,
    placed: np.ndarray,
    size: int,
    reference: Image | None,
    image: Image | None,
) -> np.ndarray:
    """Fill ``cut`` with one band of the objects that have a position; the others' pixels are missing.

    Which cutouts are known to miss nothing, without a look at their pixels: (N,) bool.
    """
    whole = np.zeros(len(placed), bool)
    if image is None or reference is None:
        cut.clear()
        return whole
    grid = grid_in_band(x[placed], y[placed], size, reference, image)
    if placed.all():
        cut_band(image, grid, size, cut)
    else:
        cut.clear()
        cut.put(placed, cut_band(image, grid, size))
    if is_flawless(image) and grid.matrix is None:
        whole[placed] = ~leaves_image(corners(grid.x, size), corners(grid.y, size), size, image.flux.shape)
    return whole


def _non_finite(cut: BandCutouts) -> np.ndarray:
    """Which cutouts hold NaN or infinite pixels of the image itself, not pixels beyond it. (N,) bool."""
    partial = np.flatnonzero(cut.ivar.min(axis=(1, 2), initial=np.inf) == 0)
    within = (cut.mask[partial] & int(Plane.NO_DATA | Plane.EDGE)) == int(Plane.NO_DATA)
    found = np.zeros(len(cut.flux), bool)
    found[partial] = (within & ~np.isfinite(cut.flux[partial])).any(axis=(1, 2))
    return found


def _positions(rows: pa.Table, name: str) -> np.ndarray:
    return rows.column(name).to_pandas().to_numpy(dtype=np.float64)


def _ordered(rows: pa.Table, flags: np.ndarray) -> pa.Table:
    """The required columns first, then flags, then the rest of the catalogue's row, with what is said of each.

    Pixel positions are stored as x_pixel and y_pixel: x and y are the names of the pixels' own dimensions.
    """
    names = {"ra_deg": "ra", "dec_deg": "dec", "x": "x_pixel", "y": "y_pixel"}
    columns = {names.get(n, n): rows.column(n) for n in REQUIRED_COLUMNS} | {"flags": pa.array(flags)}
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    for field in rows.schema:
        if field.name in REQUIRED_COLUMNS or field.name == "repeated_id":
            continue
        stored = re.sub(r"[^A-Za-z0-9_.-]", "_", field.name)
        while stored in _OWN_NAMES or stored in columns or stored[:1] in ("", "_", "."):
            stored = f"catalog_{stored}"
        columns[stored] = rows.column(field.name)
        said = dict(field.metadata or {}) | ({GIVEN_NAME: field.name.encode()} if stored != field.name else {})
        fields.append(pa.field(stored, field.type, metadata=said))
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))


def _attributes(survey: Survey, tile: Tile, bands: tuple[str, ...], images: TileImages) -> dict[str, object]:
    psfs = [images[b].psf if b in images else None for b in bands]
    return {
        "survey": survey.name,
        "release": survey.release,
        "tile": tile.name,
        "bands": list(bands),
        "unit": survey.unit,
        "pixel_scale_arcsec": survey.pixel_scale_arcsec,
        "sky_sigma": [s if math.isfinite(s := images.sigma(b)) else None for b in bands],
        "psf_fwhm_arcsec": [p.fwhm_arcsec if p is not None else None for p in psfs],
    }


def _psf_images(bands: tuple[str, ...], images: TileImages) -> np.ndarray | None:
    """PSF images of all bands, zero-padded to one odd side; None unless every band has one."""
    psfs = []
    for band in bands:
        psf = images[band].psf if band in images else None
        if psf is None or psf.image is None:
            return None
        psfs.append(psf.image)
    side = max(max(i.shape) for i in psfs)
    padded = [np.pad(i, [((side - s) // 2, side - s - (side - s) // 2) for s in i.shape]) for i in psfs]
    return np.stack(padded).astype(np.float32)
