"""``galflow emulate``: an emulated survey from the terminal. Heavy libraries are imported inside the command."""

from __future__ import annotations

import typer

from flows.inspect_commands import RootOption, SpecArgument
from flows.terminal import terminal


def emulate(specification: SpecArgument, root: RootOption = None) -> None:
    """Draw a survey that never was: a trained model's galaxies at a catalogue's places, as a telescope sees them."""
    from flows.whole_run import emulate_here
    from galflow.runs.plan_emulation import plan_emulation
    from galflow.spec.emulation import load_emulation
    from galflow.storage.store import Store

    spec = load_emulation(specification, root)
    store, out, progress = Store.of(spec.store), terminal(), terminal(errors=True)
    plan = plan_emulation(spec, store)
    todo = sum(not unit.done for unit in plan.units)
    progress.print(f"{spec.name}: {plan.objects:,} galaxies in {len(plan.units):,} tiles, {todo:,} of them to draw")
    failures = emulate_here(spec) if todo else ()
    for failure in failures:
        progress.print(f"failed: {failure.name}: {failure.reason}", style="red")
    if failures:
        progress.print(f"{len(failures)} failed. The same command again does what is still missing.")
        raise typer.Exit(1)
    out.print(f"tiles: {store.uri(plan.folder)}", soft_wrap=True)
    out.print(
        f"galflow reads them by: galflow run {store.uri(plan.specification_key).removeprefix('file://')}",
        soft_wrap=True,
    )
