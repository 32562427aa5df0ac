"""xarray opens a cutout set as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy import units as u

import galflow
from galflow.cutouts.dataset import open_dataset
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.errors import StoreError
from galflow.spec.run import CutoutSpec
from galflow.storage.store import Store

MakeData = Callable[..., CutoutData]
IDS = np.array([2**62 + 1, 2**62 + 2, 5], np.int64)


def test_xarray_reads_the_folder_without_galflow_and_without_a_warning(tmp_path: Path, data: MakeData) -> None:
    """Warnings are errors in these tests."""
    content = data(3, ids=IDS, tag=["a", None, "b"])
    content.flux[0, 0, 0, 0] = np.nan
    write_cutout_set(Store.open(tmp_path), "p.zarr", content, CutoutSpec(size=8))
    with xr.open_zarr(tmp_path / "p.zarr", consolidated=False) as dataset:
        assert dict(dataset.sizes) == {"object": 3, "band": 2, "y": 8, "x": 8}
        assert {"flux", "ivar", "mask"} <= set(dataset.data_vars)
        assert {"object_id", "ra", "dec", "flags", "tag"} <= set(dataset.coords)
        np.testing.assert_array_equal(dataset.flux.values, content.flux)
        assert dataset.object_id.values.tolist() == IDS.tolist()
        assert dataset.object_id.dtype == np.int64
        assert dataset.mask.dtype == np.uint16
        assert dataset.flux.attrs["units"] == "nJy"
        assert dataset.mask.attrs["flag_meanings"].split()[0] == "NO_DATA"


def test_open_cutouts_names_the_bands_and_reads_lazily(store: Store, data: MakeData) -> None:
    content = data(40, ids=np.arange(40, dtype=np.uint64) + np.uint64(2**63))
    write_cutout_set(store, "cutouts/p.zarr", content, CutoutSpec(size=8))
    dataset = galflow.open_cutouts(store.uri("cutouts/p.zarr"))
    assert dataset.band.values.tolist() == ["b0", "b1"]
    one = dataset.flux.sel(band="b1").isel(object=slice(3, 7))
    np.testing.assert_array_equal(one.values, content.flux[3:7, 1])
    assert dataset.object_id.values.tolist() == [2**63 + i for i in range(40)]
    assert dataset.attrs["survey"] == "arrays"
    for name, older in (("ra", "ra_deg"), ("dec", "dec_deg")):
        np.testing.assert_array_equal(dataset[name].values, content.rows[name].to_numpy())
        np.testing.assert_array_equal(dataset[older].values, dataset[name].values)


def test_what_is_opened_says_units_and_names_as_cf_has_them(store: Store, data: MakeData) -> None:
    write_cutout_set(store, "cutouts/p.zarr", data(3), CutoutSpec(size=8))
    dataset = galflow.open_cutouts(store.uri("cutouts/p.zarr"))
    assert dataset.attrs["Conventions"].startswith("CF-1.")
    assert dataset.flux.attrs["ancillary_variables"].split() == ["ivar", "mask"]
    assert (dataset.flux.attrs["units"], dataset.ivar.attrs["units"]) == ("nJy", "nJy^-2")
    assert u.Unit(dataset.ivar.attrs["units"]) == u.nJy**-2
    assert dataset.mask.attrs["standard_name"] == "status_flag"
    assert len(dataset.mask.attrs["flag_masks"]) == len(dataset.mask.attrs["flag_meanings"].split())
    for name in ("ra", "dec"):
        assert dataset[name].attrs["units"] == "degree"
    assert all("long_name" in dataset[name].attrs for name in ("flux", "ivar", "mask", "ra", "dec", "band"))


def test_a_trailing_slash_and_a_plain_path_do(tmp_path: Path, data: MakeData, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cutout_set(Store.open(tmp_path), "p.zarr", data(3), CutoutSpec(size=8))
    assert open_dataset(f"{tmp_path}/p.zarr/").sizes["object"] == 3
    monkeypatch.chdir(tmp_path)
    assert open_dataset("p.zarr").sizes["object"] == 3


def test_an_empty_set_opens(tmp_path: Path, data: MakeData) -> None:
    write_cutout_set(Store.open(tmp_path), "p.zarr", data(0), CutoutSpec(size=8))
    assert open_dataset(f"{tmp_path}/p.zarr").sizes["object"] == 0


def test_what_is_no_cutout_set_is_told(store: Store) -> None:
    store.put("elsewhere/text.txt", b"hello")
    for key in ("absent.zarr", "elsewhere", "elsewhere/text.txt"):
        with pytest.raises(StoreError, match=r"is no cutout set: .*give the URI of a folder that ends in \.zarr"):
            open_dataset(store.uri(key))
