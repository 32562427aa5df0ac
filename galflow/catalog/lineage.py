"""From a row of a published catalogue back to what it was made of: cutouts, tile, files, models, code.

Everything is read from receipts; nothing is inferred from names or times.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from galflow.errors import StoreError
from galflow.scores.part_columns import SOURCE_NAME
from galflow.storage.layout import RECEIPT_SUFFIX, as_key
from galflow.storage.receipts import Receipt, RunManifest, read_manifest, read_receipts
from galflow.storage.store import Store


@dataclass(frozen=True)
class Made:
    """One product on the way."""

    product: str
    fingerprint: str
    code_version: str
    """Of the galflow that made it; "unknown" for receipts from before that was kept."""

    @classmethod
    def of(cls, receipt: Receipt) -> Made:
        """What a receipt says."""
        return cls(receipt.product, receipt.fingerprint, receipt.code_version)


@dataclass(frozen=True)
class RowLineage:
    """What one catalogue row comes from."""

    run: str
    object_id: int
    name: str
    """As the user's own catalogue calls it: a text if its ids are texts, else the id."""
    is_primary: bool
    tile: str
    row: int
    """In the tile's cutout set."""
    scores: Made
    cutouts: Made
    tile_identity: str
    files: tuple[dict[str, str], ...]
    """role, file (its path below the survey's root) and checksum of each of the tile's files."""
    models: dict[str, Made]
    trained_on: dict[str, dict[str, str]]
    """Model -> cutout set -> fingerprint."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def lineage(store: Store, run: str, wanted: str) -> list[RowLineage]:
    """The lineage of every row that the run has of an object; StoreError if it has none, or the run is none.

    ``wanted``: the object's id, in the catalogue or in its tile, or the name that the user's own catalogue gives it.
    Reads the score parts' id columns: small columns of each tile.
    """
    manifest = read_manifest(store, run)
    if manifest is None:
        raise StoreError(f"no run {run!r} has been published at {store.root}; `galflow runs` lists those that are")
    models = _models(store, manifest)
    parts = read_receipts(store, manifest.products.get("scores", []))
    found = [(scores, row) for scores in parts for row in _rows_of(store, scores, wanted)]
    if not found:
        raise StoreError(
            f"run {run} has no object {wanted}; galflow.open_catalog({manifest.located(store).catalog!r}) lists them"
        )
    needed = {scores.inputs["cutouts"] for scores, _ in found}
    every = read_receipts(store, manifest.products.get("cutouts", []))
    cutouts = {r.fingerprint: r for r in every if r.fingerprint in needed}
    return [_row(run, row, scores, cutouts[scores.inputs["cutouts"]], models) for scores, row in found]


def _models(store: Store, manifest: RunManifest) -> dict[str, Receipt]:
    """Model name -> receipt, of the models on this store; one trained elsewhere has its URI and no receipt here."""
    found = {}
    for name, uri in manifest.models.items():
        key = as_key(uri).removeprefix(f"{store.root}/") + RECEIPT_SUFFIX
        there = "://" not in key and store.exists(key)
        found[name] = next(read_receipts(store, [key])) if there else Receipt(product=uri, fingerprint="")
    return found


def _rows_of(store: Store, scores: Receipt, wanted: str) -> list[dict[str, Any]]:
    """The rows of one part that are called so; planted copies among them."""
    if not scores.rows:
        return []
    part = pq.ParquetFile(pa.BufferReader(store.get(scores.product)))
    names = [n for n in ("object_id", "id_in_tile", SOURCE_NAME, "row", "is_primary") if n in part.schema_arrow.names]
    table = part.read(names)
    chosen = np.zeros(len(table), bool)
    if re.fullmatch(r"-?\d{1,20}", wanted):
        for name in ("object_id", "id_in_tile"):
            chosen |= table.column(name).to_numpy().astype(object) == int(wanted)
    if SOURCE_NAME in names:
        chosen |= pc.fill_null(pc.equal(table.column(SOURCE_NAME), wanted), False).to_numpy()
    return table.filter(pa.array(chosen)).to_pylist()


def _row(run: str, row: dict[str, Any], scores: Receipt, cutouts: Receipt, models: dict[str, Receipt]) -> RowLineage:
    made = {}
    for name, receipt in models.items():
        fingerprint = scores.inputs.get(f"model {name}", "")
        made[name] = Made(receipt.product, fingerprint, receipt.code_version)
    return RowLineage(
        run=run,
        object_id=row["object_id"],
        name=row.get(SOURCE_NAME) or str(row["object_id"]),
        is_primary=row["is_primary"],
        tile=str(cutouts.details["tile"]),
        row=row["row"],
        scores=Made.of(scores),
        cutouts=Made.of(cutouts),
        tile_identity=cutouts.inputs["tile"],
        files=tuple(
            {"role": f["role"], "file": f.get("file", f.get("uri", "")), "checksum": f["checksum"]}
            for f in cutouts.details.get("files", ())
        ),
        models=made,
        trained_on={
            name: {k.removeprefix("cutouts "): v for k, v in r.inputs.items() if k.startswith("cutouts ")}
            for name, r in models.items()
        },
    )
