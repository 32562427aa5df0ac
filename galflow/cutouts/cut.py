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
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.cutouts.column_encoding import GIVEN_NAME
from galflow.cutouts.cut_stream import CutoutStream
from galflow.cutouts.cutting import TileCutter, positions, reading_order
from galflow.cutouts.displayed import display_attribute
from galflow.cutouts.flags import Flag, flag_counts, has_flag
from galflow.cutouts.likeness import IMAGE_HASH, IMAGE_VECTOR
from galflow.cutouts.object_psfs import NODES, STAMPS, WEIGHTS, ObjectPsfs, with_fwhm_columns
from galflow.cutouts.opened_tile import opened_tile
from galflow.cutouts.pixel_defects import PixelDefects, is_coarse
from galflow.cutouts.plant import Planting
from galflow.cutouts.set_writing import CutoutWriter, objects_per_shard
from galflow.cutouts.tile_images import TileImages
from galflow.cutouts.tile_rows import TileRows
from galflow.errors import DataError, SpecError
from galflow.spec.run import CutoutSpec, fingerprint
from galflow.storage.checksums import FileSum
from galflow.storage.layout import cutouts_product
from galflow.storage.products import outcome_of, write_product
from galflow.storage.receipts import DOUBTS_DETAIL, Receipt
from galflow.storage.store import Store
from galflow.surveys.base import REQUIRED_COLUMNS, Survey, Tile
from galflow.surveys.reading.fits_wcs import wcs_cards
from galflow.surveys.reading.selection import left_out_of
from galflow.surveys.reading.transfers import counted

