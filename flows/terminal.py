"""How galflow speaks in a terminal: sentences that say what a number means, and tables that fit 80 columns.

On a terminal text wraps at words; in a pipe or a file every line stays whole. This file computes nothing: it shows what
a manifest or a plan says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

if TYPE_CHECKING:
    from galflow.models.base import GenerativeModel
    from galflow.runs.plan import RunPlan, Unit
    from galflow.runs.plan_units import PlannedSelection
    from galflow.storage.receipts import RunManifest

_WHOLE_LINES = 100_000
"""Columns of what is no terminal."""
_REASONS_SHOWN = 3
_TILES_NAMED = 4
_PARTIAL_SHOWN = 20


def terminal(*, errors: bool = False) -> Console:
    """Standard output (or error) as it is now. What is printed is never taken for markup: reasons hold brackets."""
    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() else _WHOLE_LINES
    return Console(stderr=errors, width=width, markup=False, emoji=False, highlight=False)


def uri_line(out: Console, label: str, uri: str, width: int = 9) -> None:
    """A URI in one piece, whatever the terminal's width, so that it can be copied."""
    out.print(f"{label:<{width}}  {uri}", soft_wrap=True)


def table_of(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table without rules; the columns ``right`` hold numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    numbers = set(right)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def show_table(out: Console, table: Table, indent: int = 0) -> None:
    """The table, without the blanks that rich leaves behind the last column."""
    with out.capture() as captured:
        out.print(Padding(table, (0, 0, 0, indent), expand=False))
    for line in captured.get().splitlines():
        out.out(line.rstrip(), highlight=False)


# --- plan


def stages(planned: RunPlan) -> dict[str, Sequence[Unit]]:
    """The plan's units by stage, a comparison sample's own stages apart, in the order of the work."""
    found: dict[str, Sequence[Unit]] = {"ingest": planned.cutouts}
    found |= {f"ingest {name}": units for name, units in planned.samples.items()}
    found |= {"join": planned.joins} | {f"join {name}": units for name, units in planned.sample_joins.items()}
    found |= {"train": planned.models}
    for name, units in planned.measurements.items():
        found |= {"measure" if name is None else f"measure {name}": units} if units else {}
    found |= {"score": planned.scores}
    found |= {f"score {name}": units for name, units in planned.sample_scores.items()}
    found |= {"compare": [planned.comparison]} if planned.comparison else {}
    return found | ({"residuals": [planned.residual_objects, *planned.residuals]} if planned.residual_objects else {})


def show_plan(out: Console, planned: RunPlan, root: str) -> None:
    """A row a stage: products that are done and to do, and why; then what the run still lacks."""
    table = table_of("stage", "done", "to do", "why", right=("done", "to do"))
    for stage, units in stages(planned).items():
        todo = [u for u in units if not u.done]
        table.add_row(stage, str(len(units) - len(todo)), str(len(todo)), _reasons(u.why for u in todo))
    show_table(out, table)
    for name, selection in planned.selections.items():
        _show_selection(out, name, selection)
    out.print(f"\nrun {planned.run} at {root}", soft_wrap=True)
    if planned.done:
        out.print(f"Nothing to do: it is published. `galflow show {planned.run}` says what it found.")
    else:
        out.print(f"{todo_line(planned)}, then catalogue, report and manifest.")


def _show_selection(out: Console, name: str, planned: PlannedSelection) -> None:
    """What is left out before any tile is opened."""
    if planned.unopened:
        number = len(planned.unopened)
        named = ", ".join(planned.unopened[:_TILES_NAMED]) + (", ..." if number > _TILES_NAMED else "")
        beyond = "lies beyond select.regions and is" if number == 1 else "lie beyond select.regions and are"
        out.print(f"\n{name}: {number:,} tile{'s' * (number > 1)} {beyond} not opened: {named}", soft_wrap=True)
    found = planned.left_out
    if found is not None:
        rows = [(reason, *counts) for reason, counts in found.reasons.items()]
        taken = f"{found.rows - found.total:,} of {found.rows:,} catalogued objects are selected."
        show_left_out(out, f"{name}: {taken}", rows)


def show_left_out(out: Console, sentence: str, rows: Iterable[tuple[str, int, int]]) -> None:
    """A sentence, then a row a reason: objects that it is the first to leave out, and those that it would by itself."""
    out.print(f"\n{sentence}", soft_wrap=True)
    table = table_of("left out because", "objects", "by this alone", right=("objects", "by this alone"))
    for reason, first, alone in rows:
        table.add_row(reason, f"{first:,}", f"{alone:,}")
    show_table(out, table, indent=2)


def todo_line(planned: RunPlan) -> str:
    """How much of a plan is to do, as "7 of 10 products to do"."""
    todo = sum(not u.done for u in planned.units)
    return f"{todo} of {len(planned.units)} products to do"


def _reasons(reasons: Iterable[str]) -> str:
    different = list(dict.fromkeys(reasons))
    more = len(different) - _REASONS_SHOWN
    return "; ".join(different[:_REASONS_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def show_remarks(out: Console, remarks: Sequence[str]) -> None:
    """What is wrong with some tiles, a line a kind; the run goes on without what they lack."""
    for remark in remarks:
        out.print(f"note: {remark}", style="yellow", soft_wrap=True)


def show_partial(out: Console, partial: Sequence[str]) -> None:
    """Products that are not whole, with the reason."""
    if not partial:
        return
    out.print(f"\nNot whole ({len(partial)} reason{'s' * (len(partial) != 1)}):", style="yellow")
    for line in partial[:_PARTIAL_SHOWN]:
        out.print(f"  {line}", soft_wrap=True)
    if len(partial) > _PARTIAL_SHOWN:
        out.print(f"  and {len(partial) - _PARTIAL_SHOWN} more; the report lists them")


# --- models


def show_models(out: Console, models: Mapping[str, type[GenerativeModel]], able: Mapping[str, dict[str, bool]]) -> None:
    """What each model can do, then its source and scores."""
    from galflow.training.corrected_likelihood import scores_of

    columns = {
        "trains_on_data": "trains\non data",
        "one_pass_sampling": "samples in\none pass",
        "exact_log_likelihood": "exact log-\nlikelihood",
        "free_form_jacobian": "free-form\nJacobian",
    }
    table = table_of("model", *columns.values())
    for name in models:
        table.add_row(name, *("yes" if able[name][column] else "no" for column in columns))
    show_table(out, table)
    out.print("\nScores; a larger one is more anomalous:")
    for name, model in models.items():
        out.print(f"\n{name} ({model.source})")
        scores = Table.grid(padding=(0, 2, 0, 0))
        for score, meaning in scores_of(model).items():
            scores.add_row(score, meaning)
        show_table(out, scores, indent=2)


# --- runs


def show_runs(out: Console, manifests: Iterable[RunManifest]) -> None:
    """A row a run, the newest last."""
    table = table_of("run", "finished (UTC)", "objects", "scored", "models", right=("objects", "scored"))
    for m in sorted(manifests, key=lambda m: m.finished):
        found = m.summary
        table.add_row(
            m.run, minute(m.finished), f"{found['objects']:,}", f"{found['scored']:,}", ", ".join(m.models)
        )  # fmt: skip
    show_table(out, table)


def minute(finished: str) -> str:
    """When a run finished, to the minute."""
    """2026-11-22T15:52:14+00:00 -> 2026-11-22 15:52."""
    return finished[:16].replace("T", " ")
