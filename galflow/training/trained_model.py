"""A trained model on the store: weights, reference distributions, and a card that says what they are of.

A folder: card.json, weights.safetensors, reference.safetensors, and for a person README.md, which nothing reads. It
holds no code: the card names a class that must be installed. This file trains nothing and calibrates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from galflow.batch import Batch
from galflow.cutouts.batches import BatchFields
from galflow.errors import IntegrityError, ModelError, SpecError
from galflow.models.base import Conditional, Density, Encodes, GenerativeModel, Reconstructs, bits_per_dim, build_model
from galflow.photometry import Stretch
from galflow.spec.neighbours import Neighbours
from galflow.storage.checksums import FileSum
from galflow.storage.receipts import to_json
from galflow.storage.store import Store
from galflow.training.corrected_likelihood import COMPLEXITY, CORRECTED, TYPICALITY, complexity_corrected, typicality
from galflow.training.gpu_arithmetic import full_float32
from galflow.training.model_card import ModelCard
from galflow.training.model_readme import model_readme
from galflow.training.oom_splitter import OomSplitter
from galflow.training.randomness import seeded
from galflow.training.validate import require_finite_weights

CARD = "card.json"
WEIGHTS = "weights.safetensors"
REFERENCE = "reference.safetensors"
README = "README.md"
LOGLIKE, BPD = "loglike", "bpd"
"""Names of a Density's log-likelihood (nats) and bits per observed dimension among the reference distributions."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model ready to score, with its card and its reference distributions."""

    card: ModelCard
    module: GenerativeModel
    """In evaluation mode."""
    reference: Mapping[str, np.ndarray] = field(repr=False)
    """Score name -> sorted float64 values of the held-out normal objects; a Density also has "loglike" and "bpd"."""

    _portions: OomSplitter = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.module.eval()
        object.__setattr__(self, "_portions", OomSplitter(f"scoring with {self.card.model}"))

    @property
    def stretch(self) -> Stretch:
        """The stretch in which it sees pixels."""
        return self.card.stretch.stretch()

    @property
    def contents(self) -> BatchFields:
        """What it must be given beside pixels."""
        return fields_of(self.module, self.card.neighbours)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((value.device for value in self.module.state_dict().values()), torch.device("cpu"))

    def to(self, device: torch.device | str) -> Self:
        """Move the weights; the model itself."""
        self.module.to(device)
        return self

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names that ``evaluate`` gives: the card's scores, and for a Density "loglike" and "bpd"."""
        return (*self.card.scores, *((LOGLIKE, BPD) if isinstance(self.module, Density) else ()))

    def evaluate(self, batch: Batch) -> dict[str, np.ndarray]:
        """All numbers the model gives objects, (B,) float64 each, from one pass.

        Its scores (HIGHER = MORE ANOMALOUS) and, of a Density, "loglike" (nats over observed pixels) and "bpd" (bits
        per observed dimension). Finite for objects within its input range; the caller judges those that are not.
        """
        found = self.measure(batch)
        if TYPICALITY in self.card.scores:
            found[TYPICALITY] = typicality(found[BPD], self.reference[BPD])
        return {name: found[name] for name in self.score_names}

    def measure(self, batch: Batch) -> dict[str, np.ndarray]:
        """What ``evaluate`` gives, but for what is relative to the reference distributions."""
        parts = self._portions.each(batch.to(self.device), self._measure)
        names = [name for name in self.score_names if name != TYPICALITY]
        return {name: np.concatenate([np.empty(0), *(part[name] for part in parts)]) for name in names}

    def _measure(self, on_device: Batch) -> dict[str, np.ndarray]:
        # Not inference_mode: a score that refines a latent enables gradients inside, which inference tensors refuse.
        with torch.no_grad(), full_float32(deterministic=True):
            if isinstance(self.module, Density):
                log_prob, found = self.module.log_prob_and_scores(on_device)
                found = {**found, LOGLIKE: log_prob, BPD: bits_per_dim(log_prob, on_device.observed)}
            else:
                found = self.module.score(on_device)
        names = [name for name in self.score_names if name not in CORRECTED]
        values = {name: self._per_object(name, found.get(name), len(on_device)) for name in names}
        if isinstance(self.module, Density) and COMPLEXITY in self.card.scores:
            values[COMPLEXITY] = complexity_corrected(self.module, on_device.pixels, on_device.observed, values[BPD])
        return values

    def _per_object(self, name: str, values: Tensor | None, objects: int) -> np.ndarray:
        if values is None or tuple(values.shape) != (objects,):
            given = "nothing" if values is None else f"shape {tuple(values.shape)}"
            raise ModelError(f"{self.card.model} gave {given} for {name!r} of {objects} objects; expected ({objects},)")
        return values.detach().double().cpu().numpy()

    def reconstruct(self, batch: Batch) -> np.ndarray:
        """(B, C, H, W) float32: its idea of each object, in its stretch; ModelError if it does not reconstruct."""
        module = self.module
        if not isinstance(module, Reconstructs):
            raise ModelError(f"{self.card.model} does not reconstruct; `galflow models` lists what models can do")

        nothing = np.empty((0, *batch.pixels.shape[1:]), np.float32)
        return np.concatenate([nothing, *self._each(batch, module.reconstruct)])

    def encode(self, batch: Batch) -> np.ndarray:
        """(B, D) float32: its latent description of each object; ModelError if it has none."""
        module = self.module
        if not isinstance(module, Encodes):
            raise ModelError(f"{self.card.model} does not encode; `galflow models` lists what models can do")
        return np.concatenate(self._each(batch, module.encode))

    def _each(self, batch: Batch, give: Callable[[Batch], Tensor]) -> list[np.ndarray]:
        def made(on_device: Batch) -> np.ndarray:
            with torch.no_grad(), full_float32(deterministic=True):
                return np.asarray(give(on_device).float().cpu().numpy())

        return list(self._portions.each(batch.to(self.device), made))

    def save(self, store: Store, product: str) -> dict[str, FileSum]:
        """Write the files under ``product``, the card last; what was written, for the receipt.

        TakenError if other bytes lie there already.
        """
        require_finite_weights(self.module)
        # Clones: parameters may share memory, which safetensors refuses, or lie in memory in an order of their own.
        weights = {n: v.detach().cpu().clone(memory_format=torch.contiguous_format) for n, v in self._state().items()}
        files = {
            WEIGHTS: store.put_once(f"{product}/{WEIGHTS}", safetensors.torch.save(weights)),
            REFERENCE: store.put_once(f"{product}/{REFERENCE}", safetensors.numpy.save(dict(self.reference))),
        }
        card = self.card.model_copy(update={"files": files})
        written = {README: store.put_once(f"{product}/{README}", model_readme(card).encode())}
        return {**files, **written, CARD: store.put_once(f"{product}/{CARD}", to_json(card))}

    def _state(self) -> dict[str, Tensor]:
        return dict(self.module.state_dict())

    @classmethod
    def load(cls, store: Store, product: str, model: str | None = None) -> Self:
        """The model stored under ``product``, on the CPU; IntegrityError or ModelError if it is not sound.

        ``model`` is the class that it must be: where its card names another one, nothing is imported or built.
        """
        card = _read_card(store, product)
        if model is not None and card.model != model:
            raise ModelError(
                f"{store.uri(product)} was trained as a {card.model}, and this run asks for {model}; give another "
                "model, or leave out trained to train one"
            )
        data = {name: _read_file(store, product, card, name) for name in (WEIGHTS, REFERENCE)}
        with seeded(0, torch.device("cpu")):  # The drawn weights are replaced; the caller's random numbers stay.
            module = build_model(card.model, **card.arguments)
        if type(module).version != card.model_version:
            raise ModelError(
                f"{store.uri(product)} holds weights of {card.model} version {card.model_version}, but this galflow "
                f"has version {type(module).version}, in which they would give other numbers; train it anew, or use "
                f"galflow {card.code_version}"
            )
        try:
            module.load_state_dict(safetensors.torch.load(data[WEIGHTS]))
            reference = safetensors.numpy.load(data[REFERENCE])
        except (RuntimeError, safetensors.SafetensorError) as error:
            raise IntegrityError(
                f"{store.uri(product)} does not fit {card.model} with {card.arguments}: {error}; train the model anew"
            ) from error
        require_finite_weights(module)
        return cls(card, module, reference)


