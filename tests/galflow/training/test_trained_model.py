"""What is saved is what is loaded; what is not sound is refused with its reason."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

import galflow
from galflow.batch import Batch
from galflow.cutouts.batches import make_batch
from galflow.errors import GalflowError, IntegrityError, ModelError, SpecError, StoreError
from galflow.models.base import abilities
from galflow.photometry import AsinhStretch, LinearStretch
from galflow.spec.models import ModelSpec
from galflow.spec.stretch import StretchSpec
from galflow.storage.checksums import FileSum
from galflow.storage.store import Store
from galflow.training.check import check_model
from galflow.training.learning_curve import CurvePoint
from galflow.training.model_readme import model_readme
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel, load_uri

KEY = "models/m/f1"
Make = Callable[..., TrainedModel]


@pytest.fixture
def make(toys: SimpleNamespace, stretch: AsinhStretch) -> Make:
    def build(kind: str = "Denoiser") -> TrainedModel:
        torch.manual_seed(0)
        module = getattr(toys, kind).tiny()
        card = ModelCard(
            name="m",
            model=f"galflow_toys.{kind}",
            model_version="1",
            source="toy",
            arguments={"channels": 2, "size": 8},
            cutouts={"size": 8},
            bands=("g", "r"),
            unit="nJy",
            stretch=StretchCard.of(stretch),
            bin_width=None,
            training={"seed": 1},
            curves=(CurvePoint(phase=0, epoch=1, player="net", train_loss=0.1, validation_loss=None, seconds=0.5),),
            metrics={"net_train_loss": 0.1},
            scores=dict(module.scores),
            main_score=next(iter(module.scores)),
            abilities=abilities(type(module)),
            fingerprint="f1",
            code_version="0.1.0",
        )
        reference = {name: np.sort(np.random.default_rng(0).normal(size=30)) for name in module.scores}
        return TrainedModel(card, module, reference)

    return build


@pytest.fixture
def batch() -> Batch:
    pixels = torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    observed = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(2)) > 0.2
    return Batch(pixels * observed, observed)


@pytest.mark.parametrize("kind", ["Denoiser", "Duel", "Gaussian", "Refining"])
def test_saved_equals_loaded(make: Make, store: Store, batch: Batch, kind: str) -> None:
    trained = make(kind)
    files = trained.save(store, KEY)
    assert sorted(files) == ["README.md", "card.json", "reference.safetensors", "weights.safetensors"]
    assert {name: FileSum.of(store.get(f"{KEY}/{name}")) for name in files} == files
    before = torch.get_rng_state()
    loaded = TrainedModel.load(store, KEY)
    assert torch.equal(before, torch.get_rng_state())
    assert loaded.card.model_copy(update={"files": {}}) == trained.card
    assert loaded.stretch == trained.stretch
    assert not loaded.module.training
    assert loaded.module.state_dict().keys() == trained.module.state_dict().keys()
    for name, values in trained.reference.items():
        np.testing.assert_array_equal(loaded.reference[name], values)
    ours, theirs = trained.evaluate(batch), loaded.evaluate(batch)
    assert tuple(ours) == trained.score_names
    for name, values in ours.items():
        assert values.dtype == np.float64
        assert values.shape == (5,)
        np.testing.assert_array_equal(theirs[name], values)


def test_scores_are_the_models_own_in_evaluation_mode(make: Make, batch: Batch) -> None:
    trained = make()
    trained.module.train()
    again = TrainedModel(trained.card, trained.module, {})
    residual = again.module.net(batch.pixels) - batch.pixels
    expected = residual.square().mean((1, 2, 3)).detach().double().numpy()
    np.testing.assert_array_equal(again.evaluate(batch)["misfit"], expected)


def test_a_score_that_needs_gradients_gets_them(make: Make, batch: Batch) -> None:
    expected = batch.pixels.square().sum((1, 2, 3)).numpy()
    np.testing.assert_allclose(make("Refining").evaluate(batch)["slope"], expected, rtol=1e-6)


def test_likelihoods_come_beside_the_scores_from_one_pass(make: Make, batch: Batch) -> None:
    trained = make("Gaussian")
    found = trained.evaluate(batch)
    assert trained.module.asked == 1
    assert list(found) == ["bits_per_dim", "loglike", "bpd"]
    assert trained.score_names == tuple(found)
    x, seen = batch.pixels.double().numpy(), batch.observed.numpy()
    expected = np.array([np.sum(-0.5 * a[s] ** 2 - 0.5 * np.log(2 * np.pi)) for a, s in zip(x, seen, strict=True)])
    np.testing.assert_allclose(found["loglike"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["bpd"], -expected / np.log(2) / seen.sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["bits_per_dim"], found["bpd"], rtol=1e-12)
    assert make().score_names == ("misfit", "peak")


def test_a_wrong_score_is_refused(make: Make, batch: Batch) -> None:
    trained = make()
    trained.module.score = lambda given: {"misfit": torch.zeros(len(given), 1)}  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"gave shape \(5, 1\) for 'misfit' of 5 objects; expected \(5,\)"):
        trained.evaluate(batch)
    trained.module.score = lambda given: {"misfit": torch.zeros(len(given))}  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"gave nothing for 'peak' of 5 objects"):
        trained.evaluate(batch)


def test_weights_that_share_memory_are_stored(
    make: Make, toys: SimpleNamespace, store: Store, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tied(toys.Denoiser):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.alias = self.net[0]

    monkeypatch.setattr(toys, "Denoiser", Tied)
    monkeypatch.setattr(sys.modules["galflow_toys"], "Denoiser", Tied)
    trained = make()
    trained.save(store, KEY)
    loaded = TrainedModel.load(store, KEY)
    np.testing.assert_array_equal(loaded.evaluate(batch)["misfit"], trained.evaluate(batch)["misfit"])
    assert torch.equal(loaded.module.state_dict()["alias.weight"], trained.module.state_dict()["net.0.weight"])


@pytest.mark.parametrize("name", ["card.json", "weights.safetensors", "reference.safetensors"])
def test_a_missing_file_is_named(make: Make, store: Store, name: str) -> None:
    make().save(store, KEY)
    store.delete(f"{KEY}/{name}")
    with pytest.raises(IntegrityError, match=f"{KEY}/{name} is missing; a trained model is a folder with card.json"):
        TrainedModel.load(store, KEY)


@pytest.mark.parametrize("name", ["weights.safetensors", "reference.safetensors"])
@pytest.mark.parametrize("change", [lambda d: d[:-9], lambda d: d[:-1] + bytes([d[-1] ^ 1])])
def test_an_altered_file_is_named(make: Make, store: Store, name: str, change: Callable[[bytes], bytes]) -> None:
    make().save(store, KEY)
    store.put(f"{KEY}/{name}", change(store.get(f"{KEY}/{name}")))
    with pytest.raises(IntegrityError, match=rf"{name} differs from what its card says \(truncated or altered\)"):
        TrainedModel.load(store, KEY)


def change_card(store: Store, **changes: Any) -> None:
    card = json.loads(store.get(f"{KEY}/card.json"))
    store.put(f"{KEY}/card.json", json.dumps({**card, **changes}).encode())


def test_a_card_keeps_a_linear_stretch_and_reads_those_of_before(make: Make, store: Store) -> None:
    model = make()
    linear = LinearStretch((255.0, 65535.0), (2.0, 3.0))
    update = {"stretch": StretchCard.of(linear), "display_white": linear.white}
    replace(model, card=model.card.model_copy(update=update)).save(store, KEY)
    found = TrainedModel.load(store, KEY)
    assert found.stretch == linear
    assert found.card.display_white == (255.0, 65535.0)
    change_card(store, stretch={"softening_sigma": 2.0, "white_sigma": 50.0, "sky_sigma": [1.0, 1.0]})
    assert TrainedModel.load(store, KEY).stretch == AsinhStretch(2.0, 50.0, (1.0, 1.0))
    for broken in ({"kind": "linear", "sky_sigma": [1.0]}, {"softening_sigma": 2.0, "sky_sigma": [1.0]}):
        change_card(store, stretch=broken)
        with pytest.raises(IntegrityError, match="lacks numbers of it"):
            TrainedModel.load(store, KEY)


def test_a_model_of_other_pixels_is_not_reused(make: Make, store: Store) -> None:
    model = make()
    model.save(store, KEY)
    asked = ModelSpec(name="m", model="galflow_toys.Denoiser", trained=store.uri(KEY))

    def check(displayed: bool | None) -> None:
        check_model(asked, ("g", "r"), 8, StretchSpec(), displayed=displayed)

    check(None)
    check(False)
    with pytest.raises(SpecError, match=r"trained on flux, and the survey's pixels are pictures that were stretched"):
        check(True)
    change_card(store, display_white=[255.0, 255.0])
    check(True)
    with pytest.raises(SpecError, match=r"trained on pictures that were .* and the survey's pixels are flux"):
        check(False)
    card = json.loads(store.get(f"{KEY}/card.json"))
    del card["display_white"]  # of a galflow that did not know
    store.put(f"{KEY}/card.json", json.dumps(card).encode())
    check(True)


def test_an_unsound_card_is_refused(make: Make, store: Store) -> None:
    make().save(store, KEY)
    change_card(store, model_version="0")
    with pytest.raises(ModelError, match=r"weights of galflow_toys.Denoiser version 0, but this galflow has version 1"):
        TrainedModel.load(store, KEY)
    change_card(store, model_version="1", arguments={"channels": 2, "size": 8, "width": 5})
    with pytest.raises(IntegrityError, match=r"(?s)does not fit galflow_toys.Denoiser with .*width.*size mismatch"):
        TrainedModel.load(store, KEY)
    change_card(store, bands=3)
    with pytest.raises(IntegrityError, match=r"(?s)is not the card of a trained model.*bands"):
        TrainedModel.load(store, KEY)
    store.put(f"{KEY}/card.json", b"{")
    with pytest.raises(IntegrityError, match=r"is not the card of a trained model"):
        TrainedModel.load(store, KEY)


def test_weights_that_are_not_finite_are_refused(make: Make, store: Store) -> None:
    trained = make()
    trained.save(store, KEY)
    weights = safetensors.torch.load(store.get(f"{KEY}/weights.safetensors"))
    weights["net.0.weight"][0, 0, 0, 0] = torch.inf
    data = safetensors.torch.save(weights)
    files = json.loads(store.get(f"{KEY}/card.json"))["files"]
    store.put(f"{KEY}/weights.safetensors", data)
    change_card(store, files={**files, "weights.safetensors": FileSum.of(data).model_dump()})
    with pytest.raises(ModelError, match=r"1 of 72 numbers in 'net.0.weight' of Denoiser are not finite"):
        TrainedModel.load(store, KEY)
    trained.module.net[0].weight.data[:] = torch.nan  # type: ignore[index,union-attr]
    with pytest.raises(ModelError, match=r"72 of 72 numbers"):
        trained.save(store, "models/m/f2")
    assert store.list("models/m/f2") == []


def test_any_folder_uri_loads(make: Make, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make().save(store, KEY)
    folder = tmp_path / "store" / KEY
    monkeypatch.chdir(folder.parent)
    for uri in (store.uri(KEY), store.uri(KEY) + "/", str(folder), "f1", "./f1", "../m/f1/"):
        assert load_uri(uri).card.fingerprint == "f1"
    for wrong in ("s3://bucket", "file:///", "/", ""):
        with pytest.raises(
            SpecError, match=r"is not the URI of a trained model; give the folder that holds its card.json"
        ):
            load_uri(wrong)
    with pytest.raises(StoreError, match=r"f2/card.json is missing"):
        load_uri(str(folder.parent / "f2"))


def test_a_card_brings_no_other_class_into_a_run(
    make: Make, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write the folder of an allowed model must not thereby choose what the run imports."""
    make().save(store, KEY)
    (tmp_path / "brought_by_a_card.py").write_text("from galflow_toys import Denoiser\n")
    monkeypatch.syspath_prepend(tmp_path)
    change_card(store, model="brought_by_a_card.Denoiser")
    asked = ModelSpec(name="m", model="galflow_toys.Denoiser", trained=store.uri(KEY))
    for load in (
        lambda: check_model(asked, ("g", "r"), 8, StretchSpec()),
        lambda: load_uri(str(asked.trained), model=asked.model),
        lambda: TrainedModel.load(store, KEY, asked.model),
    ):
        with pytest.raises(
            GalflowError, match=r"trained as a brought_by_a_card.Denoiser, and this run asks for galflo"
        ):
            load()
    assert "brought_by_a_card" not in sys.modules
    TrainedModel.load(store, KEY)
    assert "brought_by_a_card" in sys.modules  # a person who loads a folder has chosen it
    del sys.modules["brought_by_a_card"]


