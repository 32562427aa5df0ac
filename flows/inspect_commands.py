"""The commands that look: plan, runs, show, diff, lineage, verify, gc, models, sample, schema.

None of them starts Prefect. Heavy libraries are imported inside the command that needs them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import show_models, show_plan, show_remarks, show_runs, terminal
from flows.terminal_run import show_run
from flows.terminal_store import show_difference, show_garbage, show_lineage
from galflow.errors import SpecError

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


def plan(specification: SpecArgument, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Say what a run would do, and why."""
    from galflow.runs.check import check_run
    from galflow.runs.plan import plan_run
    from galflow.spec.run import load_spec
    from galflow.storage.store import Store

    spec = load_spec(specification, root)
    remarks = check_run(spec)
    store = Store.of(spec.store)
    planned = plan_run(spec, store)
    show_remarks(terminal(errors=True), remarks)
    if as_json:
        _print_json(planned.to_json() | {"remarks": remarks})
    else:
        show_plan(terminal(), planned, store.root)


def runs(root: ReadRootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """List the runs that have been published."""
    from galflow.storage.receipts import read_manifests
    from galflow.storage.store import Store

    store = Store.open(root)
    manifests = [manifest.located(store) for manifest in read_manifests(store)]
    if as_json:
        _print_json([m.model_dump(mode="json") for m in manifests])
    elif manifests:
        show_runs(terminal(), manifests)
    else:
        terminal().print(f"No run has been published at {store.root}. Another store: --root.", soft_wrap=True)


def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run id, as `galflow runs` lists it.")],
    root: ReadRootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Show what a run found, and where its models, its catalogue and its report are."""
    from galflow.storage.receipts import list_runs, read_manifest
    from galflow.storage.store import Store

    store = Store.open(root)
    known = list_runs(store)
    manifest = read_manifest(store, run_id) if run_id in known else None
    if manifest is None:
        published = ", ".join(known) or "none"
        raise SpecError(f"no run {run_id!r} has been published at {store.root}; published: {published}")
    located = manifest.located(store)
    if as_json:
        _print_json(located.model_dump(mode="json"))
    else:
        show_run(terminal(), located, models=True)


def verify(
    root: ReadRootOption = DEFAULT_ROOT,
    discard: Annotated[
        bool, typer.Option("--discard", help="Let the next run make what is damaged anew (not what is published).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every product again and compare it with its receipt's checksum."""
    from galflow.storage.receipts import discard_damaged, verify_store
    from galflow.storage.store import Store

    out, store = terminal(), Store.open(root)
    products, faults, damaged = verify_store(store)
    discarded = discard_damaged(store, damaged) if discard else []
    if as_json:
        _print_json({"products": products, "faults": faults, "discarded": discarded})
    else:
        for fault in faults:
            out.print(f"fault: {fault}", style="red", soft_wrap=True)
        verdict = f"{len(faults)} fault(s)" if faults else "all as their receipts say"
        if not products and not faults:
            verdict = "nothing to verify; is --root right?"
        out.print(f"{products:,} product{'' if products == 1 else 's'} at {store.root}: {verdict}", soft_wrap=True)
        if discarded:
            out.print(f"discarded {len(discarded)} of them: the next run makes them anew", soft_wrap=True)
        elif damaged and not discard:
            out.print("`galflow verify --discard` lets the next run make what is damaged anew", soft_wrap=True)
    if faults:
        raise typer.Exit(1)


def gc(
    root: ReadRootOption = DEFAULT_ROOT,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is listed; without it nothing is.")] = False,
    older_than: Annotated[
        float,
        typer.Option(
            metavar="DAYS",
            help="Leave alone what was written or used since. What a run under way may use stays in any case.",
            min=0,
            max=36500,
        ),
    ] = 7.0,
    as_json: JsonOption = False,
) -> None:
    """List what no published run refers to, and with --delete remove it."""
    from datetime import UTC, datetime, timedelta

    from galflow.storage.garbage import collect, find_garbage, runs_under_way
    from galflow.storage.leases import read_leases
    from galflow.storage.store import Store

    store, grace = Store.open(root), timedelta(days=older_than)
    if delete:
        found, running = collect(store, grace)
    else:
        leases = read_leases(store)
        found = find_garbage(store, grace=grace, leases=leases)
        running = runs_under_way(leases, datetime.now(UTC))
    if as_json:
        products = [{"product": g.product, "bytes": g.size, "modified": g.modified.isoformat()} for g in found]
        _print_json({"products": products, "deleted": delete, "kept_for": running})
    else:
        show_garbage(terminal(), found, store.root, running, deleted=delete, days=older_than)


def models(as_json: JsonOption = False) -> None:
    """List every model: its source, its scores and what it can do (Grathwohl+18, table 1)."""
    from galflow.models.base import abilities, all_models
    from galflow.training.corrected_likelihood import scores_of

    found = all_models()
    able = {name: abilities(model) for name, model in found.items()}
    if as_json:
        _print_json({n: {"source": m.source, "scores": scores_of(m), "abilities": able[n]} for n, m in found.items()})
    else:
        show_models(terminal(), found, able)


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


def schema(
    part: Annotated[
        str | None,
        typer.Argument(metavar="[PART]", help="A part as training, a survey kind, or a model.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain a specification: a page a part; without PART the list of parts, or in a file the JSON schema of all."""
    from galflow.models.base import all_models
    from galflow.spec.form import run_schema
    from galflow.spec.pages import overview, part_help, readable
    from galflow.surveys.resolve import survey_options

    whole = run_schema(survey_options(), all_models())
    if part is not None:
        _print_json(asdict(part_help(whole, part))) if as_json else sys.stdout.write(readable(whole, part))
    elif as_json or not sys.stdout.isatty():
        _print_json(whole)
    else:
        sys.stdout.write(overview(whole))


def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="The earlier run's id.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The later run's id.")],
    root: ReadRootOption = DEFAULT_ROOT,
    sigma: Annotated[float, typer.Option(help="A score changed if it did by more than so many sigmas.", min=0)] = 3.0,
    arcsec: Annotated[float, typer.Option(help="An object moved if it did by more than so much.", min=0)] = 0.1,
    output: Annotated[Path | None, typer.Option("-o", help="Write all changes to this Parquet file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs' catalogues: objects added, removed, moved, scored otherwise."""
    import pyarrow.parquet as pq

    from galflow.catalog.difference import compare_runs
    from galflow.storage.store import Store

    found = compare_runs(Store.open(root), before, after, changed_sigma=sigma, moved_arcsec=arcsec)
    if output is not None:
        pq.write_table(found.table, output)
    if as_json:
        _print_json(found.to_json())
    else:
        show_difference(terminal(), found)


def lineage(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run id, as `galflow runs` lists it.")],
    wanted: Annotated[str, typer.Argument(metavar="OBJECT", help="An id of its catalogue, or your own name of it.")],
    root: ReadRootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Say what a catalogue row was made of: tile files and checksums, cutouts, models, code."""
    from galflow.catalog import lineage as rows
    from galflow.storage.store import Store

    found = rows.lineage(Store.open(root), run_id, wanted)
    if as_json:
        _print_json([row.to_json() for row in found])
    else:
        show_lineage(terminal(), found)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def add_to(app: typer.Typer) -> None:
    """Give the command line these commands."""
    for command in (plan, runs, show, diff, verify, gc, models, sample, schema):
        app.command()(command)
    # A negative id is no option.
    app.command(context_settings={"ignore_unknown_options": True})(lineage)
