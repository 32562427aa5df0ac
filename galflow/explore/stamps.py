"""FITS files of objects in one ZIP archive: pixels as they are stored, with the WCS of each."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from galflow.cutouts.cutout_set import PIXELS, CutoutSet
from galflow.cutouts.stored_wcs import stored_wcs
from galflow.errors import SpecError
from galflow.explore.explored import ExploredRun
from galflow.explore.pictures import Place
from galflow.logs import quiet

_AT_ONCE = 64
"""Objects whose pixels are in memory."""
_IDENTITY = ("object_id", "tile", "ra", "dec", "anomaly_rank")
LEFT_OUT = "LEFT_OUT.txt"


def write_stamps(explored: ExploredRun, numbers: Sequence[int], path: Path) -> None:
    """One file an object: FLUX, IVAR and MASK, each (band, y, x). Objects without a cutout are listed in a text."""
    names = _named(explored)
    left_out = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            places = explored.places(some)
            pixels = {name: explored.pictures.read(name, [p for p in places if p is not None]) for name in PIXELS}
            for place, row in zip(places, explored.rows.fetch(some, names).to_pylist(), strict=True):
                if place is None:
                    left_out.append(str(row["object_id"]))
                    continue
                stamp = stamp_fits(
                    explored.pictures.cutouts(place[0]), place, row, {n: pixels[n][place] for n in PIXELS}
                )
                archive.writestr(_file_name(row), stamp)
        if left_out:
            archive.writestr(LEFT_OUT, "No cutout is stored of these objects:\n" + "\n".join(left_out) + "\n")


def stamp_of(explored: ExploredRun, number: int) -> bytes:
    """One row's object as a FITS file; SpecError if it has no cutout."""
    (place,), (row,) = explored.places([number]), explored.rows.fetch([number], _named(explored)).to_pylist()
    if place is None:
        raise SpecError(f"object {row['object_id']} has no cutout")
    pixels = {name: explored.pictures.read(name, [place])[place] for name in PIXELS}
    return stamp_fits(explored.pictures.cutouts(place[0]), place, row, pixels)


def _named(explored: ExploredRun) -> list[str]:
    return [name for name in _IDENTITY if name in explored.rows.columns]


def _file_name(row: dict[str, Any]) -> str:
    tile = re.sub(r"[^\w.+-]+", "_", str(row.get("tile", "")))
    return f"{row['object_id']}_{tile}.fits"


def stamp_fits(cutouts: CutoutSet, place: Place, row: dict[str, Any], pixels: dict[str, np.ndarray]) -> bytes:
    """One object as a FITS file."""
    said = cutouts.attributes
    header = fits.Header()
    wcs = stored_wcs(cutouts, place[1])
    if wcs is not None:
        with quiet():
            header.extend(wcs.to_header(relax=True).cards)
    header["OBJECT"] = (str(row["object_id"]), "identifier in the catalogue")
    for key, name in (("TILE", "tile"), ("RA_OBJ", "ra"), ("DEC_OBJ", "dec"), ("RANK", "anomaly_rank")):
        if row.get(name) is not None:
            header[key] = row[name]
    for i, band in enumerate(said["bands"]):
        header[f"BAND{i + 1}"] = (str(band), f"plane {i + 1} of the third axis")
    files = fits.HDUList([fits.PrimaryHDU()])
    units = {"flux": str(said["unit"]), "ivar": f"({said['unit']})-2", "mask": ""}
    for name in PIXELS:
        own = header.copy()
        if units[name]:
            own["BUNIT"] = units[name]
        values = pixels[name]
        files.append(fits.ImageHDU(values.astype(np.int32) if name == "mask" else values, own, name=name.upper()))
    sink = io.BytesIO()
    files.writeto(sink)
    return sink.getvalue()