def test_a_copied_folder_scores_images_without_its_store(
    make: Make, store: Store, tmp_path: Path, stretch: AsinhStretch
) -> None:
    trained = make()
    files = trained.save(store, KEY)
    assert FileSum.of(store.get(f"{KEY}/README.md")) == files["README.md"]
    copied = tmp_path / "elsewhere" / "vae-of-mine"
    shutil.copytree(store.root.removeprefix("file://") + f"/{KEY}", copied)
    (copied / "README.md").unlink()  # folders of before have none
    images = np.random.default_rng(5).normal(size=(4, 2, 8, 8)).astype(np.float32)
    found = galflow.score(str(copied), images)
    batch = make_batch(images, np.ones_like(images), stretch)
    np.testing.assert_allclose(found["misfit"], trained.evaluate(batch)["misfit"], rtol=1e-6)
    assert galflow.load_model(str(copied)).evaluate(batch).keys() == {"misfit", "peak"}


def test_the_readme_is_a_model_card(make: Make) -> None:
    model = make()
    facts = {
        "seed": 1,
        "inputs": {"cutouts cutouts/hubble/2/hdf/ab.zarr": "ab", "join joins/hubble/2/hdf/cd.parquet": "cd"},
        "counts": {"train": 1200},
        "settings": {"epochs": 3},
    }
    card = model.card.model_copy(update={"training": facts, "scores": {"misfit": "a | b"}})
    _, head, text = model_readme(card).split("---\n", 2)
    said = yaml.safe_load(head)
    assert (said["library_name"], said["license"]) == ("galflow", "other")
    assert {"astronomy", "anomaly-detection"} <= set(said["tags"])
    (results,) = said["model-index"][0]["results"]
    assert results["dataset"]["name"] == "hubble 2"
    assert results["metrics"] == [{"type": "net_train_loss", "value": 0.1}]
    for part in (
        "## Training data",
        "## Licence",
        "## Limits",
        "## How to load",
        "1,200 train",
        "a &#124; b",
        "epochs: 3",
    ):
        assert part in text
