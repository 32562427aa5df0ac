"""What a run's selections left out, by reason: summed over tiles for the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from galflow.cutouts.tile_rows import SELECTION_DETAIL
from galflow.storage.receipts import Receipt, read_receipts
from galflow.storage.store import Store
from galflow.surveys.reading.selection import LeftOut, together


def left_out_of_run(store: Store, receipts: Sequence[Receipt], unopened: Sequence[str]) -> dict[str, Any]:
    """The counts of cutout sets, as plain values: rows, selected, left_out by reason; and of tiles not opened.

    Rows are those of the catalogues of opened tiles, and of a survey-wide catalogue all.
    """
    details = (receipt.details.get(SELECTION_DETAIL) for receipt in read_receipts(store, [r.key for r in receipts]))
    whole = together(LeftOut.from_json(found) for found in details if found is not None)
    return whole.to_json() | {"unopened_tiles": len(unopened)}
