"""The likelihood ratio of two models: the same number whatever stretch and bins each of them sees pixels in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.models.base import Density, Player
from galflow.photometry import AsinhStretch
from galflow.scores.ratio import in_flux, same_space
from galflow.scores.reuse import best_earlier
from galflow.scores.score import SCORES_VERSION, PartFingerprints, PartSettings, score_set, scores_fingerprint
from galflow.spec.models import Ratio
from galflow.spec.run import CutoutSpec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel

OBJECTS = 30
RATIO = Ratio("sky", "mock")
STRETCH = AsinhStretch(3.0, 100.0, (1.0, 2.0))
OTHER_STRETCH = AsinhStretch(5.0, 300.0, (0.7, 2.5))


class FluxGaussian(Density):
    """Every pixel's flux is normal; the density is stated in the stretch, or as mass in bins of ``bin_width``."""

    source: ClassVar[str] = "toy"
    scores: ClassVar[Mapping[str, str]] = {"bits_per_dim": "bits"}
    seen: ClassVar[list[float]] = []
    """The mean of each model that was asked, a batch an entry."""

    def __init__(self, mean: float, sigma: float, stretch: AsinhStretch, bin_width: float | None) -> None:
        super().__init__(channels=2, size=8)
        self.mean, self.sigma, self.stretch, self.bin_width = mean, sigma, stretch, bin_width
        self.nothing = nn.Parameter(torch.zeros(()))

    @property
    def players(self) -> tuple[Player, ...]:
        return (Player("nobody", ("nothing",)),)

    def loss(self, batch: Batch, player: str) -> Tensor:
        return self.nothing

    def log_prob(self, batch: Batch) -> Tensor:
        FluxGaussian.seen.append(self.mean)
        flux = self.stretch.inverse(batch.pixels.double(), torch)
        normal = torch.distributions.Normal(self.mean, self.sigma).log_prob(flux)
        each = normal - torch.log(self.stretch.derivative(flux, torch)) + math.log(self.bin_width or 1.0)
        return torch.where(batch.observed, each, 0.0).sum((1, 2, 3))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.zeros(n, 2, 8, 8)

    @classmethod
    def tiny(cls) -> Self:
        return cls(0.0, 1.0, STRETCH, None)


def gaussian(name: str, mean: float, sigma: float, stretch: AsinhStretch, bin_width: float | None) -> TrainedModel:
    """A trained model, with held-out values for its calibration."""
    module = FluxGaussian(mean, sigma, stretch, bin_width)
    card = ModelCard(
        name=name, model="toy.FluxGaussian", model_version="1", source="", arguments={}, cutouts={}, bands=("g", "r"),
        unit="nJy", stretch=StretchCard.of(stretch), bin_width=bin_width, training={}, curves=(), metrics={},
        scores=dict(module.scores), main_score="bits_per_dim", abilities={}, fingerprint=f"f{mean}", code_version="0",
    )  # fmt: skip
    values = np.linspace(0.0, 1.0, 50)
    return TrainedModel(card, module, {"bits_per_dim": values, "bpd": values, "loglike": values})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


@pytest.fixture
def tile(store: Store) -> CutoutSet:
    """Objects of which a third of the pixels are missing; the last one is not to be scored."""
    rng = np.random.default_rng(1)
    flux = rng.normal(10, 4, (OBJECTS, 2, 8, 8)).astype(np.float32)
    flags = np.zeros(OBJECTS, np.uint32)
    flags[-1] = 2  # NO_DATA
    ids, nothing = np.arange(OBJECTS), np.zeros(OBJECTS)
    rows = pa.table(
        {"object_id": ids, "ra": nothing, "dec": nothing, "x_pixel": nothing, "y_pixel": nothing, "flags": flags}
    )
    attributes = {
        "survey": "toy", "release": "1", "tile": "a", "bands": ["g", "r"], "unit": "nJy", "sky_sigma": [1.0, 2.0],
        "pixel_scale_arcsec": 0.2, "psf_fwhm_arcsec": [None, None],
    }  # fmt: skip
    ivar = (rng.random(flux.shape) > 1 / 3).astype(np.float32)
    mask = np.zeros(flux.shape, np.uint16)
    spec = CutoutSpec(size=8, chunk_megabytes=8 * 128 * 4 / 2**20)
    write_cutout_set(store, "a.zarr", CutoutData(flux, ivar, mask, rows, attributes), spec)
    return CutoutSet(store, "a.zarr")


def exact(tile: CutoutSet) -> np.ndarray:
    """(N,) nats: the ratio of the densities of flux, over observed pixels."""
    flux, observed = tile.read("flux").astype(np.float64), tile.read("ivar") > 0

    def log_normal(mean: float, sigma: float) -> np.ndarray:
        return -0.5 * ((flux - mean) / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))

    return np.where(observed, log_normal(10.0, 4.0) - log_normal(8.0, 5.0), 0.0).sum((1, 2, 3))


