"""Paths against patterns such as "{tile}/{band}-*.fits", in time that grows with the path and not with its powers.

A regular expression of many ``**`` tries every way to share out a path; here each failure is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from galflow.errors import SpecError

_TOKEN = re.compile(r"(\{[^{}]*\}|\*+)")
_FEW = 3
"""With so many wildcards a regular expression is quick whatever the path, and much quicker than Python."""
_Failed = set[tuple[int, int, tuple[tuple[str, str], ...]]]


@dataclass(frozen=True)
class Hole:
    """What a wildcard or a placeholder may stand for: anything, from the longest on, if no other wish is given."""

    across: bool = False
    """Whether it goes across folder levels."""
    least: int = 1
    """Fewest characters."""
    lazy: bool = False
    """Whether it takes as little as it can."""
    among: tuple[str, ...] = ()
    """These texts alone, the first that fits."""

    def ends(self, path: str, at: int) -> Iterator[int]:
        """Where it may end if it begins at ``at``, in the order of its wishes."""
        if self.among:
            yield from (at + len(text) for text in self.among if path.startswith(text, at))
            return
        slash = -1 if self.across else path.find("/", at)
        ends = range(at + self.least, (len(path) if slash < 0 else slash) + 1)
        yield from ends if self.lazy else reversed(ends)

    @property
    def expression(self) -> str:
        """The same as a regular expression."""
        if self.among:
            return "|".join(re.escape(text) for text in self.among)
        return f"{'.' if self.across else '[^/]'}{'+' if self.least else '*'}{'?' if self.lazy else ''}"


_STARS = {False: Hole(least=0), True: Hole(across=True, least=0)}


class PathPattern:
    """A pattern of whole paths below a root: ``*`` within a folder level, ``**`` across levels, and placeholders.

    ``holes``: name -> what the placeholder {name} may stand for; a name that is repeated stands for the same each time.
    "{tile:path}" is a name like any other, and captured as "tile". SpecError for a placeholder that is not among them;
    with ``holes`` None braces are literal.
    """

    def __init__(self, pattern: str, holes: Mapping[str, Hole] | None = None) -> None:
        self._parts: list[tuple[str, Hole | None]] = []
        """(text, None) of a literal, (name or "", hole) of what is open."""
        for text in filter(None, _TOKEN.split(pattern)):
            part: tuple[str, Hole | None]
            if text[0] == "*":
                part = ("", _STARS[len(text) > 1])
                if self._parts and self._parts[-1] == part:
                    continue
            elif text[0] != "{" or holes is None:
                part = (text, None)
            elif text[1:-1] in holes:
                part = (text[1:-1].partition(":")[0], holes[text[1:-1]])
            else:
                known = ", ".join(f"{{{name}}}" for name in holes)
                raise SpecError(f"pattern {pattern!r} has the placeholder {text}; expected {known}")
            self._parts.append(part)
        self.names = frozenset(name for name, hole in self._parts if name and hole is not None)
        """Of the placeholders in it."""
        few = sum(hole is not None and not hole.among for _, hole in self._parts) <= _FEW
        self._compiled = re.compile(self._expression(), re.DOTALL) if few else None
        self._tail = self._parts[-1][0] if self._parts and self._parts[-1][1] is None else ""

    def _expression(self) -> str:
        """The pattern as a regular expression."""
        found, seen = "", set[str]()
        for text, hole in self._parts:
            if hole is None:
                found += re.escape(text)
            elif text in seen:
                found += f"(?P={text})"
            else:
                found += f"(?P<{text}>{hole.expression})" if text else hole.expression
                seen |= {text} - {""}
        return found

    @property
    def glob(self) -> str:
        """The pattern with ``*`` and ``**`` in the place of its placeholders."""
        across = {name for name, hole in self._parts if name and hole is not None and hole.across}
        return "".join(
            text if hole is None else "**" if hole.across or text in across else "*" for text, hole in self._parts
        )

    def match(self, path: str) -> dict[str, str] | None:
        """What each placeholder stands for in the path, None where the whole path does not match."""
        if not path.endswith(self._tail):
            return None
        if self._compiled is not None:
            match = self._compiled.fullmatch(path)
            return None if match is None else match.groupdict()
        found = self._search(path, 0, 0, (), set())
        return None if found is None else dict(found)

    def _search(
        self, path: str, index: int, at: int, known: tuple[tuple[str, str], ...], failed: _Failed
    ) -> tuple[tuple[str, str], ...] | None:
        """What is known once the parts from ``index`` on match the path from ``at`` on."""
        if index == len(self._parts):
            return known if at == len(path) else None
        if (index, at, known) in failed:
            return None
        text, hole = self._parts[index]
        said = text if hole is None else dict(known).get(text)
        if said is not None:
            ends = iter((at + len(said),) if path.startswith(said, at) else ())
        else:
            ends = cast(Hole, hole).ends(path, at)
        for end in ends:
            named = (*known, (text, path[at:end])) if text and said is None else known
            found = self._search(path, index + 1, end, named, failed)
            if found is not None:
                return found
        failed.add((index, at, known))
        return None
