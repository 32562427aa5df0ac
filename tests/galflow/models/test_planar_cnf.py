"""What sets the planar continuous flow apart; densities and traces are tested with the other continuous flows."""

from __future__ import annotations

import math

import torch

from galflow.batch import Batch
from galflow.layers.flows.continuous import Continuous
from galflow.models.base import abilities
from galflow.models.planar_cnf import PlanarCNF


def test_it_has_no_regularisers() -> None:
    torch.manual_seed(1)
    model = PlanarCNF(channels=1, size=4, training_tolerance=1e-6)
    batch = Batch.of(torch.randn(5, 1, 4, 4))
    loss = model.loss(batch, "flow")
    torch.testing.assert_close(loss, -model.log_prob(batch).mean() / (16 * math.log(2)))
    assert not abilities(PlanarCNF)["free_form_jacobian"]


def test_with_fewer_units_than_pixels_some_directions_stand_still() -> None:
    """Two units move a point within the plane of their two vectors only."""
    torch.manual_seed(2)
    model = PlanarCNF(channels=1, size=3, units=2)
    batch = Batch.of(torch.randn(20, 1, 3, 3))
    [solved] = [part for part in model.modules() if isinstance(part, Continuous)]
    with torch.no_grad():
        solved.dynamics.outwards.weight.mul_(20)  # type: ignore[union-attr, operator]
        changed = model.encode(batch) - batch.pixels.flatten(1)
    sizes = torch.linalg.svdvals(changed)
    assert sizes[1] > 0.1
    assert sizes[2] < 1e-4
