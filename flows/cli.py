"""The ``galflow`` command. Heavy libraries are imported inside the command that needs them.

Exit codes: 0 done, 1 the run (or the verification) failed, 2 what was asked for cannot be meant, 130 Ctrl-C. What a
command finds goes to standard output, progress and errors to standard error; how it is worded is in flows.terminal.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows import environment
from flows.terminal import show_garbage, show_models, show_plan, show_run, show_runs, terminal, todo_line
from galflow.errors import GalflowError, SpecError

if TYPE_CHECKING:
    from galflow.spec import RunSpec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Generative models of galaxy surveys: cut out, train, score, compare, publish.",
)

Stage = Literal["ingest", "train", "score", "compare", "publish", "survey-run"]
"""The names of flows.survey_run.FLOWS, known here without importing Prefect."""

RootOption = Annotated[
    str | None,
    typer.Option(
        "--root",
        help="Where products go: a folder, file:// or s3://bucket/prefix. By default store.root of the specification.",
        envvar="GALFLOW_ROOT",
        show_default=False,
    ),
]
ReadRootOption = Annotated[
    str, typer.Option("--root", help="The store: a folder, file:// or s3://bucket/prefix.", envvar="GALFLOW_ROOT")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SpecArgument = Annotated[
    Path, typer.Argument(metavar="SPEC.yaml", help="The specification, a YAML file.", show_default=False)
]
DEFAULT_ROOT = "galflow-out"


@app.command()
def demo(root: RootOption = None) -> None:
    """Run the main job on the Hubble deep field: about 1,100 real galaxies, in some minutes on two cores."""
    from galflow.spec import load_spec

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
    from galflow.spec import load_spec

    _run(load_spec(specification, root), until)


def _run(spec: RunSpec, until: Stage) -> None:
    from galflow.plan import check_run, plan_run
    from galflow.receipts import read_manifest
    from galflow.store import Store

    out, progress = terminal(), terminal(errors=True)
    check_run(spec)
    store = Store.open(spec.store.root, spec.store.endpoint_url)
    plan = plan_run(spec, store)
    manifest = read_manifest(store, plan.run) if plan.done else None
    if manifest is not None:
        out.print(f"Nothing to do: run {plan.run} is published, and all its products are up to date.")
        show_run(out, manifest)
        return
    store.require_writable()
    progress.print(f"{plan.run}: {todo_line(plan)}. Starting Prefect and the workers ...")
    environment.prepare()
    from flows.survey_run import FLOWS

    try:
        outcome = FLOWS[until](spec)
    except KeyboardInterrupt:
        progress.print("Interrupted. The same command again does what is still missing.")
        raise typer.Exit(130) from None
    if outcome.manifest is not None:
        show_run(out, outcome.manifest)
    elif not outcome.failures:
        out.print(f"{until} is done. The same command without --until does the rest.")
    if outcome.failures:
        for failure in outcome.failures:
            progress.print(f"failed: {failure.stage} {failure.name}: {failure.reason}", style="red")
        progress.print(f"{len(outcome.failures)} failed. The same command again does what is still missing.")
        raise typer.Exit(1)


@app.command()
def plan(specification: SpecArgument, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Say what a run would do, and why."""
    from galflow.plan import check_run, plan_run
    from galflow.spec import load_spec
    from galflow.store import Store

    spec = load_spec(specification, root)
    check_run(spec)
    store = Store.open(spec.store.root, spec.store.endpoint_url)
    planned = plan_run(spec, store)
    if as_json:
        _print_json(planned.to_json())
    else:
        show_plan(terminal(), planned, store.root)


