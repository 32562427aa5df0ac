"""Which score finds what people called interesting: real thumbnails sorted by eye (Storey-Fisher+21).

502 HSC gri thumbnails, all of them odd to a WGAN, were sorted into 415 boring and 87 others: blue cores, mergers and
tides, red extended objects, trails, other interesting ones. Half of the boring train a model; the other half and the 87
are ranked by it: AUROC. Ten random halves. Whatever is chosen (the number of components, the detector, which scores are
combined) is chosen on the first five halves with one half of the 87, and reported on the other five halves, with all 87
and with those alone that chose nothing.

The pictures are stretched for display already: their pixels, averaged in blocks of three, are divided by 255 and not
stretched again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from benchmarks.tables import Figures
from galflow.batch import Batch
from galflow.models.base import GenerativeModel, build_model
from galflow.photometry import AsinhStretch
from galflow.surveys.reading.stamp_files import decode
from galflow.surveys.reading.stamp_sizing import Sizing, StampPlanes, reshape

FOLDER = Path(os.environ.get("GALFLOW_DATA", Path(__file__).parents[2] / "shared" / "data")) / "hsc_wgan_thumbs"
BORING = "boring"
BLOCK = 3
SPLITS = 10
CHOOSING = 5
"""The first so many splits choose."""
EPOCHS = 100
"""Of networks; PCA and what builds on it need none, k-means one."""
BATCH = 32
DISPLAY_SOFTENING = 3.0
"""Sky sigmas at which galflow's default stretch turns logarithmic: one row shows what stretching twice costs."""


@dataclass(frozen=True)
class Case:
    """One model and the scores taken from it."""

    label: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0


def _detectors() -> Iterator[Case]:
    kinds = {"isolation forest": "IsolationForest", "LOF": "LocalOutlierFactor", "kNN": "NearestNeighbours"}
    for name, model in kinds.items():
        measured = {"features": "measured", "inner_options": {"components": 4}}
        yield Case(f"{name}, measured", f"outliers.{model}", measured)
        for what, words in (("latents", "PCA-{} latents"), ("residual", "PCA-{} residual rings")):
            for k in (16, 32, 64):
                options = {"features": what, "inner_options": {"components": k}}
                yield Case(f"{name}, {words.format(k)}", f"outliers.{model}", options)


CASES = (
    *(Case(f"PCA-{k}", "pca.PCA", {"components": k}) for k in (16, 32, 64)),
    Case("k-means", "kmeans.KMeans", {}, epochs=1),
    *_detectors(),
    Case("VAE", "vae.VAE", {}, epochs=EPOCHS),
)
POOL = (
    "PCA-32 residual", "PCA-64 bits_per_dim", "k-means distance", "VAE neg_elbo", "VAE reconstruction",
    "isolation forest, PCA-16 residual rings", "LOF, PCA-16 residual rings", "kNN, PCA-16 residual rings",
    "kNN, PCA-64 latents", "LOF, measured",
)  # fmt: skip
"""Of which two or three are combined."""


@dataclass(frozen=True)
class Labelled:
    """The thumbnails, (N, 3, 32, 32) in [0, 1] each."""

    boring: torch.Tensor
    others: torch.Tensor

    @property
    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``others`` that choose, and those that do not."""
        order = np.random.default_rng(0).permutation(len(self.others))
        return order[::2], order[1::2]


def thumbnails(folder: Path = FOLDER) -> Labelled:
    """Read and bin them."""

    small = Sizing(block=BLOCK, mode="mean")

    def read(where: Path) -> torch.Tensor:
        images = [
            reshape(StampPlanes(decode(path.read_bytes(), path.name, bands=3)), small, 1.0, path.name)[0].flux
            for path in sorted(where.glob("*.png"))
        ]
        return torch.from_numpy(np.stack(images) / np.float32(255))

    kinds = sorted(path for path in folder.iterdir() if path.is_dir() and path.name != BORING)
    return Labelled(read(folder / BORING), torch.cat([read(kind) for kind in kinds]))


def train(case: Case, pixels: torch.Tensor, seed: int) -> GenerativeModel:
    """``case``'s model after its epochs on ``pixels``."""
    torch.manual_seed(seed)
    model = build_model(case.model, channels=pixels.shape[1], size=pixels.shape[-1], **case.options)
    every = Batch.of(pixels)
    model.initialise(every)
    model.train()
    for phase in sorted({player.phase for player in model.players}):
        players = [player for player in model.players if player.phase == phase]
        for player in players:
            owned = [attrgetter(name)(model) for name in player.modules]
            weights = chain.from_iterable(p.parameters() if isinstance(p, torch.nn.Module) else [p] for p in owned)
            optimiser = torch.optim.Adam(weights, lr=player.learning_rate, betas=player.betas)
            for _ in range(case.epochs):
                for rows in torch.randperm(len(every)).split(BATCH):
                    optimiser.zero_grad()
                    model.loss(every[rows], player.name).backward()
                    optimiser.step()
    model.eval()
    model.finish([every[start : start + BATCH] for start in range(0, len(every), BATCH)])
    return model


