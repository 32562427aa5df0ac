"""Sentences that terminal, report and Prefect share: on which side of the sky a sample lies, how much of a run failed.

This file imports nothing, so that the terminal need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ALIKE = 0.5
"""P(sample > sky) of two equal distributions."""


def verdict(low: float, high: float, *, above: str, below: str, alike: str) -> str:
    """Of three wordings the one that the interval ``low`` to ``high`` of P(sample > sky) allows.

    ``above`` or ``below`` where all of it lies beyond 0.5 on that side, else ``alike``: no more than the interval says.
    """
    if low > ALIKE:
        return above
    return below if high < ALIKE else alike


def parts_failed(number: int) -> str:
    """How much of a run is not in it, as "3 of its parts failed"."""
    return f"{number:,} of its parts failed"


def left_out_sentences(counts: Mapping[str, Any]) -> list[str]:
    """In words how many; none where nothing was left out."""
    said = []
    if counts["training"]:
        each = [f"{name} {found['objects']:,} of {found['of']:,}" for name, found in counts["training"].items()]
        said.append(f"Trained without what each explains worst (training.trim): {', '.join(each)} objects.")
    reference = counts["reference"]
    if reference["objects"]:
        said.append(
            f"Left out of the reference (scoring.trim_reference): {reference['objects']:,} of {reference['of']:,} "
            "held-out objects, which lie where the others' fitted tail expects none. p and q rest on that tail."
        )
    return said
