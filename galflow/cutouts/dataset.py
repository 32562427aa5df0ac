"""A stored cutout set as an xarray Dataset, with the bands named."""

from __future__ import annotations

import xarray as xr

from galflow.errors import StoreError
from galflow.storage.store import Store


def open_dataset(uri: str) -> xr.Dataset:
    """The Dataset of a cutout set's URI; pixels are read when they are asked for. StoreError if it is none."""
    folder, _, name = uri.rstrip("/").rpartition("/")
    store = Store.open(folder or ".")
    try:
        dataset = xr.open_zarr(store.zarr(name), consolidated=False, chunks=None)
    except FileNotFoundError as error:
        raise StoreError(f"{uri} is no cutout set: {error}; give the URI of a folder that ends in .zarr") from error
    dataset = dataset.assign_coords(band=("band", list(dataset.attrs["bands"])))
    # Scripts of before know the positions by these names.
    return dataset.assign(ra_deg=dataset["ra"], dec_deg=dataset["dec"])
