"""TAN: determinants against autograd, mixtures against scipy, exact over what is observed, draws as stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.flows.transform import FlowState
from galflow.models.tan import TAN, EntryMixture, RecurrentShift, Reorder, TriangularLinear

CONDITIONALS = ("linear", "recurrent", "masked")
each_conditional = pytest.mark.parametrize("conditional", CONDITIONALS)


def stirred(*, channels: int, size: int, by: float = 0.2, **options: Any) -> TAN:
    """A TAN far from its start."""
    torch.manual_seed(1)
    tan = TAN(channels=channels, size=size, **{"state": 6, "width": 12, "mixtures": 3, **options})
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in tan.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=draw))
    return tan


@each_conditional
def test_log_prob_is_the_mixtures_and_the_jacobians(conditional: str) -> None:
    """The maps' determinant by autograd; the mixtures by scipy, from the conditioner's numbers."""
    tan = stirred(channels=2, size=2, layers=2, conditional=conditional).double()
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(3, 2, 2, 2, generator=draw, dtype=torch.float64)
    observed = torch.rand(images.shape, generator=draw) > torch.tensor([0.0, 0.3, 0.6]).view(3, 1, 1, 1)
    found = tan.log_prob(Batch(images, observed)).detach()
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    for image, seen, value in zip(images, observed, found, strict=True):

        def mapped(pixels: Tensor, seen: Tensor = seen) -> Tensor:
            return tan.to_base(Batch(pixels[None], seen[None])).values[0]

        mask = seen.flatten()[order]
        jacobian = torch.autograd.functional.jacobian(mapped, image).flatten(1)[:, order][mask][:, mask]
        base = mapped(image)
        assert not base[~mask].any()
        logits, mean, raw = tan.conditioner(base[None])[0].detach().numpy().reshape(8, 3, 3).transpose(1, 0, 2)
        sigma = np.exp(5 * np.tanh(raw / 5))
        weight = logits - logsumexp(logits, axis=1, keepdims=True)
        terms = logsumexp(weight + norm.logpdf(base.detach().numpy()[:, None], mean, sigma), axis=1)
        expected = float(jacobian.detach().slogdet()[1]) + terms[mask.numpy()].sum()
        assert float(value) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("layer", ["linear", "shift", "reorder"])
def test_each_map_against_its_inverse_and_its_jacobian(layer: str) -> None:
    torch.manual_seed(4)
    maps = {
        "linear": TriangularLinear(6),
        "shift": RecurrentShift(6, 5, 7),
        "reorder": Reorder(torch.tensor([3, 0, 5, 1, 4, 2])),
    }
    module = maps[layer].double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0, 0.4)
    values = torch.randn(5, 6, dtype=torch.float64)
    out = module(FlowState(values, torch.ones_like(values), torch.zeros(5, dtype=torch.float64)))
    torch.testing.assert_close(module.inverse(out.values), values, rtol=0, atol=1e-9)

    def one(x: Tensor) -> Tensor:
        return module(FlowState(x[None], torch.ones(1, 6), torch.zeros(1))).values[0]

    for row, log_det in zip(values, out.log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(one, row)
        assert float(jacobian.detach().slogdet()[1]) == pytest.approx(float(log_det.detach()), abs=1e-9)
    assert (out.values - values).abs().max() > 0.1


@each_conditional
def test_the_density_of_what_is_observed_integrates_to_one(conditional: str) -> None:
    """Two of three bands of one pixel, the third missing; and one alone."""
    tan = stirred(channels=3, size=1, layers=1, conditional=conditional)
    axis = torch.linspace(-12, 12, 401)
    step = 24 / 400
    points = torch.cartesian_prod(axis, axis)
    for missing in range(3):
        shown = [band for band in range(3) if band != missing]
        pixels = torch.full((len(points), 3), float("nan"))
        pixels[:, shown] = points
        observed = torch.ones_like(pixels, dtype=torch.bool)
        observed[:, missing] = False
        with torch.no_grad():
            log_prob = tan.log_prob(Batch(pixels[:, :, None, None], observed[:, :, None, None]))
        assert float(log_prob.exp().sum() * step**2) == pytest.approx(1, abs=0.01)


@each_conditional
def test_samples_have_the_density_that_is_stated(conditional: str) -> None:
    tan = stirred(channels=2, size=1, layers=1, conditional=conditional)
    drawn = tan.sample(20_000, torch.Generator().manual_seed(7))[:, :, 0, 0]
    axis = torch.linspace(-12, 12, 401)
    step = 24 / 400
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = tan.log_prob(Batch.of(points[:, :, None, None])).exp().view(401, 401) * step**2
    assert float(density.sum()) == pytest.approx(1, abs=0.01)
    mean = torch.stack([(density.sum(1) * axis).sum(), (density.sum(0) * axis).sum()])
    centred = axis[:, None] - mean
    covariance = torch.einsum("xy,xi,yj->ij", density, centred[:, :1], centred[:, 1:])
    variance = torch.stack([(density.sum(1 - i) * centred[:, i].square()).sum() for i in range(2)])
    assert (drawn.mean(0) - mean).abs().max() < 5 * (variance.max() / len(drawn)) ** 0.5
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.05, atol=0)
    assert float(drawn.T.cov()[0, 1]) == pytest.approx(float(covariance), abs=0.05 * float(variance.max()))


@each_conditional
def test_decoding_undoes_encoding(conditional: str) -> None:
    tan = stirred(channels=2, size=4, layers=2, by=0.1, conditional=conditional)
    tan.initialise(Batch.of(3 + torch.randn(64, 2, 4, 4)))
    images = 3 + torch.randn(8, 2, 4, 4)
    assert (tan.decode(tan.encode(Batch.of(images))) - images).abs().max() < 1e-4


def test_the_first_mixture_covers_the_data_and_its_components_differ() -> None:
    for components in (1, 2, 20):
        mixture = EntryMixture(EntryMixture.first(components).expand(1001, -1))
        axis = torch.linspace(-12, 12, 1001)
        density = mixture.log_prob(axis).exp()
        assert float(density.sum() * 0.024) == pytest.approx(1, abs=0.01)
        assert 0.5 < float((density * axis.square()).sum() * 0.024) < 6
        assert len(mixture.mean[0].unique()) == components


def test_scores_stay_finite_far_out() -> None:
    far = Batch.of(1e6 * torch.randn(4, 2, 4, 4))
    for conditional in CONDITIONALS:
        tan = stirred(channels=2, size=4, layers=3, by=0.5, conditional=conditional)
        assert tan.score(far)["bits_per_dim"].isfinite().all()


def test_what_cannot_be_built_or_asked_is_refused() -> None:
    with pytest.raises(SpecError, match=r"layers of at least 0 and mixtures of at least 1; got 1 and 0"):
        TAN(channels=1, size=4, mixtures=0)
    with pytest.raises(SpecError, match=r"conditional is 'quadratic'; choose one of 'linear', 'recurrent', 'masked'"):
        TAN(channels=1, size=4, conditional="quadratic")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r'takes at most 256; an image of 3072 .* needs conditional="masked"'):
        TAN(channels=3, size=32, conditional="linear", layers=0)
    tan = TAN.tiny()
    with pytest.raises(ModelError, match=r"TAN has no player 'critic'"):
        tan.loss(Batch.of(torch.zeros(2, 2, 8, 8)), "critic")
