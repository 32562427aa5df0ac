"""Networks as files: what runs, and what is refused with the way to export it."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from galflow.errors import SpecError
from galflow.models.shared import onnx_network
from galflow.models.shared.exported_network import ExportedNetwork
from galflow.models.shared.network_runner import EXPORT, ONNX, TORCHSCRIPT, kind_of
from galflow.models.shared.torchscript_network import script

if TYPE_CHECKING:
    from conftest import TrainedEncoder


def images(count: int, channels: int = 2, side: int = 16) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(count))


def loaded(kind: str, data: bytes) -> ExportedNetwork:
    network = ExportedNetwork(kind)
    network.load(data)
    return network


def made_of(encoder: TrainedEncoder, kind: str) -> bytes:
    return (encoder.onnx if kind == ONNX else encoder.torchscript).read_bytes()


def linear_onnx(batch: int | str = "batch", **changes: Any) -> onnx.ModelProto:
    """Images of 1 x 2 x 2, flattened and weighed: latents (batch, 3); and the images' mean."""
    weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "weights")
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["latents"]),
        helper.make_node("ReduceMean", ["flat"], ["mean"], keepdims=1),
    ]
    inputs = changes.get("inputs", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 1, 2, 2])])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("latents", "mean")]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_the_encoder_of_these_tests_has_learnt_something(trained_encoder: TrainedEncoder) -> None:
    assert trained_encoder.explained > 0.8


@pytest.mark.parametrize("kind", [ONNX, TORCHSCRIPT])
@pytest.mark.parametrize("count", [1, 7])
def test_a_file_runs_as_the_network_that_it_was(trained_encoder: TrainedEncoder, kind: str, count: int) -> None:
    network = loaded(kind, made_of(trained_encoder, kind))
    (found,) = network(images(count)).values()
    with torch.no_grad():
        torch.testing.assert_close(found, trained_encoder.network(images(count)), rtol=1e-5, atol=1e-5)
    assert not found.requires_grad
    assert torch.equal(found, next(iter(network(images(count)).values())))


@pytest.mark.parametrize("kind", [ONNX, TORCHSCRIPT])
def test_the_file_travels_in_the_state_and_in_copies(trained_encoder: TrainedEncoder, kind: str) -> None:
    network = loaded(kind, made_of(trained_encoder, kind))
    other = ExportedNetwork(kind)
    assert not other.loaded
    other.load_state_dict(network.state_dict())
    (expected,) = network(images(3)).values()
    for same in (other, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        (found,) = same(images(3)).values()
        assert torch.equal(found, expected)


def test_a_session_is_made_once(trained_encoder: TrainedEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **k: made.append(1) or session(*a, **k))
    network = loaded(ONNX, trained_encoder.onnx.read_bytes())
    for count in range(1, 4):
        network(images(count))
    assert len(made) == 1


def test_what_was_exported_for_so_many_images_takes_any_number() -> None:
    fixed = loaded(ONNX, linear_onnx(batch=3).SerializeToString())
    free = loaded(ONNX, linear_onnx().SerializeToString())
    for count in (1, 3, 7):
        found, expected = (n(images(count, 1, 2))["latents"] for n in (fixed, free))
        assert found.shape == (count, 3)
        torch.testing.assert_close(found, expected)


class Several(nn.Module):
    """A dictionary of outputs, as a scripted vision transformer has."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"cls": x.flatten(1), "count": torch.ones(1, dtype=torch.int64)}


class Pair(nn.Module):
    """Two outputs without names."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.flatten(1), x.mean((2, 3))


def test_outputs_have_their_names_or_numbers() -> None:
    assert list(loaded(ONNX, linear_onnx().SerializeToString())(images(2, 1, 2))) == ["latents", "mean"]
    assert list(loaded(TORCHSCRIPT, script(Several()))(images(2))) == ["cls"], "whole numbers are no latents"
    assert list(loaded(TORCHSCRIPT, script(Pair()))(images(2))) == ["0", "1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.pt2", r"a program of torch.export may hold pickles"),
        ("a.pth", r"a pickle is never loaded"),
        ("a.safetensors", r"weights without their network cannot be run"),
        ("encoder", r"encoder is 'encoder'; expected a file whose name ends in .onnx, .pt, .ts"),
    ],
)
def test_other_endings_are_refused_with_the_way_to_export(name: str, text: str) -> None:
    with pytest.raises(SpecError, match=text) as refused:
        kind_of(name)
    assert "torch.onnx.export(network.eval()" in str(refused.value)
    assert (kind_of("s3://b/A.ONNX"), kind_of("x/a.pt"), kind_of("a.ts")) == (ONNX, TORCHSCRIPT, TORCHSCRIPT)


