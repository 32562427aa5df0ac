"""The most anomalous objects of a run as an artifact with pictures, on the run's page in Prefect's UI.

Prefect's UI reads Markdown, and HTML in it. Whatever a survey's catalogue says is shown as text.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from prefect.artifacts import create_markdown_artifact

from galflow.catalog.published import column_names
from galflow.catalog.triage import TRIAGE
from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import GalflowError
from galflow.report.flag_words import flag_words
from galflow.report.orientation import orientations
from galflow.report.pictures import data_uri, drawn_png
from galflow.runs.opened import PublishedRun, published_at
from galflow.scores.part_columns import SOURCE_NAME
from galflow.spec.store import StoreSpec
from galflow.storage.layout import as_key
from galflow.storage.store import Store
from tasks.progress import in_prefect_run, telling

COUNT = 12
KEY = "galflow-top"
_SIDE_PX = 112
"""Of a picture on the page."""
_WANTED = ("object_id", SOURCE_NAME, "tile", "row", "cutout", "x", "y", "ra", "dec", "anomaly_rank", "flags")
_SAID = ("label", TRIAGE)
_SCORES = ("anomaly_score_sigma", "anomaly_q")
logger = logging.getLogger(__name__)


def show_top(store: StoreSpec, run: str) -> None:
    """Put the pictures on the page of the Prefect run that published ``run``; nothing outside one."""
    if not in_prefect_run():
        return
    try:
        text = top_markdown(published_at(Store.of(store), run))
    except GalflowError as error:
        logger.warning("the run's page has no pictures of the most anomalous objects: %s", error)
        return
    with telling():
        create_markdown_artifact(text, key=KEY, description=f"the {COUNT} most anomalous objects of {run}")


def top_markdown(run: PublishedRun) -> str:
    """A table with a row for each of the most anomalous objects: its picture, what it is called, its scores."""
    there = column_names(run.store, as_key(run.manifest.catalog))
    wanted = [name for name in (*_WANTED, *_SAID, *_SCORES) if name in there]
    rows = run.top(COUNT, columns=wanted).to_dict("records")
    lines = ["| rank | picture | object | score | what it is |", "|---:|---|---|---|---|"]
    lines += [_line(run, {str(name): value for name, value in row.items()}) for row in rows]
    return "\n".join(lines) if rows else "No object is ranked."


def _line(run: PublishedRun, row: Mapping[str, Any]) -> str:
    name = shown_text(str(_given(row, SOURCE_NAME, row["object_id"])))
    place = f"{row['ra']:.5f}, {row['dec']:+.5f}" if _given(row, "ra") is not None else "no position"
    sigma, q = _given(row, "anomaly_score_sigma"), _given(row, "anomaly_q")
    score = "not calibrated" if sigma is None else f"{sigma:.1f} sigma"
    score += "" if q is None else f"<br>q = {q:.2g}"
    words = [str(_given(row, what)) for what in _SAID if _given(row, what) is not None]
    said = "<br>".join(shown_text(word) for word in [*words, *flag_words(int(row["flags"]))]) or "no flag"
    picture = f'<img src="{_picture(run, row)}" width="{_SIDE_PX}" alt="object {name}">'
    where = f"{place}<br>tile {shown_text(str(row['tile']))}, row {row['row']}"
    return f"| {row['anomaly_rank']} | {picture} | **{name}**<br>{where} | {score} | {said} |"


def _picture(run: PublishedRun, row: Mapping[str, Any]) -> str:
    """At most galflow.report.pictures.LARGEST_SIDE pixels wide, turned as the report turns it."""
    attributes = CutoutSet(run.store, row["cutout"]).attributes
    (orientation,) = orientations(attributes, np.array([row["x"]]), np.array([row["y"]]))
    drawn = orientation.picture(run.cutout_of(dict(row)).picture())
    return data_uri(drawn_png(drawn))


def _given(row: Mapping[str, Any], name: str, otherwise: Any = None) -> Any:
    """A value of the row; ``otherwise`` where the catalogue has no such column, or no value there."""
    value = row.get(name)
    missing = value is None or value == "" or (isinstance(value, float) and np.isnan(value))
    return otherwise if missing else value


def shown_text(text: str) -> str:
    """Any text as one line of a Markdown table that shows it, and interprets nothing of it."""
    return re.sub(r"[^\w ,+=()/-]|_", lambda found: f"&#{ord(found[0])};", " ".join(text.split()))
