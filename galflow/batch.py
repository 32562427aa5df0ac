"""What a model sees of some objects: pixels, which of them are observed, and what else it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from galflow.errors import ModelError


@dataclass(frozen=True)
class Batch:
    """What a model sees of B objects in C bands."""

    pixels: Tensor
    """(B, C, H, W) float: stretched flux; 0 where not observed."""
    observed: Tensor
    """(B, C, H, W) bool: False where a pixel is missing. A missing pixel is never data."""
    ivar: Tensor | None = None
    """(B, C, H, W): inverse variance of the stretched pixels; 0 where not observed."""
    psf: Tensor | None = None
    """(B, C, h, w): each object's PSF, sum 1, centred; only where a model needs it."""
    conditions: Tensor | None = None
    """(B, K): what a conditional model is conditioned on."""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.observed.shape != self.pixels.shape:
            raise ModelError(
                f"a batch needs pixels (B, C, H, W) and observed of the same shape; "
                f"got {tuple(self.pixels.shape)} and {tuple(self.observed.shape)}"
            )

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        extra = {n: None if (v := getattr(self, n)) is None else change(v) for n in ("ivar", "psf", "conditions")}
        return Batch(change(self.pixels), change(self.observed), **extra)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        # A copy to the CPU must have ended before anybody reads it; one to a GPU is waited for by the GPU itself.
        ahead = torch.device(device).type != "cpu"
        return self._map(lambda t: t.to(device, non_blocking=ahead))

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        """The chosen objects, as a batch."""
        return self._map(lambda t: t[rows])

    @classmethod
    def of(cls, pixels: Tensor) -> Batch:
        """A batch of completely observed pixels."""
        return cls(pixels, torch.ones_like(pixels, dtype=torch.bool))
