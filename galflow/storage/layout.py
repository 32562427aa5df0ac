"""Every key pattern of a store: where which product lies, and which product a key belongs to.

Keys are relative to the store's root, with "/" between their parts. A product is a file or a folder; its receipt lies
beside it. Nothing else in galflow spells a key out.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from datetime import datetime

EMULATED = "emulated"
"""Emulated surveys: products that no run refers to, and no garbage."""
PRODUCT_KINDS = (
    "cutouts", "joins", "measurements", "models", "scores", "latents", "indexes", "rankings", "matches", "comparisons",
    "residual_objects", "selections", "residuals", "catalogs", "reports", EMULATED,
)  # fmt: skip
"""First parts of the keys of products, those that later ones are made from first."""
RUNS, LEASES, REPORTS, LABELS = "runs", "leases", "reports", "labels"
RECEIPT_SUFFIX = ".receipt.json"
PAGE = "index.html"
"""File below a report's folder."""
CHECKPOINT = "checkpoint.pt"
"""File below a model's folder while it trains."""
OWN = r"-[0-9a-f]{8}"
"""What stands at the end of the name in a key that was taken for other bytes (``own_key``)."""

_ENDING = re.compile(r"(\.zarr|\.parquet|\.json|\.html)?$")
_MANIFEST = "/manifest.json"
_PRODUCT = re.compile(
    r"((?:(?:cutouts|residuals)/[^/]+/[^/]+/.+?\.zarr|(?:scores|joins|measurements|latents)/[^/]+/[^/]+/.+?\.parquet"
    r"|(?:rankings|comparisons)/[^/]+/.+?\.json|(?:matches|residual_objects|selections)/[^/]+/.+?\.parquet)(?=[/.]|$)"
    r"|emulated/[^/]+/[0-9a-f]{16}/[^/]+?(?=/|\.receipt\.json$|\.rows\.parquet$|$)"
    r"|(?:(?:models|indexes)/[^/]+/[^/]+?|catalogs/[^/]+/[^/]+?|reports/[^/]+?|runs/\.writable-[0-9a-f]+)(?=/|\.receipt\.json$|$))"
)
_NAMED_BY_A_MANIFEST = re.compile(r"(models/[^/]+/[0-9a-f]{16}|catalogs/[^/]+/[^/]+|reports/[^/]+/index\.html)$")
"""How keys end in manifests of before, which held URIs."""


# --- products of a tile


def cutouts_product(survey: str, release: str, tile: str, fingerprint: str) -> str:
    """Key of a tile's cutout set: a folder."""
    return f"{cutouts_folder(survey)}/{release}/{tile}/{fingerprint}.zarr"


def assigned_rows(product: str) -> str:
    """Key of the rows of the survey's own catalogue that lie in a tile, while its cutouts are made."""
    return f"{product}.rows.parquet"


def join_product(survey: str, release: str, tile: str, fingerprint: str) -> str:
    """Key of a tile's join: which of its objects other tiles have too."""
    return f"{joins_folder(survey)}/{release}/{tile}/{fingerprint}.parquet"


def measurements_product(survey: str, release: str, tile: str, fingerprint: str) -> str:
    """Key of what was measured on the cutouts of a tile."""
    return f"{measurements_folder(survey)}/{release}/{tile}/{fingerprint}.parquet"


def scores_product(survey: str, release: str, tile: str, fingerprint: str) -> str:
    """Key of a tile's score part."""
    return f"{scores_folder(survey)}/{release}/{tile}/{fingerprint}.parquet"


def residuals_product(survey: str, release: str, tile: str, fingerprint: str) -> str:
    """Key of what models leave unexplained of some of a tile's objects: a folder."""
    return f"{residuals_folder(survey)}/{release}/{tile}/{fingerprint}.zarr"


