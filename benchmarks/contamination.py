"""What anomalies in the survey itself cost: power and false discoveries at q = 0.1, with and without trimming.

Anomalies of nine kinds make up 0, 2 and 5% of `synthetic`, of what trains and what calibrates too. "clean" is the same
model trained and calibrated on the same survey without anomalies. Everything is galflow's own, from the tile to the
published q, but for the flow around it: one score ranks at a time, and nothing is chosen.

The second table is of drawn scores, 200 surveys a row: what trimming the reference does to false discoveries where the
tail is as assumed, and where it is not.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from pydantic import JsonValue
from scipy.stats import false_discovery_control

from benchmarks.tables import Figures
from galflow.catalog.ranking import rank_objects
from galflow.constants import SIGMA_PER_MAD
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.stream import stretch_for
from galflow.scores.calibration import Reference, conformal_p
from galflow.scores.ranking import stated_reference
from galflow.scores.reference_trimming import MOST, trimmed_reference
from galflow.scores.rule import RankingRule
from galflow.scores.score import PartFingerprints, PartSettings, score_set
from galflow.scores.tail import ParetoTail
from galflow.spec.models import ModelSpec
from galflow.spec.run import CutoutSpec, SurveySpec, TrainingSpec
from galflow.spec.stretch import StretchSpec
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel

SHARES = (0.0, 0.02, 0.05)
TILES, OBJECTS, SIZE = 3, 1000, 32
SEED, LEVEL, TRIM = 1, 0.1, 0.05
TRAINING = TrainingSpec(epochs=6)
MODELS = (
    ModelSpec(name="pca", model="pca.PCA"),
    ModelSpec(name="vae", model="vae.VAE"),
    ModelSpec(name="features", model="outliers.Mahalanobis"),
    ModelSpec(name="lof", model="outliers.LocalOutlierFactor", options={"features": "all"}),
    ModelSpec(name="forest", model="outliers.IsolationForest"),
)
NEAR_PIXELS = 48
"""A defect reaches into cutouts around its object's, which the truth does not count: such objects are not judged."""


@dataclass(frozen=True)
class Sky:
    """One survey, cut out."""

    store: Store
    sets: list[CutoutSet]

    @property
    def odd(self) -> np.ndarray:
        """(n,) which objects are anomalies."""
        return np.concatenate([_odd(cutouts) for cutouts in self.sets])

    @property
    def judged(self) -> np.ndarray:
        """(n,) anomalies, and objects without one nearby."""
        return np.concatenate([_odd(cutouts) | ~_near(cutouts) for cutouts in self.sets])


def _odd(cutouts: CutoutSet) -> np.ndarray:
    kinds = np.array(cutouts.column_attributes("anomaly")["categories"])[cutouts.read("anomaly")]
    return np.asarray(kinds != "")


def _near(cutouts: CutoutSet) -> np.ndarray:
    place = np.stack([cutouts.read("x_pixel"), cutouts.read("y_pixel")], axis=1)
    return near(place, place[_odd(cutouts)])


def near(place: np.ndarray, anomalies: np.ndarray) -> np.ndarray:
    """(n,) bool: which of (n, 2) pixel positions in a tile lie within NEAR_PIXELS of one of (m, 2) anomalies."""
    return np.asarray((np.abs(place[:, None] - anomalies[None]).max(-1) < NEAR_PIXELS).any(1))


def observed(root: str, share: float) -> Sky:
    """The survey with this share of anomalies."""
    options: dict[str, JsonValue] = {
        "tiles": TILES, "objects_per_tile": OBJECTS, "tile_size": 1600, "overlap_pixels": 0, "seed": SEED,
        "anomaly_fraction": share, "catalog": "tile_truth",
    }  # fmt: skip
    survey, store = open_survey(SurveySpec(kind="synthetic", options=options)), Store.open(f"{root}/{share}")
    receipts = [cut_tile(store, survey, tile, CutoutSpec(size=SIZE), tile.identity[:16]) for tile in survey.tiles()]
    return Sky(store, [CutoutSet(store, receipt.product) for receipt in receipts])


def trained(sky: Sky, model: ModelSpec, trim: float) -> TrainedModel:
    """The model, by this survey."""
    key, training = f"models/{model.name}/{trim}", TRAINING.model_copy(update={"trim": trim})
    stretch = stretch_for(sky.sets, StretchSpec())
    train_model(
        Target(sky.store, key, str(trim), {}), Recipe(model, training, CutoutSpec(size=SIZE), stretch, SEED), sky.sets
    )
    return TrainedModel.load(sky.store, key)


def published(sky: Sky, model: TrainedModel, own: bool, trims: Sequence[float]) -> list[dict[str, np.ndarray]]:
    """(n,) of all objects, p, q and q by the tail, for each share by which the reference may be trimmed.

    ``own``: calibrated by this survey's held-out objects, else by the model's own.
    """
    names = ("anomaly_score_p", "anomaly_q", "anomaly_tail_q")
    shares = (TRAINING.validation_fraction, TRAINING.reference_fraction) if own else None
    settings = PartSettings(shares=shares, learners=(model.card.name,) if own else ())
    parts: list[Receipt] = []
    for cutouts in sky.sets:
        of = PartFingerprints(f"{model.card.name}-{model.card.fingerprint}-{own}", cutouts.product)
        parts.append(score_set(sky.store, cutouts, {model.card.name: model}, of, settings))
    rule = RankingRule.of(f"{model.card.name}_{model.card.main_score}")
    stated = None if own else stated_reference(rule, {model.card.name: model})
    tables = [pq.read_table(io.BytesIO(sky.store.get(part.product))) for part in parts]
    found = []
    for trim in trims:
        ranking, _ = rank_objects(sky.store, parts, rule, stated, trim_reference=trim)
        columns = [ranking.columns(table) for table in tables]
        found.append({n: np.concatenate([c[n].to_numpy(zero_copy_only=False) for c in columns]) for n in names})
    return found


