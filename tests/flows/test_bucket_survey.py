"""A run over a survey that lies in a bucket, with few objects: what it moved is in what it published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import s3fs  # type: ignore[import-untyped]
from astropy.io import fits

from galflow.report.reading import reading_words

if TYPE_CHECKING:
    from conftest import RunToItsEnd

SIDE = 900


@pytest.mark.s3
@pytest.mark.full
def test_what_was_moved_is_published(run_to_its_end: RunToItsEnd, here: Any, tmp_path: Any, s3_root: str) -> None:
    rng, server = np.random.default_rng(2), s3fs.S3FileSystem(use_listings_cache=False)
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CDELT1": -1e-4, "CDELT2": 1e-4})
    fits.PrimaryHDU(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), header).writeto(tmp_path / "A.fits")
    rows = "".join(f"{i},{x:.2f},{y:.2f}\n" for i, (x, y) in enumerate(rng.uniform(20, 880, (60, 2)), 1))
    (tmp_path / "A.csv").write_text("object_id,x,y\n" + rows)
    for name in ("A.fits", "A.csv"):
        server.put(str(tmp_path / name), f"{s3_root}/sky/{name}")
    options = {"root": f"{s3_root}/sky", "bands": {"r": "{tile}.fits"}, "catalog": {"path": "{tile}.csv"}}
    document = {
        "name": "bucket",
        "survey": {"kind": "fits_tiles", "name": "s", "release": "1", "options": options},
        "cutouts": {"size": 8, "defects": "cutouts"},
        "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
        "training": {"reference_fraction": 0.3},
        "cluster": {"workers": 1},
    }
    finished = run_to_its_end(tmp_path, document, f"{s3_root}/out")
    moved = finished.manifest.summary["reading"]
    total = 4 * SIDE**2
    assert total < moved["file_bytes"] < 1.01 * total
    assert moved["bytes_read"] <= moved["file_bytes"]
    assert moved["requests"] >= 4
    code, output, _ = here("show", finished.manifest.run, "--root", f"{s3_root}/out")
    assert code == 0
    words = reading_words(moved)
    assert words in " ".join(output.split())
    page = finished.store.get(f"reports/{finished.manifest.run}/provenance.html").decode()
    assert words in page.replace("&#39;", "'")