def latents_product(survey: str, release: str, tile: str, fingerprint: str) -> str:
    """Key of the latents of a tile's objects by one model, and of what it leaves unexplained of them."""
    return f"{latents_folder(survey)}/{release}/{tile}/{fingerprint}.parquet"


def cutouts_folder(survey: str) -> str:
    """Folder of a survey's cutout sets."""
    return f"cutouts/{survey}"


def joins_folder(survey: str) -> str:
    """Folder of a survey's joins."""
    return f"joins/{survey}"


def measurements_folder(survey: str) -> str:
    """Folder of what was measured on a survey's cutouts."""
    return f"measurements/{survey}"


def scores_folder(survey: str) -> str:
    """Folder of a survey's score parts."""
    return f"scores/{survey}"


def latents_folder(survey: str) -> str:
    """Folder of the latents of a survey's objects."""
    return f"latents/{survey}"


def residuals_folder(survey: str) -> str:
    """Folder of a survey's residual pictures."""
    return f"residuals/{survey}"


# --- products of a run


def model_product(name: str, fingerprint: str) -> str:
    """Key of a trained model: a folder."""
    return f"{models_folder(name)}/{fingerprint}"


def event_file(model: str, name: str) -> str:
    """Key of one of TensorBoard's event files of a training, below the model's own folder."""
    return f"{model}/tensorboard/{name}"


def models_folder(name: str) -> str:
    """Folder of all trainings of a model."""
    return f"models/{name}"


def ranking_product(survey: str, fingerprint: str) -> str:
    """Key of the rule by which a survey's objects are ranked, with its evidence."""
    return f"{rankings_folder(survey)}/{fingerprint}.json"


def rankings_folder(survey: str) -> str:
    """Folder of a survey's ranking rules."""
    return f"rankings/{survey}"


def residual_objects_product(survey: str, fingerprint: str) -> str:
    """Key of the objects whose residuals a run stores: who they are."""
    return f"{residual_objects_folder(survey)}/{fingerprint}.parquet"


def residual_objects_folder(survey: str) -> str:
    """Folder of who they are, of a survey; of earlier runs they lie below selections/."""
    return f"residual_objects/{survey}"


def index_product(survey: str, fingerprint: str) -> str:
    """Key of the index by which a run's nearest neighbours in latents are found: a folder."""
    return f"{indexes_folder(survey)}/{fingerprint}"


def indexes_folder(survey: str) -> str:
    """Folder of a survey's indexes of latents."""
    return f"indexes/{survey}"


def comparison_product(run_name: str, fingerprint: str) -> str:
    """Key of a run's comparison of simulations with the survey."""
    return f"{comparisons_folder(run_name)}/{fingerprint}.json"


def comparisons_folder(run_name: str) -> str:
    """Folder of a specification's comparisons."""
    return f"comparisons/{run_name}"


def matches_product(run_name: str, fingerprint: str) -> str:
    """Key of who was compared at equal properties in a comparison with this fingerprint."""
    return f"{matches_folder(run_name)}/{fingerprint}.parquet"


def matches_folder(run_name: str) -> str:
    """Folder of a specification's matched objects."""
    return f"matches/{run_name}"


def likelihoods_product(catalog: str, run: str) -> str:
    """Key of a run's likelihood catalogue, beside its ``catalog``: a folder."""
    return catalog_product(f"{catalog}_likelihoods", run)


def sample_catalog_product(catalog: str, sample: str, run: str) -> str:
    """Key of the catalogue of one of a run's comparison samples, beside its ``catalog``: a folder."""
    return catalog_product(f"{catalog}_of_{sample}", run)


def catalog_product(name: str, run: str) -> str:
    """Key of a run's catalogue: a folder."""
    return f"{catalogs_folder(name)}/{run}"


def catalogs_folder(name: str) -> str:
    """Folder of a catalogue's editions, one a run."""
    return f"catalogs/{name}"


