"""What runs a network that came as one file, and how a file says by its name which kind of network it holds."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from galflow.errors import SpecError

ONNX, TORCHSCRIPT = "ONNX", "TorchScript"
KINDS = {".onnx": ONNX, ".pt": TORCHSCRIPT, ".ts": TORCHSCRIPT}
"""Ending of a file's name -> what it must hold."""
EXPORT = (
    "export the network with torch.onnx.export(network.eval(), (images,), 'encoder.onnx', external_data=False, "
    "dynamic_shapes=({0: 'batch'},)), or with torch.jit.script(network.eval()).save('encoder.pt')"
)
RESHAPE = "give input_size, and bands with an entry for each of its channels"
_NO_MEMORY = ("out of memory", "DefaultCPUAllocator", "Failed to allocate memory")
_TOLD = 400
"""Characters of a library's own message that are passed on."""


def kind_of(name: str) -> str:
    """ONNX or TORCHSCRIPT, by the ending of the file's name; SpecError for any other."""
    ending = f".{name.rpartition('.')[2].lower()}" if "." in name else ""
    if ending in KINDS:
        return KINDS[ending]
    why = ""
    if ending == ".pt2":
        why = "a program of torch.export may hold pickles, which run code when torch reads them; "
    elif ending in (".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".safetensors"):
        why = "a pickle is never loaded, and weights without their network cannot be run; "
    raise SpecError(f"encoder is {name!r}; expected a file whose name ends in {', '.join(KINDS)}: {why}{EXPORT}")


class Runner(ABC):
    """A network ready to run on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @abstractmethod
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs for (B, C, H, W) float32 images."""


def brief(error: Exception) -> str:
    """The last line of a message, where torch says what was wrong after it has shown the code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:_TOLD]


def say(what: str, error: Exception, mend: str) -> Exception:
    """The error to raise for what a library raised: SpecError, or OutOfMemoryError where that is what it says."""
    if any(words in str(error) for words in _NO_MEMORY):
        return torch.OutOfMemoryError(brief(error))
    return SpecError(f"encoder: {what}: {brief(error)}. To mend it {mend}")
