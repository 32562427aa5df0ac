"""From cutouts to a product that verifies: the verb that a task calls."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from galflow.batch import Batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.errors import DataError, ModelError, SpecError
from galflow.photometry import AsinhStretch
from galflow.spec.models import ModelSpec
from galflow.spec.run import CutoutSpec, TrainingSpec
from galflow.spec.stretch import StretchSpec
from galflow.storage.products import Target
from galflow.storage.receipts import Outcome, Receipt, find_receipts, verify_product
from galflow.storage.store import Store
from galflow.training.learning_curve import Progress
from galflow.training.train_model import Recipe, model_fingerprint, train_model
from galflow.training.trained_model import TrainedModel

KEY = "models/toy/f1"
TRAINING = TrainingSpec(epochs=2, batch_size=16, checkpoint_seconds=1e-9)


@pytest.fixture
def sets(write_set: Callable[..., CutoutSet]) -> list[CutoutSet]:
    return [write_set("a", 60, seed=1), write_set("b", 80, seed=2)]


@pytest.fixture
def train(toys: SimpleNamespace, store: Store, stretch: AsinhStretch, sets: list[CutoutSet]) -> Callable[..., Receipt]:
    def run(
        model: str = "Denoiser",
        *,
        key: str = KEY,
        of: list[CutoutSet] = sets,
        training: TrainingSpec = TRAINING,
        options: dict[str, Any] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Receipt:
        spec = ModelSpec(name="toy", model=f"galflow_toys.{model}", options=options or {})
        cutouts = CutoutSpec(size=8)
        inputs = {s.product: "0" for s in of}
        return train_model(
            Target(store, key, "f1", inputs), Recipe(spec, training, cutouts, stretch, 1), of, progress=progress
        )

    return run


def test_the_product_is_whole(
    train: Callable[..., Receipt], store: Store, stretch: AsinhStretch, sets: list[CutoutSet]
) -> None:
    receipt = train()
    assert find_receipts(store, "models") == {"f1": receipt}
    assert verify_product(store, receipt) == []
    # Every file is in the receipt, and the checkpoint is gone.
    assert [k.removeprefix(KEY + "/") for k in store.list(KEY)] == sorted(receipt.files)
    data = TrainingSet(sets, stretch, validation=0.1, reference=0.2)
    assert receipt.outcome is Outcome.DONE
    assert receipt.reasons == ()
    assert receipt.rows == data.count(Split.TRAIN)
    assert receipt.seconds > 0
    assert receipt.inputs == {s.product: "0" for s in sets}

    trained = TrainedModel.load(store, KEY)
    card = trained.card
    assert (card.bands, card.unit, card.arguments) == (("g", "r"), "nJy", {"channels": 2, "size": 8})
    assert card.training["counts"] == {str(s): data.count(s) for s in Split}
    assert sum(card.training["counts"].values()) == 140
    assert card.training["settings"]["epochs"] == 2
    assert [p.epoch for p in card.curves] == [1, 2]
    assert (card.main_score, list(card.scores)) == ("misfit", ["misfit", "peak"])
    assert card.metrics["parameters"] == sum(p.numel() for p in trained.module.parameters())
    assert card.bin_width is None
    assert card.stretch.stretch() == stretch
    (held_out,) = data.batches(Split.REFERENCE, 1000)
    for name, values in trained.evaluate(held_out).items():
        np.testing.assert_allclose(trained.reference[name], np.sort(values), rtol=1e-5)
    assert sorted(trained.reference) == ["misfit", "peak"]


def test_a_density_keeps_its_likelihoods(
    train: Callable[..., Receipt], store: Store, stretch: AsinhStretch, sets: list[CutoutSet]
) -> None:
    train("Gaussian")
    trained = TrainedModel.load(store, KEY)
    assert trained.card.abilities["exact_log_likelihood"]
    (held_out,) = TrainingSet(sets, stretch, validation=0.1, reference=0.2).batches(Split.REFERENCE, 1000)
    loglike = trained.module.log_prob(held_out).detach().double().numpy()  # type: ignore[operator]
    np.testing.assert_allclose(trained.reference["loglike"], np.sort(loglike), rtol=1e-5)
    counted = held_out.observed.sum((1, 2, 3)).numpy()
    assert counted.min() < counted.max()
    np.testing.assert_allclose(trained.reference["bpd"], np.sort(-loglike / np.log(2) / counted), rtol=1e-5)


def test_a_killed_training_goes_on(train: Callable[..., Receipt], store: Store) -> None:
    train(key="models/toy/whole")
    calls = []

    def kill(progress: Progress) -> None:
        calls.append(progress)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(progress=kill)
    assert store.list(KEY) == [f"{KEY}/checkpoint.pt"]
    rest: list[Progress] = []
    train(progress=rest.append)
    whole, resumed = TrainedModel.load(store, "models/toy/whole"), TrainedModel.load(store, KEY)
    assert rest[0].rounds == calls[-1].rounds + 1
    for name, value in whole.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[name], value)
    for name, values in whole.reference.items():
        np.testing.assert_array_equal(resumed.reference[name], values)


def test_the_order_of_the_sets_does_not_matter(
    train: Callable[..., Receipt], store: Store, sets: list[CutoutSet]
) -> None:
    train(key="models/toy/one")
    torch.rand(7)
    train(key="models/toy/two", of=sets[::-1])
    files = [store.get(f"models/toy/{k}/weights.safetensors") for k in ("one", "two")]
    assert files[0] == files[1]


def test_few_reference_objects_make_it_partial(train: Callable[..., Receipt], sets: list[CutoutSet]) -> None:
    receipt = train(of=sets[:1])
    count = receipt.details["counts"]["reference"]
    assert 0 < count < 20
    assert receipt.outcome is Outcome.PARTIAL
    (reason,) = receipt.reasons
    assert reason.startswith(f"only {count} held-out normal objects calibrate the scores (at least 20 are expected)")
    assert f"no p-value is below 1/{count + 1}" in reason


def test_no_reference_objects(train: Callable[..., Receipt], store: Store) -> None:
    text = (
        r"model 'toy' cannot be calibrated: the splits hold train \d+, validation \d+, reference 0 normal objects.*"
        "raise training.reference_fraction"
    )
    with pytest.raises(DataError, match=text):
        train(training=TRAINING.model_copy(update={"reference_fraction": 1e-9}))
    assert store.list("models") == []


def test_sets_that_do_not_fit_together(
    train: Callable[..., Receipt], write_set: Callable[..., CutoutSet], sets: list[CutoutSet]
) -> None:
    other = write_set("c", 10, bands=("g", "z"))
    with pytest.raises(DataError, match=r"cutouts/toy/1/a/0.zarr has bands.*'r'.* but .*c/0.zarr has .*'z'"):
        train(of=[*sets, other])
    with pytest.raises(DataError, match="there are no cutouts to train on"):
        train(of=[])


def test_options(train: Callable[..., Receipt], store: Store) -> None:
    train(options={"width": 3})
    assert TrainedModel.load(store, KEY).card.arguments == {"channels": 2, "size": 8, "width": 3}
    with pytest.raises(SpecError, match=r"model toy: option 'size' is 16; it follows from the cutouts \(here 8\)"):
        train(options={"size": 16})


def test_scores_that_are_not_finite_are_refused(
    train: Callable[..., Receipt], toys: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    def score(self: object, batch: Batch) -> dict[str, torch.Tensor]:
        return {"misfit": torch.full((len(batch),), torch.nan), "peak": torch.zeros(len(batch))}

    monkeypatch.setattr(toys.Denoiser, "score", score)
    with pytest.raises(ModelError, match=r"gives 'misfit' that is not finite for (\d+) of \1 held-out normal objects"):
        train()
    assert find_receipts(store, "models") == {}


def test_an_empty_set_is_no_hindrance(
    train: Callable[..., Receipt], write_set: Callable[..., CutoutSet], sets: list[CutoutSet]
) -> None:
    assert train(of=[write_set("0", 0), *sets]).rows == train(key="models/toy/2").rows


def fingerprint_of(**changes: Any) -> str:
    content: dict[str, Any] = {
        "model": ModelSpec(name="toy", model="galflow_toys.Denoiser"),
        "training": TrainingSpec(),
        "cutouts": CutoutSpec(),
        "stretch": StretchSpec(),
        "seed": 0,
        "cutout_fingerprints": ["a", "b"],
    }
    return model_fingerprint(**{**content, **changes})


def test_the_fingerprint_tells_what_matters(toys: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    same = fingerprint_of()
    assert fingerprint_of(cutout_fingerprints=["b", "a"]) == same
    assert fingerprint_of(training=TrainingSpec(checkpoint_seconds=5)) == same
    assert fingerprint_of(training=TrainingSpec(trim_rounds=2)) == same
    changed = [
        fingerprint_of(model=ModelSpec(name="other", model="galflow_toys.Denoiser")),
        fingerprint_of(model=ModelSpec(name="toy", model="galflow_toys.Duel")),
        fingerprint_of(model=ModelSpec(name="toy", model="galflow_toys.Denoiser", options={"width": 5})),
        fingerprint_of(training=TrainingSpec(epochs=31)),
        fingerprint_of(training=TrainingSpec(memory_gigabytes=1)),
        fingerprint_of(training=TrainingSpec(precision="bf16")),
        fingerprint_of(training=TrainingSpec(compiled=True)),
        fingerprint_of(training=TrainingSpec(trim=0.02)),
        fingerprint_of(training=TrainingSpec(trim=0.02, trim_rounds=2)),
        fingerprint_of(training=TrainingSpec(neighbours="mask")),
        fingerprint_of(training=TrainingSpec(neighbours="sky")),
        fingerprint_of(cutouts=CutoutSpec(size=33)),
        fingerprint_of(stretch=StretchSpec(white_sigma=999)),
        fingerprint_of(seed=1),
        fingerprint_of(cutout_fingerprints=["a", "b", "c"]),
        fingerprint_of(cutout_fingerprints=["a", "c"]),
        fingerprint_of(sky_fingerprints=["a", "b"]),
    ]
    monkeypatch.setattr(toys.Denoiser, "version", "2")
    changed.append(fingerprint_of())
    assert len({same, *changed}) == 1 + len(changed)


def test_a_checkpoint_of_other_settings_is_not_taken_up(
    train: Callable[..., Receipt], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(f"{KEY}/checkpoint.pt", b"from a broken disk")
    with caplog.at_level(logging.WARNING):
        train()
    assert "training starts afresh" in caplog.text
    assert not store.exists(f"{KEY}/checkpoint.pt")