def catalog_file(index: int) -> str:
    """Name of a catalogue's Parquet file ``index``, below its folder."""
    return f"part-{index:05d}.parquet"


def supplement_of(catalog: str) -> str:
    """Key of the folder beside a catalogue's: what is no row of it."""
    return f"{catalog}_supplement"


def report_product(run: str) -> str:
    """Key of a run's report: a folder."""
    return f"{REPORTS}/{run}"


def report_page(report: str) -> str:
    """Key of the page in a report's folder."""
    return f"{report}/{PAGE}"


def performance_page(run: str, at: datetime) -> str:
    """Key of Dask's own report on one start of a run."""
    return f"{report_product(run)}/performance-{at:%Y%m%dT%H%M%S}.html"


def emulated_folder(name: str, fingerprint: str) -> str:
    """Folder of one emulated survey: a folder for each tile, and one that says how galflow reads it."""
    return f"{EMULATED}/{name}/{fingerprint}"


def emulated_tile(name: str, fingerprint: str, tile: str) -> str:
    """Key of one tile of an emulated survey: a folder of FITS files and of the truth."""
    return f"{emulated_folder(name, fingerprint)}/{tile}"


def prefixes_of_run(run_name: str, surveys: Iterable[str], models: Iterable[str], catalog: str) -> tuple[str, ...]:
    """How the keys of all products begin that runs of one specification may make; ``surveys`` with its samples."""
    of_survey = (
        cutouts_folder, joins_folder, measurements_folder, scores_folder, rankings_folder, residual_objects_folder,
        residuals_folder, latents_folder, indexes_folder,
    )  # fmt: skip
    folders = [folder(name) for name in surveys for folder in of_survey]
    folders += [models_folder(name) for name in models]
    folders += [comparisons_folder(run_name), matches_folder(run_name), catalogs_folder(catalog)]
    beside = (f"{catalogs_folder(catalog)}_likelihoods/", f"{catalogs_folder(catalog)}_of_")
    return (*(f"{folder}/" for folder in folders), *beside, f"{report_product(run_name)}-")


# --- what is no product


def labels_folder(survey: str, person: str | None = None) -> str:
    """Folder of all labels that people gave a survey's objects, or of one person's."""
    return f"{LABELS}/{survey}" if person is None else f"{LABELS}/{survey}/{person}"


def labels_key(survey: str, person: str, at: datetime) -> str:
    """A key that nobody else has, of labels that a person gave at one time; a person's keys sort by it."""
    return f"{labels_folder(survey, person)}/{at:%Y%m%dT%H%M%S%f}Z-{uuid.uuid4().hex[:8]}.jsonl"


def receipt_key(product: str) -> str:
    """Key of a product's receipt."""
    return product + RECEIPT_SUFFIX


def manifest_key(run: str) -> str:
    """Key of a run's manifest."""
    return f"{RUNS}/{run}{_MANIFEST}"


def runs_among(keys: Iterable[str]) -> list[str]:
    """The runs whose manifests are among these keys."""
    return [key.split("/")[1] for key in keys if key.endswith(_MANIFEST)]


def probe_key() -> str:
    """A key that nobody else has, to try the store with. What a killed run leaves there is garbage, as any product."""
    return f"{RUNS}/.writable-{uuid.uuid4().hex}"


# --- from keys to products


def product_of(key: str) -> str | None:
    """The product that a key belongs to; None for what is no product, such as a manifest."""
    found = _PRODUCT.match(key)
    return found[1] if found else None


def own_key(product: str) -> str:
    """A key for the same product that nobody else has; it sorts before the one that plans name."""
    return _ENDING.sub(lambda ending: f"-{uuid.uuid4().hex[:8]}{ending[0]}", product, count=1)


def as_key(text: str) -> str:
    """The key behind a key or behind the URI that an older manifest has; any other URI stays what it is."""
    found = _NAMED_BY_A_MANIFEST.search(text)
    return found[1] if found else text
