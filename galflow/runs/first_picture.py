"""Three stamps of a folder as a picture: the brightest objects of one tile, found as a run would find them.

A survey's folder may be of any size, and local files are read for their checksums before a tile can be opened: where
they are too many, the folder of the first image stands for all. It refuses to read more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from galflow.errors import DataError
from galflow.report.pictures import Display, Pixels, blue_to_red, colour_picture, picture_png
from galflow.runs.first_spec import write_new
from galflow.spec.run import RunSpec, SurveySpec
from galflow.surveys.base import Image, Survey, Tile
from galflow.surveys.reading.common_grid import on_grid
from galflow.surveys.reading.files import list_entries, local_path
from galflow.surveys.reading.sky import measure_sky
from galflow.surveys.recognise import Recognised
from galflow.surveys.resolve import open_survey

STAMPS = 3
_MOST_BYTES = 4 << 30
_SIDE = 240
"""Screen pixels of a stamp, about."""
_GAP = 6


def write_stamps(found: Recognised, spec: RunSpec, path: Path) -> int:
    """Draw the stamps into ``path``; how many there are. DataError where no object is found, or nothing can be read.

    Nothing is written over: SpecError where the file is there.
    """
    survey = open_survey(_survey_of_a_tile(found, spec.survey))
    tile = _tile_with(survey, found.example)
    reference, *others = [band for band in spec.cutouts.bands or survey.bands if band in tile.bands]
    bands = [reference, *_colours(reference, others)]
    images = {band: survey.read(tile, band) for band in bands}
    stamps = _cut(survey.catalog(tile, images), images, spec.cutouts.size, reference)
    if not stamps:
        raise DataError(f"no object is found in tile {tile.name} of {found.example}; look at its pixels and its unit")
    pictures = [_enlarged(picture) for picture in _drawn(stamps, images)]
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    row = np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)
    write_new(path, picture_png(row), taken="remove it, or --no-picture", refused="leave it out with --no-picture")
    return len(pictures)


def _survey_of_a_tile(found: Recognised, spec: SurveySpec) -> SurveySpec:
    """The survey on as few files as show a tile: all of them, or those of one folder."""
    whole = open_survey(spec).root_uri or ""
    beside = found.example.rpartition("/")[0]
    for root in dict.fromkeys((whole, beside)):
        if local_path(root) is None or sum(entry.size for entry in list_entries(root, "**")) <= _MOST_BYTES:
            options = spec.options | {"root": root.removeprefix("file://")}
            return spec.model_copy(update={"options": options})
    raise DataError(
        f"{beside} holds more than {_MOST_BYTES >> 30} GB, which would all be read for a picture; --no-picture leaves "
        "it out"
    )


def _tile_with(survey: Survey, uri: str) -> Tile:
    tile = next((tile for tile in survey.listed if any(file.uri == uri for file in tile.files)), None)
    if tile is None:
        raise DataError(f"{uri} is in no tile of its folder; look at its name")
    return tile


def _colours(reference: str, others: list[str]) -> list[str]:
    """At most two further bands: the bluest and the reddest."""
    if len(others) <= 2:
        return others
    order, _ = blue_to_red([reference, *others])
    ends = [[reference, *others][number] for number in (order[0], order[-1], order[len(order) // 2])]
    return [band for band in ends if band != reference][:2]


def _cut(table: pa.Table, images: Mapping[str, Image], size: int, reference: str) -> list[np.ndarray]:
    """(band, y, x) of the brightest objects, those whole within the tile first."""
    flux = {}
    for band, image in images.items():
        flux[band] = image.flux if band == reference else on_grid(image, images[reference]).flux
    planes = np.stack([flux[band] for band in images])
    x, y = (np.rint(table[name].to_numpy(zero_copy_only=False)) for name in ("x", "y"))
    known = np.isfinite(x) & np.isfinite(y)
    column, half = f"flux_{reference}", size // 2
    light = np.zeros(len(table))
    if column in table.column_names:
        light = np.nan_to_num(table[column].to_numpy(zero_copy_only=False).astype(float), nan=-np.inf)
    height, width = planes.shape[1:]
    within = (x >= half) & (y >= half) & (x < width - half) & (y < height - half)
    rows = [row for row in np.lexsort((-light, ~within)) if known[row]][:STAMPS]
    padded = np.pad(planes, ((0, 0), (size, size), (size, size)), constant_values=np.nan)
    corners = [(int(y[row]) + size - half, int(x[row]) + size - half) for row in rows]
    return [padded[:, top : top + size, left : left + size] for top, left in corners]


def _drawn(stamps: list[np.ndarray], images: Mapping[str, Image]) -> list[Pixels]:
    """Pictures as given, or in colours of their flux in sky sigmas."""
    white = [image.display_white for image in images.values()]
    bands = list(images)
    if all(value is not None for value in white):
        display = Display.as_given(bands, [float(value) for value in white if value is not None], "count")
        return [display.picture(stamp) for stamp in stamps]
    sigma = [measure_sky(image.flux, image.mask, image.ivar).sigma for image in images.values()]
    return [colour_picture(stamp, sigma, bands) for stamp in stamps]


def _enlarged(picture: Pixels) -> Pixels:
    factor = max(1, _SIDE // picture.shape[0])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
