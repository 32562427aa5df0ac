"""Every figure of a report, by name, as a matplotlib figure: for a paper or a notebook.

>>> run = galflow.open_run("galflow-out")                                # doctest: +SKIP
>>> run.figures.names                                                    # doctest: +SKIP
['sky', 'tiles', 'score_anomaly_score', ..., 'evidence', 'latents']
>>> run.figures.draw("evidence")  # a matplotlib.figure.Figure           # doctest: +SKIP
>>> run.figures.save("paper")  # all of them, as PNG and PDF             # doctest: +SKIP

Nothing is drawn, and nothing of the catalogue read, before a figure is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from matplotlib.figure import Figure

from galflow.errors import SpecError, StoreError
from galflow.report import compared_figures
from galflow.report.compared_run import ComparedRun
from galflow.report.curves import PANELS_PER_FIGURE, curve_figures, panels_of
from galflow.report.distributions import likelihood_figure
from galflow.report.flag_shares import count_flags, flag_figure
from galflow.report.groups import group_figure, group_scores
from galflow.report.heat_figures import evidence_figure, planted_figure
from galflow.report.inputs import CUTOUTS, ReportInputs
from galflow.report.likelihoods import StatedLikelihood, likelihood_edges, stated_likelihoods
from galflow.report.matched import by_weight, cells_figure
from galflow.report.mock_observations import sample_steps
from galflow.report.objects import Selection, select_objects
from galflow.report.plots import score_figure, tail_figure
from galflow.report.published import published_inputs
from galflow.report.side_by_side import SideBySide, side_by_side
from galflow.report.site.gallery import read_gallery
from galflow.report.site.latents import LATENTS_FOLDER, latent_map
from galflow.report.site.overview import on_the_sky
from galflow.report.site.tiles import TileTable, tile_table
from galflow.report.sky import sky_figure, tiles_figure
from galflow.storage.layout import as_key
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

Maker = Callable[[], Figure | None]
"""Draws a figure; None where the run turns out to have nothing for it."""


@dataclass(frozen=True, eq=False)
class RunFigures:
    """The figures of one run's report."""

    inputs: ReportInputs
    report: str | None
    """Key of the report's folder, where the latents of its gallery lie; None: there is none."""

    @classmethod
    def of_published(cls, store: Store, manifest: RunManifest) -> RunFigures:
        """Of a published run."""
        report = None if manifest.report is None else str(PurePosixPath(as_key(manifest.report)).parent)
        return cls(published_inputs(store, manifest), report)

    @property
    def names(self) -> list[str]:
        """Of all figures, in the order of the report's pages."""
        return list(self._makers)

    def draw(self, name: str) -> Figure:
        """The figure of this name; SpecError where there is none."""
        if name not in self._makers:
            raise SpecError(f"run {self.inputs.run} has no figure {name!r}; it has {', '.join(self.names)}")
        figure = self._makers[name]()
        if figure is None:
            raise SpecError(f"run {self.inputs.run} has nothing to draw in the figure {name!r}")
        return figure

    def save(self, folder: str | Path, names: Sequence[str] | None = None) -> list[Path]:
        """Write NAME.png (300 dpi) and NAME.pdf of each, by default of all that have something to draw.

        The paths; SpecError for a name that the run has not, StoreError where a file cannot be written.
        """
        written: list[Path] = []
        drawn = ((n, self._makers[n]()) for n in self.names) if names is None else ((n, self.draw(n)) for n in names)
        for name, figure in drawn:
            if figure is None:
                continue
            try:
                Path(folder).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"cannot make the folder {folder}: {error.strerror or error}") from error
            written += compared_figures.save_figure(figure, Path(folder, f"{name}.png"))
        return written

    @cached_property
    def _makers(self) -> dict[str, Maker]:
        parts = (self._of_sky, self._of_scores, self._of_training, self._of_samples, self._of_pictures)
        return dict(pair for part in parts for pair in part())

    def _of_sky(self) -> Iterator[tuple[str, Maker]]:
        yield "sky", self._sky
        yield "tiles", self._tiles

    def _of_scores(self) -> Iterator[tuple[str, Maker]]:
        inputs = self.inputs
        for score in inputs.calibrated:
            if score in inputs.summary.sigma:
                yield f"score_{score}", partial(self._score, score)
        if inputs.findings.get("tail") is not None:
            yield "tail", lambda: tail_figure(inputs.findings["tail"])
        if inputs.summary.flags.by_name:
            yield "flags", self._flags
        if inputs.spec.output.group_by is not None:
            yield f"groups_{inputs.spec.output.group_by}", self._groups
        if inputs.evidence["verdicts"]:
            yield "evidence", partial(evidence_figure, inputs.evidence)
        if inputs.spec.cutouts.plant is not None:
            yield "planted", self._planted

    def _of_training(self) -> Iterator[tuple[str, Maker]]:
        for name, model in self.inputs.models.items():
            for number in range(-(-panels_of(model.card.curves) // PANELS_PER_FIGURE)):
                end = f"_{number + 1}" if number else ""
                yield f"training_{name}{end}", partial(self._curves, name, number)
        if self.report is not None and self.inputs.encoder is not None:
            yield "latents", self._latents

    def _of_samples(self) -> Iterator[tuple[str, Maker]]:
        for one in self._stated:
            yield f"likelihood_{one.column}", partial(self._likelihood, one)
        for name in (self.inputs.comparison or {}).get("matched", {}):
            yield f"cells_{name}", partial(self._cells, name)
        for name in self.inputs.findings.get("mock_observations", {}):
            yield f"steps_{name}", partial(sample_steps, self.inputs, name)

    def _of_pictures(self) -> Iterator[tuple[str, Maker]]:
        run = ComparedRun.of_report(self.inputs)
        if run is None or not run.models:
            return
        yield "random_galaxies", lambda: compared_figures.random_figure(self._side_by_side)
        for column in run.shown_columns:
            yield f"extremes_{column}", partial(self._extremes, column)
        for model in run.reconstructing:
            yield f"residuals_{model}", partial(self._residuals, model)
        for model in run.predicting:
            yield f"predicted_{model}", partial(self._predicted, model)

    # --- what is drawn

    @cached_property
    def _stated(self) -> list[StatedLikelihood]:
        inputs = self.inputs
        return stated_likelihoods(inputs.survey_models, inputs.comparison, inputs.spec.ratios)

    @cached_property
    def _selection(self) -> Selection:
        inputs = self.inputs
        return select_objects(
            inputs.store,
            inputs.catalog,
            inputs.calibrated,
            count=1,
            seed=inputs.spec.seed,
            planted=inputs.spec.cutouts.plant is not None,
            likelihood_edges=likelihood_edges(self._stated),
        )

    @cached_property
    def _tile_table(self) -> TileTable:
        return tile_table(self.inputs.store, self.inputs.catalog, self.inputs.stages[CUTOUTS])

    @cached_property
    def _side_by_side(self) -> SideBySide:
        run = ComparedRun.of_report(self.inputs)
        assert run is not None  # else no figure of it has a name
        return side_by_side(run)

    def _sky(self) -> Figure | None:
        gallery = read_gallery(self.inputs.store, self.inputs.catalog, self.inputs.spec.output.gallery)
        return sky_figure(*on_the_sky(self._tile_table, gallery))

    def _tiles(self) -> Figure | None:
        table = self._tile_table
        return tiles_figure(
            [
                ("objects in the top 1%, %", table.on_sky(lambda line: 100 * line.top / max(1, line.ranked))),
                ("objects", table.on_sky(lambda line: line.objects)),
                (f"depth in {table.band} (mag)", table.on_sky(lambda line: line.depth_mag)),
                (f"seeing in {table.band} (arcsec)", table.on_sky(lambda line: line.seeing_arcsec)),
            ]
        )

    def _score(self, score: str) -> Figure:
        return score_figure(score, self.inputs.summary.sigma[score], self._selection.planted_sigma[score])

    def _flags(self) -> Figure | None:
        counts = count_flags(self.inputs.store, self.inputs.catalog)
        return None if counts is None else flag_figure(counts)

    def _groups(self) -> Figure | None:
        grouped = group_scores(self.inputs.store, self.inputs.catalog, str(self.inputs.spec.output.group_by))
        return group_figure(grouped) if grouped.groups else None

    def _planted(self) -> Figure | None:
        recall = self._selection.recall
        scores = [s for s in self.inputs.calibrated if any(of.percentile.get(s) is not None for of in recall)]
        return planted_figure(recall, scores) if scores else None

    def _curves(self, model: str, number: int) -> Figure:
        return curve_figures(self.inputs.models[model].card.curves)[number]

    def _latents(self) -> Figure | None:
        assert self.report is not None  # else the figure has no name
        assert self.inputs.encoder is not None
        store, folder = self.inputs.store, f"{self.report}/{LATENTS_FOLDER}"
        sheets = {int(PurePosixPath(key).stem): 0 for key in store.list(folder)}
        found = latent_map(store, self.report, self.inputs.encoder, sheets)
        return None if found is None else found.figure()

    def _likelihood(self, one: StatedLikelihood) -> Figure:
        run = self._selection.likelihoods[one.column]
        return likelihood_figure(one.label, one.reference, run, one.samples, one.linear_width)

    def _cells(self, sample: str) -> Figure | None:
        found = (self.inputs.comparison or {})["matched"][sample]
        return cells_figure(found, by_weight(found["columns"], [ratio.column for ratio in self.inputs.spec.ratios])[0])

    def _extremes(self, column: str) -> Figure:
        return compared_figures.extremes_figure(self._side_by_side, column)

    def _residuals(self, model: str) -> Figure:
        return compared_figures.residuals_figure(self._side_by_side, model)

    def _predicted(self, model: str) -> Figure | None:
        shown = self._side_by_side
        return compared_figures.predicted_figure(shown, model) if model in compared_figures.predicting(shown) else None
