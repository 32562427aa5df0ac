"""Which files below a root are of which simulated galaxy, camera and band; and the same from a tile's files.

A galaxy is known by its snapshot and its name or subhalo id, not by where its files lie. It refuses two files for one
view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from galflow.errors import SpecError
from galflow.surveys.base import Tile, TileFile
from galflow.surveys.reading.files import StoredFile, list_entries
from galflow.surveys.reading.path_patterns import Hole, PathPattern

ALL = "*"
"""Camera or band of a file that holds all of them."""
_SNAPSHOT_DIGITS = 9


@dataclass(frozen=True)
class Galaxy:
    """A simulated galaxy and the files of its views."""

    name: str
    """Subhalo id, or what its files call it."""
    snapshot: int | None
    files: Mapping[tuple[str, str], TileFile]
    """(camera, band) -> file; ``ALL`` for all of them in one."""

    @property
    def key(self) -> str:
        """Snapshot and name: which galaxy it is, wherever its files lie."""
        return self.name if self.snapshot is None else f"{self.snapshot}/{self.name}"


def find_galaxies(root: str, patterns: Sequence[str], bands: Sequence[str], snapshot: int | None) -> list[Galaxy]:
    """The galaxies below ``root``, sorted by key; a file belongs to the first pattern that it matches.

    Patterns have {galaxy}, and may have {snapshot} (a number), {camera} and {band}. ``snapshot``: of all, where they do
    not say it. SpecError where nothing matches, and for two files of one view.
    """
    holes = {"galaxy": Hole(), "snapshot": Hole(), "camera": Hole(), "band": Hole(among=tuple(bands))}
    wanted = [PathPattern(pattern, holes) for pattern in patterns]
    found: dict[str, dict[tuple[str, str], StoredFile]] = {}
    for entry in list_entries(root, "**"):
        said = next((m for p in wanted if (m := p.match(entry.uri[len(root) + 1 :])) is not None), None)
        if said is None or not _is_snapshot(said.get("snapshot")):
            continue
        own = said.get("snapshot", snapshot)
        key = said["galaxy"] if own is None else f"{int(own)}/{said['galaxy']}"
        part = said.get("camera", ALL), said.get("band", ALL)
        other = found.setdefault(key, {}).setdefault(part, entry)
        if other is not entry:
            raise SpecError(f"{other.uri} and {entry.uri} are both of galaxy {key}, {part[0]}, {part[1]}; keep one")
    if not found:
        raise SpecError(
            f"no file below {root} matches {' or '.join(patterns)}; check survey.options.root and its patterns"
        )
    return [_galaxy(key, _in_roles(key, parts)) for key, parts in sorted(found.items())]


def _is_snapshot(text: str | None) -> bool:
    return text is None or (text.isdecimal() and text.isascii() and len(text) <= _SNAPSHOT_DIGITS)


def _in_roles(key: str, parts: Mapping[tuple[str, str], StoredFile]) -> dict[tuple[str, str], TileFile]:
    return {
        (camera, band): entry.in_role(f"flux/{band}/{camera}/{key}") for (camera, band), entry in sorted(parts.items())
    }


def _galaxy(key: str, parts: Mapping[tuple[str, str], TileFile]) -> Galaxy:
    snapshot, _, name = key.rpartition("/")
    return Galaxy(name, int(snapshot) if snapshot else None, parts)


def galaxies_of(tile: Tile) -> list[Galaxy]:
    """The tile's galaxies, by key."""
    found: dict[str, dict[tuple[str, str], TileFile]] = {}
    for file in tile.files:
        if file.role.startswith("flux/"):
            _, band, camera, key = file.role.split("/", 3)
            found.setdefault(key, {})[camera, band] = file
    return [_galaxy(key, parts) for key, parts in sorted(found.items())]
