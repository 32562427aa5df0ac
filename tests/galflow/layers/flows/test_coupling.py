"""Coupling layers against autograd, for each bijector, each partition and any mask."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from galflow.errors import SpecError
from galflow.layers.flows.bijectors import bijector_of
from galflow.layers.flows.coupling import (
    ChannelPartition,
    CheckerboardPartition,
    Coupling,
    Partition,
    alternating_partitions,
)
from galflow.layers.flows.transform import FlowState

BIJECTORS = ("additive", "affine", "spline")
PARTITIONS = {
    "channels of a vector": (3, 1, lambda: ChannelPartition(3, [0, 2])),
    "channels of an image": (3, 5, lambda: ChannelPartition(3, [2])),
    "a checkerboard": (2, 5, lambda: CheckerboardPartition(2, 5, 1)),
    "a checkerboard on a small grid": (1, 3, lambda: CheckerboardPartition(1, 3, 0)),
}


def shaken(halves: Partition, bijector: str, size: int) -> Coupling:
    """A coupling far from the identity, in double precision."""
    torch.manual_seed(2)
    layer = Coupling(halves, bijector_of(bijector), size=size, width=8, blocks=1).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def seen_with(values: Tensor, keep: Tensor) -> FlowState:
    return FlowState(values * keep, keep, values.new_zeros(len(values)))


@pytest.mark.parametrize("bijector", BIJECTORS)
@pytest.mark.parametrize("partition", PARTITIONS)
def test_a_coupling_undoes_itself_and_knows_its_determinant(partition: str, bijector: str) -> None:
    channels, size, halves = PARTITIONS[partition]
    layer = shaken(halves(), bijector, size)
    values = 2 * torch.randn(4, channels, size, size, dtype=torch.float64)
    keep = torch.ones_like(values)
    there = layer(seen_with(values, keep))
    torch.testing.assert_close(layer.inverse(there.values), values, rtol=0, atol=1e-9)
    assert not torch.allclose(there.values, values)
    holes = (torch.rand(keep.shape, generator=torch.Generator().manual_seed(1)) > 0.3).to(keep)
    for mask in (keep, holes, torch.zeros_like(keep)):
        changed = layer(seen_with(values, mask))
        assert torch.equal(changed.values * (1 - mask), torch.zeros_like(values)), "a missing pixel left 0"
        for i in range(4):
            known = mask[i].flatten().nonzero()[:, 0]
            jacobian = torch.autograd.functional.jacobian(
                lambda v, i=i, mask=mask: layer(seen_with(v[None], mask[i : i + 1])).values[0].flatten(), values[i]
            ).flatten(1)
            expected = torch.linalg.slogdet(jacobian[known][:, known])
            assert expected.sign == 1
            torch.testing.assert_close(changed.log_det[i], expected.logabsdet, rtol=0, atol=1e-9)
            assert not jacobian[known][:, (mask[i].flatten() == 0).nonzero()[:, 0]].any(), "it read a missing pixel"


@pytest.mark.parametrize("bijector", BIJECTORS)
def test_a_new_coupling_changes_nothing(bijector: str) -> None:
    layer = Coupling(ChannelPartition(2, [0]), bijector_of(bijector), size=5, width=8, blocks=1)
    values = torch.randn(3, 2, 5, 5)
    state = layer(seen_with(values, torch.ones_like(values)))
    torch.testing.assert_close(state.values, values, rtol=0, atol=2e-6)
    torch.testing.assert_close(state.log_det, torch.zeros(3), rtol=0, atol=2e-5)


def test_a_blinding_pixel_moves_the_others_by_no_more_than_a_bright_one() -> None:
    layer = shaken(ChannelPartition(2, [0]), "affine", 5).float()
    values = torch.randn(1, 2, 5, 5)
    bright, blinding = values.clone(), values.clone()
    bright[0, 1, 2, 2], blinding[0, 1, 2, 2] = 1e3, 1e9
    changed = [layer(seen_with(v, torch.ones_like(v))).values[:, 0] for v in (bright, blinding)]
    torch.testing.assert_close(changed[0], changed[1])


def test_halves_are_what_they_say() -> None:
    one, other = CheckerboardPartition(1, 3, 0), CheckerboardPartition(1, 3, 1)
    image = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    assert one.transformed(image).flatten().tolist() == [1, 3, 5, 7, 9]
    assert other.transformed(image).flatten().tolist() == [2, 4, 6, 8]
    assert one.identity(image).flatten().tolist() == [0, 2, 0, 4, 0, 6, 0, 8, 0]
    assert torch.equal(one.merged(image, one.transformed(image)), image)
    assert one.merged(image, 0 * one.transformed(image)).flatten().tolist() == [0, 2, 0, 4, 0, 6, 0, 8, 0]


@pytest.mark.parametrize(("channels", "size", "squeezed"), [(4, 4, True), (12, 2, True), (1, 5, False), (3, 1, False)])
def test_partitions_in_turn_move_every_number(channels: int, size: int, squeezed: bool) -> None:
    halves = alternating_partitions(channels, size, squeezed=squeezed)
    ones = torch.ones(1, channels, size, size)
    for first, second in zip(halves[::2], halves[1::2], strict=True):
        changed = [1 - half.merged(ones, 0 * half.transformed(ones)) for half in (first, second)]
        assert torch.equal(changed[0] + changed[1], ones)
        assert changed[0].any()
        assert changed[1].any()


def test_after_squeezing_the_first_partition_is_a_checkerboard_of_the_image() -> None:
    half = alternating_partitions(4, 2, squeezed=True)[0]
    ones = torch.ones(1, 4, 2, 2)
    stays = torch.nn.functional.pixel_shuffle(half.merged(ones, 0 * half.transformed(ones)), 2)[0, 0]
    assert stays.tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]


def test_refusals() -> None:
    with pytest.raises(SpecError, match=r"cannot work on a single one; got channels=1, size=1: give two bands"):
        alternating_partitions(1, 1, squeezed=False)
