"""The ``galflow`` command. Heavy libraries are imported inside the command that needs them.

Exit codes: 0 done, 1 the run (or the verification) failed, 2 what was asked for cannot be meant.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from galflow.errors import GalflowError, SpecError

if TYPE_CHECKING:
    from galflow.spec import RunSpec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Generative models of galaxy surveys: cut out, train, score, compare, publish.",
)
out = Console(soft_wrap=True, highlight=False)

RootOption = Annotated[
    str | None,
    typer.Option("--root", help="Where products go: a folder, file:// or s3://bucket/prefix.", envvar="GALFLOW_ROOT"),
]
ReadRootOption = Annotated[
    str, typer.Option("--root", help="The store: a folder, file:// or s3://bucket/prefix.", envvar="GALFLOW_ROOT")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SpecArgument = Annotated[Path, typer.Argument(help="The specification, a YAML file.", show_default=False)]
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
        str, typer.Option(help="Stop after a stage: ingest, train, score, compare; by default the whole run.")
    ] = "survey-run",
) -> None:
    """Do what a specification asks for and is not done yet."""
    from galflow.spec import load_spec

    _run(load_spec(specification, root), until)


def _run(spec: RunSpec, flow_name: str) -> None:
    from flows import environment
    from galflow.plan import check_run, plan_run
    from galflow.receipts import read_manifest
    from galflow.store import Store

    store = Store.open(spec.store.root, spec.store.endpoint_url)
    check_run(spec)
    store.require_writable()
    plan = plan_run(spec, store)
    manifest = read_manifest(store, plan.run) if plan.done else None
    if manifest is not None:
        out.print(f"Nothing to do: run {plan.run} is published, and all its products are up to date.")
        _print_summary(manifest.model_dump())
        return
    environment.prepare()
    from flows.survey_run import FLOWS

    if flow_name not in FLOWS:
        raise SpecError(f"--until {flow_name}: no such stage; expected one of {', '.join(FLOWS)}")
    outcome = FLOWS[flow_name](spec)
    for failure in outcome.failures:
        out.print(f"[red]failed[/red]: {failure.stage} {failure.name}: {failure.reason}")
    if outcome.manifest is not None:
        _print_summary(outcome.manifest.model_dump())
    if outcome.failures:
        out.print("The same command again does what is still missing.")
        raise typer.Exit(1)


@app.command()
def plan(specification: SpecArgument, root: RootOption = None, as_json: JsonOption = False) -> None:
    """Say what a run would do, and why."""
    from galflow.plan import check_run, plan_run
    from galflow.spec import load_spec
    from galflow.store import Store

    spec = load_spec(specification, root)
    check_run(spec)
    planned = plan_run(spec, Store.open(spec.store.root, spec.store.endpoint_url))
    if as_json:
        _print_json(planned.to_json())
        return
    table = Table("stage", "units", "done", "to do", "why", box=None, pad_edge=False)
    for stage in dict.fromkeys(u.stage for u in planned.units):
        units = [u for u in planned.units if u.stage == stage]
        todo = [u for u in units if not u.done]
        reasons = [u.why for u in todo]
        why = "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
        table.add_row(stage, str(len(units)), str(len(units) - len(todo)), str(len(todo)), why)
    out.print(table)
    out.print(f"run {planned.run}: " + ("published, nothing to do" if planned.done else "to be published"))


@app.command()
def runs(root: ReadRootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """List the runs that have been published."""
    from galflow.receipts import list_runs, read_manifest
    from galflow.store import Store

    store = Store.open(root)
    manifests = [m for name in list_runs(store) if (m := read_manifest(store, name)) is not None]
    if as_json:
        _print_json([m.model_dump(mode="json") for m in manifests])
        return
    if not manifests:
        out.print(f"No run has been published at {store.root}.")
        return
    table = Table("run", "finished (UTC)", "objects", "scored", "models", box=None, pad_edge=False)
    for m in sorted(manifests, key=lambda m: m.finished):
        table.add_row(m.run, m.finished, str(m.summary["objects"]), str(m.summary["scored"]), ", ".join(m.models))
    out.print(table)


@app.command()
def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run id, as `galflow runs` lists it.")],
    root: ReadRootOption = DEFAULT_ROOT,
    as_json: JsonOption = False,
) -> None:
    """Show what a run found, and where its catalogue and report are."""
    from galflow.receipts import list_runs, read_manifest
    from galflow.store import Store

    store = Store.open(root)
    manifest = read_manifest(store, run_id)
    if manifest is None:
        known = ", ".join(list_runs(store)) or "none"
        raise SpecError(f"no run {run_id!r} has been published at {store.root}; published: {known}")
    if as_json:
        _print_json(manifest.model_dump(mode="json"))
    else:
        _print_summary(manifest.model_dump())


@app.command()
def verify(root: ReadRootOption = DEFAULT_ROOT, as_json: JsonOption = False) -> None:
    """Read every product again and compare it with its receipt's checksum."""
    from galflow.receipts import verify_store
    from galflow.store import Store

    store = Store.open(root)
    products, faults = verify_store(store)
    if as_json:
        _print_json({"products": products, "faults": faults})
    else:
        for fault in faults:
            out.print(f"[red]fault[/red]: {fault}")
        verdict = f"{len(faults)} fault(s)" if faults else "all as their receipts say"
        out.print(f"{products} products at {store.root}: {verdict}")
    if faults:
        raise typer.Exit(1)


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List every model: its source, its scores and what it can do (Grathwohl+18, table 1)."""
    from galflow.models.base import abilities, all_models

    found = all_models()
    if as_json:
        _print_json(
            {n: {"source": m.source, "scores": dict(m.scores), "abilities": abilities(m)} for n, m in found.items()}
        )
        return
    names = ["trains_on_data", "one_pass_sampling", "exact_log_likelihood", "free_form_jacobian"]
    table = Table("model", "source", "scores", *[n.replace("_", " ") for n in names], box=None, pad_edge=False)
    for name, model in found.items():
        able = abilities(model)
        table.add_row(name, model.source, ", ".join(model.scores), *["yes" if able[n] else "no" for n in names])
    out.print(table)


@app.command()
def sample(
    model: Annotated[str, typer.Argument(metavar="MODEL_URI", help="A trained model's folder.")],
    n: Annotated[int, typer.Option("-n", help="How many.", min=1)] = 16,
    output: Annotated[Path, typer.Option("-o", help="A .png, .fits or .zarr file.")] = Path("samples.png"),
    seed: Annotated[int, typer.Option(help="Seed of the draws.", min=0)] = 0,
) -> None:
    """Draw galaxies from a trained model."""
    from galflow.report.samples import write_samples

    write_samples(model, n, output, seed)
    out.print(f"{n} samples of {model} in {output}")


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
    """Start the Prefect server with its UI, and a worker that runs what is asked for there, on this machine."""
    from flows import environment

    environment.prepare()
    from flows.serving import serve_here

    serve_here(port, root)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def _print_summary(manifest: dict[str, Any]) -> None:
    """What a run found, in a screenful."""
    found = manifest["summary"]
    out.print(f"\n[bold]Run {manifest['run']}[/bold]")
    planted = f", and {found['planted']} planted copies" if found["planted"] else ""
    out.print(f"{found['objects']:,} objects{planted}; {found['scored']:,} rows scored")
    level = found["false_discovery_rate"]
    out.print(f"{found['discoveries']:,} objects are anomalous at a false discovery rate of {level:g}")
    recall = found.get("recall_in_top_5_percent", {})
    if recall:
        table = Table("score", "planted anomalies in its top 5%", "95% interval", box=None, pad_edge=False)
        for column, r in recall.items():
            table.add_row(column, f"{round(r['value'] * r['n'])} of {r['n']}", f"{r['low']:.0%} to {r['high']:.0%}")
        out.print(table)
    for name, columns in found.get("samples", {}).items():
        _print_sample(name, columns)
    out.print(f"catalogue  {manifest['catalog']}")
    if manifest["report"]:
        out.print(f"report     {manifest['report']}")


def _print_sample(name: str, columns: dict[str, Any]) -> None:
    table = Table(
        f"{name} against the sky", "median sky", f"median {name}", f"P({name} > sky)", "95% interval", "KS",
        box=None, pad_edge=False,
    )  # fmt: skip
    for column, s in columns.items():
        auroc = s["auroc"]
        table.add_row(
            column, f"{s['median_a']:.4g}", f"{s['median_b']:.4g}", f"{auroc['value']:.3f}",
            f"{auroc['low']:.3f} to {auroc['high']:.3f}", f"{s['ks']['value']:.3f}",
        )  # fmt: skip
    out.print(table)


def main() -> None:
    """Entry point: galflow's own errors become one line and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app(standalone_mode=True)
    except SpecError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except GalflowError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
