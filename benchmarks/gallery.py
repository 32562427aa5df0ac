"""The pictures of docs/models: every family trained on the embedded deep field, and what it makes of held-out galaxies.

``python -m benchmarks.gallery [FAMILY ...]`` cuts the field out, trains each family's models for some minutes and draws
docs/models/<family>.png: held-out galaxies, what each model rebuilds of them, what it draws by itself, and which
held-out galaxies it finds most anomalous. It measures nothing but the seconds that it prints.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from benchmarks.scratch import scratch
from galflow.batch import Batch
from galflow.cutouts.cut import cut_tile, cutouts_fingerprint
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet, stretch_for
from galflow.models.base import Reconstructs, find_model
from galflow.photometry import Stretch
from galflow.report.pictures import SOFTENING_SIGMA, Display
from galflow.spec.models import ModelSpec
from galflow.spec.run import CutoutSpec, SurveySpec, TrainingSpec
from galflow.spec.stretch import StretchSpec
from galflow.storage.products import Target
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "models"
SIZE = 32
COLUMNS = 12
WHITE_SIGMA = 100.0
"""In pictures; in the stretch it is 300."""


@dataclass(frozen=True)
class Portrait:
    """One model of a family's picture."""

    model: str
    epochs: int
    options: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 32


FAMILIES: dict[str, tuple[Portrait, ...]] = {
    "autoencoders": (
        Portrait("kmeans.KMeans", 1),
        Portrait("autoencoder.Autoencoder", 60),
        Portrait("vae.VAE", 60),
    ),
    "vqvae2": (Portrait("vqvae2.VQVAE2", 60),),
    "adversarial": (
        Portrait("gan.GAN", 100, {"width": 16}),
        Portrait("wgan.WGAN", 150, {"width": 16, "penalty_share": 0.5, "learning_rate": 5e-4}),
    ),
    "pixelcnn": (
        Portrait("pixelcnn_pp.PixelCNNPP", 8, {"width": 16}, 16),
        Portrait("pixelcnn_pp.PixelCNNPP", 8, {"width": 16, "head": "gaussian"}, 16),
        Portrait("pixelcnn.PixelCNN", 8, {"width": 16}, 16),
    ),
    "coupling_flows": (
        Portrait("nice.NICE", 20),
        Portrait("realnvp.RealNVP", 10),
        Portrait("glow.Glow", 10),
        Portrait("planar.PlanarFlow", 20),
        Portrait("planar.ReverseFlow", 20),
    ),
    "autoregressive_flows": (Portrait("maf.MAF", 20), Portrait("tan.TAN", 8)),
    "continuous_flows": (Portrait("planar_cnf.PlanarCNF", 4), Portrait("ffjord_latent.FFJORDLatent", 10)),
}


@dataclass(frozen=True, eq=False)
class Field:
    """The deep field, cut out."""

    store: Store
    cutouts: CutoutSet
    spec: CutoutSpec
    stretch: Stretch

    @classmethod
    def cut(cls, folder: Path) -> Field:
        """All galaxies of the field in ``SIZE`` pixels."""
        store, spec = Store.open(folder), CutoutSpec(size=SIZE)
        survey = open_survey(SurveySpec(kind="hubble"))
        (tile,) = survey.tiles()
        cutouts = CutoutSet(store, cut_tile(store, survey, tile, spec, cutouts_fingerprint(survey, tile, spec)).product)
        return cls(store, cutouts, spec, stretch_for([cutouts], StretchSpec(white_sigma=300)))

    def train(self, portrait: Portrait) -> TrainedModel:
        """The portrait's model, trained."""
        name = find_model(portrait.model).__name__.lower()
        key = "-".join([name, *(str(value) for value in portrait.options.values())])
        receipt = train_model(
            Target(self.store, f"models/{key}", key, {}),
            Recipe(
                ModelSpec(name=name, model=portrait.model, options=portrait.options),
                TrainingSpec(epochs=portrait.epochs, batch_size=portrait.batch_size),
                self.spec,
                self.stretch,
                1,
            ),
            [self.cutouts],
        )
        assert receipt is not None, "nothing stops this training"
        return TrainedModel.load(self.store, receipt.product)

    def held_out(self, model: TrainedModel) -> Batch:
        """The galaxies that no model was trained on, with what this one wants to know of them."""
        data = TrainingSet([self.cutouts], self.stretch, validation=0.1, reference=0.2, contents=model.contents)
        (batch,) = data.batches(Split.REFERENCE, 10_000)
        return batch


def draw(deep: Field, family: str) -> None:
    """Train a family's models and write its picture."""
    rows: list[tuple[str, torch.Tensor]] = []
    for portrait in FAMILIES[family]:
        started = time.perf_counter()
        model = deep.train(portrait)
        seconds = time.perf_counter() - started
        batch = deep.held_out(model)
        label = " ".join([type(model.module).__name__, *(str(v) for v in portrait.options.values() if type(v) is str)])
        print(f"{family}: {label} trained and measured in {seconds:.0f} s, {model.card.metrics}", flush=True)
        if not rows:
            rows.append(("held-out galaxies", batch.pixels[:COLUMNS]))
        if isinstance(model.module, Reconstructs):
            with torch.no_grad():
                rows.append((f"{label}\nrebuilt", model.module.reconstruct(batch[:COLUMNS])))
        rows.append((f"{label}\ndrawn", model.module.sample(COLUMNS, torch.Generator().manual_seed(1))))
        order = np.argsort(-model.evaluate(batch)[model.card.main_score])
        rows.append((f"{label}\nmost anomalous", batch.pixels[order[:COLUMNS].copy()]))
    _sheet(deep, rows).save(FOLDER / f"{family}.png", optimize=True)


def _sheet(deep: Field, rows: list[tuple[str, torch.Tensor]]) -> Image.Image:
    display = Display(
        tuple(deep.cutouts.attributes["bands"]),
        deep.stretch.sky_sigma,
        "count",
        SOFTENING_SIGMA,
        WHITE_SIGMA,
    )
    figure, axes = plt.subplots(
        len(rows), COLUMNS, figsize=(COLUMNS * 0.8 + 1.3, len(rows) * 0.8), squeeze=False, dpi=110
    )
    for (label, pixels), line in zip(rows, axes, strict=True):
        flux = deep.stretch.inverse(pixels.double(), torch).numpy()
        for axis, galaxy in zip(line, flux, strict=False):
            axis.imshow(display.picture(galaxy), origin="lower", interpolation="nearest")
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(left=1.25 / (COLUMNS * 0.8 + 1.3), right=1, bottom=0, top=1, wspace=0.04, hspace=0.04)
    figure.canvas.draw()
    drawn = Image.frombytes("RGBA", figure.canvas.get_width_height(), bytes(figure.canvas.buffer_rgba()))  # type: ignore[attr-defined]
    plt.close(figure)
    return drawn.convert("RGB")


def main() -> None:
    """Draw the families that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"{', '.join(FAMILIES)}; all by default")
    chosen = parser.parse_args().families or list(FAMILIES)
    unknown = [name for name in chosen if name not in FAMILIES]
    if unknown:
        parser.error(f"{unknown[0]!r} is no family; there are {', '.join(FAMILIES)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with scratch() as work:
        deep = Field.cut(work)
        for family in chosen:
            draw(deep, family)


if __name__ == "__main__":
    main()
