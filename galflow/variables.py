"""Environment variables that stand as ${NAME} in a specification, and messages that never show what they hold.

Whoever writes ${NAME} may mean a path, or a secret by mistake. The value goes into the paths that are opened; every
message of galflow.errors says ${NAME} instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAMED = re.compile(r"\$\{(\w+)\}")
_PLAIN_WORD = 8
"""A shorter value is looked for as a word of its own: it may be part of any other."""
_expanded: dict[str, str] = {}
"""Value -> variable, of what has been expanded in this process."""


def named_in(text: str) -> list[str]:
    """The names that stand in a text as ${NAME}."""
    return _NAMED.findall(text)


def expand(text: str) -> str:
    """The text with each ${NAME} replaced by its value; KeyError with the name of one that is not set."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        found = os.environ[name]
        for spelling in (found, found.rstrip("/"), str(Path(found).expanduser())):
            if spelling.strip("/. "):
                _expanded[spelling] = name
        return found

    return _NAMED.sub(value, text)


def without_values(text: str) -> str:
    """The text with the names in place of all values that were expanded here."""
    for value in sorted(_expanded, key=len, reverse=True):
        pattern = re.escape(value)
        if len(value) < _PLAIN_WORD:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        shown = f"${{{_expanded[value]}}}"
        text = re.sub(pattern, lambda _, shown=shown: shown, text)  # type: ignore[misc]
    return text
