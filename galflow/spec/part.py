"""What all parts of a specification have in common, the kinds of name that stand in them, and how what is wrong
with one is told. It knows no part."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from galflow.spec.document import shown

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
"""Part of a URI: lower-case letters, digits and . _ -, starting with a letter or digit."""
ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
"""Part of a column's name: lower-case letters, digits and _, starting with a letter."""


_LONGEST_PLACE = 200
_FAULTS_TOLD = 20
SECRET = "galflow_secret"
"""Type of the pydantic error about a value that is a secret: such a value is not repeated."""


class Part(BaseModel):
    """Base of all parts: unknown fields are refused, values cannot be changed, numbers are finite."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        use_attribute_docstrings=True,
        # An error is logged and shown; describe repeats what was given unless that is a secret.
        hide_input_in_errors=True,
    )


def faults_of(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong, in a newcomer's words: the place of a fault, and what is expected there and was given.

    Of the first twenty; of a long list with one mistake there are as many as it has entries.
    """
    found = []
    secrets = [problem["loc"] for problem in error.errors(include_url=False) if problem["type"] == SECRET]
    for problem in error.errors(include_url=False)[:_FAULTS_TOLD]:
        hidden = problem["type"] in ("missing", "extra_forbidden") or not problem["loc"]
        hidden |= any(loc[: len(problem["loc"])] == problem["loc"] for loc in secrets)  # it is part of what was given
        given = "" if hidden else f" (given: {shown(problem['input'])})"
        text = {"extra_forbidden": "is not a field here", "missing": "is required but missing"}.get(
            problem["type"], problem["msg"].removeprefix("Value error, ")
        )
        context = problem.get("ctx", {})
        if str(context.get("pattern", "")).startswith("^["):
            text += " - letters, digits and . _ - only, in lower case where a name is asked for"
        found.append((problem["loc"], text + given))
    return found


def place_shown(place: tuple[str | int, ...]) -> str:
    """A field's place, as cutouts.size."""
    where = ".".join(p if isinstance(p, str) and p.isprintable() else ascii(p) for p in place)
    return where[:_LONGEST_PLACE] or "(the whole)"


def describe(error: ValidationError, what: str) -> str:
    """A pydantic error in a newcomer's words: field, value, what is expected; one line a problem."""
    lines = [f"  {place_shown(place)}: {text}" for place, text in faults_of(error)]
    if (more := error.error_count() - _FAULTS_TOLD) > 0:
        lines.append(f"  and {more:,} more")
    return f"{what} is not valid:\n" + "\n".join(lines)
