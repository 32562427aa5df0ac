"""The scores of models that invert a generator: G, C and their mixture at the latents of an object.

Networks, losses and draws are the models' own (adversarial.py); the arithmetic is in inversion.py and score_scale.py.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.layers.images.blocks import observed_pixels
from galflow.models.base import Encodes, Reconstructs
from galflow.models.shared.inversion import check_mix, mean_per_object, refine_latents
from galflow.models.shared.score_scale import ScoreScale

MEASURED_OBJECTS = 1024
"""So many training objects tell medians to a per cent or two, and fit in memory at once."""


class InversionScore(Reconstructs, Encodes):
    """G = mean |x - G(z*)| over observed pixels, C = mean |f(x) - f(G(z*))|, z* = E(x), refined or not.

    "anomaly" = mix * G / median(G) + (1 - mix) * C / median(C), with the medians of training objects, which ``finish``
    measures: so a typical object scores 1, and ``mix`` is the share of G in it. Papers take both as they are. ``mix``
    weighs the residual: Storey-Fisher+21's l = 0.3 is mix = 0.7 (``inversion.mix_from_feature_weight``).

    ``refine`` steps lower the anomaly score from z* = E(x) on. They are off unless asked for: they lower detection too.
    Of held-out galaxies of the Hubble field with planted anomalies the mean area under the ROC curve was 0.67 after 0
    steps, 0.61 after 10 and 0.57 after 40 (benchmarks.gan_scores; one short training). Latents hardly move (cosine 0.99
    and 0.95 with E(x)) and cannot leave the sphere, but ten steps take 6% off the score of usual galaxies and 20% off
    that of rings and saturated stars: what an encoder of usual objects misses of others is most of their signal. A
    penalty on leaving E(x), and an objective without weight on pixels far off (Geman & McClure 87), did no better.

    Missing pixels: they are filled with the first guess G(E(x)) and a usual residual, so that what is missing counts
    as unusual as it usually is (``score_scale.ScoreScale``).
    """

    scores: ClassVar[Mapping[str, str]] = {
        "anomaly": "mix * residual / median + (1 - mix) * feature / median, at the inverted latents",
        "residual": "mean |x - G(z*)| over observed pixels; finds noise and artefacts",
        "feature": "mean |f(x) - f(G(z*))| of the critic's last features; finds unusual objects",
    }

    def __init__(self, *, channels: int, size: int, mix: float, refine: int, refine_rate: float) -> None:
        super().__init__(channels=channels, size=size)
        self.mix = check_mix(mix)
        self.refine = refine
        self.refine_rate = refine_rate
        self.scale = ScoreScale(channels, size)

    @abstractmethod
    def first_guess(self, pixels: Tensor) -> Tensor:
        """E(x): (B, latent) latents of pixels (B, C, H, W), 0 where not observed."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """G(z): (B, C, H, W) images free of noise; gradients reach the latents alone."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """f(x): (B, ...) features of images (B, C, H, W); gradients reach the images alone."""

    @abstractmethod
    def domain(self, latents: Tensor) -> Tensor:
        """Latents as the generator is to see them."""

    def _parts(self, whole: Tensor, observed: Tensor, features: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """G and C of each object at ``latents``; ``whole`` is x with its gaps filled, ``features`` are its own."""
        redrawn = self.decode(latents)
        feature = mean_per_object((features - self.features(redrawn)).abs())
        return self.scale.residual(whole - redrawn, observed), feature * observed.flatten(1).any(1)

    @torch.no_grad()
    def _invert(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """z* of each object, its pixels with gaps filled, and their features."""
        self.check(batch)
        pixels, observed = observed_pixels(batch), batch.observed
        latents = self.domain(self.first_guess(pixels))
        guess = self.decode(latents)
        whole = guess + self.scale.filled(pixels - guess, observed)
        whole = torch.where(observed, pixels, whole)
        features = self.features(whole)
        if self.refine:
            with torch.inference_mode(False):
                fixed = whole.clone(), observed.clone(), features.clone()
                latents = refine_latents(
                    lambda z: self.scale.mixed(*self._parts(*fixed, z), self.mix),
                    latents, self.refine, self.refine_rate,
                )  # fmt: skip
        return self.domain(latents), whole, features

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Anomaly, residual and feature scores, (B,) each; 0 where no pixel was observed."""
        latents, whole, features = self._invert(batch)
        residual, feature = self._parts(whole, batch.observed, features, latents)
        return {"anomaly": self.scale.mixed(residual, feature, self.mix), "residual": residual, "feature": feature}

    def encode(self, batch: Batch) -> Tensor:
        """(B, latent) inverted latents z*; of unit mean square if ``spherical``."""
        return self._invert(batch)[0]

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) the generator's image G(z*), free of noise and with missing pixels filled in."""
        return self.decode(self._invert(batch)[0])

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Measure what residual and feature scores of training objects usually are, on the first thousand."""
        chosen, objects = list[Batch](), 0
        for batch in batches:
            chosen.append(batch[: MEASURED_OBJECTS - objects])
            objects += len(chosen[-1])
            if objects >= MEASURED_OBJECTS:
                break
        if not objects:
            return
        observed = torch.cat([batch.observed for batch in chosen])
        self.scale.learn_residuals(torch.cat([self._difference(batch) for batch in chosen]), observed)
        residual, feature = self._scores_of(chosen)
        self.scale.learn_medians(residual, feature)
        whole = observed.flatten(1).all(1)
        if bool(whole.any()):
            far = (self.scale.mixed(residual, feature, self.mix) - 1).abs()
            row = int(torch.where(whole, far, torch.inf).argmin())
            self.scale.learn_typical(self._difference(_row_of(chosen, row))[0])
            # Objects with gaps score a little differently now.
            self.scale.learn_medians(*self._scores_of(chosen))

    def _difference(self, batch: Batch) -> Tensor:
        """(B, C, H, W) x - G(z*), 0 where not observed."""
        return torch.where(batch.observed, batch.pixels - self.reconstruct(batch), 0)

    def _scores_of(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Residual and feature scores of all objects."""
        found = [self.score(batch) for batch in batches]
        residual, feature = (torch.cat([scores[name] for scores in found]) for name in ("residual", "feature"))
        return residual, feature


def _row_of(batches: Sequence[Batch], row: int) -> Batch:
    """One object of several batches, as a batch."""
    for batch in batches:
        if row < len(batch):
            break
        row -= len(batch)
    return batch[row : row + 1]
