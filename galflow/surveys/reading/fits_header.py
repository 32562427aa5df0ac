"""A FITS header as far as it can be read: one bad card costs that card, and what a primary header says is inherited.

Pipelines write NaN without quotes, bytes beyond ASCII and values that are none. astropy raises on such a card whenever
the header is asked for anything; here it is left out.
"""

from __future__ import annotations

import re
from typing import Any

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from galflow.logs import quiet

_STRUCTURE = re.compile(
    r"SIMPLE|XTENSION|BITPIX|Z?NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|EXTNAME|EXTVER|EXTLEVEL|INHERIT|CHECKSUM|DATASUM"
    r"|BSCALE|BZERO|BLANK|BUNIT|T[A-Z]{3,5}\d+|Z[A-Z]+\d*|COMMENT|HISTORY|END|"
)
"""What says how one HDU lies in the file: never inherited."""
_WORLD = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)\d+[A-Z]?|(CD|PC)\d+_\d+[A-Z]?|PC\d{6}|P[VS]\d+_\d+[A-Z]?|(A|B|AP|BP)_.*"
    r"|LONPOLE[A-Z]?|LATPOLE[A-Z]?|RADE(SYS|CSYS)[A-Z]?|EQUINOX[A-Z]?|EPOCH|WCSAXES[A-Z]?|WCSNAME[A-Z]?"
)


UNREADABLE = "GALFLOW UNREADABLE WCS"
"""Keyword under which a clean header names a card of the WCS that could not be read: its band has no position."""


def clean_header(header: fits.Header) -> fits.Header:
    """The cards that can be read; those without a value, commentary and damaged ones are left out.

    A damaged card of the WCS is named in the card ``UNREADABLE``: its default would give wrong positions.
    """
    clean = fits.Header()
    with quiet(AstropyWarning):
        for given in header.cards:
            card = _without_orphans(given)
            known = _readable(card)
            name, value = card.image[:8].strip(), card.image[10:].split("/")[0].strip()
            if known is None and value and _WORLD.fullmatch(name):
                clean[f"HIERARCH {UNREADABLE}"] = name
            if known is not None and known[0] not in clean:
                clean.append(fits.Card(*known), end=True)
    return clean


def _without_orphans(card: fits.Card) -> fits.Card:
    """The card; where CONTINUE cards follow that do not belong to it, which spoil it for astropy, without them."""
    stored = str(getattr(card, "_image", None) or "")  # as it lies in the file: nothing public has it
    if len(stored) <= fits.Card.length:
        return card
    try:
        _ = card.value
    except (fits.VerifyError, ValueError):
        return fits.Card.fromstring(stored[: fits.Card.length])
    return card


def _readable(card: fits.Card) -> tuple[str, Any] | None:
    try:
        keyword, value = card.keyword, card.value
        if not keyword or keyword in ("COMMENT", "HISTORY", "CONTINUE") or isinstance(value, fits.card.Undefined):
            return None
        str(fits.Card(keyword, value))  # a value that cannot be written again cannot be handed on
    except (ValueError, TypeError, KeyError, fits.VerifyError):
        return None
    return (keyword, value) if isinstance(value, str | int | float | bool | complex) else None


def with_inherited(header: fits.Header, primary: fits.Header | None) -> fits.Header:
    """The clean header with what the primary header says besides, unless INHERIT is F: no structure and no WCS."""
    clean = clean_header(header)
    if primary is None or clean.get("INHERIT") is False:
        return clean
    for card in clean_header(primary).cards:
        name = card.keyword
        if name not in clean and not _STRUCTURE.fullmatch(name) and not _WORLD.fullmatch(name):
            clean.append(card, end=True)
    return clean
