"""``galflow.open_run`` and ``galflow.score`` on the published run: what they give is what the store holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

import galflow
from galflow.errors import SpecError, StoreError
from galflow.runs.opened import PublishedRun

if TYPE_CHECKING:
    from conftest import Truth


@pytest.fixture(scope="module")
def opened(truth: Truth) -> PublishedRun:
    return galflow.open_run(f"{truth.root}/runs/{truth.run.manifest.run}")


def test_a_run_is_opened_by_its_uri_or_by_the_stores_root(truth: Truth, opened: PublishedRun) -> None:
    assert galflow.open_run(str(truth.root)).name == opened.name == truth.run.manifest.run
    assert opened.catalog.num_rows == len(truth.table)
    assert set(opened.models) == set(truth.run.manifest.models)
    assert opened.report is not None
    assert opened.report.endswith(f"/reports/{opened.name}/index.html")
    assert opened.spec["name"] == "truth"
    assert f"{opened.summary['objects']:,} objects" in repr(opened)
    assert opened.name in opened._repr_html_()


def test_top_is_the_catalogues_ranking(truth: Truth, opened: PublishedRun) -> None:
    top = opened.top(7)
    ranks = truth.columns["anomaly_rank"]
    best = sorted((r, i) for r, i in zip(ranks, truth.columns["object_id"], strict=True) if np.isfinite(r))[:7]
    assert list(top["anomaly_rank"]) == [rank for rank, _ in best]
    assert list(top["object_id"]) == [number for _, number in best]
    other = opened.top(5, by="maf_bits_per_dim", columns=["object_id", "maf_bits_per_dim"])
    assert list(other) == ["object_id", "maf_bits_per_dim"]
    primary = np.asarray(truth.columns["is_primary"], bool)
    scores = np.asarray(truth.columns["maf_bits_per_dim"], float)[primary]
    np.testing.assert_array_equal(other["maf_bits_per_dim"], np.sort(scores[np.isfinite(scores)])[::-1][:5])


def test_a_cutout_has_the_stored_pixels_and_its_own_place_on_the_sky(truth: Truth, opened: PublishedRun) -> None:
    for number in opened.top(9)["object_id"]:
        cutout = opened.cutout(int(number))
        stored = galflow.open_cutouts(f"{truth.root}/{cutout.row['cutout']}").isel(object=cutout.row["row"])
        for name in ("flux", "ivar", "mask"):
            np.testing.assert_array_equal(getattr(cutout, name), stored[name].to_numpy())
        assert (cutout.bands, cutout.unit) == (tuple(stored["band"].to_numpy()), "nJy")
        size = cutout.flux.shape[-1]
        x0, y0 = (np.floor(cutout.row[axis] + 0.5) - size // 2 for axis in ("x", "y"))
        assert cutout.wcs is not None
        place = cutout.wcs.pixel_to_world(cutout.row["x"] - x0, cutout.row["y"] - y0)
        assert place.separation(SkyCoord(cutout.row["ra"], cutout.row["dec"], unit="deg")).arcsec < 1e-3
        assert cutout.picture().shape == (size, size, 3)
        assert f"object {number}" in cutout._repr_html_()


def test_a_cutout_as_fits_has_its_pixels_its_place_and_its_row(
    truth: Truth, opened: PublishedRun, tmp_path: Path
) -> None:
    cutout = opened.cutout(int(opened.top(1)["object_id"].iloc[0]))
    cutout.to_fits(tmp_path / "one.fits")
    assert cutout.wcs is not None
    with fits.open(tmp_path / "one.fits", checksum=True) as hdus:
        assert hdus[0].header["HIERARCH OBJECT_ID"] == cutout.row["object_id"]
        for number, band in enumerate(cutout.bands):
            for name, unit in (("flux", u.nJy), ("ivar", u.nJy**-2)):
                image = hdus[f"{name}_{band}"]
                np.testing.assert_array_equal(image.data, getattr(cutout, name)[number])
                assert u.Unit(image.header["BUNIT"]) == unit
            np.testing.assert_array_equal(hdus[f"mask_{band}"].data, cutout.mask[number])
            assert hdus[f"mask_{band}"].header["HIERARCH MP_NO_DATA"] == 0
            there, here = (w.pixel_to_world(3.0, 5.0) for w in (WCS(hdus[f"flux_{band}"].header), cutout.wcs))
            assert there.separation(here).arcsec < 1e-6
    with pytest.raises(StoreError, match="exists already"):
        cutout.to_fits(tmp_path / "one.fits")


def test_scores_of_an_array_are_those_of_the_catalogue(opened: PublishedRun) -> None:
    top = opened.top(6)
    cutouts = [opened.cutout(int(number)) for number in top["object_id"]]
    flux, ivar = (np.stack([getattr(c, name) for c in cutouts]) for name in ("flux", "ivar"))
    for name, score in (("kmeans", "distance"), ("maf", "bits_per_dim")):
        found = galflow.score(opened.models[name], flux, ivar)
        for suffix in ("", "_sigma", "_p"):
            expected = np.array([c.row[f"{name}_{score}{suffix}"] for c in cutouts], dtype=np.float64)
            told = np.isfinite(expected)  # the catalogue gives no p to what a model has learnt from
            learnt = np.array([c.row["split"] == "train" for c in cutouts])
            np.testing.assert_array_equal(told, ~learnt if suffix == "_p" else True)
            np.testing.assert_allclose(found[f"{score}{suffix}"][told], expected[told], rtol=1e-4, atol=1e-6)
    empty = galflow.score(opened.model("maf"), np.full_like(flux[:1], np.nan))
    assert empty.isna().all(axis=None)


def test_what_is_not_there_is_said(truth: Truth, opened: PublishedRun) -> None:
    with pytest.raises(StoreError, match="is not published"):
        galflow.open_run(f"{truth.root}/runs/other-1")
    with pytest.raises(StoreError, match="no run is published"):
        galflow.open_run(str(truth.root / "cutouts"))
    with pytest.raises(SpecError, match="no object 5;"):
        opened.cutout(5)
    with pytest.raises(SpecError, match="no column 'beauty'"):
        opened.top(by="beauty")
    with pytest.raises(SpecError, match="no model 'vae'; its models are"):
        opened.model("vae")
    with pytest.raises(SpecError, match=re.escape("takes (N, 2, 16, 16)")):
        galflow.score(opened.model("maf"), np.zeros((3, 16, 16)))
