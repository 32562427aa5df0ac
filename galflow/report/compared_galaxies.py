"""What the report's page shows of galaxies of the sky and of the samples beside each other, as data URIs and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from galflow.report.compared_figures import nats, predicted_figure, predicting
from galflow.report.compared_run import ComparedRun
from galflow.report.extremes import ComparedGalaxy
from galflow.report.inputs import ReportInputs
from galflow.report.pictures import SVG, data_uri, picture_png
from galflow.report.plots import svg
from galflow.report.residuals import residual_png
from galflow.report.side_by_side import SideBySide, SideOfPictures, side_by_side
from galflow.report.tables import count_text

_MOST_PREDICTING = 2


@dataclass(frozen=True)
class ShownGalaxy:
    """One picture with its words."""

    name: str
    picture: str
    value: str = ""
    """Of the column that chose it, nats."""
    reconstruction: str = ""
    residual: str = ""


@dataclass(frozen=True)
class Strip:
    """The galaxies of one side in one row; of extremes the least probable, and apart the most probable."""

    side: str
    galaxies: list[ShownGalaxy]
    most: list[ShownGalaxy]


@dataclass(frozen=True)
class Strips:
    """One row a side, of one column's extremes or one model's reconstructions."""

    name: str
    words: str
    rows: list[Strip]


@dataclass(frozen=True)
class ShownComparison:
    """All that the page shows."""

    counts: str
    """Of how many galaxies of each side these were chosen."""
    display: str
    left_out: list[str]
    """Samples without pictures."""
    random: list[Strip]
    extremes: list[Strips]
    residuals: list[Strips]
    predicted: list[tuple[str, str]]
    """Model, and the figure of its pixels."""


def shown_comparison(inputs: ReportInputs) -> ShownComparison | None:
    """None where no sample was compared."""
    run = ComparedRun.of_report(inputs)
    if run is None or not run.models:
        return None
    shown = side_by_side(run)
    pictures = _Pictures(shown)
    return ShownComparison(
        ", ".join(f"{side.name} {count_text(side.picked.comparable)}" for side in shown.sides),
        shown.display.short(),
        run.left_out,
        [pictures.strip(side, side.picked.random) for side in shown.sides],
        [
            Strips(column, run.columns[column], [pictures.ends(side, column) for side in shown.sides])
            for column in shown.columns
        ],
        [Strips(model, "", [_residuals(shown, side, model) for side in shown.sides]) for model in shown.reconstructing],
        [(m, data_uri(svg(predicted_figure(shown, m)), SVG)) for m in predicting(shown)[:_MOST_PREDICTING]],
    )


class _Pictures:
    """Draws each galaxy once."""

    def __init__(self, shown: SideBySide) -> None:
        self._shown = shown
        self._drawn: dict[ComparedGalaxy, str] = {}

    def _draw(self, side: SideOfPictures, galaxy: ComparedGalaxy) -> str:
        if galaxy not in self._drawn:
            self._drawn[galaxy] = data_uri(picture_png(self._shown.picture(side, galaxy)))
        return self._drawn[galaxy]

    def strip(self, side: SideOfPictures, galaxies: Sequence[ComparedGalaxy]) -> Strip:
        return Strip(side.name, [ShownGalaxy(g.name, self._draw(side, g)) for g in galaxies], [])

    def ends(self, side: SideOfPictures, column: str) -> Strip:
        def of(chosen: Mapping[str, list[ComparedGalaxy]]) -> list[ShownGalaxy]:
            return [ShownGalaxy(g.name, self._draw(side, g), nats(g.values[column])) for g in chosen[column]]

        return Strip(side.name, of(side.picked.least), of(side.picked.most))


def _residuals(shown: SideBySide, side: SideOfPictures, model: str) -> Strip:
    count = max(1, max(len(s.picked.random) for s in shown.sides) // 2)
    galaxies = [
        ShownGalaxy(
            found.galaxy.name,
            data_uri(picture_png(found.picture)),
            "",
            data_uri(picture_png(found.reconstruction)),
            data_uri(residual_png(found.residual)),
        )
        for found in shown.residuals(side, model, count)
    ]
    return Strip(side.name, galaxies, [])
