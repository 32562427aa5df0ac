"""A stored cutout set as an xarray Dataset, with the bands named."""

from __future__ import annotations

import xarray as xr

from galflow.errors import StoreError
from galflow.storage.store import Store

_CF: dict[str, dict[str, str]] = {
    # The tables of the CF conventions have no name for fluxes and celestial positions: long names say what they are.
    "flux": {"long_name": "flux in a pixel; NaN where missing", "ancillary_variables": "ivar mask"},
    "ivar": {"long_name": "inverse variance of the flux in a pixel; 0 where missing"},
    "mask": {"standard_name": "status_flag"},
    "ra": {"units": "degree", "long_name": "right ascension (ICRS)"},
    "dec": {"units": "degree", "long_name": "declination (ICRS)"},
    "object_id": {"long_name": "identity of the object"},
}


def open_dataset(uri: str) -> xr.Dataset:
    """The Dataset of a cutout set's URI; pixels are read when they are asked for. StoreError if it is none."""
    folder, _, name = uri.rstrip("/").rpartition("/")
    store = Store.open(folder or ".")
    try:
        dataset = xr.open_zarr(store.zarr(name), consolidated=False, chunks=None)
    except FileNotFoundError as error:
        raise StoreError(f"{uri} is no cutout set: {error}; give the URI of a folder that ends in .zarr") from error
    dataset = dataset.assign_coords(band=("band", list(dataset.attrs["bands"]), {"long_name": "passband"}))
    for name, said in _CF.items():
        if name in dataset.variables:
            dataset[name].attrs |= said
    dataset.attrs |= {"Conventions": "CF-1.11"}
    # Scripts of before know the positions by these names.
    return dataset.assign(ra_deg=dataset["ra"], dec_deg=dataset["dec"])
