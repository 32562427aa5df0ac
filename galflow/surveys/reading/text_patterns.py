"""Regular expressions that a person gives, matched in time that grows with the text alone.

Python's own try every way to match: (a+)+$ takes years for a name of sixty letters. These are RE2's, by way of Arrow:
without lookaround and back-references, and otherwise as in Python.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import SpecError

LONGEST_PATTERN = 1000


class TextPattern:
    """A pattern with groups in round brackets; SpecError if it is none, or has no group."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST_PATTERN:
            raise SpecError(f"has {len(pattern):,} characters; at most {LONGEST_PATTERN:,} are taken")
        named = _with_named_groups(pattern)
        try:
            self._groups = pc.extract_regex(pa.array([], pa.string()), named).type
        except (pa.ArrowInvalid, UnicodeEncodeError) as error:
            said = str(error).splitlines()[0].removeprefix("Invalid regular expression: ")
            if "without a capture group" in said or "must have at least one" in said:
                raise SpecError("has no group in round brackets") from None
            raise SpecError(f"is no regular expression: {said} (without lookaround and back-references)") from None
        if not self._groups.num_fields:
            raise SpecError("has no group in round brackets")
        if len(set(self.groups)) < len(self.groups):
            raise SpecError("has two groups of one name; give each its own")
        self._pattern = named

    @property
    def names(self) -> list[str]:
        """Names of the groups that have one, in their order."""
        return [name for name in self.groups if not name.startswith(_UNNAMED)]

    @property
    def groups(self) -> list[str]:
        """Of all groups; those without a name begin with a name of this file's."""
        return [self._groups.field(i).name for i in range(self._groups.num_fields)]

    def find(self, texts: Sequence[str], group: str) -> pa.Array:
        """(n,) text of a group at the first place that matches; null where nothing does, or the group is empty."""
        found = pc.struct_field(pc.extract_regex(pa.array(texts, pa.string()), self._pattern), group)
        return pc.if_else(pc.equal(found, ""), None, found)


_UNNAMED = "galflow_group_"


def _with_named_groups(pattern: str) -> str:
    """The pattern with a name for every group: Arrow gives named ones alone."""
    found, at, in_class, number = "", 0, False, 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            found += pattern[at : at + 2]
            at += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            # A bracket right after the opening one is meant as it stands.
            opened = "[^]" if pattern.startswith("[^]", at) else "[]" if pattern.startswith("[]", at) else "["
            found += opened
            at += len(opened)
            continue
        found += character
        if character == "(" and not in_class and pattern[at + 1 : at + 2] != "?":
            found += f"?P<{_UNNAMED}{number}>"
            number += 1
        at += 1
    return found
