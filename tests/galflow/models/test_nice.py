"""NICE: it keeps volumes but for its last layer; what all coupling flows promise is in test_coupling_flows."""

from __future__ import annotations

import pytest
import torch

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.coupling import Coupling
from galflow.models.nice import NICE


def test_its_determinant_is_the_last_scaling_for_every_object() -> None:
    torch.manual_seed(1)
    model = NICE(channels=2, size=8, width=8).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    log_det = model.to_base(Batch.of(torch.randn(5, 2, 8, 8).double())).log_det
    scaling = [layer for layer in model.modules() if isinstance(layer, ActNorm)]
    assert len(scaling) == 1
    torch.testing.assert_close(log_det, scaling[0].log_scale.sum().expand(5))


def test_it_keeps_all_numbers_to_the_end() -> None:
    model = NICE(channels=1, size=16, width=4, steps=4)
    couplings = [layer for layer in model.modules() if isinstance(layer, Coupling)]
    assert [c.partition.identity_channels for c in couplings] == [2] * 4 + [8] * 4
    assert NICE(channels=3, size=15, width=4).transform.layers[-1].shape == (3, 15, 15)


def test_refusals() -> None:
    with pytest.raises(SpecError, match=r"width and steps of at least 1 and blocks of at least 0; got 32, 0, 1"):
        NICE(channels=1, size=8, steps=0)
    with pytest.raises(SpecError, match=r"cannot work on a single one; got channels=1, size=1"):
        NICE(channels=1, size=1)
