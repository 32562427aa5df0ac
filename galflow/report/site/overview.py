"""The first screen: the sky, the most interesting objects, three sentences, and when and by whom the run was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from galflow.report.galleries import Gallery as Cards
from galflow.report.inputs import ReportInputs
from galflow.report.pictures import SVG, data_uri
from galflow.report.site.gallery import Gallery
from galflow.report.site.tiles import TileTable
from galflow.report.sky import TileOnSky, sky_plot
from galflow.report.tables import count_text

_TWELVE = 12


def overview(
    inputs: ReportInputs, top: Cards, headlines: Sequence[str], tiles: TileTable, gallery: Gallery
) -> dict[str, Any]:
    """What the first page's template needs beside the rest."""
    figure = sky_plot(*on_the_sky(tiles, gallery))
    cards = [(card, f"object.html#{urlencode({'id': card.row_id})}") for card in top.cards[:_TWELVE]]
    return {
        "three": three_sentences(inputs, headlines),
        "sky_figure": None if figure is None else data_uri(figure, SVG),
        "twelve": cards,
        "gallery_rows": len(gallery),
    }


def on_the_sky(tiles: TileTable, gallery: Gallery) -> tuple[list[TileOnSky], list[tuple[float, float]]]:
    """What the map of the first page shows: tiles with their anomaly rates, and (ra, dec) of the first objects."""
    rows = gallery.rows.slice(0, _TWELVE).select(["ra", "dec"]).to_pylist()
    places = [(row["ra"], row["dec"]) for row in rows if row["ra"] is not None and row["dec"] is not None]
    return tiles.on_sky(lambda line: line.top / max(1, line.ranked)), places


def three_sentences(inputs: ReportInputs, headlines: Sequence[str]) -> list[str]:
    """How much was looked at, how much of it is odd, and the first thing that a comparison or a test says."""
    found = inputs.findings
    tiles = len([r for r in inputs.cutouts if r.rows])
    said = [
        f"{count_text(found['scored'])} of {count_text(found['objects'])} objects in {count_text(tiles)} "
        f"tile{'s' * (tiles != 1)} were scored by {', '.join(inputs.survey_models)}."
    ]
    rate = f"{found['false_discovery_rate']:.0%}"
    said.append(
        f"{count_text(found['discoveries'])} of them are anomalous at a false discovery rate of {rate}."
        if found["resolvable"]
        else f"Too few objects were held out to call any of them anomalous at a false discovery rate of {rate}: the "
        "ranking holds, the threshold does not."
    )
    recall = found.get("recall_in_top_5_percent", {}).get(inputs.primary)
    if recall:
        said.append(f"Of the anomalies that were planted, {recall['value']:.0%} are among the top 5%.")
    elif headlines:
        said.append(f"{headlines[0].rstrip('.')}.")
    else:
        said.append(f"Why they stand in this order: {inputs.evidence['why']}")
    return said
