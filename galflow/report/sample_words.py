"""What the objects of a comparison sample are called in a sentence."""

from __future__ import annotations

from galflow.spec.controls import SAMPLE_OF

_CONTROLS = {SAMPLE_OF["background"]: "single-Sersic galaxies", SAMPLE_OF["empty_sky"]: "cutouts of empty sky"}


def objects_of(sample: str) -> str:
    """As "galaxies of tng50"; of the samples that controls are, what they are."""
    return _CONTROLS.get(sample, f"galaxies of {sample}")


def begun(sentence: str) -> str:
    """With a capital letter at its beginning."""
    return sentence[:1].upper() + sentence[1:]
