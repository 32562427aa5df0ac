"""The ``galflow`` command. Heavy libraries are imported inside the command that needs them.

Exit codes: 0 done, 1 the run (or the verification) failed, 2 what was asked for cannot be meant, 130 Ctrl-C. What a
command finds goes to standard output, progress and errors to standard error; how it is worded is in flows.terminal.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows import environment, explore_command, first_commands, inspect_commands
from flows.emulate_command import emulate
from flows.inspect_commands import RootOption, SpecArgument
from flows.terminal import show_partial, show_remarks, terminal, todo_line
from flows.terminal_run import show_run
from galflow import __version__
from galflow.errors import GalflowError, SpecError
from tasks.proxies import bypass_for_this_machine

if TYPE_CHECKING:
    from galflow.runs.plan import RunPlan
    from galflow.spec.run import RunSpec

_AGAIN = "The same command again does what is still missing."
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Stage = Literal["ingest", "train", "score", "compare", "publish", "survey-run"]
"""The names of flows.survey_run.FLOWS, known here without importing Prefect."""


def _print_version(wanted: bool) -> None:
    if wanted:
        terminal().print(f"galflow {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and stop.")
    ] = False,
) -> None:
    """Generative models of galaxy surveys: cut out, train, score, compare, publish."""


@app.command()
def demo(root: RootOption = None) -> None:
    """Run the main job on the Hubble deep field: about 1,100 real galaxies, in some minutes on two cores."""
    from galflow.spec.run import load_spec

    _run(load_spec(Path(__file__).with_name("demo.yaml"), root), "survey-run")


@app.command()
def run(
    specification: SpecArgument,
    root: RootOption = None,
    until: Annotated[
        Stage,
        typer.Option(
            metavar="STAGE",
            help="Stop after ingest, train, score or compare; publish and survey-run do all of it.",
        ),
    ] = "survey-run",
) -> None:
    """Do what a specification asks for and is not done yet."""
    from galflow.spec.run import load_spec

    _run(load_spec(specification, root), until)


def _run(spec: RunSpec, until: Stage) -> None:
    from flows.whole_run import do
    from galflow.storage.receipts import RunManifest

    out, progress = terminal(), terminal(errors=True)

    def begin(plan: RunPlan) -> None:
        progress.print(f"{plan.run}: {todo_line(plan)}. Starting Prefect and the workers ...")

    try:
        outcome = do(spec, until, lambda remarks: show_remarks(progress, remarks), begin)
    except KeyboardInterrupt:
        progress.print(f"Interrupted. {_AGAIN}")
        raise typer.Exit(130) from None
    if isinstance(outcome, RunManifest):
        out.print(f"Nothing to do: run {outcome.run} is published, and all its products are up to date.")
        show_run(out, outcome)
        return
    if outcome.manifest is not None:
        show_run(out, outcome.manifest)
    else:
        show_partial(progress, outcome.partial)
    if outcome.manifest is None and not outcome.failures:
        out.print(f"{until} is done. The same command without --until does the rest.")
    if outcome.failures:
        for failure in outcome.failures:
            progress.print(f"failed: {failure.stage} {failure.name}: {failure.reason}", style="red")
        progress.print(f"{len(outcome.failures)} failed. {_AGAIN}")
        raise typer.Exit(1)


@app.command()
def cut(
    specification: SpecArgument,
    root: RootOption = None,
    tile: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Cut this tile alone; repeat it for more.")
    ] = None,
) -> None:
    """Cut the galaxies out into Zarr and do nothing else: in this process, without Prefect, workers or models."""
    from flows.cut_here import check_cut, cut_here
    from galflow.spec.run import load_spec
    from galflow.storage.store import Store

    spec = load_spec(specification, root)
    if spec.store.credentials_block is not None:
        raise SpecError("store.credentials_block needs Prefect; give `cut` credentials in the environment (AWS_...)")
    out, errors = terminal(), terminal(errors=True)
    show_remarks(errors, check_cut(spec))
    store = Store.of(spec.store)
    failed = 0
    for outcome in cut_here(spec, store, tile or ()):
        (errors if outcome.receipt is None else out).print(outcome.line(store), soft_wrap=True)
        failed += outcome.receipt is None
    if failed:
        errors.print(f"{failed} tiles failed. {_AGAIN}")
        raise typer.Exit(1)


@app.command()
def serve(
    root: RootOption = None,
    port: Annotated[int, typer.Option(help="Port of the UI on this machine.", min=1024, max=65535)] = 4200,
    nightly: Annotated[
        Path | None,
        typer.Option(metavar="SPEC.yaml", help="Run this specification by itself, at the times of --cron."),
    ] = None,
    cron: Annotated[
        str, typer.Option(help="When survey-nightly runs: minute, hour, day, month, weekday.")
    ] = "0 2 * * *",
    timezone: Annotated[str, typer.Option(help="Of --cron, such as Europe/Paris.")] = "UTC",
) -> None:
    """Start the Prefect server with its UI on this machine, and run what is asked for there, until Ctrl-C."""
    environment.prepare(temporary_server=False)
    from flows.serving import Nightly, serve_here

    serve_here(port, root, Nightly(cron, timezone, nightly))


@app.command()
def release(
    survey: Annotated[str, typer.Argument(help="The survey's name, as in survey.name.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="RELEASE", help="Its new release.", show_default=False)],
    spec: Annotated[
        Path | None,
        typer.Option(metavar="SPEC.yaml", help="What to run; by default what was last published of this survey."),
    ] = None,
    root: RootOption = None,
) -> None:
    """Tell the Prefect server at PREFECT_API_URL of a survey's new release: it starts the deployment reprocess."""
    from galflow.errors import SpecError
    from galflow.spec.run import load_spec
    from galflow.storage.store import Store

    if spec is not None:
        specs = [load_spec(spec, root)]
        if survey != specs[0].survey.survey_name:
            raise SpecError(f"{spec} is about survey {specs[0].survey.survey_name!r}, not {survey!r}; give that name")
    environment.prepare()
    from flows.release import EVENT, announce, release_of, specs_of_survey

    if spec is None:
        specs = specs_of_survey(Store.open(root if root is not None else inspect_commands.DEFAULT_ROOT), survey)
    releases = [release_of(found, name) for found in specs]
    server = announce(releases)
    names = ", ".join(found.name for found in specs)
    terminal().print(f"{EVENT}: release {name} of survey {survey}, for {names}; told {server}", soft_wrap=True)


@app.command()
def watch(
    specification: SpecArgument,
    root: RootOption = None,
    every: Annotated[float, typer.Option(metavar="SECONDS", help="Time between two looks.", min=1)] = 300.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, as a cron job does.")] = False,
) -> None:
    """Look for tiles that are new, changed or gone, and tell the Prefect server: it starts the deployment reprocess."""
    from galflow.runs.check import check_run
    from galflow.spec.run import load_spec

    spec = load_spec(specification, root)
    check_run(spec)
    environment.prepare()
    from flows.serving import stopped_by_signals
    from flows.watch import look_once
    from flows.watch import watch as look_again

    out = terminal()

    def say(line: str) -> None:
        out.print(line, soft_wrap=True)

    if once:
        look_once(spec, say)
        return
    try:
        with stopped_by_signals():
            look_again(spec, every, say)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


inspect_commands.add_to(app)
first_commands.add_to(app)
app.command()(emulate)
explore_command.add_to(app)


def main() -> None:
    """Entry point: galflow's own errors become one line and an exit code; any other is a bug and keeps its trace."""
    try:
        bypass_for_this_machine()
        environment.log_to_terminal()
        app(standalone_mode=True)
    except GalflowError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, SpecError) else 1)


if __name__ == "__main__":
    main()
