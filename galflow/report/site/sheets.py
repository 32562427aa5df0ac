"""Pictures of many objects: sheets of thumbnails, and pixels band by band, as files that the pages' scripts read.

A sheet is one worker's: it reads the chunks that hold its objects, and holds no more than these objects' pixels.
Pixels are kept as a byte each, linear in asinh of the flux in sky sigmas, so that the reader may choose the stretch.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from galflow.cutouts.batches import join_batches
from galflow.errors import GalflowError
from galflow.report.cards import Cutout, known_flux, read_cutouts
from galflow.report.pictures import LARGEST_SIDE, Display, Pixels
from galflow.report.site.data_files import data_file, data_name
from galflow.report.site.explained import Explained, StoredResiduals, make_explained, read_explained
from galflow.report.site.gallery import Gallery
from galflow.report.site.latents import latents_file, latents_name
from galflow.report.site.packing import packed, shown
from galflow.storage.checksums import FileSum
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel

SHEET_OBJECTS, SHEET_COLUMNS = 100, 10
"""Thumbnails of one sheet: as many as a screen shows, so that the first screen is one file or two."""
PIXELS_OBJECTS = 20
"""Objects of one file of pixels: what is read to show one of them."""
PIXELS_BYTES = 250_000_000
"""At most about so many bytes of pixels in one report: a byte a pixel and band, as noise packs badly."""
LARGEST_THUMBNAIL = 96
KIND = "webp"
_QUALITY = 84


@dataclass(frozen=True)
class Place:
    """A row of a tile's cutout set."""

    tile: str
    row: int


@dataclass(frozen=True)
class SheetJob:
    """One sheet: some objects in the order of their rank."""

    index: int
    """From 0; its first object is number ``index * SHEET_OBJECTS``."""
    places: tuple[Place, ...]
    sets: Mapping[str, str]
    """Tile -> key of its cutout set."""
    display: Display
    pixels: int
    """Of so many of its first objects the pixels are kept."""
    residuals: Mapping[str, str] = field(default_factory=dict)
    """Tile -> key of its stored residual pictures, of the tiles that have any."""
    explained: int = 0
    """Of so many of its first objects what is stored there is kept."""


@dataclass(frozen=True)
class WrittenSheet:
    """What was written."""

    files: Mapping[str, FileSum]
    """Path below the report's folder -> sum."""
    reasons: tuple[str, ...]
    """Why objects have no picture, a line a tile."""


def sheet_jobs(
    gallery: Gallery, sets: Mapping[str, str], display: Display, side: int, stored: StoredResiduals | None = None
) -> list[SheetJob]:
    """The sheets of a gallery's objects; ``sets``: tile -> key of its cutout set; ``side``: of a cutout, in pixels."""
    stored = stored or StoredResiduals()
    room = stored.room(len(display.bands), side)
    places = [Place(tile, row) for tile, row in gallery.places]
    with_pixels = objects_with_pixels(len(display.bands), side)
    jobs = []
    for index, first in enumerate(range(0, len(places), SHEET_OBJECTS)):
        own = tuple(places[first : first + SHEET_OBJECTS])
        needed = {place.tile: sets[place.tile] for place in own if place.tile in sets}
        pixels, explained = (max(0, min(len(own), most - first)) for most in (with_pixels, room))
        residuals = {tile: key for tile in needed if (key := stored.products.get(tile)) is not None}
        jobs.append(SheetJob(index, own, needed, display, pixels, residuals, explained))
    return jobs