def scores(data: Labelled, split: int, cases: Sequence[Case] = CASES) -> dict[str, np.ndarray]:
    """Every score of the split's held-out boring objects, and after them of all others."""
    order = torch.randperm(len(data.boring), generator=torch.Generator().manual_seed(split))
    half = len(order) // 2
    training, asked = data.boring[order[:half]], torch.cat([data.boring[order[half:]], data.others])
    found: dict[str, np.ndarray] = {}
    for case in cases:
        model = train(case, training, split)
        for name, values in model.score(Batch.of(asked)).items():
            label = case.label if len(model.scores) == 1 and case.model != "kmeans.KMeans" else f"{case.label} {name}"
            found[label] = values.double().numpy()
    return found


def auroc(values: np.ndarray, others: int, rows: np.ndarray | None = None) -> float:
    """Of scores that end with those of ``others`` objects, of which ``rows`` count (None: all)."""
    held_out, odd = values[:-others], values[-others:]
    odd = odd if rows is None else odd[rows]
    truth = np.r_[np.zeros(len(held_out)), np.ones(len(odd))]
    return float(roc_auc_score(truth, np.r_[held_out, odd]))


def combined(found: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Mean rank by several scores."""
    return np.mean([rankdata(found[name]) for name in names], axis=0)


@dataclass(frozen=True)
class Judged:
    """One score or combination over all splits."""

    chosen_by: float
    """Mean AUROC on the splits and the half of the others that choose."""
    reported: tuple[float, float]
    """Mean and standard deviation over the other splits, all others."""
    unseen: float
    """Mean over the other splits with the half of the others that chose nothing."""


def judge(values: Sequence[np.ndarray], data: Labelled) -> Judged:
    """``values``: one array a split, in order."""
    choosing, unseen = data.halves
    n = len(data.others)
    reported = [auroc(v, n) for v in values[CHOOSING:]]
    return Judged(
        float(np.mean([auroc(v, n, choosing) for v in values[:CHOOSING]])),
        (float(np.mean(reported)), float(np.std(reported))),
        float(np.mean([auroc(v, n, unseen) for v in values[CHOOSING:]])),
    )


def _row(judged: Judged) -> tuple[float, ...]:
    return judged.chosen_by, *judged.reported, judged.unseen


COLUMNS = ("choosing", "reported", "+-", "unseen half")


def tables(data: Labelled, found: Sequence[dict[str, np.ndarray]], pool: Sequence[str] = POOL) -> Iterator[Figures]:
    """Single scores, then combinations; each sorted by what chooses."""

    def ranked(judged: dict[str, Judged], most: int | None = None) -> dict[str, tuple[float | str, ...]]:
        names = sorted(judged, key=lambda name: -judged[name].chosen_by)[:most]
        return {name: _row(judged[name]) for name in names}

    single = {name: judge([f[name] for f in found], data) for name in found[0]}
    yield Figures("AUROC of interesting or other against held-out boring thumbnails", COLUMNS, ranked(single))
    together = {
        " + ".join(names): judge([combined(f, names) for f in found], data)
        for number in (2, 3)
        for names in combinations(pool, number)
    }
    yield Figures(f"mean ranks of two or three: the best ten of {len(together)}", COLUMNS, ranked(together, 10))


def stretched_again(data: Labelled) -> Labelled:
    """The same pictures through galflow's default stretch, by the robust scatter of the boring ones' pixels."""
    pixels = data.boring.transpose(0, 1).flatten(1)
    median = pixels.median(1, keepdim=True).values
    sigma = 1.4826 * (pixels - median).abs().median(1).values
    stretch = AsinhStretch(DISPLAY_SOFTENING, 1000.0, tuple(sigma.tolist()))
    return Labelled(*(stretch.forward(part, torch) for part in (data.boring, data.others)))


def run() -> Iterator[Figures]:
    """All cases on all splits, then PCA on pictures that are stretched twice."""
    data = thumbnails()
    found = _over_splits(lambda split: scores(data, split))
    yield from tables(data, found)
    twice = stretched_again(data)
    few = [case for case in CASES if case.label in ("PCA-64", "k-means", "kNN, PCA-16 residual rings")]
    again = _over_splits(lambda split: scores(twice, split, few))
    rows = {name: _row(judge([f[name] for f in again], data)) for name in again[0]}
    yield Figures("the same after galflow's default asinh stretch: stretched twice", COLUMNS, dict(rows))


def _over_splits(score: Callable[[int], dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [score(split) for split in range(SPLITS)]
    finally:
        torch.set_num_threads(threads)
