"""Which files of a folder belong to which tile and band, by patterns such as "{tile}/{band}.fits"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from galflow.errors import SpecError
from galflow.surveys.reading.files import StoredFile, list_entries
from galflow.surveys.reading.path_patterns import Hole, PathPattern

_EXTENSION = re.compile(r"(.*)\[([^\[\]*{}]+)\]")
_GROUP = re.compile(r"\{(group:[^{}]+)\}")
_TILE = {"tile": Hole(), "tile:path": Hole(across=True)}


def files_by_tile(root: str, pattern: str, band: str) -> dict[str | None, StoredFile]:
    """Files below ``root`` that match, by what {tile} stands for in their path; {None: file} for a pattern without it.

    {tile} stands for anything within one folder level and is the same wherever it is repeated, {tile:path} for
    anything across levels; {band} is ``band``; ``*`` and ``**`` stand for anything within and across levels.
    {group:wide,deep} stands for one of these folders, which then begins the tile's name: "deep/9813-4,4".
    Raises SpecError for a placeholder that is none of these, or where two files match for one tile.
    """
    wanted = path_pattern(pattern, band)
    found: dict[str | None, StoredFile] = {}
    for entry in list_entries(root, wanted.glob):
        match = wanted.match(entry.uri[len(root) + 1 :])
        if match is None:
            continue
        name = match.get("tile")
        if name is not None and "group" in match:
            name = f"{match['group']}/{name}"
        if name in found:
            raise SpecError(
                f"pattern {pattern!r} matches both {found[name].uri} and {entry.uri} for one tile and band; "
                "make it match one file"
            )
        found[name] = entry
    return found


def images_by_tile(root: str, patterns: Mapping[str, str], only: str) -> dict[str, dict[str, StoredFile]]:
    """Tile name -> band -> file, of the band's pattern; ``only`` is the name of the tile of patterns without {tile}.

    SpecError where no file matches.
    """
    found = {band: files_by_tile(root, pattern, band) for band, pattern in patterns.items()}
    raw = {name or only for files in found.values() for name in files}
    if not raw:
        raise SpecError(f"no file below {root} matches {', '.join(patterns.values())}; check survey root and bands")
    names = tile_names(raw)
    tiles: dict[str, dict[str, StoredFile]] = {name: {} for name in sorted(names.values())}
    for band, files in found.items():
        for name, file in files.items():
            tiles[names[name or only]][band] = file
    return tiles


def path_pattern(pattern: str, band: str) -> PathPattern:
    """The pattern of paths below a root, without the extension at its end."""
    groups = {text: Hole(among=tuple(text.removeprefix("group:").split(","))) for text in _GROUP.findall(pattern)}
    return PathPattern(parted(pattern)[0], {**_TILE, **groups, "band": Hole(among=(band,))})


def parted(pattern: str) -> tuple[str, int | str | None]:
    """A pattern and the extension that it names at its end: "{tile}.fits[SCI]"; None where it names none."""
    found = _EXTENSION.fullmatch(pattern)
    if found is None:
        return pattern, None
    name = found[2].strip()
    return found[1], int(name) if name.isdigit() else name


def tile_names(raw: Iterable[str]) -> dict[str, str]:
    """Names fit for URIs, by what the files say: "9813-0,2" -> "9813-0-2". SpecError where two would become one."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for value in sorted(raw):
        parts = (re.sub(r"[^A-Za-z0-9._-]", "-", part).lstrip("._-") for part in value.split("/"))
        name = "/".join(part for part in parts if part)
        if not name or name in taken:
            raise SpecError(
                f"tile {value!r} would be called {name!r}, which is "
                f"{'another tile already' if name else 'no name'}; rename its files, or change the pattern"
            )
        names[value] = name
        taken.add(name)
    return names
