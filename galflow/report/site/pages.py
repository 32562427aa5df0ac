"""The pages of a report, and the files that they all have: one style, and one script that `make pages` built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from galflow.report.site.data_files import data_name
from galflow.report.tables import count_text

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
"""Content security policy of every page: nothing from elsewhere, and no script or style within it."""
_FIRST_ROWS = data_name("rows", 0)


@dataclass(frozen=True)
class Page:
    """One page of the report."""

    name: str
    """Of its file, without .html."""
    title: str
    data: tuple[str, ...] = ()
    """Data files that it reads at once."""


PAGES = (
    Page("index", "Overview"),
    Page("anomalies", "Anomalies", ("schema", _FIRST_ROWS)),
    Page("object", "Object", ("schema",)),
    Page("lists", "Lists"),
    Page("tiles", "Sky and tiles", ("schema", "tiles")),
    Page("scores", "Scores"),
    Page("training", "Training"),
    Page("latents", "Latents", ("schema",)),
    Page("likelihoods", "Likelihoods"),
    Page("planted", "Planted"),
    Page("provenance", "Provenance"),
)


def page_files(context: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """(path below the report's folder, content) of the pages, their style and their script."""
    environment = Environment(
        loader=PackageLoader("galflow.report.site"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["count"] = count_text
    yield "site.css", shipped("styles/site.css")
    yield "site.js", shipped("built/site.js")
    for page in PAGES[::-1]:  # the first page last: whoever sees it finds the others
        said = {**context, "page": page, "pages": PAGES, "policy": POLICY, "source": "static"}
        yield f"{page.name}.html", environment.get_template(f"{page.name}.html.j2").render(said).encode("utf-8")


def shipped(name: str) -> bytes:
    """A file that lies beside this one."""
    return (files("galflow.report.site") / name).read_bytes()
