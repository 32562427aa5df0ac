"""``galflow emulate``: a survey that a command draws, and that galflow then cuts as any other."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from galflow.cutouts.cutout_set import CutoutSet
from galflow.spec.store import StoreSpec
from galflow.storage.store import Store
from tests.flows.conftest import Command
from tests.galflow.emulation.drawn_gaussians import GAN_ARGUMENTS, DrawnGaussians, store_untrained
from tests.galflow.emulation.stored_emulator import OBJECTS, SCALE, document, store_emulator


@pytest.mark.timeout(200)
def test_an_emulated_survey_is_drawn_once_verified_and_cut(
    galflow: Command, prefect_api: dict[str, str], tmp_path: Path
) -> None:
    store_emulator(tmp_path)
    path = tmp_path / "emulate.yaml"
    path.write_text(yaml.safe_dump(document(tmp_path) | {"cluster": {"workers": 1}}))
    drawn = galflow("emulate", str(path), **prefect_api)
    assert drawn.returncode == 0, drawn.stderr
    (read,) = (line.rpartition(" ")[2] for line in drawn.stdout.splitlines() if line.endswith("galflow.yaml"))
    again = galflow("emulate", str(path))
    assert "0 of them to draw" in again.stderr
    assert again.stdout == drawn.stdout
    assert galflow("verify", "--root", str(tmp_path)).returncode == 0
    cut = galflow("cut", read, "--root", str(tmp_path))
    assert cut.returncode == 0, cut.stderr
    store = Store.of(StoreSpec(root=str(tmp_path)))
    sets = {key[: key.index(".zarr") + 5] for key in store.list("cutouts") if ".zarr/" in key}
    assert sum(len(CutoutSet(store, product)) for product in sets) == OBJECTS
    assert not [key for key in store.list("emulated") if key.endswith(".rows.parquet")]


@pytest.mark.timeout(200)
def test_galaxies_are_picked_from_a_gans_draws(galflow: Command, prefect_api: dict[str, str], tmp_path: Path) -> None:
    store_emulator(tmp_path)
    band = {"of": ["g"], "psf_fwhm_arcsec": 0.7, "sky_sigma_njy": 15.0}
    changes = {
        "model": store_untrained(tmp_path, DrawnGaussians, GAN_ARGUMENTS), "draws": 100, "tile_size": 2000,
        "telescope": {"pixel_scale_arcsec": SCALE, "bands": {"g": band}}, "cluster": {"workers": 1},
    }  # fmt: skip
    path = tmp_path / "emulate.yaml"
    path.write_text(yaml.safe_dump(document(tmp_path) | changes))
    drawn = galflow("emulate", str(path), **prefect_api)
    assert drawn.returncode == 0, drawn.stderr
    (truth,) = tmp_path.glob("emulated/made/*/*/truth.parquet")
    found = pq.read_table(truth)
    assert len(found) == OBJECTS
    assert pc.max(pc.abs(found["draw_radius_off_arcsec"])).as_py() < 0.6


def test_a_model_that_is_no_emulator_ends_with_2(galflow: Command, tmp_path: Path) -> None:
    store_emulator(tmp_path)
    path = tmp_path / "emulate.yaml"
    path.write_text(yaml.safe_dump(document(tmp_path) | {"model": f"file://{tmp_path}", "tile_size": 3}))
    refused = galflow("emulate", str(path))
    assert refused.returncode == 2
    assert "tile_size" in refused.stderr
