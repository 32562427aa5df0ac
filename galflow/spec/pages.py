"""The specification's schema as pages for people: a part a page, a field a row.

``parts`` and ``overview`` say which pages there are, ``part_help`` gives one as rows, ``readable`` as plain text. The
schema is the one of galflow.spec.form. This file knows JSON schema, and no survey or model; it prints nothing.
"""

from __future__ import annotations

import difflib
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from galflow.errors import SpecError

WHOLE = "run"
"""Name of the page that lists the parts of a whole specification."""
_WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "none"}
_LONGEST_DEFAULT = 60

Schema = dict[str, Any]


@dataclass(frozen=True)
class FieldHelp:
    """One field of a part."""

    name: str
    type: str
    """In words: "integer", "list of text", "part cutouts.plant"."""
    default: str
    """As YAML has it; "required" where it must be given, "none" for null."""
    allowed: str
    """Limits or values, such as "1 or more"; "" where any value of the type is taken."""
    help: str


@dataclass(frozen=True)
class PartHelp:
    """One part of a specification, the options of one kind of survey, or those of one model."""

    name: str
    about: str
    fields: tuple[FieldHelp, ...]


def parts(schema: Schema) -> dict[str, str]:
    """Every page's name and what it is about, in a line: run, its parts, the survey kinds, the models.

    ``schema``: what ``galflow.spec.form.run_schema`` gives.
    """
    return {name: _first_line(definition) for name, definition in _named(schema).items()}


def overview(schema: Schema, width: int = 100) -> str:
    """All pages, a line or two each, as plain text of lines up to ``width`` characters."""
    lines = ["`galflow schema NAME` explains one of these, `galflow schema --json` prints the JSON schema.", ""]
    for name, about in parts(schema).items():
        lines += textwrap.wrap(f"{name:<20} {about}", width, subsequent_indent=" " * 21)
    return "\n".join([*lines, ""])


def part_help(schema: Schema, part: str) -> PartHelp:
    """One page as rows. ``part``: "run", "training", "cluster.slurm", "fits_tiles", "vae.VAE", ...; else SpecError."""
    named = _named(schema)
    if part not in named:
        near = difflib.get_close_matches(part, named, n=3, cutoff=0.5)
        expected = f"expected one such as {', '.join(near or ['run', 'training', 'fits_tiles', 'vae.VAE'])}"
        raise SpecError(f"there is no part {part[:60]!r}; {expected}. `galflow schema` lists all")
    definition = named[part]
    names = {id(value): name for name, value in named.items()}
    required = definition.get("required", [])
    fields = tuple(
        FieldHelp(
            name,
            _type(schema, names, field),
            "required" if name in required else _default(field),
            _allowed(field),
            _help(schema, field),
        )
        for name, field in definition.get("properties", {}).items()
    )
    return PartHelp(part, inspect.cleandoc(definition.get("description", "")), fields)


def readable(schema: Schema, part: str, width: int = 100) -> str:
    """One page as plain text of lines up to ``width`` characters; SpecError for a part that there is not."""
    page = part_help(schema, part)
    lines = [page.name, "=" * len(page.name), ""]
    for paragraph in page.about.split("\n\n"):
        lines += [*textwrap.wrap(paragraph, width), ""]
    for field in page.fields:
        limits = f"; {field.allowed}" if field.allowed else ""
        default = "required" if field.default == "required" else f"default {field.default}"
        head = f"{field.name}: {field.type}{limits}; {default}"
        lines += textwrap.wrap(head, width, subsequent_indent="        ")
        lines += [*textwrap.wrap(field.help, width, initial_indent="    ", subsequent_indent="    "), ""]
    if not page.fields:
        lines += ["It has no options.", ""]
    return "\n".join(lines)


def _named(schema: Schema) -> dict[str, Schema]:
    """Every definition that has fields, under the name of its page."""
    named: dict[str, Schema] = {WHOLE: schema}
    for path, field in _fields(schema):
        _name_parts(schema, named, path, field)
    for of in ("SurveySpec", "ModelSpec"):
        options: dict[str, str] = {}
        for clause in schema["$defs"][of]["allOf"]:
            (chosen,) = clause["if"]["properties"].values()
            options[chosen["const"]] = clause["then"]["properties"]["options"]["$ref"]
        if of == "SurveySpec":  # what kinds share is called after the one that has the most parts
            richest = max(options, key=lambda kind: str(_definition(schema, options[kind])).count("$ref"), default=None)
            options = {kind: options[kind] for kind in ([richest, *options] if richest is not None else options)}
        for kind, reference in options.items():
            _name_part(schema, named, kind, reference)
    return named


