"""Classical outlier detectors on a few features of each object: distances, isolation forest, local outlier factor.

What is fitted knows nothing of images. Its features come from an inner model of galflow's own, or are measured on the
image; the inner model is trained as it would be alone, it draws the samples, and the detector is fitted when it has
finished. Baselines: an object is odd here if its features are, whatever the picture shows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.base import BringsWeights, Conditional, GenerativeModel, Player, build_model
from galflow.models.shared.gaussian_distance import GaussianDistance
from galflow.models.shared.isolation_trees import IsolationTrees
from galflow.models.shared.neighbours import Neighbours
from galflow.models.shared.object_features import RobustScale, describe, kept_features

Options = Mapping[str, Any] | None
FEATURES = "residual or latents of the inner model, measured on the image, or all: residual, texture and measured"


class OutlierDetector(GenerativeModel):
    """What the detectors share: features, inner model, and the fit after it."""

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        features: str = "residual",
        inner: str = "pca.PCA",
        inner_options: Options = None,
        keep: int = 4000,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if keep < 2:
            raise SpecError(f"keep is {keep}; a detector is fitted on at least 2 objects, such as 4000")
        self.inner = build_model(inner, channels=channels, size=size, **(inner_options or {}))
        needs = isinstance(self.inner, BringsWeights | OutlierDetector)
        needs = needs or (isinstance(self.inner, Conditional) and len(self.inner.conditions) > 0)
        needs = needs or self.inner.needs_ivar or self.inner.needs_psf
        if needs or not self.inner.trains_on_data:
            raise SpecError(
                f"inner is {inner!r}; expected a model that learns from pixels alone, such as pca.PCA or vae.VAE: no "
                "detector, and none that needs weights of yours, inverse variance, PSF, conditions or a target density"
            )
        self.features, self.keep = features, keep
        nothing = Batch.of(torch.zeros(1, channels, size, size))
        self.width = describe(nothing, features, self.inner).shape[1]
        """Features of an object."""
        self.scale = RobustScale(self.width)
        self.loss_per_pixel = self.inner.loss_per_pixel  # type: ignore[misc] # as the inner model's loss is

    @property
    def players(self) -> tuple[Player, ...]:
        """The inner model's."""
        return tuple(
            replace(player, modules=tuple(f"inner.{name}" for name in player.modules)) for player in self.inner.players
        )

    @abstractmethod
    def _fit(self, points: Tensor) -> None:
        """Fit the detector to scaled features (N, F) of training objects."""

    @abstractmethod
    def _outlyingness(self, points: Tensor) -> Tensor:
        """(B,) the score of scaled features (B, F)."""

    def initialise(self, batch: Batch) -> None:
        """The inner model's."""
        self.inner.initialise(batch)

    def loss(self, batch: Batch, player: str) -> Tensor:
        """The inner model's."""
        return self.inner.loss(batch, player)

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """The inner model's; then the detector on the features of at most ``keep`` training objects."""
        self.inner.finish(batches)
        points = kept_features(batches, self.features, self.inner, self.keep)
        self.scale.fit(points)
        self._fit(self.scale(points))

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """The detector's one score, (B,)."""
        self.check(batch)
        with torch.autocast(batch.pixels.device.type, enabled=False):
            points = self.scale(describe(batch, self.features, self.inner))
            [name] = self.scores
            return {name: self._outlyingness(points)}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) of the inner model: a detector draws none."""
        return self.inner.sample(n, generator)

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """The inner model's."""
        return self.inner.diagnostics(batch)

    @classmethod
    def tiny(cls) -> Self:
        """On residuals of four principal components of 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, inner_options={"components": 4}, keep=200)


class Mahalanobis(OutlierDetector):
    """Mahalanobis distance of an object's features from those of the others (Mahalanobis 36).

    Loss: the inner model's. On all features it is quick and finds most kinds of anomaly (docs/models/baselines.md):
    what is odd may be so in any direction, also in that of less noise or less residual than usual. Valid input: that of
    the inner model; a feature's tails count by their arcsinh.
    """

    source: ClassVar[str] = "Mahalanobis 36"
    scores: ClassVar[Mapping[str, str]] = {
        "distance": "distance from the training objects' features in units of their scatter: 1 is typical"
    }

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        features: Annotated[str, FEATURES] = "all",
        inner: Annotated[str, "model that gives features and samples"] = "pca.PCA",
        inner_options: Annotated[Options, "its options"] = None,
        keep: Annotated[int, "training objects to fit on"] = 20_000,
    ) -> None:
        super().__init__(
            channels=channels, size=size, features=features, inner=inner, inner_options=inner_options, keep=keep
        )
        self.gaussian = GaussianDistance(self.width)

    def _fit(self, points: Tensor) -> None:
        self.gaussian.fit(points)

    def _outlyingness(self, points: Tensor) -> Tensor:
        return self.gaussian(points)


class IsolationForest(OutlierDetector):
    """Isolation forest (Liu+08, ICDM, 413): how few random cuts part an object from the others.

    Loss: the inner model's. Its trees are grown by scikit-learn on 256 objects each. Valid input: that of the inner
    model; every finite feature is cut off at 1000 robust standard deviations.
    """

    source: ClassVar[str] = "Liu+08"
    scores: ClassVar[Mapping[str, str]] = {
        "isolation": "2 ** (-path length / a typical one): 0.5 is typical, towards 1 the object is easily set apart"
    }

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        features: Annotated[str, FEATURES] = "residual",
        inner: Annotated[str, "model that gives features and samples"] = "pca.PCA",
        inner_options: Annotated[Options, "its options"] = None,
        keep: Annotated[int, "training objects to fit on"] = 4000,
        trees: Annotated[int, "trees of the forest"] = 200,
    ) -> None:
        super().__init__(
            channels=channels, size=size, features=features, inner=inner, inner_options=inner_options, keep=keep
        )
        if trees < 1:
            raise SpecError(f"trees is {trees}; a forest has at least one, such as 200")
        self.forest = IsolationTrees(trees)

    def _fit(self, points: Tensor) -> None:
        self.forest.fit(points)

    def _outlyingness(self, points: Tensor) -> Tensor:
        return self.forest(points)


class _ByNeighbours(OutlierDetector):
    """What compares an object with its nearest neighbours among kept training objects."""

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        features: Annotated[str, FEATURES] = "residual",
        inner: Annotated[str, "model that gives features and samples"] = "pca.PCA",
        inner_options: Annotated[Options, "its options"] = None,
        keep: Annotated[int, "training objects to compare with"] = 4000,
        neighbours: Annotated[int, "nearest of them that count"] = 20,
    ) -> None:
        super().__init__(
            channels=channels, size=size, features=features, inner=inner, inner_options=inner_options, keep=keep
        )
        self.neighbours = Neighbours(keep=keep, features=self.width, neighbours=neighbours)

    def _fit(self, points: Tensor) -> None:
        self.neighbours.fit(points)

    def _nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        if int(self.neighbours.kept) == 0:
            raise ModelError(f"{type(self).__name__} has no object to compare with; train it first (finish fits it)")
        return self.neighbours.nearest(points)


class NearestNeighbours(_ByNeighbours):
    """Mean distance to the k nearest training objects (Angiulli & Pizzuti 02, PKDD, 15), in scaled features.

    Loss: the inner model's. A training object is not its own neighbour. Valid input: that of the inner model; every
    finite feature is cut off at 1000 robust standard deviations.
    """

    source: ClassVar[str] = "Angiulli & Pizzuti 02"
    scores: ClassVar[Mapping[str, str]] = {
        "distance": "mean distance to the nearest training objects' features, each in robust standard deviations"
    }

    def _outlyingness(self, points: Tensor) -> Tensor:
        distances, _ = self._nearest(points)
        return distances.mean(1) if distances.shape[1] else distances.new_zeros(len(points))


class LocalOutlierFactor(_ByNeighbours):
    """Local outlier factor (Breunig+00, SIGMOD, 93): how much thinner its surroundings are than its neighbours' are.

    Loss: the inner model's. An object far from all others is less odd here where all others are far from each other. A
    training object is not its own neighbour. Valid input: that of the inner model; every finite feature is cut off at
    1000 robust standard deviations.
    """

    source: ClassVar[str] = "Breunig+00"
    scores: ClassVar[Mapping[str, str]] = {
        "factor": "local density of the nearest training objects over the object's own: 1 is typical"
    }

    def _outlyingness(self, points: Tensor) -> Tensor:
        distances, rows = self._nearest(points)
        if not distances.shape[1]:
            return distances.new_ones(len(points))
        own = self.neighbours.local_density(distances, rows)
        return self.neighbours.density[rows].mean(1) / own
