"""Tile by tile: where it lies, how many objects it has and how many are odd, its depth and seeing, and what failed.

The catalogue is read one file at a time; what is kept is a line a tile.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.files import each_file
from galflow.cutouts.flags import Flag, has_flag
from galflow.errors import GalflowError
from galflow.photometry import AB_ZERO_NJY, NJY
from galflow.report.inputs import StageRecord
from galflow.report.sky import TileOnSky
from galflow.report.tables import FAILED, count_text
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

TOP_SHARE = 0.01
"""The anomaly rate of a tile: how many of its objects are among this share of all ranked ones, the most anomalous."""
ROWS_ON_PAGE = 300
"""Of more tiles the page's table lists those with failures first, then those with the most anomalies."""
_AT_ONCE = 32
_DEFECTS = Flag.SATURATED | Flag.TRAIL | Flag.NON_FINITE | Flag.CONSTANT | Flag.DOUBLED | Flag.SPIKE | Flag.COSMIC_RAY
_POINT_SOURCE_SIGMAS = 5.0
_COLUMNS = ("tile", "ra", "dec", "flags", "anomaly_rank")


@dataclass
class TileLine:
    """What is known of one tile."""

    tile: str
    objects: int = 0
    ranked: int = 0
    top: int = 0
    """Of its objects among the most anomalous share of the run."""
    defects: int = 0
    """Of its objects with a defect of the data."""
    box: np.ndarray = field(default_factory=lambda: np.array([np.inf, np.inf, -np.inf, -np.inf]))
    """Least and largest of its objects' (right ascension from ``origin``, declination), degrees."""
    origin: float | None = None
    """Right ascension of the first of them, so that a tile at 0 h is not torn apart."""
    outcome: str = "done"
    reasons: tuple[str, ...] = ()
    depth_mag: float | None = None
    """5 sigma, point source, in the reference band; None: the unit or the PSF is not known."""
    sky_sigma: float | None = None
    """Of a pixel in the reference band, in the survey's unit."""
    seeing_arcsec: float | None = None
    """FWHM of the PSF in the reference band."""

    def on_sky(self, value: float | None) -> TileOnSky | None:
        """Where its objects lie, with what its colour is to say; None where they have no positions."""
        if self.origin is None:
            return None
        left, low, right, high = map(float, self.box)
        return TileOnSky((self.origin + (left + right) / 2) % 360, (low + high) / 2, right - left, high - low, value)


@dataclass(frozen=True, eq=False)
class TileTable:
    """All tiles of the run, by name."""

    lines: list[TileLine]
    unit: str
    band: str
    """The reference band."""

    @property
    def names(self) -> list[str]:
        """Of the tiles with objects."""
        return [line.tile for line in self.lines if line.objects]

    @property
    def expected(self) -> float:
        """Share of all ranked objects that count as top: what a tile like the others has."""
        ranked = sum(line.ranked for line in self.lines)
        return sum(line.top for line in self.lines) / ranked if ranked else 0.0

    def on_sky(self, value: Callable[[TileLine], float | None]) -> list[TileOnSky]:
        """The tiles that have a place on the sky, each with this value."""
        return [place for line in self.lines if (place := line.on_sky(value(line))) is not None]

    def content(self) -> dict[str, Any]:
        """As the scripts read it, a list a column."""
        places = [line.on_sky(None) for line in self.lines]
        return {
            "tile": [line.tile for line in self.lines],
            **{axis: [None if place is None else _rounded(getattr(place, axis)) for place in places]
               for axis in ("ra", "dec", "ra_range", "dec_range")},
            **{name: [getattr(line, name) for line in self.lines] for name in ("objects", "ranked", "top", "defects")},
            **{name: [_rounded(getattr(line, name), 4) for line in self.lines]
               for name in ("depth_mag", "sky_sigma", "seeing_arcsec")},
            "outcome": [line.outcome for line in self.lines],
            "reasons": [list(line.reasons) for line in self.lines],
            "unit": self.unit,
            "band": self.band,
            "expected": round(self.expected, 6),
        }  # fmt: skip


def _rounded(value: float | None, digits: int = 5) -> float | None:
    return None if value is None else round(value, digits)


def tile_table(store: Store, catalog: str, cutouts: StageRecord) -> TileTable:
    """From the catalogue at this key, and what the cutting of tiles left."""
    lines: dict[str, TileLine] = {}
    ranked = 0
    for table in each_file(store, catalog, ["anomaly_rank"]):
        ranked += len(table) - table.column("anomaly_rank").null_count
    least = max(1, math.ceil(TOP_SHARE * ranked))
    for table in each_file(store, catalog, _COLUMNS):
        _count(lines, table, least)
    unit, band = _conditions(store, lines, cutouts.receipts)
    for name, reason in cutouts.failures:
        line = lines.setdefault(name, TileLine(name))
        line.outcome, line.reasons = FAILED, (*line.reasons, reason)
    return TileTable([lines[name] for name in sorted(lines)], unit, band)