def _fields(definition: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    for name, field in definition.get("properties", {}).items():
        yield f"{prefix}{name}", field


def _name_parts(schema: Schema, named: dict[str, Schema], path: str, field: Schema) -> None:
    for choice in _choices(field):
        inner = choice.get("items", choice.get("additionalProperties", choice))
        for of in _choices(inner) if isinstance(inner, dict) else ():
            if "$ref" in of:
                _name_part(schema, named, path, of["$ref"])


def _name_part(schema: Schema, named: dict[str, Schema], path: str, reference: str) -> None:
    definition = _definition(schema, reference)
    known = any(definition is other for other in named.values())
    if known or "properties" not in definition:
        return
    named[path] = definition
    for inner, field in _fields(definition, f"{path}."):
        _name_parts(schema, named, inner, field)


def _definition(schema: Schema, reference: str) -> Schema:
    found: Schema = schema["$defs"][reference.rpartition("/")[2]]
    return found


def _choices(field: Schema) -> list[Schema]:
    """The schemas of which a value may follow one."""
    return field.get("anyOf") or [field]


def _first_line(definition: Schema) -> str:
    return " ".join(inspect.cleandoc(definition.get("description", "")).split("\n\n")[0].split())


def _type(schema: Schema, names: dict[int, str], field: Schema) -> str:
    if "type" in field and "anyOf" in field:  # survey.kind: a text that is one of these, or a plug-in's path
        return _WORDS[field["type"]]
    words = [_type_of_one(schema, names, choice) for choice in _choices(field)]
    return " or ".join(dict.fromkeys(words))


def _type_of_one(schema: Schema, names: dict[int, str], choice: Schema) -> str:
    if "$ref" in choice:
        name = names.get(id(_definition(schema, choice["$ref"])))
        return f"part {name}" if name else "any value"
    if choice.get("type") == "array":
        inner = choice.get("items") or choice["prefixItems"][0]
        count = f"{len(choice['prefixItems'])} x " if "prefixItems" in choice else "list of "
        return count + _type(schema, names, inner)
    if choice.get("type") == "object":
        inner = choice.get("additionalProperties")
        return f"mapping of names to {_type(schema, names, inner)}" if isinstance(inner, dict) else "mapping"
    return _WORDS.get(choice.get("type", ""), "any value")


def _help(schema: Schema, field: Schema) -> str:
    """The field's own text, or what the part is about that it refers to."""
    own = field.get("description") or next(
        (_first_line(_definition(schema, choice["$ref"])) for choice in _choices(field) if "$ref" in choice), ""
    )
    return " ".join(own.split())


def _default(field: Schema) -> str:
    default = field.get("default")
    if any("$ref" in choice for choice in _choices(field)) and ("default" not in field or isinstance(default, dict)):
        return "as that part says"
    if default is None:
        return "none"
    text = json.dumps(default, ensure_ascii=False)
    return text if len(text) <= _LONGEST_DEFAULT else f"{text[: _LONGEST_DEFAULT - 4]} ..."


def _allowed(field: Schema) -> str:
    words = [_allowed_of_one(choice) for choice in [field, *field.get("anyOf", [])]]
    return ", or ".join(word for word in dict.fromkeys(words) if word)


def _allowed_of_one(choice: Schema) -> str:
    if "enum" in choice:
        return ", ".join(json.dumps(value) if not isinstance(value, str) else value for value in choice["enum"])
    inner = choice.get("items", choice.get("additionalProperties"))
    each = _allowed(inner) if isinstance(inner, dict) else ""
    low, above = choice.get("minimum"), choice.get("exclusiveMinimum")
    high, below = choice.get("maximum"), choice.get("exclusiveMaximum")
    limits = [
        f"{low} or more" if low is not None else f"above {above}" if above is not None else "",
        f"at most {high}" if high is not None else f"below {below}" if below is not None else "",
        f"at least {choice['minItems']} of them" if choice.get("minItems") and "prefixItems" not in choice else "",
        f"at most {choice['maxItems']} of them" if choice.get("maxItems") and "prefixItems" not in choice else "",
        "a name with dots" if choice.get("pattern") == r"\." else "",
        f"pattern {choice['pattern']}" if choice.get("pattern", r"\.") != r"\." else "",
        f"each {each}" if each else "",
    ]
    return ", ".join(limit for limit in limits if limit)