@app.command()
def runs(root: ReadRootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """List the runs that have been published."""
    from galflow.receipts import list_runs, read_manifest
    from galflow.store import Store

    store = Store.open(root)
    manifests = [m for name in list_runs(store) if (m := read_manifest(store, name)) is not None]
    if as_json:
        _print_json([m.model_dump(mode="json") for m in manifests])
    elif manifests:
        show_runs(terminal(), manifests)
    else:
        terminal().print(f"No run has been published at {store.root}. Another store: --root.", soft_wrap=True)


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run id, as `galflow runs` lists it.")],
    root: ReadRootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Show what a run found, and where its models, its catalogue and its report are."""
    from galflow.receipts import list_runs, read_manifest
    from galflow.store import Store

    store = Store.open(root)
    known = list_runs(store)
    manifest = read_manifest(store, run_id) if run_id in known else None
    if manifest is None:
        published = ", ".join(known) or "none"
        raise SpecError(f"no run {run_id!r} has been published at {store.root}; published: {published}")
    if as_json:
        _print_json(manifest.model_dump(mode="json"))
    else:
        show_run(terminal(), manifest, models=True)


@app.command()
def verify(root: ReadRootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """Read every product again and compare it with its receipt's checksum."""
    from galflow.receipts import verify_store
    from galflow.store import Store

    out, store = terminal(), Store.open(root)
    products, faults = verify_store(store)
    if as_json:
        _print_json({"products": products, "faults": faults})
    else:
        for fault in faults:
            out.print(f"fault: {fault}", style="red", soft_wrap=True)
        verdict = f"{len(faults)} fault(s)" if faults else "all as their receipts say"
        if not products and not faults:
            verdict = "nothing to verify; is --root right?"
        out.print(f"{products:,} product{'' if products == 1 else 's'} at {store.root}: {verdict}", soft_wrap=True)
    if faults:
        raise typer.Exit(1)


@app.command()
def gc(
    root: ReadRootOption = DEFAULT_ROOT,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is listed; without it nothing is.")] = False,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", help="Leave alone what changed since: a run under way needs it.", min=0)
    ] = 7.0,
    as_json: JsonOption = False,
) -> None:
    """List what no published run refers to, and with --delete remove it."""
    from datetime import timedelta

    from galflow.garbage import find_garbage, remove
    from galflow.store import Store

    store = Store.open(root)
    found = find_garbage(store, grace=timedelta(days=older_than))
    if delete:
        remove(store, found)
    if as_json:
        products = [{"product": g.product, "bytes": g.size, "modified": g.modified.isoformat()} for g in found]
        _print_json({"products": products, "deleted": delete})
    else:
        show_garbage(terminal(), found, store.root, deleted=delete, days=older_than)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List every model: its source, its scores and what it can do (Grathwohl+18, table 1)."""
    from galflow.models.base import abilities, all_models

    found = all_models()
    able = {name: abilities(model) for name, model in found.items()}
    if as_json:
        _print_json({n: {"source": m.source, "scores": dict(m.scores), "abilities": able[n]} for n, m in found.items()})
    else:
        show_models(terminal(), found, able)


@app.command()
def sample(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_URI", help="A trained model's folder, as `galflow show RUN` lists it.")
    ],
    n: Annotated[int, typer.Option("-n", help="How many.", min=1)] = 16,
    output: Annotated[Path, typer.Option("-o", help="A .png, .fits or .zarr file.")] = Path("samples.png"),
    seed: Annotated[int, typer.Option(help="Seed of the draws.", min=0)] = 0,
) -> None:
    """Draw galaxies from a trained model."""
    from galflow.report.samples import write_samples

    terminal(errors=True).print("Drawing ... a model that draws pixel by pixel takes a minute or more.")
    drawn = write_samples(model, n, output, seed)
    terminal().print(f"{drawn}: {output}", soft_wrap=True)


@app.command()
def schema() -> None:
    """Print the JSON schema of a specification, with the options of every survey and model."""
    from galflow.form import run_schema

    _print_json(run_schema())


@app.command()
def serve(
    root: RootOption = None,
    port: Annotated[int, typer.Option(help="Port of the UI on this machine.", min=1024, max=65535)] = 4200,
) -> None:
    """Start the Prefect server with its UI on this machine, and run what is asked for there, until Ctrl-C."""
    environment.prepare()
    from flows.serving import serve_here

    serve_here(port, root)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def main() -> None:
    """Entry point: galflow's own errors become one line and an exit code; any other is a bug and keeps its trace."""
    environment.log_to_terminal()
    try:
        app(standalone_mode=True)
    except GalflowError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, SpecError) else 1)


if __name__ == "__main__":
    main()
