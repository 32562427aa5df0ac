"""The explorer's web service: every answer is a run's own rows and pixels, given to whoever knows the token.

It is started by `galflow explore` (flows.explore_here), which binds it to this machine alone and puts the gate of
Prefect's pages before it (flows.gate): there Host and Origin are checked, here the token. More routes come as routers
of their own: galflow.explore.row_routes and its neighbours; each finds the run by galflow.explore.requests.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.middleware.base import RequestResponseEndpoint

from galflow.errors import GalflowError, SpecError
from galflow.explore import export_routes, label_routes, map_routes, pages, row_routes, similar_routes
from galflow.explore.explored import ExploredRun
from galflow.runs.labelling import Labelling

API = "/api"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def new_token() -> str:
    """What whoever asks has to know."""
    return secrets.token_urlsafe(32)


def create_app(explored: ExploredRun, token: str, routers: Sequence[APIRouter] = ()) -> FastAPI:
    """The service of one run. ``routers``: routes below /api beside the explorer's own."""
    app = FastAPI(title="galflow explore", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.explored = explored
    app.state.tickets = export_routes.Tickets()
    label_routes.serve_labels(app, Labelling(explored.store, explored.manifest))
    similar_routes.serve_similar(app)
    own = (row_routes, map_routes, export_routes, label_routes, similar_routes)
    for router in (*(module.router for module in own), *routers):
        app.include_router(router, prefix=API)
    app.include_router(pages.router)

    @app.middleware("http")
    async def guard(request: Request, go_on: RequestResponseEndpoint) -> Response:
        if _is_guarded(request.url.path) and not _knows(request, token):
            answer: Response = JSONResponse({"error": "the token is missing or wrong; open the address that `galflow "
                                             "explore` printed"}, 401)  # fmt: skip
        else:
            answer = await go_on(request)
        answer.headers.update(_HEADERS)
        answer.headers.setdefault("cache-control", "no-store")
        return answer

    @app.exception_handler(GalflowError)
    async def refuse(_: Request, error: GalflowError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400 if isinstance(error, SpecError) else 500)

    @app.exception_handler(RequestValidationError)
    async def refuse_request(_: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(str(p) for p in e['loc'][1:])}: {e['msg']}" for e in error.errors())
        return JSONResponse({"error": said}, 422)

    return app


def _is_guarded(path: str) -> bool:
    """All that tells something of the run; a download's address has a ticket of its own."""
    return path.startswith(f"{API}/") and not re.fullmatch(f"{API}/export/[^/]+", path)


def _knows(request: Request, token: str) -> bool:
    given = request.headers.get("authorization", "")
    return secrets.compare_digest(given.encode(), f"Bearer {token}".encode())
