"""Contact sheets: the pictures of objects side by side with their names, as one PNG or as pages of a PDF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from galflow.explore.explored import ExploredRun

_SIDE, _GAP, _CAPTION, _MARGIN, _HEAD = 220, 18, 58, 60, 70
"""Pixels, of pages of about 150 to an inch."""
_ACROSS, _DOWN = 5, 6
"""Objects on a page of a PDF."""
_INK, _SOFT, _PAPER = (25, 28, 32), (96, 102, 110), (255, 255, 255)
_IDENTITY = ("object_id", "source_name", "ra", "dec", "tile", "anomaly_rank", "anomaly_score_sigma")


def write_sheet(explored: ExploredRun, numbers: Sequence[int], path: Path) -> None:
    """The objects in their order; a PNG is one sheet about as wide as high, a PDF has 30 objects a page."""
    if path.suffix == ".pdf":
        each = _ACROSS * _DOWN
        parts = [numbers[i : i + each] for i in range(0, len(numbers), each)]
        pages = [
            _page(explored, part, (_ACROSS, _DOWN), f"page {i} of {len(parts)}") for i, part in enumerate(parts, 1)
        ]
        pages[0].save(path, "PDF", resolution=150.0, save_all=True, append_images=pages[1:])
        return
    across = max(1, math.ceil(math.sqrt(len(numbers))))
    down = math.ceil(len(numbers) / across)
    _page(explored, numbers, (across, down), f"{len(numbers)} objects").save(path, "PNG", optimize=True)


def _page(explored: ExploredRun, numbers: Sequence[int], shape: tuple[int, int], said: str) -> Image.Image:
    across, down = shape
    width, height = (n * side + (n - 1) * _GAP + 2 * _MARGIN for n, side in ((across, _SIDE), (down, _SIDE + _CAPTION)))
    page = Image.new("RGB", (max(width, 420), height + _HEAD), _PAPER)
    draw = ImageDraw.Draw(page)
    title, soft = ImageFont.load_default(26), ImageFont.load_default(17)
    draw.text((_MARGIN, _MARGIN - 20), explored.name, _INK, title)
    draw.text((_MARGIN, _MARGIN + 14), f"galflow, {said}", _SOFT, soft)
    names = [name for name in _IDENTITY if name in explored.rows.columns]
    places = explored.places(numbers)
    pictures = iter(explored.pictures.draw([place for place in places if place is not None]))
    for i, (place, row) in enumerate(zip(places, explored.rows.fetch(numbers, names).to_pylist(), strict=True)):
        left = _MARGIN + i % across * (_SIDE + _GAP)
        top = _HEAD + _MARGIN + i // across * (_SIDE + _CAPTION + _GAP)
        if place is None:
            draw.rectangle((left, top, left + _SIDE, top + _SIDE), outline=_SOFT)
            draw.text((left + 12, top + 12), "no cutout", _SOFT, soft)
        else:
            picture = Image.fromarray(next(pictures))
            page.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (left, top))
        for line, (text, ink) in enumerate(zip(_caption(row), (_INK, _SOFT), strict=True)):
            draw.text((left, top + _SIDE + 6 + 22 * line), text, ink, soft)
    return page


def _caption(row: dict[str, Any]) -> tuple[str, str]:
    rank, sigma = row.get("anomaly_rank"), row.get("anomaly_score_sigma")
    name = str(row.get("source_name") or row["object_id"])
    first = f"#{rank}  {name}" if rank is not None else name
    where = "no position" if row.get("ra") is None else f"{row['ra']:.5f} {row['dec']:+.5f}"
    return first[:26], where if sigma is None else f"{where}  {sigma:.1f}σ"
