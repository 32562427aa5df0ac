"""Flags as a reader of the report should see them."""

from __future__ import annotations

from galflow.cutouts.flags import Flag

FLAG_WORDS: dict[Flag, str] = {
    Flag.EDGE: "at the edge of its tile",
    Flag.NO_DATA: "too few observed pixels",
    Flag.SATURATED: "saturated",
    Flag.TRAIL: "satellite trail",
    Flag.BRIGHT_NEIGHBOUR: "bright neighbour",
    Flag.NON_FINITE: "non-finite pixels",
    Flag.MISSING_PIXELS: "missing pixels",
    Flag.BAND_MISSING: "a band is missing",
    Flag.OUTSIDE: "outside every tile",
    Flag.DUPLICATE_ID: "repeated object id",
    Flag.NO_POSITION: "no position",
    Flag.PLANTED: "planted",
    Flag.DUPLICATE: "second row of an object",
    Flag.CONSTANT: "lost or constant area",
    Flag.COSMIC_RAY: "cosmic ray",
    Flag.DOUBLED: "doubled image",
    Flag.STAR: "star",
    Flag.SPIKE: "spike or bleed of a bright star",
    Flag.BELOW_SKY: "pixels far below the sky",
    Flag.NOISE_STEP: "step of the noise",
    Flag.SHIFTED: "a band is shifted",
    Flag.LEVEL_STEP: "step of the sky's level",
}


def flag_words(flags: int) -> list[str]:
    """The words of the flags that hold, in the order of their bits."""
    return [words for flag, words in FLAG_WORDS.items() if flags & int(flag)]
