"""RealNVP: which layers, and its refusals; what all coupling flows promise is in test_coupling_flows."""

from __future__ import annotations

import pytest
import torch

from galflow.errors import SpecError
from galflow.layers.flows.bijectors import Affine, Spline
from galflow.layers.flows.coupling import ChannelPartition, CheckerboardPartition, Coupling
from galflow.layers.flows.multiscale import MultiScale, Squeeze
from galflow.models.realnvp import RealNVP


def test_every_number_is_moved_and_half_leaves_after_each_scale() -> None:
    model = RealNVP(channels=1, size=16, width=4, steps=4)
    assert isinstance(model.transform, MultiScale)
    assert [scale.channels for scale in model.transform.scales] == [4, 8]
    for level in model.transform.transforms:
        couplings = [layer for layer in level.layers if isinstance(layer, Coupling)]
        assert isinstance(level.layers[0], Squeeze)
        assert all(isinstance(c.bijector, Affine) and isinstance(c.partition, ChannelPartition) for c in couplings)
        changed = torch.cat([c.partition.moves for c in couplings])
        assert changed.bincount().tolist() == [2] * level.layers[1].shift.shape[0]


def test_odd_sizes_have_checkerboards() -> None:
    model = RealNVP(channels=1, size=5, width=4, steps=2, coupling="spline")
    couplings = [layer for layer in model.modules() if isinstance(layer, Coupling)]
    assert len(couplings) == 2
    assert all(isinstance(c.bijector, Spline) and isinstance(c.partition, CheckerboardPartition) for c in couplings)


def test_refusals() -> None:
    with pytest.raises(SpecError, match=r"coupling is 'additive'; RealNVP takes affine or spline"):
        RealNVP(channels=1, size=8, coupling="additive")
    with pytest.raises(SpecError, match=r"width and steps of at least 1 and blocks of at least 0; got 0, 6, 1"):
        RealNVP(channels=1, size=8, width=0)
    with pytest.raises(SpecError, match=r"cannot work on a single one; got channels=1, size=1"):
        RealNVP(channels=1, size=1)
    with pytest.raises(SpecError, match=r"levels is 9, but a size of 8 can be halved 3 times"):
        RealNVP(channels=1, size=8, levels=9)
