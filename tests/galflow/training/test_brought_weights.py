"""The file that a model brings: named, read once, checked before any work, and part of the model's fingerprint."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import ChangedError, SpecError, StoreError
from galflow.photometry import AsinhStretch
from galflow.spec.models import ModelSpec
from galflow.spec.run import CutoutSpec, StretchSpec, TrainingSpec
from galflow.storage.look import one_look
from galflow.storage.products import Target
from galflow.storage.store import Store
from galflow.training import brought_weights
from galflow.training.brought_weights import give_weights, named_file, weights_file
from galflow.training.check import check_model
from galflow.training.train_model import Recipe, model_fingerprint, train_model
from galflow.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from conftest import TrainedEncoder

MODEL = "pretrained.PretrainedEncoder"


def brought(file: Path | str | None, **options: Any) -> ModelSpec:
    """Cutouts of these tests are of 8 pixels: the encoder takes 16."""
    given = {} if file is None else {"encoder": str(file)}
    return ModelSpec(name="mine", model=MODEL, options={"input_size": 16, "keep": 50, **given, **options})


def check(model: ModelSpec, bands: tuple[str, ...] = ("g", "r")) -> None:
    check_model(model, bands, 8, StretchSpec())


@pytest.fixture
def file(trained_encoder: TrainedEncoder, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained_encoder.onnx, tmp_path / "encoder.onnx"))


def test_a_good_file_passes_and_other_models_bring_none(file: Path, trained_encoder: TrainedEncoder) -> None:
    check(brought(file))
    check(brought(f"file://{file}"))
    check(brought(trained_encoder.torchscript))
    kmeans = ModelSpec(name="k", model="kmeans.KMeans")
    assert (weights_file(kmeans), named_file(kmeans)) == (None, None)


def test_what_is_wrong_is_told_before_any_work(file: Path, tmp_path: Path) -> None:
    (tmp_path / "module.pt").write_bytes(pickle.dumps({"weights": 1}))
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "other.onnx").write_bytes(b"no network at all")
    for model, text in (
        (
            brought(None),
            r"model mine: option 'encoder' is None; expected the path or URI .*: options: \{encoder: /data",
        ),
        (brought(tmp_path / "folder.onnx"), r"folder.onnx is a folder; expected the file of a network"),
        (brought("${GALFLOW_NOWHERE}/a.onnx"), r"model mine: root .* names the environment variable GALFLOW_NOWHERE"),
        (brought("ftp://host/a.onnx"), r"model mine: ftp://host/a.onnx cannot be read; expected a path, file:// or"),
        (brought(tmp_path / "module.pt"), r"model mine: file://.*module.pt: encoder: the file holds a pickled module"),
        (brought(tmp_path / "other.onnx"), r"model mine: file://.*other.onnx: encoder: the file is no ONNX"),
        (brought(file, input_size=20), r"it takes images of \(2, 16, 16\) .* make \(2, 20, 20\); give input_size"),
        (brought(file, bands=[0, 0, 1]), r"it takes images of \(2, 16, 16\) .* make \(3, 16, 16\); give input_size"),
    ):
        with pytest.raises(SpecError, match=text):
            check(model)
    with pytest.raises(StoreError, match=r"gone.onnx does not exist") as missing:
        check(brought(tmp_path / "gone.onnx"))
    assert isinstance(missing.value.__cause__, FileNotFoundError), "which galflow.runs.check takes for a fault"


def test_another_file_under_the_same_path_is_another_model(file: Path, trained_encoder: TrainedEncoder) -> None:
    def found_without(file: Path) -> str:
        return model_fingerprint(brought(file), TrainingSpec(), CutoutSpec(), StretchSpec(), 0, ["a"])

    def found() -> str:
        model = brought(file)
        return model_fingerprint(model, TrainingSpec(), CutoutSpec(), StretchSpec(), 0, ["a"], (), weights_file(model))

    first = found()
    assert found() == first
    file.write_bytes(trained_encoder.torchscript.read_bytes())
    assert len({found(), first, found_without(file)}) == 3
    shutil.copy(trained_encoder.onnx, file)
    assert found() == first, "what counts is its content"


@pytest.mark.s3
def test_a_file_in_an_object_store_is_told_by_its_etag(
    trained_encoder: TrainedEncoder, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(s3_root)
    store.put("encoder.onnx", trained_encoder.onnx.read_bytes())
    model = brought(f"{s3_root}/encoder.onnx")
    check(model)
    reads: list[str] = []
    monkeypatch.setattr(brought_weights, "read_bytes", reads.append)
    first = weights_file(model)
    assert first is not None
    assert first.checksum.startswith("etag:")
    store.put("encoder.onnx", b"another")
    again = weights_file(model)
    assert again is not None
    assert again.checksum != first.checksum
    assert reads == [], "for a plan it is not read"
    with pytest.raises(StoreError, match=r"absent.onnx does not exist"):
        check(brought(f"{s3_root}/absent.onnx"))


@pytest.fixture
def sets(write_set: Callable[..., CutoutSet]) -> list[CutoutSet]:
    return [write_set("a", 60, seed=1), write_set("b", 80, seed=2)]


@pytest.fixture
def train(local_store: Store, sets: list[CutoutSet], stretch: AsinhStretch) -> Callable[[ModelSpec], TrainedModel]:
    """Trained on small sets, stored, and loaded from there."""

    def run(model: ModelSpec) -> TrainedModel:
        recipe = Recipe(
            model, TrainingSpec(epochs=1, batch_size=16), CutoutSpec(size=8), stretch, 1, weights_file(model)
        )
        train_model(Target(local_store, "models/mine/1", "f1"), recipe, sets)
        return TrainedModel.load(local_store, "models/mine/1")

    return run


def test_trained_it_scores_without_the_file(
    train: Callable[[ModelSpec], TrainedModel], file: Path, sets: list[CutoutSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = brought_weights.read_bytes
    monkeypatch.setattr(brought_weights, "read_bytes", lambda uri: reads.append(uri) or read(uri))
    trained = train(brought(file))
    assert reads == [f"file://{file}"], "read once"
    file.unlink()
    assert set(trained.reference) == {"distance", "latent"}
    assert all(len(values) for values in trained.reference.values())
    assert trained.card.arguments["encoder"] == str(file)
    assert trained.module.encoder.loaded


def test_a_file_that_was_replaced_after_the_plan_is_refused(file: Path, trained_encoder: TrainedEncoder) -> None:
    from galflow.models.base import build_model

    model = brought(file)
    planned = weights_file(model)
    module = build_model(MODEL, channels=2, size=8, **model.options)
    give_weights(module, model, planned)
    with one_look():
        seen = weights_file(model)
        file.write_bytes(trained_encoder.torchscript.read_bytes())
        assert weights_file(model) == seen, "within a look it is as it was"
        for known in (planned, seen, replace(planned, stamp="")):
            with pytest.raises(ChangedError, match=r"encoder.onnx was replaced while the run was under way"):
                give_weights(module, model, known)
