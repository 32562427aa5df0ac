"""The report of one run as a folder of pages: what ran, what it found, and the pictures that show why.

The folder needs nothing else: no network and no font; a content security policy in each page forbids both, and any
script but the folder's own, without which the pages still say all that is no choice of the reader's. This file scores
nothing and decides nothing; it shows what the catalogue, the receipts and the models' cards say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import yaml

from galflow.models.base import Reconstructs
from galflow.report.cards import unexplained
from galflow.report.compared_galaxies import shown_comparison
from galflow.report.curves import curve_plots, panels_of
from galflow.report.distributions import likelihood_plot
from galflow.report.evidence import evidence_table
from galflow.report.findings import REAL
from galflow.report.galleries import galleries
from galflow.report.headline import headline
from galflow.report.inputs import CUTOUTS, MODELS, RESIDUALS, ReportInputs, StageRecord
from galflow.report.left_out_words import selection_tables
from galflow.report.likelihoods import (
    StatedLikelihood,
    compared_rows,
    headlines,
    inconsistent_rows,
    likelihood_edges,
    sentences,
    stated_likelihoods,
)
from galflow.report.matched import order_rows, shown_pairs, shown_samples
from galflow.report.mock_observations import shown_observations
from galflow.report.objects import NORMAL_SIGMA, Selection, select_objects
from galflow.report.pictures import SVG, Display, data_uri
from galflow.report.planted import TOP_FRACTION, heat_rows
from galflow.report.plots import score_plot, svg, tail_figure
from galflow.report.population import population
from galflow.report.sample_words import objects_of
from galflow.report.site.data_files import data_file
from galflow.report.site.explained import StoredResiduals
from galflow.report.site.gallery import Gallery, read_gallery
from galflow.report.site.latents import LatentMap
from galflow.report.site.overview import overview
from galflow.report.site.pages import page_files
from galflow.report.site.schema import schema_of
from galflow.report.site.sheets import SheetJob, sheet_jobs
from galflow.report.site.tiles import TileTable, tile_page, tile_table
from galflow.report.stretch_words import stretch_sentences
from galflow.report.tables import FAILED, count_text, flag_rows, model_rows, outcome_rows, reasons, stage_rows, troubles
from galflow.report.training_signs import training_signs
from galflow.report.triage import highest_ranked, judged_triage
from galflow.report.trimmed import Trimmed
from galflow.report.verdicts import left_out_sentences
from galflow.scores.score import columns_of
from galflow.training.trained_model import TrainedModel

__all__ = ["ChosenReport", "ReportInputs", "StageRecord", "choose_report", "report_files"]

_HISTOGRAM_COLUMNS_SHOWN = 24
_LEVELS_SHOWN = 8


@dataclass(frozen=True, eq=False)
class ChosenReport:
    """What a report is to show, before any picture of its gallery is drawn."""

    inputs: ReportInputs
    stated: Sequence[StatedLikelihood]
    left_out: Trimmed
    selection: Selection
    pictures: Mapping[str, Any]
    """The sections with cards, and how to read them, for the templates."""
    display: Display
    gallery: Gallery
    tiles: TileTable

    @property
    def jobs(self) -> list[SheetJob]:
        """The sheets of the gallery's pictures, in the order of rank."""
        sets = {str(r.details.get("tile", "")): r.product for r in self.inputs.cutouts}
        return sheet_jobs(self.gallery, sets, self.display, self.inputs.spec.cutouts.size, self.stored)

    @property
    def stored(self) -> StoredResiduals:
        """The residual pictures that the run stored."""
        return StoredResiduals.of(self.inputs.stages.get(RESIDUALS, StageRecord()))

    @property
    def explaining(self) -> dict[str, TrainedModel]:
        """The models whose reconstructions the first sheet has."""
        models = self.inputs.survey_models.items()
        return {name: model for name, model in models if isinstance(model.module, Reconstructs)}

    @property
    def encoder(self) -> str | None:
        """The model in whose latents objects are put on a map."""
        return self.inputs.encoder


