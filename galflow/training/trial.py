"""Builds a model on trial, without its memory: whether a specification's options make a model that can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from galflow.errors import SpecError
from galflow.models.base import build_model

MOST_NUMBERS = 20_000_000_000
"""Parameters and buffers of one model, in numbers: 80 GB of float32."""
MOST_TENSORS = 5_000
LARGEST_OPTION = 1_000_000


def try_model(name: str, arguments: Mapping[str, Any]) -> None:
    """SpecError if the model cannot be built with these arguments of its constructor, or would be beyond any memory."""
    for option, value in arguments.items():
        if isinstance(value, int) and abs(value) > LARGEST_OPTION:
            raise SpecError(f"model {name}: option {option!r} is {value}; at most {LARGEST_OPTION:,} is taken")
    with _counted(name):
        try:
            with torch.device("meta"):
                build_model(name, **arguments)
        except SpecError as error:
            if not isinstance(error.__cause__, NotImplementedError):
                raise
            build_model(name, **arguments)  # one that looks at its own numbers while it is built


@contextmanager
def _counted(name: str) -> Iterator[None]:
    """SpecError as soon as what is built inside has too many numbers or tensors."""
    tensors = numbers = 0

    def count(module: nn.Module, tensor_name: str, tensor: Tensor | None) -> None:
        nonlocal tensors, numbers
        tensors += 1
        numbers += 0 if tensor is None else tensor.numel()
        if tensors > MOST_TENSORS or numbers > MOST_NUMBERS:
            raise SpecError(
                f"model {name} has more than {MOST_NUMBERS:,} numbers or {MOST_TENSORS:,} tensors with these options; "
                "make it smaller"
            )

    hooks = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
