"""What runs on a Dask worker: the library's verbs, with the survey and the models kept between units.

Each function takes keys and small values, writes its own product, and returns its receipt, briefly if there is one for
each tile.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

from distributed import get_worker

from galflow.catalog.parquet import read_catalog
from galflow.catalog.published import CatalogPlan, PartFiles, read_basis, write_catalog_file
from galflow.catalog.published_table import PublishedTable, SourcePart
from galflow.catalog.ranking import RunRanking
from galflow.catalog.residual_objects import rows_by_tile
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.stream import stretch_for
from galflow.errors import TakenError
from galflow.labels.latents import encode_set
from galflow.labels.similarity import IndexedTile, build_index
from galflow.measurements.measure import measure_set
from galflow.report.site.sheets import SheetJob, make_sheet, sheet_name
from galflow.runs.plan_units import CutTile, JoinedTile, LatentsUnit, ModelUnit, ResidualsUnit, Unit
from galflow.scores.ranking import RankingSettings, rank_by_evidence
from galflow.scores.residuals import ChosenRows, store_residuals
from galflow.scores.reuse import EarlierPart
from galflow.scores.score import PartFingerprints, PartSettings, score_set
from galflow.spec.repeats import seed_of
from galflow.spec.run import CutoutSpec, RunSpec, SurveySpec
from galflow.storage.layout import catalog_file, supplement_of
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.base import Survey, Tile
from galflow.surveys.resolve import open_survey
from galflow.training.gpu_arithmetic import pick_device
from galflow.training.learning_curve import Progress
from galflow.training.ranks import SINGLE_PROCESS, Ranks
from galflow.training.train_model import Recipe, require_one_layout, train_model
from galflow.training.trained_model import TrainedModel, load_uri
from tasks.cluster import PROGRESS_TOPIC
from tasks.event_files import EventFiles, event_files

TAKEN, LOST_PICTURES = "taken", "lost_pictures"
_PROGRESS_SECONDS = 1.0


@functools.lru_cache(maxsize=4)
def _survey(spec_json: str) -> Survey:
    return open_survey(SurveySpec.model_validate_json(spec_json))


@functools.lru_cache(maxsize=32)
def open_model(store: Store, product: str, model: str, device: str) -> TrainedModel:
    """A trained model of this store, or at a URI, of the class ``model``; loaded once in each worker."""
    elsewhere = "://" in product
    return (load_uri(product, model=model) if elsewhere else TrainedModel.load(store, product, model)).to(device)


def cut(store: Store, survey: str, tile: Tile, spec: CutoutSpec, fingerprint: str, rows_key: str | None) -> Receipt:
    """Cut one tile; the rows assigned to it from a survey-wide catalogue lie at ``rows_key``."""
    rows = read_catalog(store.get(rows_key)) if rows_key is not None else None
    return cut_tile(store, _survey(survey), tile, spec, fingerprint, rows).brief()


def measure(store: Store, cutouts: CutTile, what: Sequence[str]) -> Receipt:
    """Measure one cutout set."""
    return measure_set(store, CutoutSet(store, cutouts.product), cutouts.fingerprint, what, pick_device()).brief()


def train(
    store: Store,
    spec: RunSpec,
    unit: ModelUnit,
    sets: Sequence[JoinedTile],
    sky: Sequence[JoinedTile],
    ranks: Ranks = SINGLE_PROCESS,
) -> Receipt | None:
    """Train a unit's model on ``sets``, in the stretch of the survey's own, ``sky``.

    None on a rank that does not lead.
    """
    model, weights = unit.model, unit.weights
    opened = {tile.fingerprint: open_set(store, tile) for tile in (*sky, *sets)}
    stretch = stretch_for([opened[tile.fingerprint] for tile in sky], spec.stretch)
    learnt = {tile.fingerprint for tile in sets}
    require_one_layout(list(opened.values()))
    events = event_files(store, unit.product, spec.training.tensorboard and ranks.is_main)
    receipt = train_model(
        Target(
            store,
            unit.product,
            unit.fingerprint,
            {f"cutouts {tile.cutouts.product}": tile.cutouts.fingerprint for tile in sets}
            | {f"join {tile.product}": tile.fingerprint for tile in sets}
            | {f"sky {t.cutouts.product}": t.cutouts.fingerprint for t in sky if t.fingerprint not in learnt}
            | ({weights.role: weights.checksum} if weights else {}),
        ),
        Recipe(model, spec.training_of(model), spec.cutouts, stretch, seed_of(model.name, spec.seed), weights),
        [opened[tile.fingerprint] for tile in sets],
        device=pick_device(),
        progress=_Teller(unit.name, events),
        ranks=ranks,
    )
    if events is not None and receipt is not None:
        events.finish(TrainedModel.load(store, receipt.product, model.model))
    return receipt


def open_set(store: Store, tile: JoinedTile) -> CutoutSet:
    """A cutout set that knows its objects."""
    return CutoutSet(store, tile.cutouts.product, tile.product)


class _Teller:
    """Sends a training's progress to whoever watches the cluster, about once a second, and to its event files."""

    def __init__(self, name: str, events: EventFiles | None = None) -> None:
        self._name, self._events = name, events
        self._told = 0.0

    def __call__(self, progress: Progress) -> None:
        if self._events is not None:
            self._events.told(progress)
        if time.monotonic() - self._told < _PROGRESS_SECONDS and not progress.points:
            return
        self._told = time.monotonic()
        losses = ", ".join(f"{p.player} {p.train_loss:.4g}" for p in progress.points)
        phase = f" phase {progress.phase}" if progress.phase else ""
        text = f"{self._name}{phase} epoch {progress.epoch}/{progress.epochs} {losses}"
        get_worker().log_event(PROGRESS_TOPIC, [self._name, progress.share, text])


