"""Grathwohl+18's table of abilities, row by row: what each class says of itself, and the proof that it is so.

Sampling in one pass is proved in test_contract.py, by counting; the rest here. Models are found by themselves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.models.base import Density, GenerativeModel, abilities, all_models
from galflow.models.shared.continuous import ContinuousFlow

MODELS = all_models()
DENSITIES = [name for name, model in MODELS.items() if issubclass(model, Density)]

EXPECTED = {
    # trains on data, one-pass sampling, exact log-likelihood, free-form Jacobian (Grathwohl+18, table 1)
    "autoencoder.Autoencoder": (True, True, False, True),
    "ffjord.FFJORD": (True, True, True, True),
    "ffjord_latent.FFJORDLatent": (True, True, True, False),  # its details' conditional Gaussians are triangular
    "ffjord_multiscale.FFJORDMultiscale": (True, True, True, True),
    "flow_vae.FlowVAE": (True, True, False, True),
    "gan.GAN": (True, True, False, True),
    "glow.Glow": (True, True, True, False),
    "kmeans.KMeans": (True, True, False, True),
    "maf.MAF": (True, False, True, False),
    "nice.NICE": (True, True, True, False),
    "outliers.IsolationForest": (True, True, False, True),
    "latent_density.LatentDensity": (True, True, False, True),
    "outliers.Mahalanobis": (True, True, False, True),
    "outliers.LocalOutlierFactor": (True, True, False, True),
    "outliers.NearestNeighbours": (True, True, False, True),
    "pca.PCA": (True, True, True, False),  # one linear map
    "pixelcnn.PixelCNN": (True, False, True, False),
    "pixelcnn_pp.PixelCNNPP": (True, False, True, False),
    "planar.PlanarFlow": (False, True, True, False),
    "planar.ReverseFlow": (True, False, True, False),
    "planar_cnf.PlanarCNF": (True, True, True, False),
    "pretrained.PretrainedEncoder": (True, True, False, True),
    "realnvp.RealNVP": (True, True, True, False),
    "tan.TAN": (True, False, True, False),
    "vae.VAE": (True, True, False, True),
    "vqvae2.VQVAE2": (True, False, False, True),
    "wgan.WGAN": (True, True, False, True),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_the_table(name: str) -> None:
    found = abilities(MODELS[name])
    assert tuple(found) == ("trains_on_data", "one_pass_sampling", "exact_log_likelihood", "free_form_jacobian")
    assert tuple(found.values()) == EXPECTED[name], "a new model needs its row here"


@pytest.mark.parametrize("name", list(MODELS))
def test_trains_on_data(
    name: str,
    blobs: Callable[..., Batch],
    parameters_of: Callable[[GenerativeModel, tuple[str, ...]], list[nn.Parameter]],
) -> None:
    """Other objects give other gradients, but to a model that is trained on a target density alone."""
    torch.manual_seed(1)
    model = MODELS[name].tiny()
    data = blobs(model, 48, seed=1)
    model.initialise(data)
    # Of a first step, since the likelihood of a density is what it learns from all its life.
    player = model.players[0]
    gradients = []
    for half in (data[:24], data[24:]):
        torch.manual_seed(2)
        model.zero_grad()
        model.loss(half, player.name).backward()
        gradients.append(
            torch.cat([p.grad.flatten() for p in parameters_of(model, player.modules) if p.grad is not None])
        )
    assert torch.equal(*gradients) != MODELS[name].trains_on_data


def _plane(name: str) -> Density:
    """The density of two numbers: two bands of one pixel, with weights that are nowhere at their start."""
    torch.manual_seed(3)
    model = MODELS[name](channels=2, size=1)
    assert isinstance(model, Density)
    draw = torch.Generator().manual_seed(4)
    spread = torch.randn(400, 2, 1, 1, generator=draw) * torch.tensor([0.15, 0.1])[:, None, None] + 0.4
    model.initialise(Batch.of(spread))
    with torch.no_grad():
        for parameter in model.parameters():
            # Dynamics act all along the way: what is small for a layer is wild for them.
            strength = 0.01 if isinstance(model, ContinuousFlow) else 0.05
            parameter.add_(strength * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def _grid(model: Density) -> tuple[Tensor, float]:
    """(G,) values that cover what the model may give, and the width of a cell: 1 where it states masses of bins."""
    if model.bin_width is not None:
        bins = model.bins  # type: ignore[attr-defined]
        return bins.centre(torch.arange(bins.levels), torch.float32), 1.0
    drawn = model.sample(1000, torch.Generator().manual_seed(5))
    low, high = float(drawn.min()), float(drawn.max())
    margin = 0.5 * (high - low)
    # An ODE a point is dear, and its density is smooth.
    values = torch.linspace(low - margin, high + margin, 61 if isinstance(model, ContinuousFlow) else 201)
    return values, float(values[1] - values[0])


def _mass(model: Density, batch: Batch, cell: float) -> float:
    parts = []
    for start in range(0, len(batch), 8192):
        with torch.no_grad():
            parts.append(model.log_prob(batch[slice(start, start + 8192)]).double())
    return float((torch.cat(parts) + math.log(cell)).exp().sum())


@pytest.mark.parametrize("name", DENSITIES)
def test_exact_log_likelihood(name: str) -> None:
    """exp(log_prob) sums or integrates to one over two numbers, and over one where the other is missing."""
    model = _plane(name)
    values, cell = _grid(model)
    pairs = torch.tensor(list(itertools.product(values.tolist(), repeat=2))).view(-1, 2, 1, 1)
    assert _mass(model, Batch.of(pairs), cell**2) == pytest.approx(1, abs=0.01)
    for missing in (0, 1):
        pixels = torch.full((len(values), 2, 1, 1), math.nan)
        pixels[:, 1 - missing, 0, 0] = values
        assert _mass(model, Batch(pixels, ~pixels.isnan()), cell) == pytest.approx(1, abs=0.01), f"without {missing}"


@pytest.mark.parametrize("name", DENSITIES)
def test_bits_per_dim_are_those_of_log_prob(name: str, blobs: Callable[..., Batch]) -> None:
    model = MODELS[name].tiny().eval()
    batch = blobs(model, 4, seed=3)
    model.initialise(batch)
    with torch.no_grad():
        expected = -model.log_prob(batch) / (math.log(2) * batch.pixels[0].numel())
    torch.testing.assert_close(model.score(batch)["bits_per_dim"], expected)