def choose_report(inputs: ReportInputs) -> ChosenReport:
    """Go through the catalogue for what the report shows, and draw the cards of its few named objects."""
    stated = stated_likelihoods(inputs.survey_models, inputs.comparison, inputs.spec.ratios)
    trained = {name: model for name, model in inputs.survey_models.items() if name not in inputs.reused}
    left_out = Trimmed.of(trained, inputs.findings["left_out"])
    selection = select_objects(
        inputs.store,
        inputs.catalog,
        inputs.calibrated,
        count=inputs.spec.output.top,
        seed=inputs.spec.seed,
        planted=inputs.spec.cutouts.plant is not None,
        likelihood_edges=likelihood_edges(stated),
        left_out=left_out,
    )
    pictures, display = galleries(inputs, selection, left_out)
    gallery = read_gallery(inputs.store, inputs.catalog, inputs.spec.output.gallery)
    tiles = tile_table(inputs.store, inputs.catalog, inputs.stages[CUTOUTS])
    gallery = gallery.with_magnitude(display.bands, tiles.unit)
    return ChosenReport(inputs, stated, left_out, selection, pictures, display, gallery, tiles)


def report_files(
    chosen: ChosenReport, ran: str, latents: LatentMap | None = None, lost: Collection[int] = ()
) -> Iterator[tuple[str, bytes]]:
    """(path below the report's folder, content) of all its files but the sheets, ``lost`` of which are not there.

    ``ran``: when, by whom and where it was made, as a sentence. ``latents``: None where no model encodes.
    The same inputs give the same bytes.
    """
    inputs, selection, gallery = chosen.inputs, chosen.selection, chosen.gallery
    context = (
        _what_ran(inputs) | dict(chosen.pictures) | _planted(inputs, selection) | _distributions(inputs, selection)
    )
    context |= _comparison(inputs, selection, chosen.stated) | population(inputs)
    context |= _curves(inputs, unexplained(chosen.pictures["galleries"]["normal"].cards))
    context |= {"inputs": inputs, "survey": inputs.spec.survey, "normal_sigma": NORMAL_SIGMA}
    context |= {"mock_observations": shown_observations(inputs), "compared_galaxies": shown_comparison(inputs)}
    context |= {"evidence": evidence_table(inputs.evidence), "levels": _levels(inputs)}
    tail = inputs.findings["tail"]
    context["tail_plot"] = None if tail is None else data_uri(svg(tail_figure(tail)), SVG)
    context |= {"highest": highest_ranked(selection.highest), "triage": judged_triage(inputs.evidence)}
    context["left_out"] = left_out_sentences(inputs.findings["left_out"])
    context["tiles_of_numbers"] = _numbers(inputs)
    context |= overview(inputs, chosen.pictures["galleries"]["top"], context["headlines"], chosen.tiles, gallery)
    context |= {"ran": ran, "latents": latents, "latent_figure": latents and data_uri(svg(latents.figure()), SVG)}
    context |= tile_page(chosen.tiles)
    yield from gallery.files()
    if latents is not None:
        yield "data/latents.js", data_file("latents", latents.content())
    yield "data/tiles.js", data_file("tiles", chosen.tiles.content())
    schema = schema_of(inputs, gallery, chosen.tiles, chosen.display, latents, lost, chosen.stored)
    yield "data/schema.js", data_file("schema", schema)
    yield from page_files(context)


def _numbers(inputs: ReportInputs) -> list[tuple[str, str, str]]:
    """The few numbers that matter: (number, what it is, a remark)."""
    found = inputs.findings
    planted, tiles = found["planted"], len(inputs.cutouts)
    remark = f"in {tiles} tile{'s' * (tiles != 1)}"
    if (second := found["rows"] - found["objects"]) > 0:
        remark += f", {count_text(second)} of them seen once more"
    remark += f"; and {count_text(planted)} planted copies" if planted else ""
    scored = found["scored"]
    rate = f"at a false discovery rate of {found['false_discovery_rate']:.0%}"
    numbers = [
        (count_text(found["objects"]), "objects", remark),
        (f"{100 * scored / max(1, found['objects']):.1f}%", "of all objects scored", f"{count_text(scored)} objects"),
        (
            count_text(found["discoveries"]),
            "anomalous objects",
            f"{rate}, of {count_text(found['judged'])} that no model has learnt from"
            if found["resolvable"]
            else f"{rate}: not resolvable, see below",
        ),
    ]
    recall = found.get("recall_in_top_5_percent", {}).get(inputs.primary)
    if recall:
        interval = f"{recall['low']:.0%} to {recall['high']:.0%}, by what ranks"
        numbers.append((f"{recall['value']:.0%}", "of planted anomalies in the top 5%", interval))
    return numbers


