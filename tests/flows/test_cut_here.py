"""``galflow cut``: cutouts without Prefect, workers and models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits

import galflow
from galflow.storage.store import Store

Here = Callable[..., tuple[int, str, str]]
GALFLOW = str(Path(sys.executable).parent / "galflow")


@pytest.fixture
def specification(tmp_path: Path) -> Path:
    """Two tiles of noise with three objects each."""
    rng = np.random.default_rng(1)
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CDELT1": -1e-4, "CDELT2": 1e-4})
    for tile in "AB":
        fits.PrimaryHDU(rng.normal(0, 1, (90, 90)).astype(np.float32), header).writeto(tmp_path / f"{tile}.fits")
        (tmp_path / f"{tile}.csv").write_text(
            f"object_id,x,y\n{ord(tile)}1,30,30\n{ord(tile)}2,50,40\n{ord(tile)}3,60,70\n"
        )
    options = {"root": str(tmp_path), "bands": {"r": "{tile}.fits"}, "catalog": {"path": "{tile}.csv"}}
    document = {
        "name": "alone",
        "survey": {"kind": "fits_tiles", "name": "s", "release": "1", "options": options},
        "cutouts": {"size": 16},
        "models": [{"name": "k", "model": "kmeans.KMeans"}],
        "store": {"root": str(tmp_path / "store")},
    }
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _cut(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([GALFLOW, "cut", *arguments], capture_output=True, text=True, check=False)


def test_a_tile_alone_then_the_rest(specification: Path) -> None:
    first = _cut(str(specification), "--tile", "B")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("B: 3 objects  file://")
    again = _cut(str(specification))
    assert again.returncode == 0, again.stderr
    lines = sorted(again.stdout.splitlines())
    assert lines[0].startswith("A: 3 objects  file://")
    assert lines[1].startswith("B: 3 objects, as before  file://")
    uri = lines[1].split("  ")[1]
    assert galflow.open_cutouts(uri)["flux"].shape == (3, 1, 16, 16)
    store = Store.open(specification.parent / "store")
    assert {key.split("/")[0] for key in store.list("")} == {"cutouts"}


def test_an_unknown_tile_is_told_with_those_there_are(specification: Path, here: Here) -> None:
    code, _, errors = here("cut", str(specification), "--tile", "C")
    assert code == 2
    assert "no tile is called C; the 2 tiles are A, B" in errors


def test_a_wrong_specification_is_refused_before_work(specification: Path, here: Here) -> None:
    (specification.parent / "A.csv").unlink()
    (specification.parent / "B.csv").unlink()
    code, _, errors = here("cut", str(specification))
    assert code == 2
    assert "survey.options.catalog.path" in errors
    assert not (specification.parent / "store").exists()


def test_it_imports_neither_torch_nor_prefect_nor_dask() -> None:
    code = "import sys, flows.cut_here, galflow.surveys.fits_tiles; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "prefect", "dask", "distributed", "scipy.spatial", "scipy.sparse"} & set(loaded)
