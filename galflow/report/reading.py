"""What an ingest moved of the survey's files from an object store, added up over tiles, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the terminal, which says it in words, need not wait for what a receipt needs
    from galflow.storage.receipts import Receipt

_COUNTED = ("requests", "bytes_read", "file_bytes")
_UNITS = ("B", "kB", "MB", "GB", "TB")


def survey_reading(receipts: Iterable[Receipt]) -> dict[str, int]:
    """Requests, bytes read and bytes of the files, summed over cutout sets' receipts; {} where none lay in a store."""
    counted = [[int(r.details[name]) for name in _COUNTED] for r in receipts if "requests" in r.details]
    return dict(zip(_COUNTED, map(sum, zip(*counted, strict=True)), strict=True)) if counted else {}


def reading_words(reading: Mapping[str, int]) -> str:
    """ "1.2 GB of the survey's files read, of 30 GB, in 6,700 requests"; "" where nothing was counted."""
    if not reading:
        return ""
    read, whole = (_size(reading[name]) for name in ("bytes_read", "file_bytes"))
    return f"{read} of the survey's files read, of {whole}, in {reading['requests']:,} requests"


def _size(number: float) -> str:
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f"{number:.3g} {unit}"
