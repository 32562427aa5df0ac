"""Answers what Prefect's UI asks before it submits a form: galflow's own sentences, at the fields that have a fault.

Prefect's server is asked first, and so judges the login; where it refuses to answer, or the form is none of a
specification, or a value is filled in later (a variable, a template), its answer stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prefect.utilities.schema_tools.hydration import HydrationContext, Placeholder, hydrate
from starlette.concurrency import run_in_threadpool

from flows.gate import App, Message, Receive, Scope, Send

PATH = "/api/ui/schemas/validate"
Answer = dict[str, Any]


class FormAnswers:
    """An ASGI app before Prefect's; all but the one question goes through to ``app``."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand it on; of a form's question answer with its faults."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != PATH:
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
        if answered and answered[0].get("status") == 200:
            own = await run_in_threadpool(answer, b"".join(asked))
            if own is not None and not own["valid"]:
                answered = _replaced(answered, own)
        for message in answered:
            await send(message)


def answer(question: bytes) -> Answer | None:
    """What is wrong with a form, as Prefect's UI takes it; None if the question is about another form."""
    asked = json.loads(question)
    if "RunSpec" not in asked["schema"].get("definitions", {}) or "spec" not in asked["schema"].get("properties", {}):
        return None
    given = hydrate(asked["values"], HydrationContext()).get("spec")
    if not isinstance(given, Mapping) or _is_open(given):
        return None
    from flows.form_check import form_faults  # torch with it: not before somebody fills a form in

    faults = form_faults(given)
    told: list[Any] = [f"To mend: {'; '.join(fault.sentence for fault in faults)}"]
    for fault in faults:
        _note(told, fault.place, fault.text)
    return {"valid": not faults, "errors": [{"property": "spec", "errors": told}] if faults else []}


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
