"""A network that a user brings as one file, ONNX or TorchScript: kept as its bytes, run without gradients.

Nothing here opens a file or knows a path, and no pickle is ever loaded: what is neither ONNX nor TorchScript is refused
with the way to export it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from galflow.errors import SpecError
from galflow.models.shared.network_runner import EXPORT, ONNX, Runner
from galflow.models.shared.onnx_network import OnnxRunner, require_onnx
from galflow.models.shared.torchscript_network import TorchScriptRunner


class ExportedNetwork(nn.Module):
    """The bytes of the file, which its state carries, and the network that they are, made on first use."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._file = torch.zeros(0, dtype=torch.uint8)
        self._runner: Runner | None = None

    @property
    def loaded(self) -> bool:
        """Whether there is a file."""
        return self._file.numel() > 0

    def load(self, data: bytes) -> None:
        """Take the bytes of a file; SpecError if they are no network of this kind."""
        self._file = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else self._file[:0]
        self._runner = None
        self._runner = self._made(torch.device("cpu"))

    def get_extra_state(self) -> Tensor:
        """The bytes, always in the CPU's memory: part of ``state_dict``."""
        return self._file

    def set_extra_state(self, state: Tensor) -> None:
        """Take them up again; SpecError if what runs them is not installed."""
        if self.kind == ONNX and len(state):
            require_onnx()
        self._file, self._runner = state.to("cpu", torch.uint8), None

    def __getstate__(self) -> dict[str, Any]:
        """Without what cannot be copied: it is made again."""
        return {**self.__dict__, "_runner": None}

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Every output by its name, or by its number where it has none, on the images' device.

        SpecError, with the library's own words, if the network does not take ``images``.
        """
        if self._runner is None or self._runner.device != images.device:
            self._runner = self._made(images.device)
        return self._runner(images)

    def _made(self, device: torch.device) -> Runner:
        if not self.loaded:
            raise SpecError(f"encoder: the file is empty; expected {self.kind}: {EXPORT}")
        data = self._file.numpy().tobytes()
        return OnnxRunner(data, device) if self.kind == ONNX else TorchScriptRunner(data, device)
