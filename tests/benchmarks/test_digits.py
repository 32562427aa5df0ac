"""The comparison on digits: its split and its bits, and (marked full) who has to be ahead of whom."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits

from benchmarks.digits import CASES, Case, Reached, ZukoDensity, as_figures, bits, compare, dequantised, digits, measure

OURS_AND_NEAREST = {"MAF": "zuko MAF", "RealNVP": "zuko RealNVP", "Glow": "zuko RealNVP"}
"""zuko has no Glow; its RealNVP has the same couplings. The better of zuko's two sizes counts."""


def test_the_split_holds_every_image_once() -> None:
    split = digits()
    assert (len(split.held_out), len(split.validation), len(split.training)) == (359, 143, 1295)
    together = torch.cat([split.training, split.validation, split.held_out])
    expected = torch.as_tensor(load_digits().data, dtype=torch.float32)
    assert torch.equal(together.sum(0), expected.sum(0))
    assert not torch.equal(together, expected)
    assert together.min() == 0
    assert together.max() == 16


def test_dequantised_levels_stay_in_their_bins() -> None:
    levels = torch.tensor([[0.0, 16.0]])
    found = dequantised(levels, torch.Generator().manual_seed(1), draws=500)
    assert found.shape == (500, 2)
    assert torch.equal(found.round(), levels.expand(500, -1))
    assert found[:, 0].min() < -0.4
    assert found[:, 0].max() > 0.4


def test_bits_of_a_uniform_density() -> None:
    log_prob = torch.full((3,), 64 * -torch.log(torch.tensor(16.0)).item())
    assert bits(log_prob).tolist() == pytest.approx([4, 4, 4])


def test_zukos_densities_hold_in_units_of_levels() -> None:
    """The same image, levels twice as far apart: the density falls by 2 in each of 64 dimensions."""
    training = digits().training
    torch.manual_seed(2)
    one = ZukoDensity("MAF", {"transforms": 1}, training)
    two = ZukoDensity("MAF", {"transforms": 1}, 2 * training)
    two.load_state_dict(one.state_dict() | {"centre": 2 * one.centre, "scale": 2 * one.scale})
    fall = one.log_prob(training[:5]) - two.log_prob(2 * training[:5])
    torch.testing.assert_close(fall, torch.full((5,), 64 * torch.log(torch.tensor(2.0)).item()), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    "case",
    [
        Case("theirs", "zuko", "NICE", {"transforms": 2}),
        Case("ours", "galflow", "maf.MAF", {"layers": 1, "width": 16}),
        Case("discrete", "galflow", "pixelcnn_pp.PixelCNNPP", CASES[-1].options | {"width": 4, "layers": 1}),
    ],
    ids=lambda case: case.label,
)
def test_a_case_of_either_library_is_measured(case: Case) -> None:
    reached = measure(case, seconds=0.5)
    assert 1 < reached.bits < 20
    assert reached.error > 0
    assert "ours" in as_figures({"ours": reached}).text()


@pytest.fixture(scope="module")
def shown() -> dict[str, Reached]:
    return compare(CASES)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ours", list(OURS_AND_NEAREST))
def test_ours_is_no_worse_than_zukos_nearest(ours: str, shown: dict[str, Reached]) -> None:
    nearest = OURS_AND_NEAREST[ours]
    assert shown[ours].bits <= min(shown[nearest].bits, shown[f"{nearest}, wide"].bits)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_pixelcnn_is_ahead_of_all(shown: dict[str, Reached]) -> None:
    others = {label: reached.bits for label, reached in shown.items() if label != "PixelCNN++"}
    assert shown["PixelCNN++"].bits < min(others.values())
