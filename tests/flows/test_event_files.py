"""training.tensorboard: the curves of a run's trainings as event files, and nothing else that is made anew by it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from galflow.errors import SpecError
from galflow.runs.check import check_run
from galflow.runs.plan import plan_run
from galflow.spec.run import parse_spec
from galflow.storage.layout import as_key
from galflow.storage.receipts import list_runs
from galflow.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from conftest import RunToItsEnd

TINY: dict[str, Any] = {
    "name": "curves",
    "survey": {"kind": "synthetic", "options": {"tiles": 1, "tile_size": 192, "objects_per_tile": 20}},
    "cutouts": {"size": 16},
    "models": [
        {"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}},
        {"name": "wgan", "model": "wgan.WGAN", "options": {"width": 4, "latent": 4}},
    ],
    "training": {"epochs": 2, "batch_size": 4, "tensorboard": True},
    "cluster": {"workers": 1},
    "output": {"report": False},
}


def test_a_run_writes_the_curves_of_its_trainings(run_to_its_end: RunToItsEnd, tmp_path: Path) -> None:
    finished = run_to_its_end(tmp_path, TINY)
    folder = as_key(finished.manifest.models["wgan"]).removeprefix(f"{finished.store.root}/")
    model = TrainedModel.load(finished.store, folder)
    events = EventAccumulator(str(Path(finished.store.root.removeprefix("file://"), folder, "tensorboard")))
    events.Reload()
    series = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    wanted: dict[str, list[tuple[int, float]]] = {}
    for point in model.card.curves:
        phase = f"phase {point.phase}/" if point.phase else ""
        wanted.setdefault(f"{phase}{point.player} train loss", []).append((point.epoch, point.train_loss))
    assert set(wanted) <= set(series)
    for tag, values in wanted.items():
        np.testing.assert_allclose(series[tag], values, rtol=1e-6)
    diagnostics = {name for point in model.card.curves for name in point.diagnostics}
    assert diagnostics
    assert all(any(tag.endswith(name) for tag in series) for name in diagnostics)
    assert events.Tags()["images"] == ["samples"]
    # The same run without the option is this one: nothing is made anew.
    plain = parse_spec(TINY | {"training": {"epochs": 2, "batch_size": 4}, "store": {"root": finished.root}})
    plan = plan_run(plain, finished.store)
    assert plan.done
    assert [plan.run] == list_runs(finished.store)


def test_a_missing_package_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    with pytest.raises(SpecError, match=r"training\.tensorboard: .* install galflow\[tensorboard\], or leave"):
        check_run(parse_spec(TINY))
