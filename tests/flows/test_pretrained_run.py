"""Whole runs with an encoder that the user brings: what is published, what is refused, and what is done again."""

from __future__ import annotations

import copy
import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import galflow
from galflow.batch import Batch
from galflow.models.base import Encodes
from galflow.storage.receipts import find_receipts

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd, TrainedEncoder, WriteSpec

Here = Callable[..., tuple[int, str, str]]
MODEL = "pretrained.PretrainedEncoder"


def document(encoders: dict[str, Path], **options: Any) -> dict[str, Any]:
    """A small survey, and a model for each encoder."""
    taken = {"bands": [0, 1], "keep": 500, "neighbours": 5, **options}
    return {
        "name": "brought",
        "survey": {"kind": "synthetic", "options": {"tiles": 2, "tile_size": 224, "objects_per_tile": 60}},
        "cutouts": {"size": 16},
        "models": [{"name": n, "model": MODEL, "options": {"encoder": str(f), **taken}} for n, f in encoders.items()],
        "training": {"epochs": 1, "reference_fraction": 0.3},
        "cluster": {"workers": 1},
        "output": {"top": 3},
    }


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, trained_encoder: TrainedEncoder) -> dict[str, Path]:
    """Copies that the run was given, and that are gone afterwards."""
    folder = tmp_path_factory.mktemp("networks")
    files = {"onnx": trained_encoder.onnx, "torchscript": trained_encoder.torchscript}
    return {name: Path(shutil.copy(file, folder)) for name, file in files.items()}


@pytest.fixture(scope="module")
def ran(
    run_to_its_end: RunToItsEnd,
    prefect_api: dict[str, str],
    own: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    return run_to_its_end(tmp_path_factory.mktemp("brought"), document(own), **prefect_api)


def test_its_columns_are_in_the_catalogue(ran: Finished) -> None:
    table = ran.catalog
    rows = table.to_pydict()
    assert len(table) > 80
    for score in ("distance", "latent"):
        one, other = (np.array(rows[f"{name}_{score}"], dtype=float) for name in ("onnx", "torchscript"))
        assert np.isfinite(one).mean() > 0.95
        assert np.nanstd(one) > 0
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4, err_msg=score)
        p = np.array(rows[f"onnx_{score}_p"], dtype=float)
        assert np.isfinite(p).any()
        assert ((p > 0) & (p <= 1))[np.isfinite(p)].all()
    assert table.schema.field("onnx_distance").metadata[b"description"]
    assert sorted(r for r in rows["anomaly_rank"] if r is not None)[:3] == [1, 2, 3]


def test_the_catalogue_has_what_the_network_itself_says(ran: Finished, trained_encoder: TrainedEncoder) -> None:
    """Latents of a cutout by the network as it was trained, and the distance by numpy."""
    run = galflow.open_run(f"{ran.root}/runs/{ran.manifest.run}")
    model = galflow.load_model(ran.manifest.models["onnx"])
    module = model.module
    assert isinstance(module, Encodes)
    rows = [row for row in ran.catalog.to_pylist() if row["is_primary"] and not row["flags"]][:5]
    assert len(rows) == 5
    known = module.reference
    kept = known.neighbours.points[: int(known.neighbours.kept)].numpy() * float(known.unit) + known.centre.numpy()
    for row in rows:
        flux = torch.from_numpy(np.asarray(run.cutout(row["object_id"]).flux, dtype=np.float32))
        pixels = model.stretch.forward(flux, torch)[None]
        with torch.no_grad():
            latents = trained_encoder.network(pixels[:, :2])[0].numpy()
        torch.testing.assert_close(module.encode(Batch.of(pixels))[0].numpy(), latents, rtol=1e-4, atol=1e-4)
        distances = np.sort(np.linalg.norm(kept - latents, axis=1)) / float(known.unit)
        itself = int(distances[0] < 1e-3)
        assert row["onnx_distance"] == pytest.approx(distances[4 + itself], rel=1e-3, abs=1e-4)


def test_a_copied_model_scores_the_same_without_the_file(
    ran: Finished, own: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for name, file in own.items():
        here = galflow.load_model(ran.manifest.models[name])
        away = file.rename(file.with_suffix(".away"))
        copied = shutil.copytree(ran.manifest.models[name].removeprefix("file://"), tmp_path / name)
        there = galflow.load_model(str(copied))
        away.rename(file)
        found, expected = (m.evaluate(Batch.of(images)) for m in (there, here))
        assert all(np.array_equal(found[score], expected[score]) for score in ("distance", "latent")), name


def test_nothing_is_to_do_until_the_file_is_another_one(
    ran: Finished, own: dict[str, Path], here: Here, write_spec: WriteSpec, trained_encoder: TrainedEncoder
) -> None:
    specification = str(write_spec(ran.document))

    def todo() -> dict[str, list[str]]:
        code, output, errors = here("plan", specification, "--root", ran.root, "--json")
        assert code == 0, errors
        units = [u for u in json.loads(output)["units"] if not u["done"]]
        return {u["name"]: u["why"] for u in units if u["stage"] == "train"}

    assert todo() == {}
    with torch.random.fork_rng(devices=()):
        network = copy.deepcopy(trained_encoder.network)
        with torch.no_grad():
            next(network.parameters()).mul_(1.01)
    own["torchscript"].rename(own["torchscript"].with_suffix(".away"))
    _script(network, own["torchscript"])
    assert todo() == {"torchscript": "model torchscript: settings, weights or tiles changed"}
    own["torchscript"].with_suffix(".away").replace(own["torchscript"])
    assert todo() == {}
    receipts = find_receipts(ran.store, "models/onnx").values()
    assert all(any(name == f"weights {own['onnx']}" for name in receipt.inputs) for receipt in receipts)


def _script(network: torch.nn.Module, file: Path) -> None:
    from galflow.models.shared.torchscript_network import script

    file.write_bytes(script(network))


def test_a_wrong_file_ends_a_run_before_it_begins(
    here: Here, write_spec: WriteSpec, own: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "nonsense.onnx").write_bytes(b"this is no network")
    (tmp_path / "state.pt").write_bytes(pickle.dumps({"weight": math.pi}))
    for encoder, options, text in (
        (tmp_path / "absent.onnx", {}, "absent.onnx does not exist"),
        (tmp_path / "nonsense.onnx", {}, "the file is no ONNX"),
        (tmp_path / "state.pt", {}, "holds a pickled module or state dict (torch.save), and a pickle is never loaded"),
        (own["onnx"], {"bands": [0, 0, 1]}, "takes images of (2, 16, 16) (channel, y, x), and these options make (3,"),
        (own["torchscript"], {"bands": [0, 0, 1]}, "it does not take images of (3, 16, 16)"),
        (own["onnx"], {"input_size": 32}, "and these options make (2, 32, 32); give input_size"),
    ):
        specification = str(write_spec(document({"mine": encoder}, **options)))
        for command in ("plan", "run"):
            code, output, errors = here(command, specification, "--root", str(tmp_path / "store"))
            assert code == 2, (command, output, errors)
            assert text in " ".join((output + errors).split()), command
    assert not (tmp_path / "store").exists()
