"""The report of one run as one HTML file: what ran, what it found, and the pictures that show why.

The file needs nothing else: no network, no script, no font; a content security policy in it forbids all of them. This
file scores nothing and decides nothing; it shows what the catalogue, the receipts and the models' cards say.
"""

from __future__ import annotations

from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from galflow.report.galleries import galleries
from galflow.report.inputs import ReportInputs
from galflow.report.likelihoods import (
    UNITS,
    compared_rows,
    likelihood_columns,
    likelihood_edges,
    sample_values,
    sentences,
)
from galflow.report.objects import NORMAL_SIGMA, TOP_FRACTION, Selection, select_objects
from galflow.report.pictures import data_uri
from galflow.report.plots import curve_plot, likelihood_plot, score_plot
from galflow.report.tables import count_text, flag_rows, model_rows, outcome_rows, reasons, stage_rows
from galflow.scores.score import columns_of

__all__ = ["ReportInputs", "build_report"]

SVG = "image/svg+xml"
_HISTOGRAM_COLUMNS_SHOWN = 24


def build_report(inputs: ReportInputs) -> bytes:
    """The HTML of the report, UTF-8. The same inputs give the same bytes."""
    environment = Environment(
        loader=PackageLoader("galflow.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["count"] = count_text
    selection = select_objects(
        inputs.store,
        inputs.catalog,
        inputs.primary,
        inputs.calibrated,
        count=inputs.spec.output.top,
        seed=inputs.spec.seed,
        planted=inputs.spec.cutouts.plant is not None,
        likelihood_edges=likelihood_edges(inputs.models, inputs.comparison),
    )
    context = _what_ran(inputs) | galleries(inputs, selection) | _planted(inputs, selection)
    context |= _distributions(inputs, selection) | {"tiles_of_numbers": _numbers(inputs)}
    context |= {"inputs": inputs, "survey": inputs.spec.survey, "normal_sigma": NORMAL_SIGMA}
    return environment.get_template("report.html.j2").render(context).encode("utf-8")


def _numbers(inputs: ReportInputs) -> list[tuple[str, str, str]]:
    """The few numbers that matter: (number, what it is, a remark)."""
    found, flags = inputs.findings, inputs.summary.flags.by_name
    planted = flags.get("PLANTED", 0)
    objects = int(found.get("objects", inputs.summary.rows - planted))
    remark = (
        f"and {count_text(planted)} planted copies"
        if planted
        else f"in {len(inputs.cutouts)} tile{'s' * (len(inputs.cutouts) != 1)}"
    )
    scored = int(found.get("scored", inputs.summary.outcomes.by_name.get("scored", 0)))
    numbers = [
        (count_text(objects), "objects", remark),
        (f"{100 * scored / max(1, inputs.summary.rows):.1f}%", "of all rows scored", f"{count_text(scored)} rows"),
    ]
    if "discoveries" in found:
        rate = float(found.get("false_discovery_rate", 0.1))
        numbers.append(
            (count_text(found["discoveries"]), "anomalous objects", f"at a false discovery rate of {rate:.0%}")
        )
    recall = found.get("recall_in_top_5_percent", {}).get(inputs.primary)
    if recall:
        interval = f"{recall['low']:.0%} to {recall['high']:.0%}, by {inputs.primary}"
        numbers.append((f"{recall['value']:.0%}", "of planted anomalies in the top 5%", interval))
    return numbers


def _what_ran(inputs: ReportInputs) -> dict[str, Any]:
    listed, more = reasons({"ingest": inputs.cutouts, "score": inputs.scores})
    specification = yaml.safe_dump(inputs.spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return {
        "stages": stage_rows(inputs.cutouts, inputs.scores, inputs.models),
        "reasons": listed,
        "more_reasons": more,
        "failures": list(inputs.findings.get("failures", [])),
        "outcomes": outcome_rows(inputs.summary),
        "flags": flag_rows(inputs.summary),
        "specification": specification,
        "versions": sorted(inputs.code_versions.items()),
        "model_table": model_rows(inputs.models),
    }


def _planted(inputs: ReportInputs, selection: Selection) -> dict[str, Any]:
    """Recall in the top 5%: a row per kind, a column per score, and all kinds together."""
    columns = [s for s in inputs.calibrated if any(k.by_score.get(s) for k in selection.recall)]
    rows = []
    for kind in selection.recall:
        cells = []
        for score in columns:
            share = kind.by_score[score]
            cells.append(None if share is None else (round(share.value * share.n), share.n, share.value))
        rows.append((kind.kind.replace("_", " "), kind.planted, cells))
    overall = inputs.findings.get("recall_in_top_5_percent", {})
    return {
        "recall_columns": columns,
        "recall_rows": rows,
        "recall_overall": [overall.get(score) for score in columns],
        "top_percent": 100 * TOP_FRACTION,
    }


def _distributions(inputs: ReportInputs, selection: Selection) -> dict[str, Any]:
    """The plots."""
    summary = inputs.summary
    scores = [s for s in inputs.calibrated if s in summary.sigma][:_HISTOGRAM_COLUMNS_SHOWN]
    score_plots = [
        (score, data_uri(score_plot(score, summary.sigma[score], selection.planted_sigma[score]), SVG))
        for score in scores
    ]
    likelihood_plots = []
    for column in likelihood_columns(inputs.models):
        name = "log-likelihood" if column.score == "loglike" else "bits per dimension"
        reference = inputs.models[column.model].reference[column.score]
        samples = sample_values(inputs.comparison, column.name)
        label = f"{name} under {column.model} [{UNITS[column.score]}]"
        plot = likelihood_plot(label, reference, selection.likelihoods[column.name], samples)
        likelihood_plots.append((label, data_uri(plot, SVG)))
    curves = [
        (name, data_uri(curve_plot(model.card.curves), SVG))
        for name, model in inputs.models.items()
        if model.card.curves
    ]
    return {
        "score_plots": score_plots,
        "score_meanings": _meanings(inputs),
        "likelihood_plots": likelihood_plots,
        "compared": compared_rows(inputs.comparison, inputs.models),
        "sentences": sentences(inputs.comparison, inputs.models, inputs.primary),
        "curves": curves,
    }


def _meanings(inputs: ReportInputs) -> list[tuple[str, str]]:
    """What each calibrated score measures, from its model's card."""
    named = {c.name: inputs.models[c.model].card.scores.get(c.score, "") for c in columns_of(inputs.models)}
    return [(score, named[score]) for score in inputs.calibrated]
