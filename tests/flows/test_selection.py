"""A run of which only some objects are wanted: the catalogue holds exactly these, and the counts say where all are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from galflow.storage.store import Store
from tests.flows.conftest import RunToItsEnd

SIDE, PER_TILE, SCALE_DEG = 300, 150, 1e-4


def _tile(root: Path, number: int) -> Table:
    """A tile of blobs on noise a degree east of the one before, and its catalogue; of that in file ``{tile}.fits``."""
    rng = np.random.default_rng(number)
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 359.5 + number, "CRPIX1": SIDE / 2, "CRPIX2": SIDE / 2}
        | {"CDELT1": -SCALE_DEG, "CDELT2": SCALE_DEG}
    )
    x, y = rng.uniform(12, SIDE - 12, (2, PER_TILE))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    flux = rng.normal(0, 1, (SIDE, SIDE))
    for i in range(PER_TILE):
        flux += 60 * np.exp(-0.5 * ((rows - y[i]) ** 2 + (columns - x[i]) ** 2) / 4.0)
    fits.PrimaryHDU(flux.astype(np.float32), header).writeto(root / f"T{number}_r.fits")
    ra, dec = WCS(header).all_pix2world(x, y, 0)
    z = rng.uniform(0, 0.12, PER_TILE)
    z[::20] = np.nan
    kinds = rng.choice(["GALAXY", "QSO", "STAR"], PER_TILE, p=[0.9, 0.05, 0.05])
    table = Table({"objID": np.arange(PER_TILE) + 1000 * number, "ra": ra, "dec": dec, "z": z, "class": kinds,
                   "lgm": rng.uniform(9.9, 11.5, PER_TILE), "flags": rng.integers(0, 8, PER_TILE)})  # fmt: skip
    table.write(root / f"T{number}_cat.fits")
    return table


def test_exactly_the_selected_are_published_and_the_others_counted(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path: Path
) -> None:
    tables = [_tile(tmp_path, number) for number in range(3)]
    catalog = {"path": "{tile}_cat.fits", "columns": {"object_id": "objID", "ra_deg": "ra", "dec_deg": "dec"}}
    options = {"root": str(tmp_path), "bands": {"r": "{tile}_r.fits"}, "zero_point": 25.0, "catalog": catalog}
    select = {
        "regions": [{"box": {"ra_deg": [359.4, 0.503], "dec_deg": [-1, 1]}}],  # half of T1, and nothing of T2
        "where": [
            {"name": "mass or redshift", "rule": "lgm > 10 and 0.02 < z < 0.08"},
            {"name": "no galaxy", "rule": "column('class') == 'GALAXY'"},
            "flags & 4 == 0",
        ],
    }
    document = {
        "name": "dr7",
        "survey": {"kind": "fits_tiles", "name": "dr7", "options": options, "select": select},
        "cutouts": {"size": 16},
        "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
        "training": {"reference_fraction": 0.4},
        "cluster": {"workers": 1},
    }
    run = run_to_its_end(tmp_path, document, PREFECT_API_URL=prefect_api["PREFECT_API_URL"])

    opened = [tables[0], tables[1]]
    names = ("objID", "ra", "z", "lgm", "flags", "class")
    object_id, ra, z, lgm, flags, kind = (np.concatenate([t[n] for t in opened]) for n in names)
    within = (ra > 180) | (ra <= 0.503)
    with np.errstate(invalid="ignore"):
        dr7 = (lgm > 10) & (z > 0.02) & (z < 0.08)
    wanted = within & dr7 & (kind == "GALAXY") & (flags & 4 == 0)
    assert sorted(run.catalog["object_id"].to_pylist()) == sorted(object_id[wanted].tolist())
    assert 40 < wanted.sum() < within.sum()

    found = run.manifest.summary["selection"]["dr7"]
    assert (found["rows"], found["selected"], found["unopened_tiles"]) == (2 * PER_TILE, wanted.sum(), 1)
    assert sum(row["objects"] for row in found["left_out"]) + found["selected"] == found["rows"]
    unknown = np.isnan(z) & (lgm > 10)
    alone = {row["reason"]: row["alone"] for row in found["left_out"]}
    assert alone == {
        "outside the regions": (~within).sum(),
        "z is missing": unknown.sum(),
        "mass or redshift": (~dr7 & ~unknown).sum(),
        "no galaxy": (kind != "GALAXY").sum(),
        "flags & 4 == 0": (flags & 4 != 0).sum(),
    }
    said = f"{wanted.sum():,} of 300 catalogued objects were selected; one tile lies beyond the regions"
    page = Store.open(run.root).get(f"reports/{run.manifest.run}/provenance.html").decode()
    for text in (run.process.stdout, page):
        assert said in " ".join(text.split())
        assert "mass or redshift" in text
    assert not any("/T2/" in receipt.product for receipt in run.receipts("cutouts"))
