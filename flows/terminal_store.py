"""What a store holds, in a terminal: garbage, differences between runs, where a row comes from. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from flows.terminal import show_table, table_of

if TYPE_CHECKING:
    from galflow.catalog.difference import Difference
    from galflow.catalog.lineage import RowLineage
    from galflow.storage.garbage import Garbage


def show_garbage(
    out: Console, found: Sequence[Garbage], root: str, running: Sequence[str], *, deleted: bool, days: float
) -> None:
    """A row a kind of product; for which runs (a line each) others were kept; what to do next."""
    for run in running:
        out.print(f"{run}; what it may use is kept.", soft_wrap=True)
    if not found:
        beside = " and no run under way" if running else ""
        out.print(
            f"Nothing at {root} is older than {days:g} days and belongs to no published run{beside}.", soft_wrap=True
        )
        return
    table = table_of("kind", "products", "MB", right=("products", "MB"))
    for kind in sorted({g.kind for g in found}):
        of_kind = [g for g in found if g.kind == kind]
        table.add_row(kind, f"{len(of_kind):,}", f"{sum(g.size for g in of_kind) / 1e6:,.1f}")
    show_table(out, table)
    total = f"{len(found):,} product{'' if len(found) == 1 else 's'}, {sum(g.size for g in found) / 1e6:,.1f} MB"
    if deleted:
        out.print(f"\nremoved from {root}: {total}", soft_wrap=True)
    else:
        out.print(f"\n{total} at {root} belong to no published run.", soft_wrap=True)
        out.print("Nothing was removed: --delete does it, --json lists them.")


def show_difference(out: Console, found: Difference, shown: int = 20) -> None:
    """Counts, and the first changes of the table: the largest change of a score first."""
    objects, tiles = found.objects, found.tiles
    out.print(f"{found.before} -> {found.after}", soft_wrap=True)
    out.print(
        f"tiles: {tiles['unchanged']:,} unchanged, {tiles['changed']:,} changed, {tiles['added']:,} added, "
        f"{tiles['removed']:,} removed; models trained anew or replaced: {', '.join(found.models) or 'none'}"
    )
    out.print(
        f"objects: {objects['before']:,} before, {objects['after']:,} now; {objects['same']:,} the same, "
        f"{objects['added']:,} added, {objects['removed']:,} removed, {objects['moved']:,} moved by more than "
        f"{found.moved_arcsec:g} arcsec or to another tile, {objects['rescored']:,} with a score changed by more than "
        f"{found.changed_sigma:g} sigma"
    )
    table = table_of(
        "object", "change", "tile", "was in", "shift", "score", "by sigma", right=("object", "shift", "by sigma")
    )
    for row in found.table.slice(0, shown).to_pylist():
        shift = "" if row["shift_arcsec"] is None else f'{row["shift_arcsec"]:.2f}"'
        change = "" if row["change_sigma"] is None else f"{row['change_sigma']:+.1f}"
        was = row["tile_before"] if row["tile_before"] != row["tile_after"] else ""
        table.add_row(
            str(row["object_id"]), row["change"], row["tile_after"] or "", was or "", shift, row["score"] or "", change
        )
    if len(found.table):
        show_table(out, table, indent=2)
    if len(found.table) > shown:
        out.print(f"  ... and {len(found.table) - shown:,} more; -o FILE.parquet writes them all")


def show_lineage(out: Console, rows: Sequence[RowLineage]) -> None:
    """A block a row of the catalogue."""
    for row in rows:
        second = "" if row.is_primary else " (not its primary row)"
        called = f"{row.name} (object {row.object_id})" if row.name != str(row.object_id) else f"object {row.object_id}"
        out.print(f"{called}: row {row.row} of tile {row.tile} in run {row.run}{second}", soft_wrap=True)
        for name, made in (("scores", row.scores), ("cutouts", row.cutouts)):
            out.print(f"  {name:<8}  {made.product}  (galflow {made.code_version})", soft_wrap=True)
        for name, made in row.models.items():
            sets = len(row.trained_on[name])
            trained = f", trained on {sets} cutout set{'' if sets == 1 else 's'}" if sets else ""
            out.print(f"  model     {name}: {made.product}  (galflow {made.code_version}{trained})", soft_wrap=True)
        out.print(f"  tile      identity {row.tile_identity}", soft_wrap=True)
        for file in row.files:
            out.print(f"            {file['role']}: {file['file']}  {file['checksum']}", soft_wrap=True)
