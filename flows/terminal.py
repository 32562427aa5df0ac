"""How galflow speaks in a terminal: sentences that say what a number means, and tables that fit 80 columns.

On a terminal text wraps at words; in a pipe or a file every line stays whole. This file computes nothing: it shows what
a manifest or a plan says.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from galflow.report.verdicts import ALIKE, parts_failed, verdict

if TYPE_CHECKING:
    from galflow.models.base import GenerativeModel
    from galflow.runs.plan import RunPlan, Unit
    from galflow.storage.receipts import RunManifest

_WHOLE_LINES = 100_000
"""Columns of what is no terminal."""
_REASONS_SHOWN = 3
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
    found |= {"train": planned.models, "score": planned.scores}
    found |= {f"score {name}": units for name, units in planned.sample_scores.items()}
    return found | ({"compare": [planned.comparison]} if planned.comparison else {})


def show_plan(out: Console, planned: RunPlan, root: str) -> None:
    """A row a stage: products that are done and to do, and why; then what the run still lacks."""
    table = table_of("stage", "done", "to do", "why", right=("done", "to do"))
    for stage, units in stages(planned).items():
        todo = [u for u in units if not u.done]
        table.add_row(stage, str(len(units) - len(todo)), str(len(todo)), _reasons(u.why for u in todo))
    show_table(out, table)
    out.print(f"\nrun {planned.run} at {root}", soft_wrap=True)
    if planned.done:
        out.print(f"Nothing to do: it is published. `galflow show {planned.run}` says what it found.")
    else:
        out.print(f"{todo_line(planned)}, then catalogue, report and manifest.")


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
            m.run, _minute(m.finished), f"{found['objects']:,}", f"{found['scored']:,}", ", ".join(m.models)
        )  # fmt: skip
    show_table(out, table)


def _minute(finished: str) -> str:
    """2026-11-22T15:52:14+00:00 -> 2026-11-22 15:52."""
    return finished[:16].replace("T", " ")


def show_run(out: Console, manifest: RunManifest, *, models: bool = False) -> None:
    """What a run found, in a screenful; its last two lines say where catalogue and report are."""
    found = manifest.summary
    out.print(f"\nRun {manifest.run}", style="bold", end="")
    out.print(f"   finished {_minute(manifest.finished)} UTC")
    _show_counts(out, found)
    if found.get("recall_in_top_5_percent"):
        _show_recall(out, found["recall_in_top_5_percent"])
    for name, columns in found.get("samples", {}).items():
        _show_sample(out, name, columns)
    if found.get("difference"):
        _show_since(out, found["difference"])
    failures = found.get("failures", [])
    if failures:
        out.print(f"\nIncomplete: {parts_failed(len(failures))} and are not in it.", style="yellow")
        for failure in failures:
            out.print(f"  {failure}")
    show_partial(out, found.get("partial", []))
    if models:
        out.print("\nIts models, for `galflow sample`:")
        for name, uri in manifest.models.items():
            uri_line(out, f"  {name}", uri, width=max(map(len, manifest.models)) + 2)
    out.print()
    uri_line(out, "catalogue", manifest.catalog)
    if manifest.report:
        uri_line(out, "report", manifest.report)


def _show_since(out: Console, difference: Mapping[str, Any]) -> None:
    objects, tiles = difference["objects"], difference["tiles"]
    out.print(
        f"\nSince run {difference['before']}: {objects['added']:,} objects added, {objects['removed']:,} removed, "
        f"{objects['moved']:,} moved, {objects['rescored']:,} scored otherwise by more than "
        f"{difference['changed_sigma']:g} sigma; {tiles['unchanged']:,} tiles unchanged. `galflow diff` says more."
    )


def _show_counts(out: Console, found: Mapping[str, Any]) -> None:
    planted = f", and {found['planted']:,} copies of them with a planted anomaly" if found["planted"] else ""
    missing = found["objects"] - found["scored"]
    scored = "all scored" if not missing else f"{missing:,} not scored (column outcome says why)"
    second = found["rows"] - found["objects"]
    twice = f" in {found['rows']:,} rows (column is_primary marks one for each)" if second else ""
    out.print(f"{found['objects']:,} objects{twice}{planted}; {scored}.")
    if "ranked_by" in found:
        out.print(found["ranked_by"]["why"], soft_wrap=True)
    level = found["false_discovery_rate"]
    stands = f"at a false discovery rate of {level:.0%} (column anomaly_q <= {level:g})"
    if found["discoveries"]:
        judged = f", of the {found['judged']:,} that no model has learnt from" if "judged" in found else ""
        out.print(f"{found['discoveries']:,} objects stand out {stands}{judged}.")
        if "false_share_bound" in found:
            most = math.floor(found["false_share_bound"] * found["discoveries"])
            out.print(f"With 95% confidence at most {most:,} of them are normal (column anomaly_fdp).")
    elif found.get("resolvable", True):
        out.print(f"No object stands out {stands}; the ranking by score holds all the same.")
    else:
        out.print(
            f"No object stands out {stands}, nor could it: with {found['reference_objects']:,} held-out objects "
            f"{found['objects_needed']:,} would have to outscore them all, and {found['objects_beyond_reference']:,} "
            "do. The ranking by score holds all the same."
        )


def _show_recall(out: Console, recall: Mapping[str, Mapping[str, Any]]) -> None:
    out.print("\nPlanted anomalies found in the top 5% of each score (5% would be chance):")
    table = table_of("score", "found", "recall", "95% interval", right=("found", "recall"))
    for column, r in sorted(recall.items(), key=lambda item: -item[1]["value"]):
        table.add_row(
            column, f"{round(r['value'] * r['n'])} of {r['n']}", f"{r['value']:.0%}",
            f"{r['low']:.0%} to {r['high']:.0%}",
        )  # fmt: skip
    show_table(out, table, indent=2)


# --- a sample against the sky


def _show_sample(out: Console, name: str, columns: Mapping[str, Mapping[str, Any]]) -> None:
    """How far a sample is from the sky: the likelihoods in a sentence each, then a row a score, the farthest first."""
    if not columns:
        out.print(f"\n{name} against the sky: too few scored objects on one side to compare; the report says more.")
        return
    first = next(iter(columns.values()))
    out.print(f"\n{name} against the sky: {first['n_b']:,} objects against {first['n_a']:,} held-out real ones")
    models = [c.removeprefix("bpd_") for c in columns if is_likelihood(c, columns)]
    farthest = sorted(columns, key=lambda c: -abs(columns[c]["auroc"]["value"] - ALIKE))
    ratios = [c for c in columns if any(c.startswith(f"llr_{model}_") for model in models)]
    said = [likelihood_sentence(name, model, columns[f"bpd_{model}"]["auroc"]) for model in models]
    for words, numbers in said + [ratio_sentence(name, column, columns[column]["auroc"]) for column in ratios]:
        out.print(words, numbers, sep=" " if len(words) + len(numbers) < out.width else "\n  ")
    shown = {f"bpd_{model}": f"{model} bits/dim" for model in models}
    twins = {c for m in models for c in (f"loglike_{m}", f"{m}_bits_per_dim")}
    shown |= {column: column for column in farthest if column not in twins and column not in shown}
    table = table_of(
        "score", "median sky", "median sample", "P(sample > sky)", "KS", right=("median sky", "median sample")
    )
    for column, label in shown.items():
        s = columns[column]
        table.add_row(
            label, f"{s['median_a']:.4g}", f"{s['median_b']:.4g}", _interval(s["auroc"]), f"{s['ks']['value']:.2f}"
        )
    show_table(out, table, indent=2)
    out.print(
        "  P: how often a random sample galaxy exceeds a real one [95%]; 0.5 = alike\n"
        "  KS: largest gap of the cumulative distributions; 0 = alike, 1 = apart\n"
        "  more bits/dim = less probable; a larger score = more anomalous; a larger llr = more like the survey",
        style="dim",
    )


def is_likelihood(column: str, columns: Iterable[str]) -> bool:
    """Whether a column holds bits per dimension: a density has both bpd_<model> and loglike_<model>."""
    return column.startswith("bpd_") and f"loglike_{column.removeprefix('bpd_')}" in columns


def likelihood_sentence(sample: str, model: str, auroc: Mapping[str, float]) -> tuple[str, str]:
    """Whether a sample is more or less probable than the sky, as far as the interval of P(bits/dim > sky) says.

    The verdict and its numbers, which make one sentence.
    """
    less, more, alike = "LESS probable than", "MORE probable than", "about as probable as"
    words = verdict(auroc["low"], auroc["high"], above=less, below=more, alike=alike)
    return (
        f"{sample} galaxies are {words} the sky's under {model}:",
        f"P({sample} bits/dim > sky) = {_interval(auroc)}; 0.5 = alike",
    )


def ratio_sentence(sample: str, column: str, auroc: Mapping[str, float]) -> tuple[str, str]:
    """Whether a sample is more or less like the survey by a likelihood ratio; the verdict and its numbers."""
    less, more, alike = "LESS like the survey than", "MORE like the survey than", "about as much like the survey as"
    words = verdict(auroc["low"], auroc["high"], above=more, below=less, alike=alike)
    return f"{sample} galaxies are {words} the sky's by {column}:", f"P({sample} > sky) = {_interval(auroc)}"


def _interval(statistic: Mapping[str, float]) -> str:
    return f"{statistic['value']:.2f} [{statistic['low']:.2f}, {statistic['high']:.2f}]"
