"""A whole run on HSC coadds that numpy and astropy wrote: one word, a root and the layers; the report compares them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.galflow.surveys import survey_files as written

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

pytestmark = pytest.mark.full  # a run of its own


@pytest.fixture(scope="module")
def layers(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    folder = tmp_path_factory.mktemp("layers")
    for number, name in enumerate(("pdr3_wide", "pdr3_deep")):
        for patch in range(3):
            shift = 0.05 * number + 0.01 * patch
            written.hsc(folder / "hsc" / name, seed=10 * number + patch, patch=f"4,{patch}", shift=shift)
    options = {"root": str(folder / "hsc"), "layers": {"wide": "pdr3_wide", "deep": "pdr3_deep"}}
    document = {
        "name": "layers",
        "survey": {"kind": "hsc", "release": "pdr3", "options": options},
        "cutouts": {"size": 16},
        "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
        "training": {"reference_fraction": 0.3},
        "cluster": {"workers": 1},
        "output": {"group_by": "layer", "top": 3},
    }
    return run_to_its_end(folder, document, **prefect_api)


def test_every_star_is_in_the_catalogue_with_its_flux_and_layer(layers: Finished) -> None:
    root = Path(layers.root.removeprefix("file://"))
    (folder,) = (p for p in root.glob("catalogs/*/*") if p.is_dir() and not p.name.endswith("_supplement"))
    table = pq.read_table(folder).to_pandas()
    assert len(table) == 6 * len(written.STARS)
    assert table.groupby("layer").size().to_dict() == {"deep": 15, "wide": 15}
    assert (table["tile"].str.startswith("pdr3_deep/") == (table["layer"] == "deep")).all()
    fluxes = np.sort(table["flux_i"].to_numpy()).reshape(len(written.STARS), -1)
    expected = [written.star_njy(number) for number in range(len(written.STARS))]
    np.testing.assert_allclose(np.median(fluxes, axis=1), expected, rtol=0.06)  # a Kron aperture of a Gaussian


def test_the_report_shows_the_layers_side_by_side(layers: Finished) -> None:
    root = Path(layers.root.removeprefix("file://"))
    (page,) = root.glob("reports/*/scores.html")
    section = page.read_text().partition('<h3 id="groups">Groups by layer</h3>')[2]
    for layer in ("deep", "wide"):
        assert f'<tr><td>{layer}</td><td class="n">15</td>' in section
