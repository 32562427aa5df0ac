"""Builds a model on trial, without its memory: whether a specification's options make a model that can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.overrides import TorchFunctionMode

from galflow.errors import SpecError
from galflow.models.base import build_model

MOST_NUMBERS = 20_000_000_000
"""Parameters and buffers of one model, in numbers: 80 GB of float32."""
MOST_TENSORS = 5_000
LARGEST_OPTION = 1_000_000
SMALL_NUMBERS = 10_000_000
"""A model of smaller tensors is built as it is: without memory torch first imports its compiler, for three seconds."""
_MAKERS = frozenset({"arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "zeros"})


def try_model(name: str, arguments: Mapping[str, Any]) -> None:
    """SpecError if the model cannot be built with these arguments of its constructor, or would be beyond any memory."""
    for option, value in arguments.items():
        if isinstance(value, int) and abs(value) > LARGEST_OPTION:
            raise SpecError(f"model {name}: option {option!r} is {value}; at most {LARGEST_OPTION:,} is taken")
    try:
        with torch.random.fork_rng(devices=()), _counted(name, SMALL_NUMBERS), _SmallTensors():
            build_model(name, **arguments)
    except _TooLarge:
        _try_without_memory(name, arguments)


def _try_without_memory(name: str, arguments: Mapping[str, Any]) -> None:
    with _counted(name, MOST_NUMBERS):
        try:
            with torch.device("meta"):
                build_model(name, **arguments)
        except SpecError as error:
            if not isinstance(error.__cause__, NotImplementedError):
                raise
            build_model(name, **arguments)  # one that looks at its own numbers while it is built


class _TooLarge(Exception):
    """Not small."""


class _SmallTensors(TorchFunctionMode):
    """_TooLarge before a tensor of more than SMALL_NUMBERS is made."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__name__", "") in _MAKERS and math.prod(_sizes(args)) > SMALL_NUMBERS:
            raise _TooLarge
        return func(*args, **(kwargs or {}))


def _sizes(arguments: Sequence[Any]) -> Iterator[int]:
    """The whole numbers beside and within sequences: of a maker of tensors its shape, or more."""
    for value in arguments:
        if isinstance(value, int):
            yield max(1, abs(value))
        elif isinstance(value, tuple | list):
            yield from _sizes(value)


@contextmanager
def _counted(name: str, most_numbers: int) -> Iterator[None]:
    """As soon as what is built inside is beyond any memory SpecError, and beyond ``most_numbers`` _TooLarge."""
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
        if numbers > most_numbers:
            raise _TooLarge

    hooks = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
