"""What onnxruntime makes of an exported file is what torch makes of the model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from galflow.cutouts.batches import make_batch
from galflow.errors import SpecError
from galflow.models.base import abilities, build_model
from galflow.models.shared.adversarial import Adversarial
from galflow.photometry import AsinhStretch
from galflow.training.corrected_likelihood import scores_of
from galflow.training.onnx_export import Part, export_onnx
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra galflow[onnx] is not installed")
SIZE = 8
OPTIONS = {
    "vae.VAE": {"latent": 4, "width": 16},
    "wgan.WGAN": {"latent": 8, "width": 8, "refine": 0},
    "maf.MAF": {"layers": 1, "width": 16, "hidden_layers": 1},
}


@pytest.fixture
def trained(stretch: AsinhStretch) -> Callable[..., TrainedModel]:
    """A model with weights as drawn, of two bands."""

    def build(model: str, **more: object) -> TrainedModel:
        options = OPTIONS.get(model, {}) | more
        torch.manual_seed(0)
        module = build_model(model, channels=2, size=SIZE, **options)
        module.initialise(make_batch(*images(), stretch))
        card = ModelCard(
            name="m", model=model, model_version=module.version, source=module.source,
            arguments={"channels": 2, "size": SIZE, **options}, cutouts={"size": SIZE}, bands=("g", "r"), unit="nJy",
            stretch=StretchCard.of(stretch), bin_width=None, training={}, curves=(), metrics={},
            scores=scores_of(type(module)), main_score=next(iter(module.scores)), abilities=abilities(type(module)),
            fingerprint="f1", code_version="0",
        )  # fmt: skip
        return TrainedModel(card, module, {})

    return build


def images(gaps: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Seven images of noise with a bright galaxy, (7, 2, 8, 8) nJy, and their inverse variance."""
    rng = np.random.default_rng(3)
    flux = rng.normal(size=(7, 2, SIZE, SIZE)).astype(np.float32)
    flux[:, :, 3:5, 3:5] += rng.uniform(5, 3000, (7, 1, 1, 1)).astype(np.float32)
    ivar = np.ones_like(flux)
    if gaps:
        ivar[1, 0, 2:6] = ivar[2, :, :, 1] = 0
    return flux, ivar


def run(data: bytes, given: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {wanted.name: given}), strict=True))


@pytest.mark.parametrize("model", OPTIONS)
def test_scores_are_those_of_torch(trained: Callable[..., TrainedModel], model: str) -> None:
    of_torch = trained(model)
    gaps = model != "wgan.WGAN"
    flux, ivar = images(gaps)
    expected = of_torch.module.eval()
    batch = make_batch(flux, ivar, of_torch.stretch)
    with torch.no_grad():
        wanted = {name: values.double().numpy() for name, values in expected.score(batch).items()}
    found = run(export_onnx(of_torch), np.where(ivar > 0, flux, np.nan).astype(np.float32))
    assert set(wanted) <= set(found) <= {*wanted, "loglike", "bpd"}
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
        assert len(np.unique(found[name])) == len(flux), name


def test_encoder_decoder_and_critic_are_those_of_torch(trained: Callable[..., TrainedModel]) -> None:
    flux, ivar = images()
    for model in ("vae.VAE", "wgan.WGAN"):
        of_torch = trained(model)
        module, batch = of_torch.module, make_batch(flux, ivar, of_torch.stretch)
        with torch.no_grad():
            latents = module.encode(batch).numpy()
            pixels = module.reconstruct(batch).numpy()
        np.testing.assert_allclose(
            run(export_onnx(of_torch, "encoder"), flux)["latents"], latents, rtol=1e-4, atol=1e-5
        )
        found = run(export_onnx(of_torch, "decoder"), latents)["pixels"]
        np.testing.assert_allclose(found, pixels, rtol=1e-4, atol=1e-5)
    assert isinstance(module, Adversarial)
    with torch.no_grad():
        value = module.critic(module.seen(batch.pixels)).numpy()
    np.testing.assert_allclose(run(export_onnx(of_torch, "critic"), flux)["value"], value, rtol=1e-4, atol=1e-5)


def test_what_a_file_cannot_answer_is_nan(trained: Callable[..., TrainedModel]) -> None:
    flux, _ = images()
    flux[0] = np.nan
    flux[1, 0, 2, 2] = np.nan
    encoder = run(export_onnx(trained("vae.VAE"), "encoder"), flux)["latents"]
    assert np.isnan(encoder[0]).all()
    assert np.isfinite(encoder[1:]).all()
    critic = run(export_onnx(trained("wgan.WGAN"), "critic"), flux)["value"]
    np.testing.assert_array_equal(np.isnan(critic), [True, True, *[False] * 5])


@pytest.mark.parametrize(
    ("model", "more", "part", "said"),
    [
        ("vae.VAE", {}, "critic", "VAE has no critic"),
        ("kmeans.KMeans", {}, "encoder", "KMeans has no encoder"),
        ("maf.MAF", {}, "decoder", "MAF has no decoder"),
        ("wgan.WGAN", {"refine": 3}, "score", "give refine: 0"),
        ("vae.VAE", {}, "all", "expected one of score, encoder, decoder, critic"),
    ],
)
def test_what_is_not_there_is_said(
    trained: Callable[..., TrainedModel], model: str, more: dict[str, object], part: Part, said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        export_onnx(trained(model, **more), part)
