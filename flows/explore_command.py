"""The command that opens a published run in the browser: every row of its catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.inspect_commands import DEFAULT_ROOT, ReadRootOption
from flows.terminal import terminal
from galflow.errors import SpecError

if TYPE_CHECKING:
    from galflow.storage.receipts import RunManifest
    from galflow.storage.store import Store

RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run id, as `galflow runs` lists it, or ROOT/runs/RUN.", show_default=False),
]
PortOption = Annotated[int, typer.Option(help="Port on this machine; 0: any that is free.", min=0, max=65535)]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where copies of large catalogues are kept; by default in your own cache folder.",
        envvar="GALFLOW_EXPLORE_CACHE",
        show_default=False,
    ),
]
NoBrowserOption = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]


def explore(
    run: RunArgument,
    root: ReadRootOption = DEFAULT_ROOT,
    port: PortOption = 0,
    no_browser: NoBrowserOption = False,
    cache: CacheOption = None,
) -> None:
    """Look at every row of a run's catalogue in the browser, on this machine alone, until Ctrl-C."""
    _serve(run, root, port, no_browser, cache, "")


def label(
    run: RunArgument,
    root: ReadRootOption = DEFAULT_ROOT,
    port: PortOption = 0,
    no_browser: NoBrowserOption = False,
    cache: CacheOption = None,
) -> None:
    """Label a run's objects in the browser, one key an object: the explorer, opened on its label page."""
    _serve(run, root, port, no_browser, cache, "label.html")


def _serve(run: str, root: str, port: int, no_browser: bool, cache: Path | None, opened: str) -> None:
    store, manifest = published(run, root)
    from flows.explore_here import FirstPage, explore_here

    out, errors = terminal(), terminal(errors=True)

    def say(line: str) -> None:
        out.print(line, soft_wrap=True, highlight=False, markup=False)

    with errors.status(f"Reading the catalogue of {manifest.run} ...") as status:

        def progress(words: str) -> None:
            status.update(f"Copying the catalogue of {manifest.run} for the first look: {words}")

        first = FirstPage(opened, not no_browser)
        explore_here(store, manifest, port, cache, say, progress, stop=status.stop, first=first)


def published(run: str, root: str) -> tuple[Store, RunManifest]:
    """The run of this id, or at ROOT/runs/RUN, and its store; SpecError says which there are."""
    from galflow.storage.layout import RUNS
    from galflow.storage.receipts import list_runs, read_manifest
    from galflow.storage.store import Store

    where, separator, name = run.rstrip("/").rpartition(f"/{RUNS}/")
    store = Store.open(where if separator else root)
    known = list_runs(store)
    manifest = read_manifest(store, name) if name in known else None
    if manifest is None:
        raise SpecError(f"no run {name!r} has been published at {store.root}; published: {', '.join(known) or 'none'}")
    return store, manifest


def add_to(app: typer.Typer) -> None:
    """Give the command line these commands."""
    app.command()(explore)
    app.command()(label)
