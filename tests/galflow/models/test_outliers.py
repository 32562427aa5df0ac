"""Classical detectors: scikit-learn's numbers, what is kept, features, inner models."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import IsolationForest as ReferenceForest
from sklearn.neighbors import LocalOutlierFactor as ReferenceFactor
from sklearn.neighbors import NearestNeighbors as ReferenceNeighbours
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.autoencoder import Autoencoder
from galflow.models.base import GenerativeModel, build_model
from galflow.models.outliers import IsolationForest, LocalOutlierFactor, NearestNeighbours, OutlierDetector
from galflow.models.shared.isolation_trees import FOREST_SEED, IsolationTrees
from galflow.models.shared.neighbours import Neighbours
from galflow.models.shared.object_features import FARTHEST, RobustScale, describe, kept_features, ring_residuals

Blobs = Callable[..., Batch]


def cloud(n: int, features: int = 6, seed: int = 0) -> Tensor:
    """Two clusters of unequal width, and a tail."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.randn(n, features, generator=draw)
    points[::3] = 4.0 + 0.3 * points[::3]
    points[::17] *= 5.0
    return points


def in_parts(batch: Batch, rows: int = 40) -> list[Batch]:
    return [batch[start : start + rows] for start in range(0, len(batch), rows)]


def finished(detector: OutlierDetector, batch: Batch) -> OutlierDetector:
    """Fitted without gradient steps: PCA needs none."""
    detector.eval()
    detector.finish(in_parts(batch))
    return detector


@pytest.mark.parametrize("objects", [3, 100, 700])
def test_isolation_is_scikit_learns(objects: int) -> None:
    known, asked = cloud(objects), torch.cat([cloud(300, seed=1), 100 * cloud(20, seed=2)])
    trees = IsolationTrees(60)
    trees.fit(known)
    reference = ReferenceForest(n_estimators=60, max_samples=min(256, objects), random_state=FOREST_SEED)
    reference.fit(known.numpy())
    np.testing.assert_allclose(trees(asked), -reference.score_samples(asked.numpy()), rtol=1e-6)
    np.testing.assert_allclose(trees(known), -reference.score_samples(known.numpy()), rtol=1e-6)


def test_the_local_outlier_factor_is_scikit_learns() -> None:
    known, asked = cloud(400), cloud(200, seed=1)
    near = Neighbours(keep=500, features=6, neighbours=15)
    near.fit(known)

    def factor(points: Tensor) -> Tensor:
        distances, rows = near.nearest(points)
        return near.density[rows].mean(1) / near.local_density(distances, rows)

    reference = ReferenceFactor(n_neighbors=15, novelty=True).fit(known.double().numpy())
    np.testing.assert_allclose(factor(asked), -reference.score_samples(asked.double().numpy()), rtol=1e-4)
    # A training object is judged without itself, as scikit-learn does when it fits.
    np.testing.assert_allclose(factor(known), -reference.negative_outlier_factor_, rtol=1e-4)


def test_distances_are_scikit_learns_and_leave_an_object_itself_out() -> None:
    known, asked = cloud(300), cloud(100, seed=1)
    near = Neighbours(keep=300, features=6, neighbours=7)
    near.fit(known)
    reference = ReferenceNeighbours(n_neighbors=7).fit(known.double().numpy())
    np.testing.assert_allclose(near.nearest(asked)[0], reference.kneighbors(asked.double().numpy())[0], rtol=1e-5)
    np.testing.assert_allclose(near.nearest(known)[0], reference.kneighbors()[0], rtol=1e-5)


def test_the_scale_is_robust() -> None:
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 10.0, 0.0]) + 5
    points[:200, 0] = 1e6
    points[5, 1] = torch.nan
    scale = RobustScale(3)
    scale.fit(points)
    assert scale.scale[0].item() == pytest.approx(1.0, abs=0.25)
    assert scale.scale[1].item() == pytest.approx(10.0, rel=0.1)
    found = scale(points)
    assert found[0, 0] == FARTHEST
    assert found[5, 1] == 0
    assert (found[:, 2] == 0).all()


def test_ring_residuals_are_root_mean_squares_and_turn_with_the_object() -> None:
    draw = torch.Generator().manual_seed(1)
    residual = torch.randn(2, 3, 16, 16, generator=draw)
    everything = torch.ones_like(residual, dtype=torch.bool)
    found = ring_residuals(residual, everything)
    axis = (np.arange(16) - 7.5) / 8
    far = np.hypot(axis[:, None], axis[None, :])
    for ring, (low, high) in enumerate([(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0), (1.0, 9.0)]):
        chosen = residual.numpy()[:, 1, (far >= low) & (far < high)]
        np.testing.assert_allclose(found[:, 5 + ring], np.log10(np.sqrt((chosen**2).mean(1))), rtol=1e-4)
    torch.testing.assert_close(ring_residuals(residual.rot90(1, (2, 3)), everything), found)
    observed = everything.clone()
    observed[0, 0, 6:10, 6:10] = False
    holes = ring_residuals(residual.masked_fill(~observed, torch.nan), observed)
    assert holes[0, 0].isnan()
    assert holes[1].equal(found[1])


