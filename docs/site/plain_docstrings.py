"""galflow's docstrings are plain text with ``code``: what reStructuredText would take for markup is escaped."""

from __future__ import annotations

import re

from sphinx.application import Sphinx


def escaped(line: str) -> str:
    """One line with ``code`` kept, `code` made code, and every other mark of reStructuredText taken literally."""
    parts = re.split(r"(``.+?``|`[^`]+`)", line)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = part if part.startswith("``") else f"`{part}`"
            # Code must end before the next letter: ``code``s is no markup otherwise.
            if i + 1 < len(parts) and parts[i + 1][:1].isalnum():
                parts[i] += "\\ "
        else:
            parts[i] = re.sub(r"([\\*|_`])", r"\\\1", part)
    return "".join(parts)


def _escape(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = [line if line.lstrip().startswith(">>>") else escaped(line) for line in lines]


def _without_notes(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """``Annotated[int, 'its help']`` as int: the help stands in the specification's page."""
    if signature is not None:
        signature = re.sub(r"""Annotated\[([^,\[\]]+(?:\[[^\[\]]*\])?), (?:'[^']*'|"[^"]*")\]""", r"\1", signature)
    return signature, returns


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _escape)
    app.connect("autodoc-process-signature", _without_notes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
