"""Answers what Prefect's UI asks before it submits a form: galflow's own sentences, at the fields that have a fault.

So it does where a run is asked for by the API and Prefect's server refuses it. That server is asked first, and judges
the login; where it refuses to answer, or the form is none of a specification, or a value is filled in later (a
variable, a template), its answer stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefect.utilities.schema_tools.hydration import HydrationContext, Placeholder, hydrate
from starlette.concurrency import run_in_threadpool

from flows.gate import App, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from flows.form_check import FormFault

PATH = "/api/ui/schemas/validate"
_START = re.compile(r"/api/deployments/[^/]+/create_flow_run")
_REFUSED = 409
Answer = dict[str, Any]


class FormAnswers:
    """An ASGI app before Prefect's; all but the one question goes through to ``app``."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand it on; of a form's question answer with its faults."""
        posted = scope["type"] == "http" and scope["method"] == "POST"
        if not posted or (scope["path"] != PATH and not _START.fullmatch(scope["path"])):
            await self._app(scope, receive, send)
            return
        asked: list[bytes] = []
        answered: list[Message] = []

        async def received() -> Message:
            message = await receive()
            asked.append(message.get("body", b""))
            return message

        async def kept(message: Message) -> None:
            answered.append(message)

        await self._app(scope, received, kept)
        status = answered[0].get("status") if answered else None
        own: Answer | None = None
        if scope["path"] == PATH and status == 200:
            own = await run_in_threadpool(answer, b"".join(asked))
            own = None if own is None or own["valid"] else own
        elif scope["path"] != PATH and status == _REFUSED:
            own = await run_in_threadpool(refusal, b"".join(asked))
        if own is not None:
            answered = _replaced(answered, own)
        for message in answered:
            await send(message)


def answer(question: bytes) -> Answer | None:
    """What is wrong with a form, as Prefect's UI takes it; None if the question is about another form."""
    asked = json.loads(question)
    if "RunSpec" not in asked["schema"].get("definitions", {}) or "spec" not in asked["schema"].get("properties", {}):
        return None
    faults = _faults(asked["values"])
    if faults is None:
        return None
    told: list[Any] = [_to_mend(faults)]
    for fault in faults:
        _note(told, fault.place, fault.text)
    return {"valid": not faults, "errors": [{"property": "spec", "errors": told}] if faults else []}


def refusal(question: bytes) -> Answer | None:
    """Why a run that is asked for is refused; None if its specification has no fault, or it has none."""
    faults = _faults(json.loads(question).get("parameters") or {})
    return {"detail": _to_mend(faults)} if faults else None


def _faults(parameters: Mapping[str, Any]) -> list[FormFault] | None:
    """Of the parameter ``spec``; None where there is none, or a part of it is filled in later."""
    given = hydrate(dict(parameters), HydrationContext()).get("spec")
    if not isinstance(given, Mapping) or _is_open(given):
        return None
    from flows.form_check import form_faults  # torch with it: not before somebody fills a form in

    return form_faults(given)


def _to_mend(faults: Sequence[FormFault]) -> str:
    return f"To mend: {'; '.join(fault.sentence for fault in faults)}"


def _is_open(value: Any) -> bool:
    """Whether a part of it is filled in later."""
    if isinstance(value, Mapping):
        return any(_is_open(inner) for inner in value.values())
    return any(map(_is_open, value)) if isinstance(value, list) else isinstance(value, Placeholder)


def _note(errors: list[Any], place: tuple[str | int, ...], text: str) -> None:
    """Put a fault where the form draws its field."""
    for step in place:
        name = "index" if isinstance(step, int) else "property"
        inner = next((e for e in errors if isinstance(e, dict) and e.get(name) == step), None)
        if inner is None:
            inner = {name: step, "errors": []}
            errors.append(inner)
        errors = inner["errors"]
    if place:
        errors.append(text)


def _replaced(answered: list[Message], own: Answer) -> list[Message]:
    body = json.dumps(own).encode()
    kept = [(name, value) for name, value in answered[0]["headers"] if name.lower() != b"content-length"]
    start = {**answered[0], "headers": [*kept, (b"content-length", str(len(body)).encode())]}
    return [start, {"type": "http.response.body", "body": body}]
