"""A model on trial: what can be built passes at no cost, what is beyond memory is refused without taking any."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
import torch

from galflow.errors import SpecError
from galflow.training.trial import try_model

BANDS = {"channels": 3, "size": 32}


def test_a_small_model_leaves_random_numbers_and_imports_as_they_were() -> None:
    before = torch.get_rng_state()
    try_model("kmeans.KMeans", BANDS)
    assert torch.equal(torch.get_rng_state(), before)
    # torch's compiler takes three seconds to import, and a trial needs none.
    tried = f"import sys; from galflow.training.trial import try_model; try_model('vae.VAE', {BANDS}); "
    code = tried + "try_model('kmeans.KMeans', {'channels': 1, 'size': 16}); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_a_large_model_is_tried_without_its_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try_model("kmeans.KMeans", {**BANDS, "clusters": 1_000_000})  # 12 GB
    with pytest.raises(SpecError, match=r"more than 20,000,000,000 numbers .*make it smaller"):
        try_model("kmeans.KMeans", {"channels": 9, "size": 64, "clusters": 1_000_000})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600e3  # kB: torch's compiler is in it


@pytest.mark.parametrize("clusters", [3, 1_000_000], ids=["small", "large"])
def test_what_a_model_refuses_is_told_either_way(clusters: int) -> None:
    with pytest.raises(SpecError, match=r"has no option 'cluster'; its options are clusters"):
        try_model("kmeans.KMeans", {**BANDS, "cluster": clusters})
    with pytest.raises(SpecError, match="option 'clusters' is 1000001; at most 1,000,000"):
        try_model("kmeans.KMeans", {**BANDS, "clusters": 1_000_001})


def test_many_small_tensors_are_counted_too() -> None:
    with pytest.raises(SpecError, match="or 5,000 tensors"):
        try_model("pixelcnn_pp.PixelCNNPP", {**BANDS, "layers": 5_000, "width": 1})
