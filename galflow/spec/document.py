"""Reads a specification's text, and refuses documents that no specification can be, before anything looks at them.

A specification is YAML of plain values: null, booleans, numbers, texts, lists, mappings. What makes programs choke
(aliases that multiply, deep nesting, numbers without bounds, control characters) is refused with its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from galflow.errors import SpecError

MOST_BYTES = 1 << 20
MOST_VALUES = 20_000
"""Values in a document, those behind an alias counted each time."""
DEEPEST = 40
"""Levels of nesting."""
LONGEST_TEXT = 10_000
LARGEST_INTEGER = 2**63 - 1
_SHOWN = 200


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Dates are texts, and a key that is given twice is refused."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise SpecError(f"line {line}: the key {shown(key.value)} is given twice; leave one of them out")
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_document(path: str | Path) -> Any:
    """The plain values of a YAML file; SpecError says what is wrong with it and where."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)  # of a device there is no end
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        name = str(path) if str(path).isprintable() else shown(path)
        raise SpecError(f"cannot read the specification {name}: {error}; give the path of a YAML file") from error
    if len(data) > MOST_BYTES:
        raise SpecError(f"{path} has more than {MOST_BYTES:,} bytes; a specification is a short YAML file")
    try:
        _require_bounded(text)
        document = yaml.load(text, _Loader)
        require_plain(document)
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not valid YAML: {_brief(str(error))}") from None
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        # An explicit tag whose text does not fit, as !!int x.
        raise SpecError(f"{path} has a value that YAML cannot read ({_brief(str(error))}); leave out its tag") from None
    return document


def _require_bounded(text: str) -> None:
    """Go through the document without building it: its depth, and its size with all aliases written out."""
    sizes: dict[str, int] = {}
    levels: list[tuple[str | None, int]] = []  # anchor of each open list or mapping, and the values in it so far
    total = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            levels.append((event.anchor, 1))
            if len(levels) > DEEPEST:
                raise SpecError(
                    f"{_line(event)}: more than {DEEPEST} levels of nesting; a specification has less than ten"
                )
            continue
        if isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise SpecError(f"{_line(event)}: the alias *{shown(event.anchor)} stands for nothing that is complete")
            anchor, size = None, sizes[event.anchor]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = levels.pop()
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if levels:
            levels[-1] = (levels[-1][0], levels[-1][1] + size)
        total = max(total, size, levels[-1][1] if levels else 0)
        if total > MOST_VALUES:
            raise SpecError(
                f"{_line(event)}: more than {MOST_VALUES:,} values, those behind an alias counted each time"
            )


def _line(event: yaml.Event) -> str:
    return "the document" if event.start_mark is None else f"line {event.start_mark.line + 1}"


def require_plain(document: Any) -> None:
    """SpecError for a value that no specification can have, with its place."""
    for count, (where, value, depth) in enumerate(_walk(document)):
        if count > 2 * MOST_VALUES or depth > DEEPEST:
            raise SpecError(f"{where}: more than {MOST_VALUES:,} values, or {DEEPEST} levels of nesting")
        if fault := _fault(value):
            raise SpecError(f"{where}: {fault}")


def _fault(value: Any) -> str | None:
    if value is None or isinstance(value, bool | dict | list | tuple | BaseModel):
        return None
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_INTEGER else "an integer beyond 64 bits; give a smaller one"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no finite number; give one"
    if isinstance(value, str):
        return _fault_of_text(value)
    return f"a value of type {type(value).__name__}; expected a number, a text, true, false, null, a list or a mapping"


def _fault_of_text(text: str) -> str | None:
    if len(text) > LONGEST_TEXT:
        return f"a text of {len(text):,} characters; at most {LONGEST_TEXT:,} are taken"
    bad = next((c for c in text if (c < " " and c not in "\t\n\r") or c == "\x7f" or "\ud800" <= c <= "\udfff"), None)
    return None if bad is None else f"the text {shown(text)} has the control character {bad!a}; leave it out"


def _walk(document: Any) -> Iterator[tuple[str, Any, int]]:
    """Every key and value with its place and depth; whatever shares values is bounded by the caller's count."""
    waiting: list[tuple[str, Any, int]] = [("", document, 0)]
    while waiting:
        where, value, depth = waiting.pop()
        yield where or "the document", value, depth
        if isinstance(value, dict):
            for key, inner in value.items():
                place = (f"{where}." if where else "") + (key if _is_plain_name(key) else shown(key, 40))
                yield f"the key {place}", key, depth
                waiting.append((place, inner, depth + 1))
        elif isinstance(value, list | tuple):
            waiting += [(f"{where}[{i}]", inner, depth + 1) for i, inner in enumerate(value)]


def _is_plain_name(key: Any) -> bool:
    return isinstance(key, str) and key.isprintable() and 0 < len(key) <= 40


def shown(value: Any, most: int = _SHOWN) -> str:
    """A value for a message: never longer than a line or two, on one line, whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**most:
        return "an integer of very many digits"
    if isinstance(value, dict | list | tuple) and _is_large(value):
        return f"a {type(value).__name__} of {len(value):,}, too large to show"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return _brief(text, most)


def _is_large(value: Any) -> bool:
    return any(i > _SHOWN or depth > 5 for i, (_, _, depth) in enumerate(_walk(value)))


def _brief(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
