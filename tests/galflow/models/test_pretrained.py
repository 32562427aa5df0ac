"""An encoder that a user brings: what it is given, what is taken of it, and what its latents tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.base import build_model
from galflow.models.pretrained import PretrainedEncoder
from galflow.models.shared.torchscript_network import script

if TYPE_CHECKING:
    from conftest import TrainedEncoder

Blobs = Callable[..., Batch]


class Tokens(nn.Module):
    """(B, 1 + 4, 3) tokens as a vision transformer gives: the first is the sum of each channel, the others quarters."""

    def forward(self, x: Tensor) -> Tensor:
        quarters = nn.functional.adaptive_avg_pool2d(x, 2).flatten(2).mT
        return torch.cat([x.sum((2, 3))[:, None], quarters], 1)


class Map(nn.Module):
    """(B, 3, 2, 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 2)


class Named(nn.Module):
    """Two outputs by name."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"mean": x.mean((2, 3)), "most": x.amax((2, 3))}


def of(network: nn.Module, channels: int = 3, size: int = 8, **options: Any) -> PretrainedEncoder:
    model = PretrainedEncoder(channels=channels, size=size, encoder="a.pt", **options)
    model.load_weights(script(network))
    return model


def finished(encoder: TrainedEncoder, kind: str, batch: Batch, **options: Any) -> PretrainedEncoder:
    file = encoder.onnx if kind == "onnx" else encoder.torchscript
    model = PretrainedEncoder(channels=2, size=16, encoder=str(file), keep=300, **options)
    model.load_weights(file.read_bytes())
    model.eval()
    model.finish([batch[start : start + 40] for start in range(0, len(batch), 40)])
    return model


@pytest.fixture
def galaxies(blobs: Blobs) -> Callable[..., Batch]:
    shape = PretrainedEncoder(channels=2, size=16, encoder="a.pt")
    return lambda count, seed: blobs(shape, count, seed=seed)


def test_pixels_are_prepared_as_declared() -> None:
    draw = torch.Generator().manual_seed(0)
    pixels = 2 * torch.rand(4, 3, 8, 8, generator=draw) - 0.5
    observed = torch.rand(pixels.shape, generator=draw) > 0.2
    batch = Batch(torch.where(observed, pixels, torch.nan), observed)
    known = torch.where(observed, pixels, 0)
    plain = PretrainedEncoder(channels=3, size=8, encoder="a.pt")
    assert torch.equal(plain.images(batch), known)
    model = PretrainedEncoder(
        channels=3, size=8, encoder="a.pt", bands=[2, 0], range=[-0.1, 0.9], mean=[0.4, 0.5], std=0.2, input_size=12
    )
    expected = ((known[:, [2, 0]] + 0.1).clamp(0, 1) - torch.tensor([0.4, 0.5])[:, None, None]) / 0.2
    expected = nn.functional.interpolate(expected, (12, 12), mode="bilinear")
    torch.testing.assert_close(model.images(batch), expected)
    shrunk = PretrainedEncoder(channels=3, size=8, encoder="a.pt", input_size=4, bands=[1, 1, 1])
    level = Batch.of(torch.full((1, 3, 8, 8), 0.3))
    torch.testing.assert_close(shrunk.images(level), torch.full((1, 3, 4, 4), 0.3))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"encoder": "a.pth"}, r"encoder is 'a.pth'; expected a file whose name ends in .onnx, .pt, .ts"),
        ({"bands": [0, 3]}, r"bands is \[0, 3\]; .* counted from 0 to 2"),
        ({"bands": []}, r"bands is \[\]; expected a list with a band for each channel"),
        ({"bands": [True]}, r"bands is \[True\]"),
        ({"range": [1, 0]}, r"range is \[1, 0\]; expected two stretched values, the lower first"),
        ({"mean": [0.1, 0.2]}, r"mean is \[0.1, 0.2\]; expected one finite number, or one for each of the 3 channels"),
        ({"std": [1, 0, 1]}, r"std is \[1, 0, 1\]; expected numbers above 0, such as 0.5"),
        ({"input_size": 0}, r"input_size is 0; expected 1 to 4096 pixels"),
        ({"pooling": "max"}, r"pooling is 'max'; expected one of cls, mean, flat"),
        ({"neighbours": 4000}, r"neighbours is 4000 and keep is 4000"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: Mapping[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        build_model("pretrained.PretrainedEncoder", channels=3, size=8, **{"encoder": "a.pt", **options})


def test_no_more_is_kept_than_memory_takes() -> None:
    text = (
        r"keep is 9000000 and the encoder gives 192 latents; .* 500,000,000 numbers at the most: keep 2604166 or fewer"
    )
    with pytest.raises(SpecError, match=text):
        of(nn.Flatten(), keep=9_000_000)


def test_tokens_and_maps_are_pooled_as_asked() -> None:
    batch = Batch.of(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    x = batch.pixels
    torch.testing.assert_close(of(Tokens(), pooling="cls").encode(batch), x.sum((2, 3)))
    torch.testing.assert_close(of(Tokens()).encode(batch), Tokens()(x).mean(1))
    torch.testing.assert_close(of(Tokens(), pooling="flat").encode(batch), Tokens()(x).flatten(1))
    torch.testing.assert_close(of(Map()).encode(batch), x.mean((2, 3)))
    torch.testing.assert_close(of(Map(), pooling="flat").encode(batch), Map()(x).flatten(1))
    lengths = of(Map(), unit_length=True).encode(batch).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(2))
    with pytest.raises(
        SpecError, match=r"for 2 image\(s\) it gives \(2, 3, 2, 2\); expected .* with pooling mean or flat"
    ):
        of(Map(), pooling="cls")
    with pytest.raises(SpecError, match=r"makes 19200 latents of an image; expected 1 to 16,384: choose pooling mean"):
        of(nn.Identity(), size=80, pooling="flat")
    with pytest.raises(SpecError, match=r"it gives \(384,\); expected"):
        of(nn.Flatten(0))


def test_one_of_several_outputs_is_chosen() -> None:
    batch = Batch.of(torch.rand(2, 3, 8, 8))
    torch.testing.assert_close(of(Named(), output="most").encode(batch), batch.pixels.amax((2, 3)))
    for output, text in ((None, "none is chosen"), ("cls", "output is 'cls'")):
        with pytest.raises(SpecError, match=rf"it gives mean \(2, 3\), most \(2, 3\), and {text}; give output: one of"):
            of(Named(), output=output)


class Together(nn.Module):
    """What a network in training mode does: batch statistics."""

    def forward(self, x: Tensor) -> Tensor:
        return ((x - x.mean(0, keepdim=True)) / (x.std(0, keepdim=True, correction=0) + 1e-3)).flatten(1)


class Dropping(nn.Module):
    """Dropout that stayed on."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, True).flatten(1)


