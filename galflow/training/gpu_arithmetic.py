"""Which device a process has, and how a GPU computes in float32. On a CPU the latter changes nothing.

By itself cuDNN rounds the factors of float32 convolutions to ten bits (TF32), and chooses methods that add in an order
of their own. A score would then differ from the CPU's in the fourth digit, and from itself the next time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_float32(*, deterministic: bool = False) -> Iterator[None]:
    """Convolutions of float32 numbers are computed in float32 inside, and afterwards as before.

    With ``deterministic`` equal numbers also give equal results, bit by bit, which can be slower.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32 = False
    cudnn.deterministic = deterministic or cudnn.deterministic
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic = before


def pick_device() -> str:
    """The device of this process: the GPU that CUDA_VISIBLE_DEVICES leaves it, or the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"
