"""The distance is that of scikit-learn's covariance, and outliers among the training objects do not stretch it."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.covariance import EmpiricalCovariance

from galflow.models.shared.gaussian_distance import LINEAR, RIDGE, GaussianDistance


def cloud(n: int, seed: int = 1) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    mixing = torch.eye(5) + 0.5 * torch.ones(5, 5)
    return torch.randn(n, 5, generator=draw) @ mixing


def test_it_is_mahalanobis_distance_of_bent_features_with_a_ridge() -> None:
    points = cloud(500)
    distance = GaussianDistance(5)
    distance.fit(points)
    bent = LINEAR * np.arcsinh(points.double().numpy() / LINEAR)
    reference = EmpiricalCovariance().fit(bent)
    covariance = reference.covariance_ * 500 / 499 + RIDGE * np.eye(5)
    centred = bent - reference.location_
    expected = np.sqrt(np.einsum("ij,jk,ik->i", centred, np.linalg.inv(covariance), centred) / 5)
    np.testing.assert_allclose(distance(points), expected, rtol=1e-4)


def test_a_hundredth_of_far_outliers_leaves_the_others_where_they_were() -> None:
    clean, spoilt = cloud(2000), cloud(2000)
    spoilt[::100] += 300.0
    one, other = GaussianDistance(5), GaussianDistance(5)
    one.fit(clean)
    other.fit(spoilt)
    asked = cloud(500, seed=2)
    assert np.corrcoef(one(asked), other(asked))[0, 1] > 0.95
    assert (other(spoilt[::100]) > other(asked).max()).all()


def test_fewer_objects_than_features_still_give_finite_distances() -> None:
    distance = GaussianDistance(5)
    distance.fit(cloud(3))
    assert torch.isfinite(distance(cloud(10))).all()