def choose_ranking(
    store: Store,
    product: str,
    fingerprint: str,
    tiles: Sequence[JoinedTile],
    models: dict[str, tuple[str, str]],
    settings: RankingSettings,
) -> Receipt:
    """Choose the rule that ranks, of held-out objects of these tiles and ``models``, name -> (key or URI, class)."""
    device = pick_device()
    loaded = {name: open_model(store, *place, device) for name, place in models.items()}
    inputs = {f"model {name}": model.card.fingerprint for name, model in loaded.items()}
    inputs |= {f"join {tile.product}": tile.fingerprint for tile in tiles}
    sets = [open_set(store, tile) for tile in tiles]
    return rank_by_evidence(Target(store, product, fingerprint, inputs), sets, loaded, settings, device)


def score(
    store: Store,
    tile: JoinedTile,
    models: dict[str, tuple[str, str]],
    fingerprint: str,
    settings: PartSettings,
    batch_objects: int,
    earlier: EarlierPart | None,
) -> Receipt:
    """Score one cutout set with ``models``, name -> (key or URI, class); what ``earlier`` has is taken over."""
    device = pick_device()
    loaded: dict[str, Any] = {name: open_model(store, *place, device) for name, place in models.items()}
    receipt = score_set(
        store,
        open_set(store, tile),
        loaded,
        PartFingerprints(fingerprint, tile.cutouts.fingerprint, tile.fingerprint),
        settings,
        batch_objects=batch_objects,
        device=device,
        earlier=earlier,
    )
    return receipt.brief()


def encode(store: Store, unit: LatentsUnit, model: tuple[str, str], batch_objects: int) -> Receipt:
    """Encode one cutout set by ``model``, (key or URI, class)."""
    device = pick_device()
    loaded = open_model(store, *model, device)
    inputs = {"cutouts": unit.cutouts.fingerprint, f"model {loaded.card.name}": loaded.card.fingerprint}
    target = Target(store, unit.product, unit.fingerprint, inputs)
    cutouts = CutoutSet(store, unit.cutouts.product)
    return encode_set(target, cutouts, loaded, batch_objects=batch_objects, device=device).brief()