def _count(lines: dict[str, TileLine], table: pa.Table, least: int) -> None:
    """Add one file's objects."""
    encoded = table.column("tile").combine_chunks().dictionary_encode()
    names, place = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    ra, dec = (table.column(name).to_numpy(zero_copy_only=False).astype(float) for name in ("ra", "dec"))
    there = np.isfinite(ra) & np.isfinite(dec)
    rank = table.column("anomaly_rank")
    given = rank.is_valid().to_numpy()
    top = pc.fill_null(pc.less_equal(rank, least), False).to_numpy()
    defects = has_flag(table.column("flags").to_numpy(), _DEFECTS)
    sums = [np.bincount(place, weights=w, minlength=len(names)) for w in (np.ones(len(place)), given, top, defects)]
    boxes = _boxes(lines, names, place[there], ra[there], dec[there])
    for i, name in enumerate(names):
        line = lines.setdefault(name, TileLine(name))
        objects, ranked, most, bad = (int(total[i]) for total in sums)
        line.objects, line.ranked = line.objects + objects, line.ranked + ranked
        line.top, line.defects = line.top + most, line.defects + bad
        line.box = np.concatenate([np.minimum(line.box[:2], boxes[i, :2]), np.maximum(line.box[2:], boxes[i, 2:])])


def _boxes(
    lines: dict[str, TileLine], names: Sequence[str], place: np.ndarray, ra: np.ndarray, dec: np.ndarray
) -> np.ndarray:
    """(names, 4) as ``TileLine.box``, of these objects; tiles that had no origin have one afterwards.

    ``place``: (N,) which of the names each object belongs to.
    """
    for i, first in zip(*np.unique(place, return_index=True), strict=True):
        line = lines.setdefault(names[i], TileLine(names[i]))
        line.origin = float(ra[first]) if line.origin is None else line.origin
    origins = np.array([0.0 if name not in lines else lines[name].origin or 0.0 for name in names])
    along = (ra - origins[place] + 180) % 360 - 180
    boxes = np.tile([np.inf, np.inf, -np.inf, -np.inf], (len(names), 1))
    for axis, values in enumerate((along, dec)):
        np.minimum.at(boxes[:, axis], place, values)
        np.maximum.at(boxes[:, axis + 2], place, values)
    return boxes


def _conditions(store: Store, lines: dict[str, TileLine], receipts: Sequence[Receipt]) -> tuple[str, str]:
    """Fill in depth, seeing and outcome of each tile; the unit, and the reference band."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = list(pool.map(lambda receipt: _attributes(store, receipt), receipts))
    unit = band = ""
    for receipt, said in zip(receipts, read, strict=True):
        name = str(receipt.details.get("tile", receipt.name))
        line = lines.setdefault(name, TileLine(name))
        line.outcome, line.reasons = str(receipt.outcome), receipt.reasons
        if said is None:
            continue
        unit, band = str(said["unit"]), str(said["bands"][0])
        line.sky_sigma, line.seeing_arcsec = said["sky_sigma"][0], said["psf_fwhm_arcsec"][0]
        line.depth_mag = _depth(line.sky_sigma, line.seeing_arcsec, float(said["pixel_scale_arcsec"]), unit)
    return unit, band


def _attributes(store: Store, receipt: Receipt) -> Mapping[str, Any] | None:
    """What a tile's cutout set says of itself, one small object of the store; None where there is none to read."""
    if not receipt.rows:
        return None
    try:
        found: Mapping[str, Any] = json.loads(store.get(f"{receipt.product}/zarr.json"))["attributes"]
    except GalflowError:  # scored from it before; `galflow verify` says what is wrong now
        return None
    return found


def _depth(sky_sigma: float | None, fwhm_arcsec: float | None, scale_arcsec: float, unit: str) -> float | None:
    """AB magnitude of a point source at 5 sigma: the noise within a Gaussian PSF's effective area, 2.266 FWHM^2."""
    if not sky_sigma or not fwhm_arcsec or unit != NJY:
        return None
    pixels = 2.266 * (fwhm_arcsec / scale_arcsec) ** 2
    return -2.5 * math.log10(_POINT_SOURCE_SIGMAS * sky_sigma * math.sqrt(pixels) / AB_ZERO_NJY)


# --- the page


@dataclass(frozen=True)
class TileRow:
    """A line of the page's table."""

    cells: list[str]
    address: str
    """What the gallery is to show."""
    failed: bool


def tile_page(table: TileTable) -> dict[str, Any]:
    """The page's table, for its template."""
    columns = [
        ("tile", False), ("objects", True), (f"in the top {TOP_SHARE:.0%}", True), ("share", True),
        ("with a defect", True), (f"depth ({table.band or 'band'}, mag)", True),
        (f"sky sigma ({table.unit or 'unit'})", True), ("seeing (arcsec)", True), ("outcome", False),
    ]  # fmt: skip
    order = sorted(table.lines, key=lambda line: (line.outcome != FAILED, -line.top / max(1, line.ranked), line.tile))
    words = (
        f"Most doubtful first. A tile like the others has {100 * table.expected:.2g}% of its objects among the "
        f"{TOP_SHARE:.0%} most anomalous of the run. Depth: of a point source at 5 sigma, from sky and PSF."
    )
    return {
        "tile_columns": [{"words": name, "number": number} for name, number in columns],
        "tile_rows": [_row(line) for line in order[:ROWS_ON_PAGE]],
        "more_tiles": max(0, len(order) - ROWS_ON_PAGE),
        "tile_words": words,
    }


def _row(line: TileLine) -> TileRow:
    share = f"{100 * line.top / line.ranked:.2g}%" if line.ranked else "–"
    outcome = line.outcome + (f": {'; '.join(line.reasons)}" if line.reasons else "")
    numbers = [_text(line.depth_mag, ".2f"), _text(line.sky_sigma, ".3g"), _text(line.seeing_arcsec, ".2f")]
    counts = [count_text(line.objects), count_text(line.top), share, count_text(line.defects)]
    return TileRow([line.tile, *counts, *numbers, outcome], urlencode({"tile": line.tile}), line.outcome == FAILED)


def _text(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
