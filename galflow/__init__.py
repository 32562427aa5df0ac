"""galflow: generative models of galaxy surveys, at survey scale.

>>> import galflow                                                        # doctest: +SKIP
>>> galflow.open_cutouts("galflow-out/cutouts/hubble/1/hdf/ab12.zarr")   # an xarray.Dataset
>>> galflow.load_model("galflow-out/models/vae/cd34")                    # a TrainedModel
>>> galflow.open_catalog("galflow-out/catalogs/anomalies/demo-ef56")     # a pyarrow.Table
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    import xarray as xr

    from galflow.training.trained_model import TrainedModel

__version__ = "0.1.0"
__all__ = ["__version__", "load_model", "open_catalog", "open_cutouts"]

# The imports stand inside the functions because each brings seconds of libraries that the others do not need.


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
