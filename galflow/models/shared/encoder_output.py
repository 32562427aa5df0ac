"""From what a pretrained encoder returns to latents: which output, and one row of numbers of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from torch import Tensor

from galflow.errors import SpecError

Pooling = Literal["cls", "mean", "flat"]
MOST_LATENTS = 16_384


def checked_pooling(pooling: str) -> str:
    """It, if it is one; else SpecError."""
    if pooling not in get_args(Pooling):
        raise SpecError(f"pooling is {pooling!r}; expected one of {', '.join(get_args(Pooling))}")
    return pooling


def chosen_output(outputs: Mapping[str, Tensor], output: str | None) -> Tensor:
    """The output of this name, or the only one; SpecError if it is not to be told which."""
    if output is None and len(outputs) == 1:
        return next(iter(outputs.values()))
    if output is not None and output in outputs:
        return outputs[output]
    told = ", ".join(f"{name} {tuple(value.shape)}" for name, value in outputs.items()) or "no tensor of numbers"
    asked = "none is chosen" if output is None else f"output is {output!r}"
    raise SpecError(f"encoder: it gives {told}, and {asked}; give output: one of these names")


def pooled(found: Tensor, pooling: str, objects: int) -> Tensor:
    """(B, D) float32 of an output (B, D), (B, tokens, D) or (B, D, y, x)."""
    shape = tuple(found.shape)
    if not 2 <= found.ndim <= 4 or shape[0] != objects or (found.ndim == 4 and pooling == "cls"):
        raise SpecError(
            f"encoder: for {objects} image(s) it gives {shape}; expected (batch, numbers), (batch, tokens, numbers) or "
            "(batch, numbers, y, x), the last with pooling mean or flat; export it with a free batch dimension"
        )
    if found.ndim > 2 and pooling == "cls":
        found = found[:, 0]
    elif found.ndim > 2 and pooling == "mean":
        found = found.mean(1) if found.ndim == 3 else found.mean((2, 3))
    found = found.flatten(1).float()
    if not 1 <= found.shape[1] <= MOST_LATENTS:
        raise SpecError(
            f"encoder: its output {shape} makes {found.shape[1]} latents of an image; expected 1 to {MOST_LATENTS:,}: "
            "choose pooling mean or cls"
        )
    return found