def test_what_is_kept_is_an_even_draw_of_all_batches(blobs: Blobs) -> None:
    inner = build_model("pca.PCA", channels=1, size=8, components=2)
    pixels = torch.arange(1000.0).view(-1, 1, 1, 1).expand(-1, 1, 8, 8) / 1000

    def keep(rows: int, keep: int = 200) -> Tensor:
        batch = Batch.of(pixels.contiguous())
        return kept_features(in_parts(batch, rows), "latents", inner, keep)

    found = keep(130)
    assert len(found) == 200
    torch.testing.assert_close(keep(47), found)
    assert len(keep(130, 5000)) == 1000
    every = describe(Batch.of(pixels.contiguous()), "latents", inner)[:, 0]
    shares = torch.isin(every, found[:, 0]).view(4, 250).sum(1)
    assert ((shares > 30) & (shares < 70)).all(), shares


@pytest.mark.parametrize("model", [IsolationForest, LocalOutlierFactor, NearestNeighbours])
@pytest.mark.parametrize("features", ["residual", "latents", "measured"])
def test_each_kind_of_features_finds_a_strange_object(
    model: type[OutlierDetector], features: str, blobs: Blobs
) -> None:
    options: dict[str, Any] = {"features": features, "inner_options": {"components": 4}, "keep": 150}
    detector = model(channels=2, size=16, **options)
    data = blobs(detector, 300)
    finished(detector, data)
    name = next(iter(detector.scores))
    normal = detector.score(blobs(detector, 60, seed=5))[name]
    odd = blobs(detector, 20, seed=6)
    y, x = torch.arange(16)[:, None] - 11.0, torch.arange(16)[None, :] - 4.0
    pixels = odd.pixels + 2.0 * torch.exp(-0.5 * (y**2 + x**2) / 4) * torch.tensor([0.2, 1.0])[:, None, None]
    found = detector.score(Batch.of(pixels))[name]
    assert (found > normal.median()).float().mean() > 0.9
    extremes = torch.stack([torch.zeros(2, 16, 16), torch.full((2, 16, 16), 1e6), -torch.ones(2, 16, 16)])
    for observed in (torch.ones_like(extremes, dtype=torch.bool), torch.zeros_like(extremes, dtype=torch.bool)):
        assert detector.score(Batch(extremes, observed))[name].isfinite().all()


def test_training_objects_and_others_are_judged_alike(blobs: Blobs) -> None:
    detector = NearestNeighbours(channels=1, size=8, inner_options={"components": 3}, keep=900, neighbours=5)
    data = blobs(detector, 1200)
    finished(detector, data[:800])
    trained, fresh = (detector.score(part)["distance"].mean().item() for part in (data[:800], data[800:]))
    assert trained == pytest.approx(fresh, rel=0.08)


@pytest.mark.parametrize("model", [LocalOutlierFactor, NearestNeighbours, IsolationForest])
def test_a_handful_of_objects_is_enough(model: type[OutlierDetector], blobs: Blobs) -> None:
    for count in (1, 2, 5):
        detector = model(channels=1, size=8, inner_options={"components": 2})
        finished(detector, blobs(detector, count))
        [values] = detector.score(blobs(detector, 10, seed=3)).values()
        assert values.isfinite().all(), count


def test_the_inner_model_trains_as_it_would_alone(blobs: Blobs, train: Callable[..., None]) -> None:
    options = {"latent": 4, "width": 16, "components": 2}
    torch.manual_seed(5)
    detector = LocalOutlierFactor(
        channels=1, size=8, features="latents", inner="autoencoder.Autoencoder", inner_options=options
    )
    torch.manual_seed(5)
    alone = Autoencoder(channels=1, size=8, **options)  # type: ignore[arg-type] # of one type each
    assert [p.modules for p in detector.players] == [("inner.encoder", "inner.decoder")]
    assert detector.loss_per_pixel
    data = blobs(alone, 96)
    models: tuple[GenerativeModel, GenerativeModel] = (detector, alone)
    for model in models:
        train(model, data, rounds=5)
    inside = detector.inner.state_dict()
    assert all(torch.equal(value, inside[key]) for key, value in alone.state_dict().items())
    drawn = [model.sample(3, torch.Generator().manual_seed(1)) for model in models]
    assert torch.equal(*drawn)


def test_refuses_what_it_cannot_do(blobs: Blobs) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"features": "colour"}, r"features is 'colour'; expected one of residual, latents, measured"),
        ({"inner": "kmeans.KMeans"}, r"features is 'residual', .* KMeans is not made; give one that reconstructs"),
        ({"inner": "wgan.WGAN", "features": "latents", "keep": 1}, r"keep is 1; a detector is fitted on at least 2"),
        ({"inner": "outliers.IsolationForest"}, r"expected a model that learns from pixels alone"),
        ({"inner": "flow_vae.FlowVAE"}, r"none that needs weights of yours, inverse variance, PSF"),
        ({"inner": "pca.PCA", "inner_options": {"colour": 1}}, r"pca.PCA has no option 'colour'"),
        ({"neighbours": 0}, r"neighbours is 0 and keep is 4000"),
    ]
    for options, message in cases:
        with pytest.raises(SpecError, match=message):
            NearestNeighbours(channels=1, size=16, **options)
    with pytest.raises(SpecError, match=r"trees is 0"):
        IsolationForest(channels=1, size=16, trees=0)
    detector = NearestNeighbours(channels=1, size=16, inner_options={"components": 2})
    with pytest.raises(ModelError, match=r"has no object to compare with; train it first"):
        detector.score(blobs(detector, 3))
    with pytest.raises(ModelError, match=r"was given no observed object to fit"):
        kept_features([], "latents", detector.inner, 10)
    assert math.isclose(detector.width, 5)
