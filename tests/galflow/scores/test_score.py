"""Scoring a cutout set: each model sees what it asks for, and a tile that lacks it has nulls with the reason."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.cutouts.batches import make_batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.models.base import Conditional, GenerativeModel, Player
from galflow.photometry import AsinhStretch
from galflow.scores.reuse import EarlierPart, best_earlier
from galflow.scores.score import (
    SCORES_VERSION,
    PartFingerprints,
    PartSettings,
    ScoreColumn,
    score_cutouts,
    score_set,
    scores_fingerprint,
)
from galflow.scores.triage_features import Measurements, feature_names, measured, measured_of_part, triage_stretch
from galflow.spec.models import ModelSpec
from galflow.spec.run import CutoutSpec, TrainingSpec
from galflow.storage.products import Target
from galflow.storage.receipts import Outcome, Receipt
from galflow.storage.store import Store
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel

STRETCH = AsinhStretch(3.0, 100.0, (1.0,))
SETTINGS = PartSettings()
SPEC = CutoutSpec(size=8, chunk_megabytes=8 * 64 * 4 / 2**20)


class Plain(GenerativeModel):
    """Scores the mean pixel."""

    source: ClassVar[str] = "toy"
    scores: ClassVar[Mapping[str, str]] = {"mean": "mean stretched pixel"}
    seen: ClassVar[int] = 0
    """Objects scored so far."""

    def __init__(self, *, channels: int, size: int) -> None:
        super().__init__(channels=channels, size=size)
        self.offset = nn.Parameter(torch.zeros(()))

    @property
    def players(self) -> tuple[Player, ...]:
        return (Player("offset", ("offset",)),)

    def loss(self, batch: Batch, player: str) -> Tensor:
        return (batch.pixels.mean() - self.offset).square()

    def score(self, batch: Batch) -> dict[str, Tensor]:
        Plain.seen += len(batch)
        return {"mean": batch.pixels.mean((1, 2, 3))}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(n, self.channels, self.size, self.size, generator=generator)

    @classmethod
    def tiny(cls) -> Self:
        return cls(channels=1, size=8)


class Collapsed(Plain):
    """Gives everything the same score."""

    def score(self, batch: Batch) -> dict[str, Tensor]:
        return {"mean": torch.ones(len(batch))}


class Curious(Plain, Conditional):
    """Scores what it was told: the PSF's peak, the catalogue's radius, the first pixel's flux sigma."""

    scores: ClassVar[Mapping[str, str]] = {"peak": "PSF peak times radius", "sigma": "flux sigma plus pixel"}
    needs_ivar: ClassVar[bool] = True
    needs_psf: ClassVar[bool] = True

    def __init__(self, *, channels: int, size: int, softening_sigma: float = 1.0, white_sigma: float = 10.0) -> None:
        super().__init__(channels=channels, size=size)
        self.conditions = ("radius",)
        self.stretch = AsinhStretch(softening_sigma, white_sigma, (1.0,))

    def score(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.psf is not None
        assert batch.ivar is not None
        assert batch.conditions is not None
        slope = self.stretch.derivative(self.stretch.inverse(batch.pixels, torch), torch)
        sigma = (batch.ivar * slope**2).rsqrt()[:, 0, 0, 0]
        radius = batch.conditions[:, 0]
        return {"peak": batch.psf.amax((1, 2, 3)) * radius, "sigma": sigma + batch.pixels[:, 0, 0, 0]}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    module = types.ModuleType("curious_models")
    vars(module).update(Plain=Plain, Curious=Curious, Collapsed=Collapsed)
    monkeypatch.setitem(sys.modules, "curious_models", module)
    return Store.open(tmp_path)


def cutouts(store: Store, tile: str, seed: int, *, psf: bool = True, flags: int = 0) -> CutoutSet:
    """Forty objects; ``flags`` of every fourth."""
    rng = np.random.default_rng(seed)
    flux = rng.normal(10, 1, (40, 1, 8, 8)).astype(np.float32)
    rows = pa.table(
        {
            "object_id": rng.integers(1, 2**60, 40),
            "ra": np.zeros(40),
            "dec": np.zeros(40),
            "x_pixel": np.zeros(40),
            "y_pixel": np.zeros(40),
            "flags": np.where(np.arange(40) % 4, 0, flags).astype(np.uint32),
            "radius": np.arange(40) / 7,
        }
    )
    attributes = {
        "survey": "toy", "release": "1", "tile": tile, "bands": ["r"], "unit": "nJy", "sky_sigma": [1.0],
        "pixel_scale_arcsec": 0.2, "psf_fwhm_arcsec": [None],
    }  # fmt: skip
    image = np.array([[[0.0, 0.1, 0.0], [0.1, 0.6, 0.1], [0.0, 0.1, 0.0]]], np.float32) if psf else None
    ivar = np.full_like(flux, 0.25)
    data = CutoutData(flux, ivar, np.zeros(flux.shape, np.uint16), rows, attributes, image)
    write_cutout_set(store, f"{tile}.zarr", data, SPEC)
    return CutoutSet(store, f"{tile}.zarr")


def trained(store: Store, name: str, sets: list[CutoutSet]) -> TrainedModel:
    receipt = train_model(
        Target(store, f"models/{name}", "f", {}),
        Recipe(
            ModelSpec(name=name.lower(), model=f"curious_models.{name}"),
            TrainingSpec(epochs=1, reference_fraction=0.45),
            SPEC,
            STRETCH,
            0,
        ),
        sets,
    )
    return TrainedModel.load(store, receipt.product)


def test_each_model_sees_what_it_asks_for(store: Store) -> None:
    tile = cutouts(store, "a", 1)
    models = {name.lower(): trained(store, name, [tile]) for name in ("Plain", "Curious")}
    assert models["curious"].card.arguments["softening_sigma"] == 3.0, "what follows from the stretch is filled in"
    raw = score_cutouts(tile, models, batch_objects=5)
    expected = {
        ScoreColumn("plain", "mean"): STRETCH.forward(tile.read("flux")).mean((1, 2, 3)),
        ScoreColumn("curious", "peak"): 0.6 * np.arange(40) / 7,
        ScoreColumn("curious", "sigma"): 2.0 + STRETCH.forward(tile.read("flux"))[:, 0, 0, 0],
    }
    assert set(raw) == set(expected)
    for column, values in expected.items():
        np.testing.assert_allclose(raw[column], values, rtol=1e-5, err_msg=column.name)


def test_a_tile_that_lacks_it_has_nulls_and_says_why(store: Store) -> None:
    good, bare = cutouts(store, "a", 1), cutouts(store, "b", 2, psf=False)
    models = {name.lower(): trained(store, name, [good]) for name in ("Plain", "Curious")}
    receipt = score_set(store, bare, models, PartFingerprints("p", "c"), SETTINGS, batch_objects=16)
    assert receipt.outcome == Outcome.PARTIAL
    assert receipt.reasons == (
        "not scored by curious: tile b has no PSF in r, and a model needs it; give the survey a PSF image or its "
        "FWHM (option psf_fwhm_arcsec or psf), or leave the model out",
    )
    table = pq.read_table(pa.BufferReader(store.get(receipt.product)))
    assert table["curious_peak"].null_count == table["curious_peak_p"].null_count == 40
    assert table["plain_mean"].null_count == 0
    assert set(table["outcome"].to_pylist()) == {"not scored by curious: the tile lacks what it needs"}


def test_no_pixel_is_read_for_models_that_cannot_score_the_set(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bare = cutouts(store, "a", 1), cutouts(store, "b", 2, psf=False)
    models = {"curious": trained(store, "Curious", [good])}
    read: list[str] = []
    monkeypatch.setattr(CutoutSet, "read", lambda self, name, rows=slice(None): read.append(name))
    assert score_cutouts(bare, models, batch_objects=5) == {}
    assert read == []


def test_a_collapsed_model_has_no_sigma_and_the_others_keep_theirs(store: Store) -> None:
    tile = cutouts(store, "a", 1)
    models = {name.lower(): trained(store, name, [tile]) for name in ("Plain", "Collapsed")}
    receipt = score_set(store, tile, models, PartFingerprints("p", "c"), SETTINGS, batch_objects=16)
    assert receipt.outcome == Outcome.PARTIAL
    (reason,) = receipt.reasons
    assert reason.startswith("collapsed_mean_sigma is null: ")
    assert "may have collapsed" in reason
    table = pq.read_table(pa.BufferReader(store.get(receipt.product)))
    assert table["collapsed_mean_sigma"].null_count == 40
    assert set(table["collapsed_mean_p"].to_pylist()) == {1.0}, "every held-out score is as high"
    assert table["plain_mean_sigma"].null_count == table["plain_mean_p"].null_count == 0


def test_p_and_sigma_are_of_the_score_against_the_reference_and_of_scored_rows_alone(store: Store) -> None:
    tile = cutouts(store, "a", 1)
    models = {"plain": trained(store, "Plain", [tile])}
    doubtful = cutouts(store, "b", 2, flags=int(Flag.NO_DATA))
    table = pq.read_table(pa.BufferReader(store.get(part(store, doubtful, models).product)))
    scored = np.arange(40) % 4 != 0
    score, sigma, p = (table[f"plain_mean{end}"].to_pandas().to_numpy() for end in ("", "_sigma", "_p"))
    for values in (score, sigma, p):
        np.testing.assert_array_equal(np.isfinite(values), scored)
    np.testing.assert_allclose(score[scored], STRETCH.forward(doubtful.read("flux")).mean((1, 2, 3))[scored], rtol=1e-5)
    reference = models["plain"].reference["mean"]
    assert len(reference) > 10
    higher = (reference[None, :] >= score[scored, None]).sum(axis=1)
    np.testing.assert_allclose(p[scored], (1 + higher) / (1 + len(reference)))
    assert len(np.unique(p[scored])) > 5
    mad = np.median(np.abs(reference - np.median(reference)))
    np.testing.assert_allclose(sigma[scored], (score[scored] - np.median(reference)) / (1.4826 * mad), rtol=1e-6)
    assert set(np.array(table["outcome"].to_pylist())[~scored]) == {"not scored: NO_DATA"}


def part(store: Store, tile: CutoutSet, models: dict[str, TrainedModel], earlier: EarlierPart | None = None) -> Receipt:
    """The tile scored by these models."""
    fingerprint = scores_fingerprint("c", {n: m.card.fingerprint for n, m in models.items()}, SETTINGS)
    return score_set(
        store, tile, models, PartFingerprints(fingerprint, "c"), SETTINGS, batch_objects=16, earlier=earlier
    )


def test_a_new_model_leaves_the_scores_of_the_others_as_they_are(store: Store) -> None:
    tile = cutouts(store, "a", 1)
    models = {name.lower(): trained(store, name, [tile]) for name in ("Plain", "Curious")}
    fingerprints = {name: model.card.fingerprint for name, model in models.items()}
    first = part(store, tile, {"plain": models["plain"]})
    earlier = best_earlier([first], "c", fingerprints, SCORES_VERSION)
    assert earlier is not None
    assert earlier.models == ("plain",)
    Plain.seen = 0
    second = part(store, tile, models, earlier)
    assert Plain.seen == 0, "nothing is scored by it again"
    assert second.details["taken_over"] == ["plain"]
    taken = store.get(second.product)
    anew = part(store, tile, models)
    assert Plain.seen == 40
    assert anew.details["taken_over"] == []
    assert store.get(anew.product) == taken, "byte for byte what scoring everything gives"


def test_what_the_triage_needs_is_measured_once_and_taken_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tile = cutouts(store, "a", 1)
    models = {"plain": trained(store, "Plain", [tile])}
    first = part(store, tile, models)
    table = pq.read_table(pa.BufferReader(store.get(first.product)))
    found = measured_of_part(table)
    assert found.shape == (40, len(feature_names(1)))
    scored = table["plain_mean"].is_valid().to_numpy()
    np.testing.assert_array_equal(np.isfinite(found).all(axis=1), scored)
    assert np.isnan(found[~scored]).all()
    stretch = triage_stretch(np.array([1.0]))
    assert stretch is not None
    batch = make_batch(tile.read("flux")[scored], tile.read("ivar")[scored], stretch)
    np.testing.assert_allclose(found[scored], measured(batch, stretch, 3.0), rtol=1e-4, atol=1e-4)

    def refuse(*_: object) -> None:
        raise AssertionError("it is measured again")

    monkeypatch.setattr(Measurements, "add", refuse)
    again = part(store, tile, models, EarlierPart(first.product, first.files[""], ("plain",)))
    taken = measured_of_part(pq.read_table(pa.BufferReader(store.get(again.product))))
    np.testing.assert_array_equal(taken, found)


def test_nothing_is_measured_where_no_triage_is_wanted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tile = cutouts(store, "a", 1)
    models = {"plain": trained(store, "Plain", [tile])}
    with_triage = pq.read_table(pa.BufferReader(store.get(part(store, tile, models).product)))
    fast = replace(SETTINGS, triage=False)
    assert scores_fingerprint("c", {"plain": "f"}, fast) != scores_fingerprint("c", {"plain": "f"}, SETTINGS)
    receipt = score_set(store, tile, models, PartFingerprints("fast", "c"), fast)
    table = pq.read_table(pa.BufferReader(store.get(receipt.product)))
    assert measured_of_part(table).shape == (40, 0)
    assert table.equals(with_triage.select(table.column_names)), "all else is as with it"
    # A part that has no measurements does not hold for one that wants them.
    again = part(store, tile, models, EarlierPart(receipt.product, receipt.files[""], ("plain",)))
    assert again.details["taken_over"] == []
    assert np.isfinite(measured_of_part(pq.read_table(pa.BufferReader(store.get(again.product))))).any()


def test_a_part_of_other_cutouts_models_or_versions_does_not_hold(store: Store) -> None:
    tile = cutouts(store, "a", 1)
    plain = trained(store, "Plain", [tile])
    first = part(store, tile, {"plain": plain})
    right = {"plain": plain.card.fingerprint}
    assert best_earlier([first], "c", right, SCORES_VERSION) is not None
    assert best_earlier([first], "other", right, SCORES_VERSION) is None
    assert best_earlier([first], "c", {"plain": "other"}, SCORES_VERSION) is None
    assert best_earlier([first], "c", right, "other") is None
    assert best_earlier([], "c", right, SCORES_VERSION) is None


@pytest.mark.parametrize("damage", ["gone", "changed", "of other objects"])
def test_an_earlier_part_that_is_not_sound_is_not_used(
    store: Store, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    tile = cutouts(store, "a", 1)
    models = {"plain": trained(store, "Plain", [tile])}
    first = part(store, tile, models)
    good = store.get(first.product)
    fingerprints = {"plain": models["plain"].card.fingerprint}
    earlier = best_earlier([first], "c", fingerprints, SCORES_VERSION)
    assert earlier is not None
    if damage == "gone":
        store.delete(first.product)
    elif damage == "changed":
        store.put(first.product, good[:-1] + b"x")
    else:
        other = part(store, cutouts(store, "b", 2), models)
        earlier = replace(earlier, product=other.product, sum=other.files[""])
    Plain.seen = 0
    found = part(store, tile, models, earlier)
    assert Plain.seen == 40
    assert "not used again" in caplog.text
    assert store.get(found.product) == good
