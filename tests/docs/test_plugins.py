"""The plug-ins of examples/plugins keep the contracts of galflow's own models and surveys, and run end to end."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml

from galflow.batch import Batch
from galflow.catalog.published import read_published
from galflow.cutouts.flags import Flag
from galflow.errors import DataError, SpecError
from galflow.models.base import build_model, find_model
from galflow.spec.run import SurveySpec, load_spec
from galflow.storage.receipts import list_runs, read_manifest
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey
from galflow.training.trained_model import load_uri

if TYPE_CHECKING:
    from conftest import PublishedRun

PROJECT = Path(__file__).resolve().parents[2]
Load = Callable[[Path], ModuleType]
ROOMS = PROJECT / "tests" / "galflow"
MODEL, SURVEY = "my_model.ProbabilisticPCA", "my_survey.NpzTiles"
BY_ITS_SHORT_NAME = "test_is_found_and_built_by_its_name"
"""The one promise that a plug-in cannot keep: it is not below galflow.models."""

pytestmark = pytest.mark.usefixtures("plugins_on_path")


def _names(path: Path) -> list[str]:
    """Names of the tests of a file, without importing it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("(")[0].removeprefix("def ") for line in lines if line.startswith("def test_")]


@pytest.fixture(scope="module")
def model_contract(load: Load, plugins_on_path: None) -> dict[str, Any]:
    """The contract tests of the models, with the plug-in in the place of galflow's own, and their fixtures."""
    contract, room = load(ROOMS / "models" / "test_contract.py"), load(ROOMS / "models" / "conftest.py")
    contract.MODELS.clear()
    contract.MODELS[MODEL] = find_model(MODEL)

    @cache
    def once() -> Any:
        torch.manual_seed(11)
        model = find_model(MODEL).tiny()
        room.train_model(model, room.make_blobs(model, 96), rounds=50)
        return model

    fixtures = {
        "name": MODEL, "trained": lambda name: copy.deepcopy(once()), "blobs": room.make_blobs,
        "train": room.train_model, "parameters_of": room.owned, "device": torch.device("cpu"),
    }  # fmt: skip
    return vars(contract) | {"fixtures": fixtures}


@pytest.mark.parametrize("test", sorted(set(_names(ROOMS / "models" / "test_contract.py")) - {BY_ITS_SHORT_NAME}))
def test_the_model_keeps_the_contract_of_models(test: str, model_contract: dict[str, Any]) -> None:
    function: Callable[..., None] = model_contract[test]
    function(**{name: model_contract["fixtures"][name] for name in inspect.signature(function).parameters})


def test_the_model_is_found_by_its_path_and_refuses_what_it_cannot_be() -> None:
    assert build_model(MODEL, channels=3, size=32, components=4).size == 32
    with pytest.raises(SpecError, match=r"has no option 'colour'"):
        build_model(MODEL, channels=1, size=16, colour="red")
    with pytest.raises(SpecError, match=r"components is 64; it must be 1 or more and less than the 64 pixels"):
        build_model(MODEL, channels=1, size=8, components=64)


def test_its_likelihood_is_that_of_the_gaussian_of_the_observed_pixels() -> None:
    """Against scipy on the full covariance matrix, rows and columns of missing pixels left out."""
    from scipy.stats import multivariate_normal

    torch.manual_seed(2)
    model = find_model(MODEL).tiny()
    pixels = torch.randn(5, 2, 8, 8)
    observed = torch.rand(pixels.shape) > 0.3
    found = model.log_prob(Batch(pixels, observed)).detach().double()
    w, sigma = model.directions.detach().double().numpy(), float(model.log_sigma.detach().exp())
    covariance = w @ w.T + sigma**2 * np.eye(len(w))
    for value, x, seen in zip(found, pixels.flatten(1).double().numpy(), observed.flatten(1).numpy(), strict=True):
        gaussian = multivariate_normal(np.zeros(seen.sum()), covariance[np.ix_(seen, seen)])
        assert float(value) == pytest.approx(gaussian.logpdf(x[seen]), rel=1e-4)


@pytest.fixture(scope="module")
def survey_contract(load: Load, plugins_on_path: None) -> dict[str, Any]:
    """The contract tests of the surveys, with tiles of the plug-in's form."""
    contract, write_tiles = (
        load(ROOMS / "surveys" / "test_contract.py"),
        load(PROJECT / "examples" / "plugins" / "make_tiles.py").write_tiles,
    )

    def tiny(root: Path, seed: int) -> dict[str, Any]:
        write_tiles(root, tiles=2, tile_size=128, objects_per_tile=6, seed=seed)
        return {"root": str(root)}

    contract.BUILDERS[SURVEY], contract.CHANGED[SURVEY] = tiny, {"pixel_scale_arcsec": 0.21}
    return vars(contract)


@pytest.mark.parametrize("test", _names(ROOMS / "surveys" / "test_contract.py"))
def test_the_survey_keeps_the_contract_of_surveys(test: str, survey_contract: dict[str, Any], tmp_path: Path) -> None:
    survey_contract[test](SURVEY, tmp_path)


def test_the_survey_names_the_file_that_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no file below .* ends with \.npz"):
        open_survey(SurveySpec(kind=SURVEY, options={"root": str(tmp_path)})).tiles()
    np.savez(tmp_path / "half.npz", flux=np.zeros((3, 8, 8)))
    survey = open_survey(SurveySpec(kind=SURVEY, options={"root": str(tmp_path)}))
    with pytest.raises(DataError, match=r"half\.npz cannot be read .*ivar"):
        survey.read(survey.tiles()[0], "g")


def test_a_run_of_both_publishes_a_catalogue(published: PublishedRun) -> None:
    store = Store.open(published.root)
    (name,) = list_runs(store)
    manifest = read_manifest(store, name)
    assert manifest is not None
    located = manifest.located(store)
    catalog = read_published(located.catalog)
    files = sorted((published.folder / "tiles").glob("*.npz"))
    assert len(catalog) == sum(len(np.load(file)["id"]) for file in files) > 60
    assert set(catalog["tile"].to_pylist()) == {"t00000", "t00001"}
    assert catalog["magnitude"].null_count == 0, "a column of the survey's own does not reach the catalogue"
    scored = catalog.filter(catalog["outcome"].to_numpy(zero_copy_only=False) == "scored")
    assert len(scored) > 50
    assert scored["pca_bits_per_dim"].null_count == scored["loglike_pca"].null_count == 0
    whole = scored.filter(scored["flags"].to_numpy() & Flag.MISSING_PIXELS == 0)
    bits = -whole["loglike_pca"].to_numpy() / (3 * 24 * 24 * np.log(2))
    np.testing.assert_allclose(bits, whole["bpd_pca"].to_numpy(), rtol=1e-6)
    model = load_uri(located.models["pca"])
    assert type(model.module).__name__ == "ProbabilisticPCA"


def test_the_specification_names_what_lies_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    path = PROJECT / "examples" / "plugins" / "plugins.yaml"
    spec = load_spec(path)
    assert {spec.survey.kind, *(model.model for model in spec.models)} == {SURVEY, MODEL, "kmeans.KMeans"}
    assert yaml.safe_load(path.read_text())["name"] == "plugins"