def fields_of(model: GenerativeModel, neighbours: Neighbours) -> BatchFields:
    """What a model must be given beside pixels, and what it sees of neighbours."""
    conditions = tuple(model.conditions) if isinstance(model, Conditional) else ()
    return BatchFields(model.needs_ivar, model.needs_psf, conditions, neighbours)


def load_uri(uri: str, endpoint_url: str | None = None, model: str | None = None) -> TrainedModel:
    """The trained model in any folder: a path, file:// or s3://bucket/.../folder; of the class ``model``, if given."""
    parent, _, key = uri.rstrip("/").rpartition("/")
    if not key or key.endswith(":") or parent.endswith(":/"):
        raise SpecError(f"{uri!r} is not the URI of a trained model; give the folder that holds its {CARD}")
    if not parent:
        parent = "/" if uri.startswith("/") else "."
    return TrainedModel.load(Store.open(parent, endpoint_url), key, model)


def _require_file(store: Store, product: str, name: str) -> bytes:
    key = f"{product}/{name}"
    if not store.exists(key):
        raise IntegrityError(
            f"{store.uri(key)} is missing; a trained model is a folder with {CARD}, {WEIGHTS} and {REFERENCE}. Check "
            "the URI (`galflow show RUN` prints a run's models), or train the model anew"
        )
    return store.get(key)


def _read_card(store: Store, product: str) -> ModelCard:
    try:
        return ModelCard.model_validate_json(_require_file(store, product, CARD))
    except ValidationError as error:
        raise IntegrityError(
            f"{store.uri(f'{product}/{CARD}')} is not the card of a trained model: {error}; train the model anew"
        ) from error


def _read_file(store: Store, product: str, card: ModelCard, name: str) -> bytes:
    data = _require_file(store, product, name)
    if FileSum.of(data) != card.files.get(name):
        raise IntegrityError(
            f"{store.uri(f'{product}/{name}')} differs from what its card says (truncated or altered); restore it "
            "from a copy, or delete the model's receipt and run again"
        )
    return data
