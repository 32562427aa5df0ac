"""What was done to ready-made images before they were cut, as their cutout sets' receipts have it, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from galflow.storage.receipts import Receipt

_WAYS = ("resampled", "cropped", "padded", "binned")
"""In the order in which they are done."""


def prepared_images(receipts: Iterable[Receipt]) -> Counter[str]:
    """Images, and how many of them were unreadable, resampled, cropped, padded or binned, summed over cutout sets."""
    found: Counter[str] = Counter()
    for receipt in receipts:
        told = {name: receipt.details.get(f"prepared_{name}") for name in ("images", "unreadable", *_WAYS)}
        found.update({name: int(count) for name, count in told.items() if count is not None})
    return found


def prepared_words(receipts: Iterable[Receipt]) -> str:
    """ "of 1,200 ready-made images 40 resampled, 1,200 cropped, 3 padded"; "" where there were none."""
    found = prepared_images(receipts)
    if not found["images"]:
        return ""
    ways = [f"{found[way]:,} {way}" for way in _WAYS if found[way]]
    told = ", ".join(ways) or "none resampled, cropped, padded or binned"
    lost = f"; {found['unreadable']:,} could not be read" if found["unreadable"] else ""
    return f"of {found['images']:,} ready-made images {told}{lost}"