def index_similar(store: Store, unit: Unit, tiles: Sequence[IndexedTile]) -> Receipt:
    """Index the latents of these tiles."""
    return build_index(Target(store, unit.product, unit.fingerprint), tiles)


@functools.lru_cache(maxsize=1)
def _chosen(store: Store, product: str) -> dict[str, ChosenRows]:
    return rows_by_tile(store, product)


def picture_residuals(
    store: Store,
    unit: ResidualsUnit,
    chosen: str,
    models: dict[str, tuple[str, str]],
    spec: CutoutSpec,
    batch_objects: int,
) -> Receipt:
    """Store what ``models``, name -> (key or URI, class), leave unexplained of a tile's chosen objects."""
    device = pick_device()
    loaded = {name: open_model(store, *place, device) for name, place in models.items()}
    inputs = {"cutouts": unit.cutouts.fingerprint} | {f"model {name}": found for name, found in unit.models.items()}
    return store_residuals(
        Target(store, unit.product, unit.fingerprint, inputs),
        CutoutSet(store, unit.cutouts.product),
        _chosen(store, chosen)[unit.cutouts.tile],
        loaded,
        spec,
        batch_objects=batch_objects,
        device=device,
    ).brief()


@functools.lru_cache(maxsize=1)
def _basis(store: Store, catalog: str) -> tuple[CatalogPlan, RunRanking]:
    return read_basis(store, catalog)


def write_file(
    store: Store, catalog: str, index: int, parts: PartFiles, measured: Mapping[str, PartFiles], run: str
) -> Receipt:
    """Write one file of the catalogue at key ``catalog`` from score parts; its basis lies there already.

    ``measured``: key of a score part -> what was measured on the same cutouts.

    The receipt is on no store: it says what was written, the supplement's files under their whole keys; or, under
    ``TAKEN``, that other bytes lie there.
    """
    product = f"{catalog}/{catalog_file(index)}"
    try:
        files, beside = write_catalog_file(store, catalog, index, parts, *_basis(store, catalog), measured)
    except TakenError as error:
        return Receipt(product=product, fingerprint=f"{run}-{index}", details={TAKEN: str(error)})
    files |= {f"{supplement_of(catalog)}/{name}": found for name, found in beside.items()}
    return Receipt(product=product, fingerprint=f"{run}-{index}", files=files)


def write_table(
    store: Store, product: str, index: int, sources: Sequence[SourcePart], table: PublishedTable
) -> Receipt:
    """Write one file of a table beside the catalogue; the receipt is as that of ``write_file``."""
    key = f"{product}/{catalog_file(index)}"
    fingerprint = f"{product.rpartition('-')[2]}-{index}"
    try:
        files, rows = table.write_file(store, product, index, sources)
    except TakenError as error:
        return Receipt(product=key, fingerprint=fingerprint, details={TAKEN: str(error)})
    return Receipt(product=key, fingerprint=fingerprint, files=files, rows=rows)


def draw_sheet(
    store: Store, folder: str, job: SheetJob, models: Mapping[str, tuple[str, str]], encoder: tuple[str, str] | None
) -> Receipt:
    """Write a sheet of the report's pictures under the key ``folder``; ``models``: name -> (key or URI, class).

    The receipt is on no store: it says what was written, and which pictures are not there; or, under ``TAKEN``, that
    other bytes lie there.
    """
    loaded = {name: open_model(store, *place, pick_device()) for name, place in models.items()}
    product, fingerprint = f"{folder}/{sheet_name(job.index)}", f"{folder}-{job.index}"
    try:
        encodes = None if encoder is None else open_model(store, *encoder, pick_device())
        written = make_sheet(store, folder, job, loaded, encodes)
    except TakenError as error:
        return Receipt(product=product, fingerprint=fingerprint, details={TAKEN: str(error)})
    details = {LOST_PICTURES: list(written.reasons)}
    return Receipt(product=product, fingerprint=fingerprint, files=dict(written.files), details=details)