def scored(
    store: Store,
    tile: CutoutSet,
    models: Mapping[str, TrainedModel],
    ratios: Sequence[Ratio] = (RATIO,),
    before: Receipt | None = None,
) -> tuple[Receipt, pa.Table]:
    fingerprints = {name: model.card.fingerprint for name, model in models.items()}
    settings = PartSettings(tuple(ratios))
    receipt = score_set(
        store,
        tile,
        models,
        PartFingerprints(scores_fingerprint("c", fingerprints, settings), "c"),
        settings,
        batch_objects=8,
        earlier=None if before is None else best_earlier([before], "c", fingerprints, SCORES_VERSION),
    )
    return receipt, pq.read_table(pa.BufferReader(store.get(receipt.product)))


@pytest.mark.parametrize(
    ("stretch", "bins", "shared"),
    [
        (STRETCH, (None, None), True),
        (STRETCH, (1 / 128, 1 / 128), True),
        (STRETCH, (1 / 128, 1 / 64), False),
        (STRETCH, (1 / 128, None), False),
        (OTHER_STRETCH, (None, None), False),
        (OTHER_STRETCH, (1 / 64, 1 / 128), False),
    ],
)
def test_it_is_that_of_the_flux_whatever_the_space(
    store: Store, tile: CutoutSet, stretch: AsinhStretch, bins: tuple[float | None, float | None], shared: bool
) -> None:
    sky, mock = gaussian("sky", 10.0, 4.0, STRETCH, bins[0]), gaussian("mock", 8.0, 5.0, stretch, bins[1])
    assert same_space(sky, mock) is shared
    _, table = scored(store, tile, {"sky": sky, "mock": mock})
    values = table["llr_sky_mock"].to_pylist()
    assert values[-1] is None, "what is not scored has no ratio"
    np.testing.assert_allclose(values[:-1], exact(tile)[:-1], rtol=1e-4, atol=1e-3)
    assert not any(name.startswith("loglike_per_flux") for name in table.column_names)
    assert np.std(values[:-1]) > 1.0, "a comparison of constants would prove nothing"


def test_only_models_of_different_spaces_are_brought_to_flux() -> None:
    models = {
        "sky": gaussian("sky", 10.0, 4.0, STRETCH, None),
        "mock": gaussian("mock", 8.0, 5.0, STRETCH, None),
        "old": gaussian("old", 7.0, 5.0, OTHER_STRETCH, None),
    }
    assert in_flux([RATIO], models) == frozenset()
    assert in_flux([RATIO, Ratio("sky", "old")], models) == {"sky", "old"}


@pytest.mark.parametrize(("stretch", "asked"), [(STRETCH, {8.0}), (OTHER_STRETCH, {8.0, 10.0})])
def test_a_new_background_gives_the_same_part_as_scoring_everything(
    store: Store, tile: CutoutSet, stretch: AsinhStretch, asked: set[float]
) -> None:
    """The sky's model is asked again only where its likelihood must be brought to a density per flux."""
    models = {"sky": gaussian("sky", 10.0, 4.0, STRETCH, None), "mock": gaussian("mock", 8.0, 5.0, stretch, None)}
    before, table = scored(store, tile, {"sky": models["sky"]})
    assert "llr_sky_mock" not in table.column_names, "a ratio of a model that is not there has no column"
    FluxGaussian.seen.clear()
    after, _ = scored(store, tile, models, before=before)
    assert set(FluxGaussian.seen) == asked
    data = store.get(after.product)
    again, _ = scored(store, tile, models)
    assert store.get(again.product) == data


def test_an_object_without_one_of_the_likelihoods_has_no_ratio(store: Store, tile: CutoutSet) -> None:
    class Undecided(FluxGaussian):
        def log_prob(self, batch: Batch) -> Tensor:
            found = super().log_prob(batch)
            return torch.where(batch.pixels[:, 0, 0, 0] > 0.4, torch.nan, found)

    sky = gaussian("sky", 10.0, 4.0, STRETCH, None)
    mock = gaussian("mock", 8.0, 5.0, OTHER_STRETCH, None)
    undecided = TrainedModel(mock.card, Undecided(8.0, 5.0, OTHER_STRETCH, None), mock.reference)
    receipt, table = scored(store, tile, {"sky": sky, "mock": undecided})
    unknown = table["loglike_mock"].is_null().to_numpy()
    assert 1 < unknown.sum() < OBJECTS
    np.testing.assert_array_equal(table["llr_sky_mock"].is_null().to_numpy(), unknown)
    assert any("not finite" in reason for reason in receipt.reasons)


def test_ratios_are_part_of_the_fingerprint_where_there_are_any() -> None:
    plain = scores_fingerprint("c", {"sky": "f"}, PartSettings())
    assert plain == scores_fingerprint("c", {"sky": "f"}, PartSettings(()))
    assert plain != scores_fingerprint("c", {"sky": "f"}, PartSettings((RATIO,)))
    # And so are the shares, by which each row says what it served for.
    assert plain != scores_fingerprint("c", {"sky": "f"}, PartSettings((), (0.1, 0.1)))
    assert replace(RATIO, background="old").column == "llr_sky_old"