def judged(q: np.ndarray, sky: Sky, tested: np.ndarray) -> tuple[float, float]:
    """Power, and share of false ones among the discoveries (0 without any), over the ``tested`` objects."""
    odd, counted = sky.odd & tested, sky.judged & tested
    found = np.nan_to_num(q, nan=1.0) <= LEVEL
    return float(found[odd].mean()) if odd.any() else float("nan"), _share(found & counted & ~odd, found & counted)


def _share(some: np.ndarray, all_of: np.ndarray) -> float:
    return float(some.sum() / max(1, all_of.sum()))


def run() -> Iterator[Figures]:
    """Both tables."""
    with tempfile.TemporaryDirectory() as root:
        yield from _surveys(root)
    yield from _drawn()


def _surveys(root: str) -> Iterator[Figures]:
    skies = {share: observed(root, share) for share in SHARES}
    power: dict[str, tuple[float | str, ...]] = {}
    false: dict[str, tuple[float | str, ...]] = {}
    for model in MODELS:
        clean = trained(skies[0.0], model, 0.0)
        for share in SHARES:
            sky = skies[share]
            as_is, trimmed = trained(sky, model, 0.0), trained(sky, model, TRIM)
            found = [*published(sky, as_is, True, (0.0, MOST)), *published(sky, trimmed, True, (0.0, MOST))]
            tested = np.isfinite(found[0]["anomaly_q"])
            [by_clean] = published(sky, clean, False, (0.0,))
            q = np.full(len(tested), np.nan)
            q[tested] = false_discovery_control(by_clean["anomaly_score_p"][tested])  # of the same objects alone
            each = [judged(q, sky, tested)]
            each += [judged(one[name], sky, tested) for one in found for name in ("anomaly_q", "anomaly_tail_q")]
            name = f"{model.name}, {share:.0%}"
            power[name] = tuple("" if np.isnan(p) else p for p, _ in each)
            false[name] = tuple(f for _, f in each)
    reference = [f"{kind}{what}" for what in ("", ", reference trimmed") for kind in ("q", "tail q")]
    columns = ("clean: q", *reference, *(f"trained trimmed: {name}" for name in reference))
    size = f"`synthetic`, {TILES * OBJECTS} objects, anomalies among all of them"
    yield Figures(f"share of the unseen anomalies with q <= {LEVEL}; {size}", columns, power)
    yield Figures(f"share of false ones among the discoveries; {size}", columns, false)


REPEATS = 200
CONTAMINATION = (0.0, 0.02, 0.05, 0.1)
_REFERENCES, _OTHERS = 600, 1200
_FAR = (5.0, 10.0)
"""Robust sigmas by which a drawn anomaly lies higher."""
Draw = Callable[[np.random.Generator, int], np.ndarray]
TAILS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "Student's t, 5": lambda rng, n: rng.standard_t(5, n),
    "lognormal, 0.5": lambda rng, n: np.exp(0.5 * rng.normal(size=n)),
    "Student's t, 3": lambda rng, n: rng.standard_t(3, n),
}


def _drawn() -> Iterator[Figures]:
    rows: dict[str, tuple[float | str, ...]] = {}
    for name, draw in TAILS.items():
        in_sigmas = _in_sigmas(draw)
        for share in CONTAMINATION:
            rng = np.random.default_rng(5)
            surveys = [_survey(in_sigmas, share, rng) for _ in range(REPEATS)]
            rows[f"{name}, {share:.0%}"] = tuple(np.mean(surveys, axis=0).tolist())
    kinds = ("clean: q", "q", "tail q", "q, reference trimmed", "tail q, reference trimmed")
    columns = [f"{what}, {kind}" for kind in kinds for what in ("power", "false")]
    size = f"{REPEATS} surveys of {_REFERENCES} references and {_OTHERS} others a row"
    higher = f"anomalies {_FAR[0]:g} to {_FAR[1]:g} sigma higher"
    yield Figures(f"drawn scores: {size}, {higher}; means at q <= {LEVEL}", (*columns, "left out"), rows)


def _in_sigmas(draw: Draw) -> Draw:
    wide = draw(np.random.default_rng(0), 200_000)
    middle = float(np.median(wide))
    sigma = SIGMA_PER_MAD * float(np.median(np.abs(wide - middle)))
    return lambda rng, n: (draw(rng, n) - middle) / sigma


def _survey(draw: Draw, share: float, rng: np.random.Generator) -> list[float]:
    """Power and false share of each way, and how many references were left out. References are tested, too."""
    odd = rng.random(_REFERENCES + _OTHERS) < share
    values = draw(rng, len(odd)) + odd * rng.uniform(*_FAR, len(odd))
    own, clean = np.sort(values[:_REFERENCES]), np.sort(draw(rng, _REFERENCES))
    trimmed = trimmed_reference(own, MOST)
    found: list[float] = []
    for reference, by_tail in ((clean, False), (own, False), (own, True), (trimmed, False), (trimmed, True)):
        p = conformal_p(values, Reference("drawn", reference))
        tail = ParetoTail.of(reference) if by_tail else None
        if tail is not None:
            p = np.where(values > tail.threshold, tail.p_values(values), p)
        reported = false_discovery_control(p) <= LEVEL
        found += [float(reported[odd].mean()) if odd.any() else 0.0, _share(reported & ~odd, reported)]
    return [*found, float(len(own) - len(trimmed))]
