"""TorchScript, run as it was written. A pickled module or state dict is refused before torch looks at it.

TorchScript can do what a program can, reading and writing files among it: it is for files whose origin is trusted.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from galflow.errors import SpecError
from galflow.models.shared.network_runner import EXPORT, RESHAPE, Runner, say

_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class TorchScriptRunner(Runner):
    """A scripted or traced module in evaluation mode, as it was written: not optimised, so that no call differs."""

    def __init__(self, data: bytes, device: torch.device) -> None:
        super().__init__(device)
        _require_torchscript(data)
        try:
            with torch.jit.optimized_execution(False):
                self._module = torch.jit.load(io.BytesIO(data), map_location=device).eval()
        except RuntimeError as error:
            raise say(f"torch {torch.__version__} cannot load it", error, EXPORT) from error

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs that are tensors of floating-point numbers."""
        try:
            with torch.jit.optimized_execution(False):
                found = self._module(images)
        except RuntimeError as error:
            raise say(
                f"it does not take images of {tuple(images.shape[1:])} (channel, y, x)", error, RESHAPE
            ) from error
        return dict(_named(found))


def _named(found: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of floating-point numbers that a module returned."""
    if isinstance(found, Tensor):
        found = [found]
    if not isinstance(found, dict):
        found = {str(number): value for number, value in enumerate(found)} if isinstance(found, list | tuple) else {}
    for name, value in found.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            yield str(name), value


def _require_torchscript(data: bytes) -> None:
    pickled = data.startswith(_PICKLE_STARTS)
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
        if "constants.pkl" in names:
            return
        pickled = "data.pkl" in names
    what = "a pickled module or state dict (torch.save), and a pickle is never loaded" if pickled else "no TorchScript"
    raise SpecError(f"encoder: the file holds {what}; {EXPORT}")


def script(network: torch.nn.Module) -> bytes:
    """The file that a network in evaluation mode is exported to."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network.eval()), buffer)
    return buffer.getvalue()
