"""Patterns of fits_tiles, guessed from the names of a folder's files: where the band stands, and where the tile.

A guess is told to the person and never used unseen. It opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"[A-Za-z0-9]+")
_BANDS = frozenset(["u", "g", "r", "i", "z", "y", "j", "h", "k", "ks", "vis", "w1", "w2", "w3", "w4"])
_FILTER = re.compile(r"f\d{3,4}(w|w2|m|n|lp|x)")
"""Of HST and JWST."""
_REFERENCE = ["r", "i", "vis", "g", "z", "h", "j", "y", "ks", "k", "u"]
"""Which band is the reference, the first that is there."""
_EXAMPLES = 3


@dataclass(frozen=True)
class Named:
    """Bands and the pattern of each."""

    patterns: Mapping[str, str]
    """Band -> pattern below root, the reference first."""
    examples: Mapping[str, tuple[str, ...]]
    """Band -> some of its files' paths."""

    @property
    def first(self) -> str:
        """A file of the reference band."""
        return next(iter(self.examples.values()))[0]


def companion_word(path: str, words: Container[str]) -> str | None:
    """Which of the words (lower case) a file's name has as one of its parts, None for an image."""
    name = path.rsplit("/", 1)[-1]
    return next((word for word in map(str.lower, _TOKEN.findall(name)) if word in words), None)


def band_patterns(paths: Sequence[str], filter_card: str = "") -> Named | None:
    """Bands and patterns of images; None where names do not fit one pattern a band.

    Names without a band are all of one, which ``filter_card`` names.
    """
    if any(set(path) & set("{}*[]") for path in paths):
        return None
    split = _split(paths)
    if split is None:
        word = re.sub(r"[^a-z0-9_]", "", filter_card.strip().split(".")[0].lower()) or "image"
        split = [("", word, path) for path in paths]
        literal = True
    else:
        literal = False
    lefts, rights = _varying([left for left, _, _ in split]), _varying([right for _, _, right in split])
    left = _with_tile(lefts, "{tile}")
    same = lefts[1] == rights[1]
    right = _with_tile(rights, "{tile}" if same or not any(lefts[1]) else "*")
    found: dict[str, list[str]] = {}
    for (_, token, _), path in zip(split, paths, strict=True):
        found.setdefault(token, []).append(path)
    lower = {token: token.lower() for token in found}
    if len(set(lower.values())) < len(lower):
        lower = {token: token for token in found}
    order = sorted(found, key=lambda t: (_REFERENCE.index(t.lower()) if t.lower() in _REFERENCE else 99, t))
    patterns = {lower[token]: left + ("" if literal else token) + right for token in order}
    return Named(patterns, {lower[token]: tuple(found[token][:_EXAMPLES]) for token in order})


def _split(paths: Sequence[str]) -> list[tuple[str, str, str]] | None:
    """(what is before the band, the band, what is behind it) of each path; None where one has no band."""
    cuts = [_cuts(path) for path in paths]
    if not all(cuts):
        return None
    bands: dict[tuple[str, str], set[str]] = {}
    for left, token, right in (cut for of_path in cuts for cut in of_path):
        bands.setdefault((left, right), set()).add(token)
    return [max(of_path, key=lambda cut: len(bands[cut[0], cut[2]])) for of_path in cuts]


def _cuts(path: str) -> list[tuple[str, str, str]]:
    """Every way to take a part of the path for the band, the last first."""
    ending = re.search(r"(\.(fits|fit|fts|fz|gz|bz2))+$", path, re.IGNORECASE)
    stem = path[: ending.start()] if ending else path
    tokens = [t for t in _TOKEN.finditer(stem) if t[0].lower() in _BANDS or _FILTER.fullmatch(t[0].lower())]
    return [(path[: t.start()], t[0], path[t.end() :]) for t in reversed(tokens)]


def _varying(texts: Sequence[str]) -> tuple[str, tuple[str, ...], str]:
    """What all texts begin with, what differs of each, what all end with; parts of a name stay whole."""
    if len(set(texts)) == 1:
        return texts[0], ("",) * len(texts), ""
    head = re.sub(r"[A-Za-z0-9.+]*$", "", _common_start(list(texts)))
    rest = [text[len(head) :] for text in texts]
    tail = _common_start([text[::-1] for text in rest])[::-1]
    tail = re.sub(r"^[A-Za-z0-9+]*", "", tail)
    return head, tuple(text[: len(text) - len(tail)] for text in rest), tail


def _common_start(texts: Sequence[str]) -> str:
    """The characters with which all texts begin."""
    first, last = min(texts), max(texts)
    differ = (number for number, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(differ, min(len(first), len(last)))]


def _with_tile(varying: tuple[str, tuple[str, ...], str], hole: str) -> str:
    head, middles, tail = varying
    if not any(middles):
        return head + tail
    parts = [middle.split("/") for middle in middles]
    if hole == "{tile}" and all(len(set(p)) == 1 for p in parts) and len({len(p) for p in parts}) == 1:
        return head + "/".join([hole] * len(parts[0])) + tail  # as 101/101_r.fits
    if any("/" in middle for middle in middles):
        hole = {"{tile}": "{tile:path}", "*": "**"}[hole]
    return head + hole + tail


def swapped(named: Named, companion: str, paths: Sequence[str]) -> dict[str, str] | None:
    """Band -> pattern of what ``companion`` is beside an image; None where the names do not go together.

    The words that differ must stand behind the pattern's last placeholder, or before its first.
    """
    there = set(paths)
    for band, images in named.examples.items():
        for image in images:
            head = _common_start([image, companion])
            rest = _common_start([image[len(head) :][::-1], companion[len(head) :][::-1]])[::-1]
            old = image[len(head) : len(image) - len(rest)]
            new = companion[len(head) : len(companion) - len(rest)]
            patterns = {b: _replaced(p, old, new, head, rest) for b, p in named.patterns.items()}
            one = patterns[band]
            if one is None or any(p is None for p in patterns.values()):
                continue
            expected = head + new + rest
            if expected in there:
                return {b: p for b, p in patterns.items() if p is not None}
    return None


def _replaced(pattern: str, old: str, new: str, head: str, rest: str) -> str | None:
    """The pattern with ``new`` where it has ``old`` at its literal end or beginning."""
    literal_end = re.split(r"[}*]", pattern)[-1]
    if literal_end.endswith(old + rest) and rest:
        return pattern[: len(pattern) - len(old + rest)] + new + rest
    literal_start = re.split(r"[{*]", pattern)[0]
    if old and literal_start.startswith(head + old):
        return head + new + pattern[len(head + old) :]
    return None