def objects_with_pixels(bands: int, side: int) -> int:
    """Of how many objects the pixels are kept, so that they are no more than ``PIXELS_BYTES``: whole files."""
    shown = side // -(-side // LARGEST_SIDE)
    return max(1, PIXELS_BYTES // (bands * shown**2 * PIXELS_OBJECTS)) * PIXELS_OBJECTS


def thumbnail_side(cutout_side: int) -> int:
    """Pixels of a thumbnail of cutouts of so many."""
    return min(LARGEST_THUMBNAIL, cutout_side // -(-cutout_side // LARGEST_SIDE))


def sheet_name(index: int) -> str:
    """Of a sheet of thumbnails, below the report's folder."""
    return f"sprites/{index:05d}.{KIND}"


def make_sheet(
    store: Store, folder: str, job: SheetJob, models: Mapping[str, TrainedModel], encoder: TrainedModel | None = None
) -> WrittenSheet:
    """Write a job's thumbnails and pixels under the key ``folder``.

    With the reconstructions by ``models``; where there are none, with those that the run stored. ``encoder``: whose
    latents of the objects are written too.
    """
    wanted = dict(models) | ({} if encoder is None else {encoder.card.name: encoder})
    cutouts, reasons = _read(store, job, wanted)
    files = {sheet_name(job.index): _sheet_file(cutouts, job)}
    if encoder is not None:
        files[latents_name(job.index)] = latents_file(_latents(cutouts, encoder))
    first = job.index * SHEET_OBJECTS // PIXELS_OBJECTS
    for number in range(0, job.pixels, PIXELS_OBJECTS):
        name = data_name("pixels", first + number // PIXELS_OBJECTS)
        some = slice(number, min(number + PIXELS_OBJECTS, job.pixels))
        made = make_explained(cutouts[some], models) if models else _stored(store, job, some, reasons)
        content = [_pixels(cutout, job, one) for cutout, one in zip(cutouts[some], made, strict=True)]
        files[f"data/{name}.js"] = data_file(name, content)
    written = {name: store.put_once(f"{folder}/{name}", data) for name, data in files.items()}
    return WrittenSheet(written, tuple(reasons))


def _read(store: Store, job: SheetJob, models: Mapping[str, TrainedModel]) -> tuple[list[Cutout | None], list[str]]:
    """The cutouts in order, None where a tile cannot be read, and why."""
    found: list[Cutout | None] = [None] * len(job.places)
    reasons = []
    for tile in dict.fromkeys(place.tile for place in job.places):
        wanted = [i for i, place in enumerate(job.places) if place.tile == tile]
        try:
            read = read_cutouts(store, job.sets, [job.places[i] for i in wanted], models)
        except GalflowError as error:
            reasons.append(f"{len(wanted)} objects of tile {tile} have no picture in the report: {error}")
            continue
        for i, cutout in zip(wanted, read, strict=True):
            found[i] = cutout
    return found, reasons


def _sheet_file(cutouts: Sequence[Cutout | None], job: SheetJob) -> bytes:
    """The thumbnails side by side, row by row."""
    known = next((cutout for cutout in cutouts if cutout is not None), None)
    side = thumbnail_side(known.flux.shape[-1] if known is not None else LARGEST_THUMBNAIL)
    down = -(-len(cutouts) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (side * SHEET_COLUMNS, side * down))
    for i, cutout in enumerate(cutouts):
        if cutout is not None:
            drawn = thumbnail(cutout, job.display, side)
            sheet.paste(drawn, (side * (i % SHEET_COLUMNS), side * (i // SHEET_COLUMNS)))
    sink = io.BytesIO()
    sheet.save(sink, KIND.upper(), quality=_QUALITY, method=4)
    return sink.getvalue()


def thumbnail(cutout: Cutout, display: Display, side: int) -> Image.Image:
    """One object's picture, turned as it is to be seen."""
    drawn: Pixels = np.ascontiguousarray(cutout.orientation.picture(display.picture(known_flux(cutout))))
    image = Image.fromarray(drawn)
    return image if image.width == side else image.resize((side, side), Image.Resampling.LANCZOS)


def _latents(cutouts: Sequence[Cutout | None], encoder: TrainedModel) -> npt.NDArray[np.float32]:
    """(N, D); NaN of objects of which the encoder is not told what it needs."""
    able = [i for i, c in enumerate(cutouts) if c is not None and encoder.contents.within(c.stored.contents)]
    read = [c for i in able if (c := cutouts[i]) is not None]
    if not read:
        return np.full((len(cutouts), 0), np.nan, np.float32)
    batches = [c.stored.batch(encoder.stretch, encoder.contents) for c in read]
    made = encoder.encode(join_batches(batches))
    found = np.full((len(cutouts), made.shape[1]), np.nan, np.float32)
    found[able] = made
    return found


def _stored(store: Store, job: SheetJob, some: slice, reasons: list[str]) -> list[Explained]:
    """Of each of these objects what the run stored of it; why nothing can be read is added to ``reasons``."""
    within = job.places[some.start : min(some.stop, job.explained)]
    try:
        found = read_explained(store, job.residuals, within)
    except GalflowError as error:
        reasons.append(f"{len(within)} objects have no stored reconstructions in the report: {error}")
        found = [{} for _ in within]
    return found + [{} for _ in job.places[some][len(within) :]]


def _pixels(
    cutout: Cutout | None, job: SheetJob, made: Mapping[str, npt.NDArray[np.floating]]
) -> dict[str, Any] | None:
    """One object's pixels and reconstructions as the scripts read them; None where there are none."""
    if cutout is None:
        return None
    run_sigma = job.display.sigma
    sigma = np.array([own or run for own, run in zip(cutout.sky_sigma, run_sigma, strict=True)])[:, None, None]
    found = packed(cutout.orientation.turned(shown(known_flux(cutout) / sigma)))
    angle = cutout.orientation.to_north_deg
    said: dict[str, Any] = {"bands": list(job.display.bands), "to_north": None if angle is None else round(angle, 1)}
    said["sigma"] = [float(f"{value:.4g}") for value in sigma.ravel()]
    explained = [
        {"model": name, **packed(cutout.orientation.turned(shown(flux / sigma)))} for name, flux in made.items()
    ]
    return found | said | ({"explained": explained} if explained else {})
