"""ONNX, run by onnxruntime: data without code. A file that names other files is refused: it could name any.

The packages onnx and onnxruntime are an extra, and imported when a network is made.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from galflow.errors import SpecError
from galflow.models.shared.network_runner import EXPORT, RESHAPE, Runner, brief, say

logger = logging.getLogger(__name__)

_NUMBERS = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}
_LEVEL_ERROR = 3


class OnnxRunner(Runner):
    """A session of onnxruntime: on the images' GPU where it is made for one, else on the CPU."""

    def __init__(self, data: bytes, device: torch.device) -> None:
        super().__init__(device)
        require_onnx()
        _require_whole_onnx(data)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.use_deterministic_compute = True
        options.log_severity_level = _LEVEL_ERROR
        options.add_session_config_entry("session.load_model_format", "ONNX")
        with _told_by_onnx("onnxruntime cannot load it", EXPORT):
            self._session = onnxruntime.InferenceSession(data, options, providers=_providers(device))
        given = self._session.get_inputs()
        if len(given) != 1 or given[0].type not in _NUMBERS or len(given[0].shape) != 4:
            told = ", ".join(f"{i.name} {i.type} {i.shape}" for i in given)
            raise SpecError(
                f"encoder: it takes {told or 'nothing'}; expected one input of floating-point images (batch, channel, "
                "y, x): export the image encoder alone"
            )
        self._input = given[0]
        self._outputs = [output.name for output in self._session.get_outputs() if output.type in _NUMBERS]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs that are tensors of floating-point numbers."""
        self._require_shape(images)
        if not self._outputs:
            return {}
        given = images.cpu().to(_NUMBERS[self._input.type])
        fixed = self._input.shape[0]
        parts = list(_padded(given, fixed)) if isinstance(fixed, int) else [given]
        with _told_by_onnx(f"it does not take images of {tuple(images.shape[1:])} (channel, y, x)", RESHAPE):
            found = [self._session.run(self._outputs, {self._input.name: part.numpy()}) for part in parts]
        whole = (torch.cat([torch.from_numpy(part) for part in of_all]) for of_all in zip(*found, strict=True))
        return {name: v[: len(images)].to(images.device) for name, v in zip(self._outputs, whole, strict=True)}

    def _require_shape(self, images: Tensor) -> None:
        expected = self._input.shape[1:]
        if any(isinstance(e, int) and e != given for e, given in zip(expected, images.shape[1:], strict=True)):
            sides = ", ".join(str(side) for side in expected)
            raise SpecError(
                f"encoder: it takes images of ({sides}) (channel, y, x), and these options make "
                f"{tuple(images.shape[1:])}; {RESHAPE}"
            )


def _padded(images: Tensor, rows: int) -> Iterator[Tensor]:
    """Parts of ``rows`` images for a network that was exported for so many; the last one is filled up with zeros."""
    for part in images.split(max(1, rows)):
        yield torch.cat([part, part.new_zeros(rows - len(part), *part.shape[1:])]) if len(part) < rows else part


def require_onnx() -> None:
    """SpecError unless the packages are there."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise SpecError(
            f"encoder: an ONNX file needs the package{'s' * (len(missing) > 1)} {' and '.join(missing)}; install "
            "galflow[onnx], or give TorchScript (.pt)"
        )


def _require_whole_onnx(data: bytes) -> None:
    """SpecError unless it is ONNX with all its weights inside: one that names other files could name any."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise SpecError(f"encoder: the file is no ONNX ({brief(error)}); {EXPORT}") from error
    if not model.graph.node:
        raise SpecError(f"encoder: the file is no ONNX, or its graph is empty; {EXPORT}")
    if _names_files(model):
        raise SpecError(
            "encoder: the ONNX file keeps its weights in another file; expected one file: export it with "
            "external_data=False, or onnx.save(onnx.load('encoder.onnx'), 'whole.onnx')"
        )


def _names_files(message: Any) -> bool:
    """Whether a tensor anywhere within an ONNX message lies in a file of its own."""
    import onnx
    from google.protobuf.message import Message

    if isinstance(message, onnx.TensorProto):
        return bool(message.data_location == onnx.TensorProto.EXTERNAL)
    for _, value in message.ListFields():
        parts = (
            [value] if isinstance(value, Message) else value if not isinstance(value, str | bytes | int | float) else ()
        )
        if any(isinstance(part, Message) and _names_files(part) for part in parts):
            return True
    return False


def _providers(device: torch.device) -> list[Any]:
    import onnxruntime

    if device.type == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            exact = {"device_id": device.index or 0, "use_tf32": 0}
            return [("CUDAExecutionProvider", exact), "CPUExecutionProvider"]
        logger.warning("onnxruntime is not made for CUDA: the encoder runs on the CPU; install onnxruntime-gpu")
    return ["CPUExecutionProvider"]


class _told_by_onnx:
    """What onnxruntime raises as SpecError; its errors have no base of their own but a module."""

    def __init__(self, what: str, mend: str) -> None:
        self._what, self._mend = what, mend

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and type(error).__module__.startswith("onnxruntime."):
            raise say(self._what, error, self._mend) from error
