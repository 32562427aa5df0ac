"""A trained model, or a part of it, as ONNX: for whoever runs it where neither galflow nor torch is.

The file takes what the survey has, flux with NaN where missing: the stretch is in the graph. The packages onnx and
onnxscript are an extra, and imported when a file is made.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.logs import quiet
from galflow.models.autoencoder import Autoencoder
from galflow.models.base import Density, Encodes, GenerativeModel, bits_per_dim
from galflow.models.shared.adversarial import Adversarial
from galflow.models.shared.inversion_score import InversionScore
from galflow.models.vae import VAE
from galflow.training.corrected_likelihood import CORRECTED
from galflow.training.trained_model import BPD, LOGLIKE, TrainedModel

Part = Literal["score", "encoder", "decoder", "critic"]
OPSET = 20
_ROWS = 3
"""Images in the example that the graph is read off: neither 0 nor 1, which the exporter would take for fixed."""


class _Network(nn.Module):
    """What an ONNX file holds: one input, and outputs with names."""

    outputs: tuple[str, ...]

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__()
        self.model = trained.module
        self.stretch = trained.stretch

    @abstractmethod
    def example(self) -> Tensor:
        """An input of ``_ROWS`` rows."""


class _OfImages(_Network):
    """Of flux (batch, band, y, x), NaN where missing.

    A model that fills gaps by means that ONNX does not know gives NaN for an image with a gap, and no wrong number.
    """

    def example(self) -> Tensor:
        return torch.zeros(_ROWS, self.model.channels, self.model.size, self.model.size)

    def batch(self, images: Tensor) -> Batch:
        observed = torch.isfinite(images)
        known = torch.where(observed, images, 0)
        return Batch(torch.where(observed, self.stretch.forward(known, torch), 0), observed)

    def told(self, values: Tensor, batch: Batch) -> Tensor:
        """(B, ...) values as float32; NaN for an image that the graph has no answer for."""
        able = batch.observed.flatten(1)
        answered = able.all(1) if isinstance(self.model, InversionScore) else able.any(1)
        return torch.where(answered.view(-1, *[1] * (values.ndim - 1)), values.float(), torch.nan)


class _Scores(_OfImages):
    def __init__(self, trained: TrainedModel) -> None:
        super().__init__(trained)
        # Those that are relative to the held-out objects, or to how an image compresses, are no part of the network.
        self.outputs = tuple(name for name in trained.score_names if name not in CORRECTED)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        batch = self.batch(images)
        if isinstance(self.model, Density):
            log_prob, found = self.model.log_prob_and_scores(batch)
            found = {**found, LOGLIKE: log_prob, BPD: bits_per_dim(log_prob, batch.observed)}
        else:
            found = self.model.score(batch)
        return tuple(self.told(found[name], batch) for name in self.outputs)


class _Encoder(_OfImages):
    outputs = ("latents",)

    def forward(self, images: Tensor) -> Tensor:
        batch = self.batch(images)
        return self.told(_encodes(self.model).encode(batch), batch)


class _Critic(_OfImages):
    outputs = ("value",)

    def forward(self, images: Tensor) -> Tensor:
        batch, model = self.batch(images), _adversarial(self.model)
        return self.told(model.critic(model.seen(batch.pixels)), batch)


class _Decoder(_Network):
    outputs = ("pixels",)

    def example(self) -> Tensor:
        model = _decodes(self.model)
        with torch.no_grad():
            place = next(model.parameters()).device
            return model.encode(Batch.of(torch.zeros(_ROWS, model.channels, model.size, model.size, device=place)))

    def forward(self, latents: Tensor) -> Tensor:
        model = _decodes(self.model)
        pixels: Tensor = model.decode(latents) if isinstance(model, Adversarial) else model.decoder(latents)
        return pixels


def _encodes(model: GenerativeModel) -> Encodes:
    if not isinstance(model, Encodes):
        raise SpecError(f"a {type(model).__name__} has no encoder; export its scores instead (part score)")
    return model


def _adversarial(model: GenerativeModel) -> Adversarial:
    if not isinstance(model, Adversarial):
        raise SpecError(f"a {type(model).__name__} has no critic; export its scores instead (part score)")
    return model


def _decodes(model: GenerativeModel) -> Autoencoder | VAE | Adversarial:
    if not isinstance(model, Autoencoder | VAE | Adversarial):
        raise SpecError(
            f"a {type(model).__name__} has no decoder from latents to pixels; VAE, Autoencoder, GAN and WGAN have one"
        )
    return model


_NETWORKS: dict[Part, type[_Network]] = {
    "score": _Scores,
    "encoder": _Encoder,
    "decoder": _Decoder,
    "critic": _Critic,
}


def export_onnx(trained: TrainedModel, part: Part = "score") -> bytes:
    """One ONNX file without others beside it: a trained model's scores, its encoder, its decoder or its critic.

    score, encoder and critic take ``images`` (batch, band, y, x) float32, flux in the card's unit, NaN where missing,
    and give ``(batch,)`` of each score by its name (typicality and complexity_corrected are left out), ``latents``
    (batch, D), or ``value`` (batch,). decoder takes ``latents`` and gives ``pixels`` (batch, band, y, x) in the card's
    stretch. Equal to torch within 1e-4. NaN for an image without any pixel, and by a GAN for one that lacks any.
    The file's metadata say the model, bands, unit, stretch and fingerprint. SpecError for a part that the model has
    not, for a model that needs more than pixels, and where a package is missing; ModelError if torch cannot say it.
    """
    _require(trained, part)
    import onnx

    network = _NETWORKS[part](trained).eval()
    given = "latents" if part == "decoder" else "images"
    try:
        example = network.example().to(trained.device)
        with torch.no_grad(), _exporting():
            program = torch.onnx.export(
                network,
                (example,),
                input_names=[given],
                output_names=list(network.outputs),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        why = str(error.__cause__ or error).strip().splitlines()[0]
        raise ModelError(
            f"{part} of {trained.card.model} cannot be said in ONNX: {why}; export another part, or use galflow.score"
        ) from error
    if program is None:
        raise ModelError(f"torch gave no ONNX program of {trained.card.model}")
    proto = program.model_proto
    onnx.helper.set_model_props(proto, _facts(trained, part))
    onnx.checker.check_model(proto)
    whole = io.BytesIO()
    onnx.save_model(proto, whole)
    return whole.getvalue()


def _facts(trained: TrainedModel, part: Part) -> dict[str, str]:
    card = trained.card
    return {
        "galflow.model": card.model,
        "galflow.part": part,
        "galflow.bands": " ".join(card.bands),
        "galflow.unit": card.unit,
        "galflow.stretch": card.stretch.model_dump_json(),
        "galflow.fingerprint": card.fingerprint,
        "galflow.code_version": card.code_version,
    }


def _require(trained: TrainedModel, part: Part) -> None:
    if part not in get_args(Part):
        raise SpecError(f"part is {part!r}; expected one of {', '.join(get_args(Part))}")
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise SpecError(f"ONNX export needs the package {' and '.join(missing)}; install galflow[onnx]")
    check = {"encoder": _encodes, "critic": _adversarial, "decoder": _decodes}.get(part)
    if check is not None:
        check(trained.module)
    wanted = trained.contents
    needs = [
        word
        for word, asked in {
            "inverse variances": wanted.ivar,
            "the PSF": wanted.psf,
            f"the columns {', '.join(wanted.conditions)}": bool(wanted.conditions),
            f"neighbours taken out first (neighbours: {wanted.neighbours})": wanted.neighbours != "keep",
        }.items()
        if asked
    ]
    if needs and part != "decoder":
        raise SpecError(
            f"model {trained.card.name} needs {' and '.join(needs)} beside pixels, and an ONNX file takes images "
            "alone; score with galflow instead"
        )
    if isinstance(trained.module, InversionScore) and trained.module.refine and part in ("score", "encoder"):
        raise SpecError(f"model {trained.card.name} refines latents by gradients, which ONNX lacks; give refine: 0")


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Without what torch's exporter says of itself."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with quiet():
            yield
    finally:
        log.setLevel(level)