@pytest.mark.parametrize("network", [Together(), Dropping()])
def test_an_encoder_in_training_mode_is_refused(network: nn.Module) -> None:
    with pytest.raises(SpecError, match=r"other latents beside another image than alone.*export it in evaluation mode"):
        of(network)


def test_onnx_and_torchscript_score_alike(trained_encoder: TrainedEncoder, galaxies: Callable[..., Batch]) -> None:
    known, asked = galaxies(200, 1), galaxies(60, 2)
    scores = [finished(trained_encoder, kind, known).score(asked) for kind in ("onnx", "torchscript")]
    for name in PretrainedEncoder.scores:
        torch.testing.assert_close(scores[0][name], scores[1][name], rtol=1e-4, atol=1e-4)
    assert torch.equal(scores[0]["distance"].argsort(), scores[1]["distance"].argsort())


def test_unlike_galaxies_score_higher(trained_encoder: TrainedEncoder, galaxies: Callable[..., Batch]) -> None:
    """Doubled ones, by most of them: twelve latents that were trained for flux and size do not see everything."""
    model = finished(trained_encoder, "onnx", galaxies(400, 1), neighbours=5)
    usual, changed = model.score(galaxies(200, 2)), galaxies(200, 3)
    odd = model.score(Batch.of(changed.pixels + changed.pixels.roll((4, 4), (2, 3))))
    for name, values in usual.items():
        above = (odd[name][:, None] > values).float().mean()
        assert above > 0.8, f"{name}: AUROC {float(above):.2f}"


def test_it_is_saved_with_its_network_and_needs_no_file_again(
    trained_encoder: TrainedEncoder, galaxies: Callable[..., Batch]
) -> None:
    model = finished(trained_encoder, "onnx", galaxies(100, 1))
    stored = safetensors.torch.save({name: value.contiguous() for name, value in model.state_dict().items()})
    assert trained_encoder.onnx.read_bytes() in stored
    other = PretrainedEncoder(channels=2, size=16, encoder="gone.onnx", keep=300)
    with pytest.raises(ModelError, match=r"the encoder has no weights"):
        other.encode(galaxies(2, 2))
    other.load_state_dict(safetensors.torch.load(stored))
    asked = galaxies(30, 2)
    for name, values in model.score(asked).items():
        assert torch.equal(other.eval().score(asked)[name], values), name


def test_only_what_is_kept_is_encoded_and_drawn_evenly(
    galaxies: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = of(nn.Flatten(), channels=2, size=16, keep=50, neighbours=3)
    encoded: list[int] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda batch: encoded.append(len(batch)) or encode(batch))
    batch = galaxies(400, 1)
    batch.observed[::4] = False  # without any pixel: never kept
    model.finish([batch[:100], batch[100:400]])
    assert sum(encoded) == 50
    assert 5 <= encoded[0] <= 20, "a quarter of the objects"
    batch.observed[:] = False
    with pytest.raises(ModelError, match=r"PCA met no observed object"):
        model.finish([batch])


def test_it_is_no_inner_model_of_a_detector() -> None:
    with pytest.raises(
        SpecError, match=r"inner is 'pretrained.PretrainedEncoder'; .* none that needs weights of yours"
    ):
        build_model(
            "outliers.IsolationForest", channels=1, size=8, features="latents", inner="pretrained.PretrainedEncoder"
        )
