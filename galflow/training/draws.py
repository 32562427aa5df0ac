"""Random numbers inside a loss that do not depend on how many processes train.

A model draws for the objects that it is given, as torch.randn_like(mean). On one rank of several these are a share of a
batch: the numbers of all its objects are drawn then, by a generator that is alike on all ranks, and the share's are
taken. That holds for what torch draws with a first dimension of one entry an object; all else (dropout, permutations,
draws over codes or sources) is drawn by each rank on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_LIKE = {torch.randn_like: torch.randn, torch.rand_like: torch.rand}
_PLAIN = (torch.randn, torch.rand)


class _WholeBatch(TorchFunctionMode):
    """While it is on, draws of ``share`` objects are those of the batch that they are part of."""

    def __init__(self, total: int, share: slice) -> None:
        super().__init__()
        self._total, self._share = total, share
        self._objects = share.stop - share.start
        self._common: dict[torch.device, torch.Generator] = {}
        for device in [torch.device("cpu"), *(torch.device("cuda", i) for i in range(torch.cuda.device_count()))]:
            generator = torch.Generator(device)
            generator.set_state(torch.get_rng_state() if device.type == "cpu" else torch.cuda.get_rng_state(device))
            self._common[device] = generator

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func in _LIKE and isinstance(args[0], Tensor):
            like = args[0]
            named = {"dtype": like.dtype, "device": like.device} | named
            return (
                self._drawn(_LIKE[func], tuple(like.shape), named)
                if self._is_of_objects(like.shape)
                else func(*args, **(kwargs or {}))
            )
        if func in _PLAIN and named.get("generator") is None and args:
            shape = tuple(args[0]) if isinstance(args[0], Sequence) else tuple(args)
            if self._is_of_objects(shape):
                return self._drawn(func, shape, named)
        return func(*args, **(kwargs or {}))

    def _is_of_objects(self, shape: Sequence[int]) -> bool:
        return len(shape) > 0 and shape[0] == self._objects

    def _drawn(self, draw: Any, shape: Sequence[int], named: dict[str, Any]) -> Tensor:
        device = torch.device(named.get("device") or "cpu")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        whole: Tensor = draw((self._total, *shape[1:]), **named | {"generator": self._common[device]})
        return whole[self._share]

    def keep(self) -> None:
        """Torch's global generators go on where the common ones have come to."""
        for device, generator in self._common.items():
            if device.type == "cpu":
                torch.set_rng_state(generator.get_state())
            else:
                torch.cuda.set_rng_state(generator.get_state(), device)


@contextmanager
def draws_of_the_whole_batch(total: int, share: slice, own_seed: int) -> Iterator[None]:
    """Inside, objects ``share`` of a batch of ``total`` get the numbers that they would get in the whole batch.

    What is not drawn for each object comes from ``own_seed``, which differs from rank to rank. Afterwards all ranks'
    generators are alike, and as those of one process would be.
    """
    whole = _WholeBatch(total, share)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(own_seed)
        with whole:
            yield
    whole.keep()
