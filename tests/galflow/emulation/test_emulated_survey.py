"""An emulated survey as it is stored: read back as any survey is, against what the model draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from astropy.io import fits
from astropy.table import Table

from galflow.emulation.field import Field
from galflow.emulation.galaxies import Emulator, sampled_psf
from galflow.emulation.own_spec import own_specification
from galflow.emulation.tile import emulate_tile, tile_fingerprint
from galflow.errors import GalflowError, SpecError
from galflow.runs.plan_emulation import EmulationPlan, plan_emulation
from galflow.spec.emulation import EmulationSpec
from galflow.spec.run import parse_spec
from galflow.spec.store import StoreSpec
from galflow.storage.receipts import verify_product
from galflow.storage.store import Store
from galflow.surveys.reading.files import checksum
from galflow.surveys.resolve import open_survey
from tests.galflow.emulation.stored_emulator import OBJECTS, SCALE, SIGMA, document, store_emulator


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emulated")
    store_emulator(folder)
    return folder


def specification(root: Path, **changes: Any) -> EmulationSpec:
    return EmulationSpec.model_validate(document(root) | changes)


@pytest.fixture(scope="module")
def made(root: Path) -> tuple[EmulationSpec, Emulator, EmulationPlan]:
    spec = specification(root)
    store = Store.of(StoreSpec(root=str(root)))
    plan, emulator = plan_emulation(spec, store), Emulator.load(spec)
    for unit in plan.units:
        emulate_tile(store, emulator, unit.tile, plan.fingerprint)
    return spec, emulator, plan


def test_every_object_is_true_of_one_tile_and_every_tile_is_a_product(made: tuple[Any, ...], root: Path) -> None:
    _, _, plan = made
    assert len(plan.units) > 1
    store = Store.of(StoreSpec(root=str(root)))
    again = plan_emulation(made[0], store)
    assert again.done
    ids: list[int] = []
    for unit in again.units:
        assert unit.receipt is not None
        assert verify_product(store, unit.receipt) == []
        ids += pq.read_table(root / unit.product / "truth.parquet")["object_id"].to_pylist()
    assert sorted(ids) == list(range(-3, OBJECTS - 3))


def test_a_galaxy_is_the_same_in_every_tile_and_batch(made: tuple[Any, ...]) -> None:
    emulator = made[1]
    ids, conditions = np.array([5, -2, 7]), np.array([[20.0, 0.5], [21.0, 0.4], [19.5, np.nan]])
    together = emulator.light(ids, conditions)
    alone = emulator.light(ids[1:2], conditions[1:2])
    np.testing.assert_allclose(alone[0].numpy(), together[1].numpy(), rtol=1e-4, atol=1e-4)
    assert not np.allclose(together[0].numpy(), together[1].numpy())


def test_the_survey_reads_them_as_they_were_drawn(made: tuple[Any, ...], root: Path) -> None:
    spec, emulator, plan = made
    run = parse_spec(own_specification(emulator, f"file://{root}/{plan.folder}"))
    survey = open_survey(run.survey)
    assert (survey.unit, survey.pixel_scale_arcsec) == ("nJy", pytest.approx(SCALE, abs=1e-4))
    assert {tile.name for tile in survey.tiles()} == {unit.name for unit in plan.units}
    fullest = max(plan.units, key=lambda unit: len(unit.tile.objects))
    (tile,) = (tile for tile in survey.tiles() if tile.name == fullest.name)
    truth = pq.read_table(root / fullest.product / "truth.parquet")
    for band, seen in spec.telescope.bands.items():
        image = survey.read(tile, band)
        expected = np.zeros((128, 128))
        for row in fullest.tile.objects.to_pylist():
            light = emulator.light(
                np.array([row["object_id"]]), np.array([[row["magnitude"], row["half_light_radius_arcsec"]]])
            )
            y, x = round(row["y"]), round(row["x"])
            stamp = emulator.seen(light, band, np.array([row["y"] - y]), np.array([row["x"] - x]))[0]
            half = len(stamp) // 2
            for i, j in np.ndindex(*stamp.shape):
                if 0 <= y + i - half < 128 and 0 <= x + j - half < 128:
                    expected[y + i - half, x + j - half] += stamp[i, j]
        left = np.asarray(image.flux) - expected
        assert left.std() == pytest.approx(seen.sky_sigma_njy, rel=0.03)
        assert abs(left.mean()) < 4 * seen.sky_sigma_njy / 128
        assert image.ivar is not None
        np.testing.assert_allclose(image.ivar, seen.sky_sigma_njy**-2, rtol=1e-5)
        assert image.psf is not None
        assert image.psf.image is not None
        np.testing.assert_allclose(image.psf.image, sampled_psf(seen, SCALE)[0].numpy(), atol=1e-6)
    rows = survey.catalog(tile)
    assert rows is not None
    assert sorted(rows["object_id"].to_pylist()) == sorted(truth["object_id"].to_pylist())
    assert image.wcs is not None
    x, y = image.wcs.all_world2pix(truth["ra"].to_numpy(), truth["dec"].to_numpy(), 0)
    np.testing.assert_allclose(x, truth["x"].to_numpy(), atol=1e-3)
    np.testing.assert_allclose(y, truth["y"].to_numpy(), atol=1e-3)


def test_flux_radius_and_place_are_the_drawn_lights(made: tuple[Any, ...]) -> None:
    emulator = made[1]
    light = torch.zeros(2, 2, 40, 40)
    light[0, 0, 20, 20], light[0, 1, 20, 20] = 3.0, 1.0
    across = torch.arange(40.0) - 19.5
    light[1] = torch.exp(-(across[:, None] ** 2 + across[None] ** 2) / (2 * 5.0**2))
    np.testing.assert_allclose(emulator.flux_njy(light, "wide")[0], 0.5 * (3 * SIGMA[0] + SIGMA[1]))
    radius = emulator.half_light_radius_arcsec(light)
    assert radius[1] == pytest.approx(1.1774 * 5 * SCALE / 2, rel=0.03)
    shift = np.array([0.3, -0.4]), np.array([-0.25, 0.45])
    seen = emulator.seen(light, "g", *shift).astype(float)
    middle = np.arange(seen.shape[1]) - seen.shape[1] // 2
    y = (seen.sum(2) * middle).sum(1) / seen.sum((1, 2))
    x = (seen.sum(1) * middle).sum(1) / seen.sum((1, 2))
    # A point at node 20 of 40 lies half a node, a quarter of a pixel, above the middle.
    np.testing.assert_allclose(y, [0.3 + 0.25, -0.4], atol=0.02)
    np.testing.assert_allclose(x, [-0.25 + 0.25, 0.45], atol=0.02)
    np.testing.assert_allclose(seen.sum((1, 2)), emulator.flux_njy(light, "g"), rtol=2e-3)


def test_the_files_say_what_they_are(made: tuple[Any, ...], root: Path) -> None:
    unit = made[2].units[0]
    header = fits.getheader(root / unit.product / "wide.fits")
    assert (header["MAGZERO"], header["BUNIT"], header["FILTER"]) == (27, "count", "wide")
    assert header["SKYSIGMA"] == pytest.approx(5.0 / (3631e9 * 10 ** (-0.4 * 27)))
    assert Table.read(root / unit.product / "truth.parquet")["half_light_radius_drawn_arcsec"].min() > 0


def telescope(of: str, fwhm: float, scale: float) -> dict[str, Any]:
    band = {"of": [of], "psf_fwhm_arcsec": fwhm, "sky_sigma_njy": 1}
    return {"telescope": {"pixel_scale_arcsec": scale, "bands": {"g": band}}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objects": {"path": "/nowhere/at_all.parquet"}}, "at_all.parquet"),
        (telescope("z", 0.7, 0.2), "the model has no band 'z'; it has g, r"),
        (telescope("g", 0.06, 0.05), "too sharp"),
        ({"model": "file:///nowhere/at_all"}, "nowhere/at_all"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_work(root: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(GalflowError, match=said):
        plan_emulation(specification(root, **changes), Store.of(StoreSpec(root=str(root))))


def test_a_condition_that_the_catalogue_has_not_is_named(root: Path) -> None:
    spec = specification(root, objects={"path": str(root / "objects.parquet")})
    with pytest.raises(SpecError, match="has no column 'magnitude', which the model is given"):
        Field.read(spec, ("magnitude",))


def test_a_psf_narrower_than_a_pixel_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="narrower than a pixel"):
        specification(root, **telescope("g", 0.3, 0.5))


def test_a_changed_catalogue_is_another_survey(root: Path, made: tuple[Any, ...], tmp_path: Path) -> None:
    table = pq.read_table(root / "objects.parquet")
    changed = tmp_path / "objects.parquet"
    pq.write_table(table.slice(1), changed)
    assert checksum(str(changed)) != checksum(str(root / "objects.parquet"))
    spec = specification(root, objects={"path": str(changed), "columns": {"magnitude": "mag"}})
    plan = plan_emulation(spec, Store.of(StoreSpec(root=str(root))))
    assert plan.fingerprint != made[2].fingerprint
    assert tile_fingerprint(plan.fingerprint, "a") != tile_fingerprint(made[2].fingerprint, "a")
