"""What a run measured on its cutouts and published, against the truth of a synthetic survey; samples alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from galflow.measurements.part import MORPHOLOGY, SERSIC, number_columns, outcome_column
from galflow.storage.layout import RECEIPT_SUFFIX

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

BANDS = ["r", "i"]
SKY = {
    "tiles": 1, "tile_size": 352, "objects_per_tile": 49, "bands": BANDS, "sky_sigma_njy": [10.0],
    "magnitude_range": [18.5, 20.5], "anomaly_fraction": 0.0,
}  # fmt: skip
DOCUMENT = {
    "name": "measured",
    "survey": {"kind": "synthetic", "options": SKY},
    "cutouts": {"size": 40, "plant": {"per_tile": 2}, "defects": False},
    "measure": ["sersic", "morphology"],
    "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
    "comparison": {
        "controls": [],
        "bootstraps": 50,
        "samples": [{"name": "mock", "survey": {"kind": "synthetic", "name": "mock", "options": SKY | {"seed": 4}}}],
    },
    "cluster": {"workers": 1},
    "output": {"formats": ["parquet", "fits"], "report": False},
}


@pytest.fixture(scope="module")
def measured(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    return run_to_its_end(tmp_path_factory.mktemp("measured"), DOCUMENT, **prefect_api)


def column(run: Finished, name: str) -> np.ndarray:
    values: np.ndarray = run.catalog[name].to_pandas().to_numpy()
    return values


def test_published_numbers_are_those_of_the_galaxies_that_were_drawn(measured: Finished) -> None:
    good = column(measured, outcome_column(SERSIC)) == "measured"
    good &= (column(measured, "flags") & (1 | 16)) == 0  # neither at the tile's edge nor beside something brighter
    assert good.sum() > 25
    flux = 10 ** (-0.4 * (column(measured, "magnitude")[good] - 31.4))
    # They have a bulge and a disc, which are not one Sersic profile.
    assert np.median(np.abs(column(measured, "sersic_flux_i")[good] / flux - 1)) < 0.12
    angle = column(measured, "sersic_theta")[good] - column(measured, "angle_deg")[good]
    long = column(measured, "axis_ratio")[good] < 0.7
    assert np.median(np.abs((angle[long] + 90) % 180 - 90)) < 3
    off = column(measured, "sersic_x")[good] - column(measured, "x")[good]
    assert np.median(np.abs(off / column(measured, "sersic_x_error")[good])) < 1.5
    # A galaxy that is almost a disc alone is a profile of index 1.
    disc = good & (column(measured, "bulge_fraction") < 0.12)
    assert disc.sum() >= 4
    ratio = column(measured, "axis_ratio")[disc]
    radius = column(measured, "half_light_radius_arcsec")[disc] / np.sqrt(ratio)
    assert np.median(np.abs(column(measured, "sersic_r50")[disc] / radius - 1)) < 0.1
    assert np.median(np.abs(column(measured, "sersic_q")[disc] - ratio)) < 0.05
    assert 0.9 < np.median(column(measured, "sersic_n")[disc]) < 1.5


def test_every_number_is_there_or_its_outcome_says_why_not(measured: Finished) -> None:
    for kind in (SERSIC, MORPHOLOGY):
        outcome = column(measured, outcome_column(kind))
        without = np.array([str(text).startswith("not measured: ") for text in outcome])
        for name in number_columns(kind, BANDS):
            missing = np.isnan(column(measured, name).astype(float))
            assert not (missing & (outcome == "measured")).any(), name
            if name not in ("sersic_chi2", "sersic_snr"):
                assert missing[without].all(), name
    assert (column(measured, outcome_column(MORPHOLOGY)) == "measured").sum() > 25
    planted = measured.planted
    assert len(planted) == 2
    assert set(planted.column_names) >= {"sersic_n", "gini", "morphology_outcome"}


def test_fits_has_the_same_numbers_with_their_units(measured: Finished) -> None:
    (key,) = [key for key in measured.store.list("catalogs") if key.endswith(".fits")]
    table = Table.read(measured.store.uri(key).removeprefix("file://"))
    assert str(table["sersic_r50"].unit) == "arcsec"
    assert str(table["sersic_flux_r"].unit) == "nJy"
    number = {int(i): row for row, i in enumerate(table["object_id"])}
    rows = [number[int(i)] for i in column(measured, "object_id")]
    np.testing.assert_array_equal(
        np.ma.filled(np.ma.asarray(table["concentration"], float)[rows], np.nan),
        column(measured, "concentration").astype(float),
    )


def test_the_sample_is_measured_alike_and_the_manifest_names_its_part(measured: Finished) -> None:
    products = measured.manifest.products
    assert len(products["measurements"]) == len(products["measurements of mock"]) == 1
    (receipt,) = measured.receipts("measurements/mock")
    part = pq.read_table(measured.store.uri(receipt.product).removeprefix("file://"))
    assert receipt.rows == len(part) > 30
    fitted = part["sersic_n"].drop_null().to_numpy()
    assert len(fitted) > 0.8 * len(part)
    assert set(number_columns(SERSIC, BANDS)) < set(measured.catalog.column_names) & set(part.column_names)
    assert all(key.endswith(RECEIPT_SUFFIX) for key in products["measurements"])
