"""A pretrained encoder: embeddings from a network that the user brings, and how unusual an object is among them.

The network stays as it is. What is learnt here is only where the training set's latents lie. A network that was trained
on other images than these sees them in its own way: what it calls unusual is for `ranking` to judge, like any score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.base import BringsWeights, Encodes, Player
from galflow.models.pca import PCA
from galflow.models.shared.encoder_images import EncoderImages, Numbers
from galflow.models.shared.encoder_output import Pooling, checked_pooling, chosen_output, pooled
from galflow.models.shared.exported_network import ExportedNetwork
from galflow.models.shared.latent_reference import LatentReference
from galflow.models.shared.network_runner import kind_of
from galflow.models.shared.torchscript_network import script

DRAWN_COMPONENTS = 16
KEEP_SEED = 20
"""Of the draw of training objects to keep."""
AT_ONCE = 1 << 23
"""Numbers in the images that the network is given at a time: 55 of 224 x 224 pixels in three channels."""
MOST_KEPT = 500_000_000
"""Numbers in the latents of all training objects that are kept: 2 GB."""
_ALIKE = 1e-3
"""An object's latents alone and beside another may differ by this share of the largest."""


class PretrainedEncoder(Encodes, BringsWeights):
    """Nearest neighbours (Sun+22, ICML, 20827) and density of latents, by an encoder that the user brings.

    Loss: none of the encoder, which is frozen. A probabilistic PCA beside it is trained, which alone draws the samples,
    since an encoder has none; ``finish`` encodes ``keep`` training objects and fits neighbours and density to their
    latents. The image goes to the encoder like this: missing pixels become 0; ``bands`` are taken; ``range`` is brought
    to 0 to 1 and what lies beyond is cut off; then (x - ``mean``) / ``std``; at last it is resized to ``input_size``.
    Valid input: finite stretched pixels, and what the encoder was trained on.
    """

    source: ClassVar[str] = "Sun+22"
    scores: ClassVar[Mapping[str, str]] = {
        "distance": "distance to the k-th nearest training object's latents; 1: their rms distance from their mean",
        "latent": "negative log-density of the latents under a Gaussian mixture of the training set's, in nats",
    }
    loss_per_pixel: ClassVar[bool] = True
    weights_option: ClassVar[str] = "encoder"

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        encoder: Annotated[
            str, "path or URI of the exported network, to be given: .onnx, or TorchScript in .pt or .ts"
        ] = "encoder.onnx",
        input_size: Annotated[int | None, "pixels on a side that it takes; None: as they were cut"] = None,
        bands: Annotated[Sequence[int] | None, "band of each of its channels, such as [2, 1, 0]; None: all"] = None,
        range: Annotated[Sequence[float] | None, "stretched pixels that become 0 and 1, such as [-0.1, 1]"] = None,
        mean: Annotated[Numbers, "subtracted then, one number or one a channel"] = 0.0,
        std: Annotated[Numbers, "divided by then, one number or one a channel"] = 1.0,
        output: Annotated[str | None, "name or number of the output that is taken, where there are several"] = None,
        pooling: Annotated[Pooling, "of tokens or a map: the first token, their mean, or all their numbers"] = "mean",
        unit_length: Annotated[bool, "whether latents are brought to length 1, as for cosine distances"] = False,
        keep: Annotated[int, "training objects to compare with"] = 4000,
        neighbours: Annotated[int, "the k-th nearest counts"] = 10,
        components: Annotated[int, "Gaussians of the density"] = 1,
        axes: Annotated[int, "principal axes of the latents on which the Gaussians are"] = 32,
    ) -> None:
        super().__init__(channels=channels, size=size)
        side = size if input_size is None else input_size
        self.images = EncoderImages(channels=channels, input_size=side, bands=bands, limits=range, mean=mean, std=std)
        self.output, self.pooling, self.unit_length, self.keep = output, checked_pooling(pooling), unit_length, keep
        self._reference = {"keep": keep, "neighbours": neighbours, "components": components, "axes": axes}
        self.encoder = ExportedNetwork(kind_of(encoder))
        self.reference = LatentReference(latents=1, **self._reference)
        self.pca = PCA(channels=channels, size=size, components=min(DRAWN_COMPONENTS, channels * size**2 - 1))

    @property
    def players(self) -> tuple[Player, ...]:
        """One, of the PCA that draws the samples."""
        return tuple(replace(p, modules=tuple(f"pca.{name}" for name in p.modules)) for p in self.pca.players)

    @classmethod
    def tiny(cls) -> Self:
        """A small random convolutional network for 8 x 8 pixels in two bands."""
        model = cls(channels=2, size=8, encoder="tiny.ts", keep=200, neighbours=5, axes=8)
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(KEEP_SEED)
            network = nn.Sequential(
                nn.Conv2d(2, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten()
            )
        model.load_weights(script(network))
        return model

    def load_weights(self, data: bytes) -> None:
        """Take the encoder's file and try it on two images; SpecError if it is not what the options say."""
        self.encoder.load(data)
        images = torch.randn((2, *self.images.shape), generator=torch.Generator().manual_seed(KEEP_SEED))
        together = self._latents(images)
        alone = torch.cat([self._latents(images[:1]), self._latents(images[1:])])
        if not torch.allclose(together, alone, rtol=_ALIKE, atol=_ALIKE * float(together.abs().max())):
            raise SpecError(
                "encoder: an image has other latents beside another image than alone, or at another time; expected the "
                "same: export it in evaluation mode (network.eval()), without batch statistics and dropout"
            )
        latents = together.shape[1]
        if self.keep * latents > MOST_KEPT:
            raise SpecError(
                f"keep is {self.keep} and the encoder gives {latents} latents; both together may be {MOST_KEPT:,} "
                f"numbers at the most: keep {MOST_KEPT // latents} or fewer"
            )
        self.reference = LatentReference(latents=latents, **self._reference)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # How many latents there are is known from the weights: the reference is made to fit before it is filled.
        centre = state_dict.get(f"{prefix}reference.centre")
        if isinstance(centre, Tensor) and centre.shape != self.reference.centre.shape:
            device = self.reference.centre.device
            self.reference = LatentReference(latents=len(centre), **self._reference).to(device)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def initialise(self, batch: Batch) -> None:
        """The PCA's."""
        self.pca.initialise(batch)

    def loss(self, batch: Batch, player: str) -> Tensor:
        """The PCA's: nothing of the encoder is trained."""
        self.check(batch)
        return self.pca.loss(batch, player)

    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        """(B, D) latents: the encoder's output, pooled."""
        self.check(batch)
        with torch.autocast(batch.pixels.device.type, enabled=False):
            images = self.images(batch)
            if not self.encoder.loaded:
                raise ModelError("the encoder has no weights; give load_weights the bytes of its file")
            if not len(images):
                return images.new_zeros(0, len(self.reference.centre))
            rows = max(1, AT_ONCE // max(1, images[0].numel()))
            return torch.cat([self._latents(part) for part in images.split(rows)])

    def _latents(self, images: Tensor) -> Tensor:
        found = pooled(chosen_output(self.encoder(images), self.output), self.pooling, len(images))
        return nn.functional.normalize(found, dim=1) if self.unit_length else found

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """``distance`` and ``latent``, each (B,)."""
        latents = self.encode(batch)
        with torch.autocast(batch.pixels.device.type, enabled=False):
            return {"distance": self.reference.distance(latents), "latent": -self.reference.log_prob(latents)}

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """The PCA's; then neighbours and density of the latents of at most ``keep`` training objects, drawn evenly."""
        self.pca.finish(batches)
        device = self.images.mean.device
        seen = [batch.observed.flatten(1).any(1).cpu() for batch in batches]
        rows = torch.cat(seen).nonzero()[:, 0]  # of one object at least, or the PCA would have refused
        # Chosen before any is encoded: the encoder is what costs.
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(KEEP_SEED))
        wanted = torch.zeros(sum(map(len, seen)), dtype=torch.bool)
        wanted[rows[order[: self.keep]]] = True
        parts = wanted.split([len(part) for part in seen])
        chosen = (batch[part.to(batch.pixels.device)] for batch, part in zip(batches, parts, strict=True) if part.any())
        latents = torch.cat([self.encode(batch.to(device)) for batch in chosen])
        finite = latents.isfinite().all(1)
        if not bool(finite.any()):
            raise ModelError(
                f"the latents are not finite for any of {len(latents)} training objects; give the range, mean and std "
                "that the encoder was trained with"
            )
        self.reference.fit(latents[finite])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) of the PCA: an encoder draws none."""
        return self.pca.sample(n, generator)

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """The PCA's."""
        return self.pca.diagnostics(batch)