def _what_ran(inputs: ReportInputs) -> dict[str, Any]:
    listed, more = reasons(inputs.stages)
    # Without where it is stored: a store that is moved speaks of itself.
    plain = inputs.spec.model_dump(mode="json", exclude={"store"})
    specification = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    failed_models = [name for name, _ in inputs.stages[MODELS].failures]
    return {
        "stages": stage_rows(inputs.stages),
        "reasons": listed,
        "selections": selection_tables(inputs.findings),
        "more_reasons": more,
        "failed": FAILED,
        "troubles": troubles(inputs.stages),
        "failed_models": failed_models,
        "resolution": inputs.findings["resolution"],
        "outcomes": outcome_rows(inputs.summary),
        "flags": flag_rows(inputs.summary),
        "specification": specification,
        "versions": sorted(inputs.code_versions.items()),
        "model_table": model_rows(inputs.models, inputs.reused, inputs.samples_learnt),
        "stretches": stretch_sentences(inputs.models),
    }


def _levels(inputs: ReportInputs) -> list[tuple[str, float]]:
    """Tiles whose scores lie apart from the others', the farthest first, with how far."""
    found: dict[str, float] = inputs.findings["tile_levels"]["by_tile"]
    return sorted(found.items(), key=lambda pair: -abs(pair[1]))[:_LEVELS_SHOWN]


def _planted(inputs: ReportInputs, selection: Selection) -> dict[str, Any]:
    """The table of kinds and scores: scores grouped by model, and all kinds together at the end."""
    known = [c for c in columns_of(inputs.survey_models) if any(k.by_score.get(c.name) for k in selection.recall)]
    groups = [(model, [c.score for c in of]) for model, of in groupby(known, key=lambda c: c.model)]
    overall = inputs.findings.get("recall_in_top_5_percent", {})
    return {
        "heat_groups": groups,
        "heat_rows": heat_rows(selection.recall, [c.name for c in known]),
        "recall_overall": [overall.get(c.name) for c in known],
        "top_percent": 100 * TOP_FRACTION,
    }


def _distributions(inputs: ReportInputs, selection: Selection) -> dict[str, Any]:
    """How each score is distributed, what it measures, and what it finds inconsistent."""
    summary = inputs.summary
    scores = [s for s in inputs.calibrated if s in summary.sigma][:_HISTOGRAM_COLUMNS_SHOWN]
    groups, rows = inconsistent_rows(inputs.findings, [s for s in inputs.calibrated if s != inputs.primary])
    models = inputs.survey_models
    named = {c.name: models[c.model].card.scores.get(c.score, "") for c in columns_of(models)}
    return {
        "score_plots": [
            (score, data_uri(score_plot(score, summary.sigma[score], selection.planted_sigma[score]), SVG))
            for score in scores
        ],
        "score_meanings": named,
        "inconsistent_groups": groups,
        "inconsistent_rows": rows,
        "inconsistent_level": inputs.findings["inconsistent_level"],
        "real_group": REAL,
    }


def _comparison(inputs: ReportInputs, selection: Selection, stated: Sequence[StatedLikelihood]) -> dict[str, Any]:
    """Likelihoods, and the samples against the sky."""
    plots = []
    for one in stated:
        run = selection.likelihoods[one.column]
        plot = likelihood_plot(one.label, one.reference, run, one.samples, one.linear_width)
        plots.append((one.label, data_uri(plot, SVG)))
    ratios = inputs.spec.ratios
    matched = shown_samples(inputs.comparison, ratios)
    controls = inputs.spec.control_samples
    result = headline(inputs.comparison, ratios, inputs.leading, controls)
    said = sentences(inputs.comparison, inputs.survey_models, inputs.leading, ratios)
    return {
        "likelihood_plots": plots,
        "compared": compared_rows(inputs.comparison, inputs.survey_models, ratios),
        "sentences": said,
        "headlines": [result] * (result is not None)
        + headlines([one for one in said if one.sample not in controls])
        + [one.sentence for one in matched if one.name not in controls],
        "matched_samples": matched,
        "order": order_rows(inputs.comparison, ratios),
        "paired_samples": shown_pairs(inputs.comparison, ratios),
        "ratios": ratios,
        "controls": [(name, objects_of(name)) for name in sorted(controls)],
    }


def _curves(inputs: ReportInputs, left: Mapping[str, float]) -> dict[str, Any]:
    """Learning curves of all models, and what to look at; ``left``: the share that reconstructions do not explain."""
    with_curves = [(name, model.card.curves) for name, model in inputs.models.items() if model.card.curves]
    # The widest figures first, so that narrow ones can share a row.
    with_curves.sort(key=lambda pair: -panels_of(pair[1]))
    curves = [(name, [data_uri(plot, SVG) for plot in curve_plots(points)]) for name, points in with_curves]
    signs = [(name, sign) for name, model in inputs.models.items() for sign in training_signs(model, left.get(name))]
    return {"curves": curves, "training_signs": signs}