CUTOUTS_VERSION = "7"
"""Raised when the same tile and specification would give other cutouts."""
PREPARED = "prepared"
"""Attribute of a cutout set, and detail of its receipt: what was done to images before they were cut."""
_OWN_NAMES = frozenset(
    {"flags", "planted_kind", "ra", "dec", IMAGE_HASH, IMAGE_VECTOR, "flux", "ivar", "mask", "psf", "band", "object"}
    | {STAMPS, NODES, WEIGHTS}
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
    content: list[Any] = [
        CUTOUTS_VERSION,
        type(survey).__qualname__,
        survey.version,
        survey.options.content(),
        survey.name,
        tile.identity,
        list(chosen_bands(survey, spec)),
        spec,
    ]
    content.append(None if rows is None else _rows_digest(rows))
    if survey.selection is not None:  # sets from before there were selections keep their fingerprint
        before = None if rows is None else left_out_of(rows)
        content += [survey.selection, None if before is None else before.to_json()]
    return fingerprint(*content)


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
    product = cutouts_product(survey.name, survey.release, tile.name, product_fingerprint)
    receipt = Receipt(product=product, fingerprint=product_fingerprint, inputs={"tile": tile.identity})
    with counted(tile.files) as transfers, ExitStack() as stack:
        images, chosen, whole = opened_tile(stack, survey, tile, spec, bands, rows)
        written: list[_Written] = []

        def put(key: str) -> dict[str, FileSum]:
            written.append(_write(store, key, survey, tile, spec, bands, images, chosen))
            return written[-1].files

        def completed(receipt: Receipt) -> Receipt:
            told = _told(receipt, survey, tile, written[-1], images, chosen)
            return told.model_copy(update={"details": told.details | transfers.details(whole or images.whole)})

        return write_product(store, receipt, put, started, completed)


def _told(receipt: Receipt, survey: Survey, tile: Tile, cut: _Written, images: TileImages, chosen: TileRows) -> Receipt:
    """The receipt with what was found while the tile was cut."""
    reasons = images.reasons + chosen.reasons + cut.reasons
    outcome, told = outcome_of(reasons, empty=None if len(cut.flags) else chosen.emptiness)
    update = {
        "rows": len(cut.flags),
        "outcome": outcome,
        "reasons": told,
        "details": {
            "tile": tile.name,
            "flags": flag_counts(cut.flags),
            "sky_sigma": cut.sky_sigma,
            DOUBTS_DETAIL: "; ".join(images.doubts + chosen.doubts),
            **cut.prepared,
            "files": [
                {"role": file.role, "file": survey.below_root(file.uri), "checksum": file.checksum}
                for file in tile.files
            ],
            **chosen.details,
        },
    }
    return receipt.model_copy(update=update)


@dataclass(frozen=True, eq=False)
class _Written:
    """A cutout set of which all but the receipt is in the store."""

    files: dict[str, FileSum]
    flags: np.ndarray
    """(N,) of all its rows, planted copies included."""
    sky_sigma: list[float | None]
    reasons: list[str]
    prepared: dict[str, Any]


def _write(
    store: Store,
    product: str,
    survey: Survey,
    tile: Tile,
    spec: CutoutSpec,
    bands: tuple[str, ...],
    images: TileImages,
    chosen: TileRows,
) -> _Written:
    """Cut all rows a chunk at a time, and write them as they come."""
    rows = chosen.table
    reference = next((images[b] for b in bands if b in images), None)
    planted = 0 if spec.plant is None else spec.plant.per_tile
    if reference is not None and len(rows) > objects_per_shard(spec, len(bands), 1 << 62):
        order = reading_order(positions(rows, "x"), positions(rows, "y"), spec.size, reference.flux.shape)
        chosen = chosen.take(order)
        rows = chosen.table
    attributes = _attributes(survey, tile, bands, images)
    attributes["tile_shape"] = None if reference is None else list(reference.flux.shape)
    attributes["wcs"] = None if reference is None or reference.wcs is None else wcs_cards(reference.wcs)
    trails = {band: images.trails(band) for band in bands}
    defects = _defects(bands, images) if spec.defects else None
    cutter = TileCutter(rows, tile.name, bands, images, spec.size, spec.minimum_observed, trails, defects)
    if spec.defects and reference is not None:
        cutter.note_lines({band: images.spikes(band) for band in bands}, Flag.SPIKE)
        cutter.note_stars(chosen.stars)
    attributes["stellar_fwhm_pixels"] = None if chosen.star is None else chosen.star.fwhm_pixels
    sigma = np.array([s or np.nan for s in attributes["sky_sigma"]])
    rows, psfs = with_fwhm_columns(rows, cutter, bands, images), ObjectPsfs.of(cutter, bands, images)
    copied = np.zeros(0, np.int64)
    with CutoutWriter(store, product, spec, cutter.pixel_shape, len(rows) + planted) as writer:
        stream = CutoutStream(cutter, writer, spec, sigma, ready_made=survey.ready_made)
        stream.write_all(len(rows))
        table, reasons = _ordered(rows, stream.flags), []
        if (repeats := int(has_flag(stream.flags, Flag.DUPLICATE_ID).sum())) > 0:
            reasons.append(f"{repeats} rows repeat an earlier row's object id")
        if spec.plant is not None:
            try:
                planting = Planting(table, attributes, spec.plant, tile.name)
                reasons, copied = reasons + planting.reasons, planting.chosen
                stream.write_copies(planting)
                table = planting.rows(table, stream.flags[len(rows) :])
            except DataError as error:
                reasons.append(str(error))
        beside = stream.likeness | ({} if psfs is None else psfs.per_object(copied))
        stamps = None if psfs is None else psfs.stamps
        files = writer.finish(table, attributes, _psf_images(bands, images), beside, stamps)
    flags = table.column("flags").to_numpy()
    prepared = {name: attributes[name] for name in (PREPARED,) if name in attributes}
    counts = {name: value for name, value in prepared.get(PREPARED, {}).items() if isinstance(value, int)}
    prepared |= {f"{PREPARED}_{name}": value for name, value in counts.items()}  # which a brief receipt keeps
    return _Written(files, flags, attributes["sky_sigma"], cutter.reasons + reasons, prepared)


def _defects(bands: tuple[str, ...], images: TileImages) -> PixelDefects:
    """What looks for defects in the tile's cutouts."""
    there = [images.get(band) for band in bands]
    psfs = [None if image is None else image.psf for image in there]
    return PixelDefects(
        [images.sky(band) for band in bands],
        [
            math.nan if image is None or psf is None or psf.fwhm_arcsec is None
            else psf.fwhm_arcsec / image.pixel_scale_arcsec
            for image, psf in zip(there, psfs, strict=True)
        ],
        [image is not None and is_coarse(image.flux) for image in there],
    )  # fmt: skip


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


def _attributes(survey: Survey, tile: Tile, bands: tuple[str, ...], images: TileImages) -> dict[str, Any]:
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
        **display_attribute(bands, images),
        **_prepared(survey, tile, images),
        **survey.attributes(tile),
    }


def _prepared(survey: Survey, tile: Tile, images: TileImages) -> dict[str, Any]:
    """What was done to the images before they were cut; nothing where there is no image or nothing to tell."""
    told = survey.prepared(tile) if len(images) else {}
    return {PREPARED: dict(told)} if told else {}


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
