"""k-means: the start, Lloyd's iterations against scikit-learn, missing pixels, samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans as ReferenceKMeans

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.kmeans import KMeans, plus_plus_rows


def clustered(n: int = 240, channels: int = 2, size: int = 4, seed: int = 0) -> Batch:
    """Overlapping clusters of unequal sizes around three random images."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.rand(3, channels, size, size, generator=draw)
    member = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), n, replacement=True, generator=draw)
    return Batch.of(centres[member] + 0.3 * torch.randn(n, channels, size, size, generator=draw))


def split(batch: Batch, rows: int = 50) -> list[Batch]:
    return [batch[start : start + rows] for start in range(0, len(batch), rows)]


def test_lloyd_agrees_with_scikit_learn() -> None:
    data = clustered()
    model = KMeans(channels=2, size=4, clusters=5)
    model.initialise(data)
    flat = data.pixels.flatten(1).double().numpy()
    start = model.centroids.detach().flatten(1).double().numpy()
    reference = ReferenceKMeans(5, init=start, n_init=1, tol=0.0, algorithm="lloyd").fit(flat)
    model.finish(split(data))
    assert reference.n_iter_ > 3, "the start was already the end: nothing is compared"
    np.testing.assert_allclose(model.centroids.detach().flatten(1), reference.cluster_centers_, atol=1e-5)
    np.testing.assert_allclose(model.weights, np.bincount(reference.labels_, minlength=5) / len(flat), atol=1e-6)
    np.testing.assert_array_equal(model.nearest(data), reference.labels_)
    rms = np.sqrt(np.square(flat - reference.cluster_centers_[reference.labels_]).mean(1))
    np.testing.assert_allclose(model.score(data)["distance"], rms, rtol=1e-5)
    loss = model.loss(data, "centroids").item()
    assert loss == pytest.approx(reference.inertia_ / flat.size, rel=1e-5)
    own = np.stack([np.square(flat - reference.cluster_centers_[k])[reference.labels_ == k] for k in [0]])
    band = own.reshape(-1, 2, 16).mean((0, 2))
    np.testing.assert_allclose(model.variances[0], band, rtol=1e-4)


def test_missing_pixels_take_no_part_in_the_centroids() -> None:
    """One cluster: the centroid is the mean over observed pixels, objects weighted by 1 / (observed pixels)."""
    data = clustered(n=30)
    observed = torch.rand(data.pixels.shape, generator=torch.Generator().manual_seed(3)) > 0.4
    observed[:, 1, 2, 3] = False
    holes = replace(data, observed=observed, pixels=torch.where(observed, data.pixels, torch.nan))
    model = KMeans(channels=2, size=4, clusters=1)
    model.initialise(holes)
    untouched = model.centroids.detach()[0, 1, 2, 3].item()
    model.finish(split(holes, 7))
    share = observed.double() / observed.sum((1, 2, 3), keepdim=True)
    expected = (share * data.pixels).sum(0) / share.sum(0)
    expected[1, 2, 3] = untouched
    torch.testing.assert_close(model.centroids.detach()[0].double(), expected, atol=1e-6, rtol=0)


def test_start_spreads_over_distant_objects() -> None:
    draw = torch.Generator().manual_seed(4)
    centres = 10.0 * torch.eye(4)
    points = centres.repeat_interleave(20, dim=0) + 0.01 * torch.randn(80, 4, generator=draw)
    rows = plus_plus_rows(points, 4)
    assert sorted((rows // 20).tolist()) == [0, 1, 2, 3]
    assert torch.equal(rows, plus_plus_rows(points, 4))


def test_start_copes_with_fewer_different_objects_than_clusters() -> None:
    model = KMeans(channels=1, size=4, clusters=3)
    batch = Batch.of(torch.ones(2, 1, 4, 4))
    model.initialise(batch)
    model.finish([batch])
    assert torch.equal(model.centroids.detach(), torch.ones(3, 1, 4, 4))
    assert sorted(model.weights.tolist()) == [0.0, 0.0, 1.0]
    assert model.variances.eq(0).all()


def test_gradient_steps_move_towards_the_cluster_means() -> None:
    data = clustered()
    model = KMeans(channels=2, size=4, clusters=3)
    model.initialise(data)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(data, "centroids").backward()
        optimiser.step()
    nearest = model.nearest(data)
    means = torch.stack([data.pixels[nearest == k].mean(0) for k in range(3)])
    assert (model.centroids.detach() - means).abs().max().item() < 0.02


def test_samples_follow_the_weights_and_the_spread() -> None:
    model = KMeans(channels=1, size=4, clusters=2)
    with torch.no_grad():
        model.centroids.copy_(torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]))
    model.weights.copy_(torch.tensor([0.25, 0.75]))
    model.variances.copy_(torch.tensor([[0.01], [0.04]]))
    drawn = model.sample(4000, torch.Generator().manual_seed(5))
    bright = drawn.mean((1, 2, 3)) > 0.5
    assert bright.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert (drawn[bright] - 1).std().item() == pytest.approx(0.2, rel=0.03)
    assert drawn[~bright].std().item() == pytest.approx(0.1, rel=0.03)


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(SpecError, match=r"clusters is 0; k-means needs at least one"):
        KMeans(channels=1, size=8, clusters=0)
    model = KMeans(channels=2, size=4)
    with pytest.raises(ModelError, match=r"give batches that can be read several times"):
        model.finish(iter(split(clustered())))
    with pytest.raises(ModelError, match=r"k-means\+\+ was given no objects"):
        model.initialise(clustered()[:0])
