"""Glow's 1 x 1 convolution and which layers a step has; what all coupling flows promise is in test_coupling_flows."""

from __future__ import annotations

import pytest
import torch

from galflow.errors import SpecError
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.coupling import CheckerboardPartition, Coupling
from galflow.layers.flows.transform import FlowState
from galflow.models.glow import Glow, InvertibleConvolution


def shaken_convolution(channels: int) -> InvertibleConvolution:
    torch.manual_seed(3)
    layer = InvertibleConvolution(channels).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return layer


def test_convolution_starts_as_a_permutation() -> None:
    torch.manual_seed(0)
    layer = InvertibleConvolution(6)
    values = torch.randn(2, 6, 3, 3)
    state = layer(FlowState(values, torch.ones_like(values), torch.zeros(2)))
    assert torch.equal(state.values.sort(1).values, values.sort(1).values)
    assert not torch.equal(state.values, values)
    assert torch.equal(state.log_det, torch.zeros(2))


def test_convolution_is_one_matrix_for_every_pixel() -> None:
    layer = shaken_convolution(5)
    lower = layer.lower.tril(-1) + torch.eye(5)
    upper = layer.upper.triu(1) + torch.diag(layer.log_diagonal.exp())
    matrix = torch.eye(5).double()[layer.order] @ lower @ upper
    values = torch.randn(3, 5, 4, 4).double()
    state = layer(FlowState(values, torch.ones_like(values), torch.zeros(3).double()))
    torch.testing.assert_close(state.values, torch.einsum("ij,bjyx->biyx", matrix, values))
    expected = 16 * torch.linalg.slogdet(matrix).logabsdet
    torch.testing.assert_close(state.log_det, expected.expand(3))
    torch.testing.assert_close(layer.inverse(state.values), values, rtol=0, atol=1e-10)


def test_mixing_is_not_rounded_under_autocast() -> None:
    layer = shaken_convolution(4).float()
    values = torch.randn(2, 4, 4, 4)
    exact = layer(FlowState(values, torch.ones_like(values), torch.zeros(2))).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = layer(FlowState(values, torch.ones_like(values), torch.zeros(2))).values
    assert torch.equal(again, exact)


def test_convolution_of_the_observed_channels() -> None:
    """For every subset of the channels: the determinant against autograd, the mask where the values went."""
    layer = shaken_convolution(4)
    for subset in range(16):
        mask = torch.tensor([(subset >> c) & 1 for c in range(4)]).double().view(1, 4, 1, 1)
        values = torch.randn(1, 4, 1, 1).double()

        def map_of(v: torch.Tensor, mask: torch.Tensor = mask) -> FlowState:
            return layer(FlowState(v * mask, mask, torch.zeros(1).double()))

        state = map_of(values)
        assert not (state.values * (1 - state.mask)).any()
        assert state.mask.sum() == mask.sum()
        jacobian = torch.autograd.functional.jacobian(lambda v, f=map_of: f(v).values, values).view(4, 4)
        inner = jacobian[state.mask.flatten().bool()][:, mask.flatten().bool()]
        torch.testing.assert_close(state.log_det[0], torch.linalg.slogdet(inner).logabsdet, rtol=0, atol=1e-10)


def test_a_step_is_actnorm_convolution_coupling() -> None:
    model = Glow(channels=2, size=8, width=4, steps=2)
    (level,) = model.transform.transforms
    kinds = [type(layer) for layer in level.layers[2:]]
    assert kinds == [ActNorm, InvertibleConvolution, Coupling] * 2


def test_a_single_band_of_odd_size_is_cut_by_a_checkerboard() -> None:
    model = Glow(channels=1, size=7, width=4, steps=2)
    couplings = [layer for layer in model.modules() if isinstance(layer, Coupling)]
    assert all(isinstance(c.partition, CheckerboardPartition) for c in couplings)
    assert couplings[0].partition.moves.tolist() != couplings[1].partition.moves.tolist()


def test_refusals() -> None:
    with pytest.raises(SpecError, match=r"coupling is 'additive'; Glow takes affine or spline"):
        Glow(channels=1, size=8, coupling="additive")
    with pytest.raises(SpecError, match=r"width and steps of at least 1 and blocks of at least 0; got 32, 6, -1"):
        Glow(channels=1, size=8, blocks=-1)
    with pytest.raises(SpecError, match=r"cannot work on a single one; got channels=1, size=1"):
        Glow(channels=1, size=1)
