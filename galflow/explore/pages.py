"""The explorer's pages: the report's scripts and style, on pages whose data come from the service.

Nothing of a run but its id stands in them, so that whoever has no token may load them and sees nothing. The pages that
a run published itself are not served here: they are of whoever wrote its store, and would stand beside the token.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from galflow import __version__
from galflow.explore.requests import explored_of
from galflow.report.site.pages import shipped

router = APIRouter()


@dataclass(frozen=True)
class ExplorerPage:
    """One page."""

    name: str
    """Of its address, without .html."""
    title: str


PAGES = (
    ExplorerPage("anomalies", "Gallery"),
    ExplorerPage("table", "Table"),
    ExplorerPage("map", "Sky and maps"),
    ExplorerPage("latents", "Latents"),
    ExplorerPage("object", "Object"),
    ExplorerPage("label", "Label"),
)


@router.get("/")
@router.get("/index.html")
def first(request: Request) -> HTMLResponse:
    """The page that the command opens."""
    return _page(request, PAGES[0])


@router.get("/{name}.html")
def named(request: Request, name: str) -> HTMLResponse:
    """A page by its name."""
    found = next((page for page in PAGES if page.name == name), None)
    if found is None:
        raise HTTPException(404, f"the explorer has no page {name!r}; its pages are {', '.join(p.name for p in PAGES)}")
    return _page(request, found)


@router.get("/site.css")
def style() -> Response:
    """The report's style, and what the explorer has besides."""
    return Response(shipped("styles/site.css") + shipped("styles/explorer.css"), media_type="text/css")


@router.get("/site.js")
def script() -> Response:
    """The one script, built by `make pages`."""
    return Response(shipped("built/site.js"), media_type="text/javascript")


def _page(request: Request, page: ExplorerPage) -> HTMLResponse:
    environment = Environment(loader=PackageLoader("galflow.explore"), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("explorer.html.j2")
    run = explored_of(request).name
    return HTMLResponse(template.render(page=page, pages=PAGES, run=run, version=__version__))