class Trap:
    """Its pickle runs code when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_refused_and_not_loaded(tmp_path: Path, trained_encoder: TrainedEncoder) -> None:
    mark = tmp_path / "executed"
    files = [pickle.dumps(Trap(mark))]
    contents = [Trap(mark), trained_encoder.network.state_dict(), trained_encoder.network]
    for what, zipped in [(c, z) for c in contents for z in (True, False)]:
        buffer = io.BytesIO()
        torch.save(what, buffer, _use_new_zipfile_serialization=zipped)
        files.append(buffer.getvalue())
    for data in files:
        text = r"a pickled module or state dict .* never loaded; export the network with torch.onnx.export\("
        with pytest.raises(SpecError, match=text):
            loaded(TORCHSCRIPT, data)
        with pytest.raises(SpecError, match=r"the file is no ONNX"):
            loaded(ONNX, data)
    assert not mark.exists()
    pickle.loads(files[0])
    assert mark.exists(), "the trap would have worked"


@pytest.mark.parametrize("kind", [ONNX, TORCHSCRIPT])
def test_what_is_no_network_is_refused(trained_encoder: TrainedEncoder, kind: str) -> None:
    whole, other = made_of(trained_encoder, kind), made_of(trained_encoder, TORCHSCRIPT if kind == ONNX else ONNX)
    for data in (b"", b"nonsense", whole[:200], whole[: len(whole) // 2], other):
        with pytest.raises(SpecError, match=r"encoder: .*export the network with"):
            loaded(kind, data)


def test_weights_in_another_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder where the run starts onnxruntime would read any file by its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(np.ones(12, np.float32).tobytes())
    model = linear_onnx()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="secret")
    onnxruntime.InferenceSession(model.SerializeToString())  # it does
    with pytest.raises(SpecError, match=r"keeps its weights in another file; expected one file: .*external_data=False"):
        loaded(ONNX, model.SerializeToString())
    hidden = linear_onnx()
    hidden.graph.node.append(helper.make_node("Constant", [], ["more"], value=weights))
    with pytest.raises(SpecError, match=r"keeps its weights in another file"):
        loaded(ONNX, hidden.SerializeToString())


@pytest.mark.parametrize("kind", [ONNX, TORCHSCRIPT])
def test_images_of_another_shape_are_refused(trained_encoder: TrainedEncoder, kind: str) -> None:
    network = loaded(kind, made_of(trained_encoder, kind))
    for wrong in (images(2, channels=3), images(2, side=20)):
        text = rf"\({wrong.shape[1]}, {wrong.shape[2]}, {wrong.shape[3]}\).*give\s+input_size, and bands with an entry"
        with pytest.raises(SpecError, match=text):
            network(wrong)


def test_other_inputs_than_images_are_refused() -> None:
    images_in = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 2, 2])
    second = helper.make_tensor_value_info("redshift", TensorProto.FLOAT, ["batch", 1])
    with pytest.raises(SpecError, match=r"it takes images tensor\(float\) .*, redshift .*expected one input"):
        loaded(ONNX, linear_onnx(inputs=[images_in, second]).SerializeToString())


def test_without_the_packages_onnx_is_refused_and_torchscript_runs(
    trained_encoder: TrainedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = loaded(ONNX, trained_encoder.onnx.read_bytes()).state_dict()
    hidden = SimpleNamespace(find_spec=lambda name: None if name.startswith("onnx") else sys)
    monkeypatch.setattr(onnx_network, "importlib", SimpleNamespace(util=hidden))
    text = r"needs the packages onnx and onnxruntime; install galflow\[onnx\], or give TorchScript"
    with pytest.raises(SpecError, match=text):
        loaded(ONNX, trained_encoder.onnx.read_bytes())
    with pytest.raises(SpecError, match=text):
        ExportedNetwork(ONNX).load_state_dict(state)
    loaded(TORCHSCRIPT, trained_encoder.torchscript.read_bytes())(images(1))


@pytest.mark.full  # torch's new exporter takes ten seconds to import
def test_the_way_to_export_that_messages_tell_works(
    trained_encoder: TrainedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"torch\.\S+\(.*?\)(?=, or|$)", EXPORT)
    assert len(commands) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporters about torch
        for command in commands:
            eval(command, {"torch": torch, "network": trained_encoder.network, "images": images(2)})
    for name in ("encoder.onnx", "encoder.pt"):
        (found,) = loaded(kind_of(name), (tmp_path / name).read_bytes())(images(5)).values()
        with torch.no_grad():
            torch.testing.assert_close(found, trained_encoder.network(images(5)), rtol=1e-5, atol=1e-5)
    assert [path.name for path in tmp_path.glob("*.data")] == []


@pytest.mark.full
def test_a_program_of_torch_export_can_run_code_when_it_is_read(
    tmp_path: Path, trained_encoder: TrainedEncoder
) -> None:
    """Why .pt2 is refused: where torch's own reader no longer does this, it can be thought over."""
    mark, file, trapped = tmp_path / "executed", tmp_path / "a.pt2", tmp_path / "b.pt2"
    torch.export.save(torch.export.export(trained_encoder.network, (images(2),)), file)
    trap = io.BytesIO()
    torch.save(Trap(mark), trap)
    with zipfile.ZipFile(file) as given, zipfile.ZipFile(trapped, "w") as made:
        content = {name: given.read(name) for name in given.namelist()}
        (config,) = (name for name in content if name.endswith("model_weights_config.json"))
        weights = json.loads(content[config])
        first = next(iter(weights["config"].values()))
        first["use_pickle"] = True
        changed = {config: json.dumps(weights).encode()}
        changed[f"{config.rpartition('/')[0]}/{first['path_name']}"] = trap.getvalue()
        for name, data in (content | changed).items():
            made.writestr(name, data)
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # a trap is no weight
        warnings.simplefilter("ignore")
        torch.export.load(trapped)
    assert mark.exists()
