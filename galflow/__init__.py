"""galflow: generative models of galaxy surveys, at survey scale.

>>> import galflow                                                            # doctest: +SKIP
>>> run = galflow.run("mysurvey.yaml")               # does what is missing; a PublishedRun
>>> run = galflow.open_run("s3://bucket/galflow/runs/mysurvey-ab12")          # or one that is there
>>> run.top(20), run.cutout(17), run.report          # the most anomalous objects, the pixels of one, the page
>>> run.query("anomaly_score_sigma > 5 and flags & 4 == 0", "anomaly_rank")   # rows of its catalogue
>>> run.residuals("vae", 20)                         # what it leaves unexplained, if the run stored it
>>> galflow.score(run.model("vae"), images)          # images of one's own, (N, band, y, x)
>>> galflow.open_cutouts("galflow-out/cutouts/hubble/1/hdf/ab12.zarr")   # an xarray.Dataset
>>> galflow.load_model("galflow-out/models/vae/cd34")                    # a TrainedModel
>>> galflow.open_catalog("galflow-out/catalogs/anomalies/demo-ef56")     # a pyarrow.Table
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Any

    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import xarray as xr

    from galflow.runs.opened import PublishedRun
    from galflow.spec.run import RunSpec
    from galflow.training.trained_model import TrainedModel

__version__ = "0.1.0"
__all__ = ["__version__", "load_model", "open_catalog", "open_cutouts", "open_run", "run", "score"]

# The imports stand inside the functions because each brings seconds of libraries that the others do not need.


def run(spec: str | os.PathLike[str] | Mapping[str, Any] | RunSpec, root: str | None = None) -> PublishedRun:
    """Do what a specification asks for and is not done yet: cut, train, score, compare, publish.

    ``spec``: a YAML file, what such a file holds, or a RunSpec. ``root``: where products lie, instead of
    ``store.root``. What it does is said in the log. SpecError for an invalid specification, before any work;
    GalflowError if nothing could be published. Parts that failed stand in ``summary["failures"]`` of the run.
    """
    from flows.whole_run import run_published

    return run_published(spec, root)


def open_run(uri: str, endpoint_url: str | None = None) -> PublishedRun:
    """A published run at ROOT/runs/RUN; of a store's ROOT alone the one that finished last."""
    from galflow.runs.opened import open_run

    return open_run(uri, endpoint_url)


def score(model: TrainedModel | str, images: np.ndarray, ivar: np.ndarray | None = None) -> pd.DataFrame:
    """What a trained model (or the one at a URI) says of images (N, band, y, x), flux in its unit, NaN where missing.

    A row an image; columns as in a catalogue: raw scores (higher = more anomalous), ``_sigma`` and ``_p``. See
    ``galflow.scores.arrays.score_images``.
    """
    from galflow.scores.arrays import score_images

    return score_images(load_model(model) if isinstance(model, str) else model, images, ivar)


def open_cutouts(uri: str) -> xr.Dataset:
    """A stored cutout set as an xarray Dataset: flux, ivar, mask with dims (object, band, y, x), read lazily."""
    from galflow.cutouts.dataset import open_dataset

    return open_dataset(uri)


def load_model(uri: str) -> TrainedModel:
    """A trained model: weights, card and reference distributions."""
    from galflow.training.trained_model import load_uri

    return load_uri(uri)


def open_catalog(uri: str) -> pa.Table:
    """A published catalogue, all its parts in one table; StoreError if its run has no manifest."""
    from galflow.catalog.published import read_published

    return read_published(uri)
