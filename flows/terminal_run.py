"""What a run found, in a terminal: counts, discoveries, planted anomalies, samples, and what changed since the last."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from flows.terminal import minute, show_left_out, show_partial, show_table, table_of, uri_line
from galflow.report.left_out_words import selection_tables
from galflow.report.reading import reading_words
from galflow.report.sample_words import begun, objects_of
from galflow.report.verdicts import ALIKE, left_out_sentences, parts_failed, verdict

if TYPE_CHECKING:
    from galflow.storage.receipts import RunManifest


def show_run(out: Console, manifest: RunManifest, *, models: bool = False) -> None:
    """What a run found, in a screenful; its last two lines say where catalogue and report are."""
    found = manifest.summary
    out.print(f"\nRun {manifest.run}", style="bold", end="")
    out.print(f"   finished {minute(manifest.finished)} UTC")
    _show_counts(out, found)
    for selection in selection_tables(found):
        show_left_out(out, f"Selection of {selection.name}: {selection.sentence}", selection.rows)
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
    if found.get("reading"):
        out.print(f"{reading_words(found['reading'])}.")
    if "ranked_by" in found:
        out.print(found["ranked_by"]["why"], soft_wrap=True)
    for sentence in left_out_sentences(found["left_out"]) if "left_out" in found else ():
        out.print(sentence, soft_wrap=True)
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
    if found.get("tail") and found["tail"]["discoveries"] != found["discoveries"]:
        out.print(
            f"By a tail fitted to the held-out objects, an extrapolation, {found['tail']['discoveries']:,} stand out "
            f"at {level:.0%} (column anomaly_tail_q)."
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
        begun(f"{objects_of(sample)} are {words} the sky's under {model}:"),
        f"P({sample} bits/dim > sky) = {_interval(auroc)}; 0.5 = alike",
    )


def ratio_sentence(sample: str, column: str, auroc: Mapping[str, float]) -> tuple[str, str]:
    """Whether a sample is more or less like the survey by a likelihood ratio; the verdict and its numbers."""
    less, more, alike = "LESS like the survey than", "MORE like the survey than", "about as much like the survey as"
    words = verdict(auroc["low"], auroc["high"], above=more, below=less, alike=alike)
    verdict_words = begun(f"{objects_of(sample)} are {words} the sky's by {column}:")
    return verdict_words, f"P({sample} > sky) = {_interval(auroc)}"


def _interval(statistic: Mapping[str, float]) -> str:
    return f"{statistic['value']:.2f} [{statistic['low']:.2f}, {statistic['high']:.2f}]"
