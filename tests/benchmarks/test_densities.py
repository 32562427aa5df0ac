"""The comparison of flows in the plane: its loop and its table, and (marked full) the thresholds it has to show."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.densities import CASES, Case, Excess, OnDensity, as_figures, build, compare, measure
from benchmarks.density_training import train
from benchmarks.tables import Figures
from benchmarks.targets2d import targets

WITHIN = {"ring": 0.05, "moons": 0.05, "checkerboard": 0.10}
"""Nats above the entropy."""
TO_SHOW = [case for case in CASES if case.label.startswith(("FFJORD", "MAF, splines", "TAN, linear"))]


class Bowl(nn.Module):
    """(w - 3)^2, least at 3."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def loss(self) -> Tensor:
        return (self.w - 3).square().sum()


def test_the_loop_finds_the_minimum_within_its_budget() -> None:
    bowl = Bowl()
    trained = train(bowl, bowl.loss, lambda: float(bowl.loss()), seconds=1.0, rate=0.05)
    assert float(bowl.w.detach()) == pytest.approx(3, abs=0.01)
    assert float(bowl.frozen) == 1
    assert trained.best == pytest.approx(float(bowl.loss().detach()), abs=1e-12)
    assert 1 <= trained.seconds < 1.5
    assert not bowl.training


def test_the_best_validated_weights_are_kept_not_the_last() -> None:
    bowl = Bowl()
    train(bowl, bowl.loss, lambda: float((bowl.w - 1).abs()), seconds=1.0, rate=0.01)
    assert abs(float(bowl.w.detach()) - 1) < abs(3 - 1) / 2


def test_a_table_shows_words_and_numbers() -> None:
    figures = Figures("title", ("form", "ring"), {"NICE": ("additive", 0.5), "a": ("x", 1.23456)})
    assert figures.text().splitlines()[0] == "title"
    assert [line.split() for line in figures.text().splitlines()[1:]] == [
        ["form", "ring"],
        ["NICE", "additive", "0.500"],
        ["a", "x", "1.235"],
    ]
    assert figures.to_json()["rows"] == {"NICE": {"form": "additive", "ring": 0.5}, "a": {"form": "x", "ring": 1.23456}}


def test_every_flow_of_the_issue_has_its_row_and_can_be_built() -> None:
    for flow in ("NICE", "RealNVP", "Glow", "planar NF", "reverse-NF", "MAF", "TAN", "planar CNF", "FFJORD"):
        assert any(case.label.startswith(flow) for case in CASES), flow
    for case in CASES:
        assert build(case, targets()[0]).size == 1


def test_the_planar_flow_is_shown_a_finite_density_everywhere() -> None:
    flow = build(next(case for case in CASES if case.label == "planar NF"), targets()[2])
    assert isinstance(flow, OnDensity)
    points = torch.tensor([[1.0, 1.0], [1.0, -1.0], [50.0, 0.0]])
    shown = flow.log_target(points[:, :, None, None])
    assert shown.isfinite().all()
    assert shown[0] > shown[1] > shown[2]


def test_a_case_is_measured_on_a_target_and_stands_in_the_table() -> None:
    case = Case("MAF", "maf.MAF", {"layers": 1, "width": 8}, form="affine")
    excess = measure((case, 1), seconds=0.5)
    assert excess.steps > 1
    assert -4 * excess.error < excess.nats < 5
    table = as_figures({"MAF": dict.fromkeys(WITHIN, excess)}, [case])
    assert table.rows["MAF"][:4] == ("affine", excess.nats, excess.nats, excess.nats)


@pytest.fixture(scope="module")
def shown() -> dict[str, dict[str, Excess]]:
    return compare(TO_SHOW)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", list(WITHIN))
def test_free_and_autoregressive_flows_come_within_reach_of_the_entropy(
    target: str, shown: dict[str, dict[str, Excess]]
) -> None:
    reached = {label: by_target[target] for label, by_target in shown.items()}
    assert all(excess.nats > -4 * excess.error for excess in reached.values()), "below the entropy: no density"
    assert reached["FFJORD"].nats <= WITHIN[target]
    assert min(excess.nats for label, excess in reached.items() if label != "FFJORD") <= WITHIN[target]
