"""Continuous flows against the determinant of the whole solve, and their regularisers against formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.flows.continuous import Continuous, Dynamics, SolveRecorder, Solvers, VelocityAndTrace
from galflow.layers.flows.ode import Solver
from galflow.layers.flows.transform import FlowState
from galflow.models.ffjord import FFJORD
from galflow.models.ffjord_latent import FFJORDLatent
from galflow.models.ffjord_multiscale import FFJORDMultiscale
from galflow.models.planar_cnf import PlanarCNF
from galflow.models.shared.continuous import ContinuousFlow

BUILD: dict[str, Callable[[float], ContinuousFlow]] = {
    "planar": lambda t: PlanarCNF(channels=2, size=4, units=6, tolerance=t),
    "ffjord": lambda t: FFJORD(channels=2, size=4, width=12, tolerance=t),
    "latent": lambda t: FFJORDLatent(channels=2, size=4, coarse=2, width=12, detail_width=6, tolerance=t),
    "multiscale": lambda t: FFJORDMultiscale(channels=2, size=4, width=6, levels=2, tolerance=t),
}


def build(kind: str, tolerance: float = 1e-5) -> ContinuousFlow:
    """Random, strong dynamics."""
    torch.manual_seed(1)
    flow = BUILD[kind](tolerance)
    flow.initialise(pixels(32))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow


def pixels(n: int, seed: int = 2) -> Batch:
    return Batch.of(0.3 + 0.5 * torch.randn(n, 2, 4, 4, generator=torch.Generator().manual_seed(seed)))


def holes(batch: Batch) -> Batch:
    """A third of the pixels missing; among them, in the first object, a whole 2 x 2 block of one band."""
    observed = torch.rand(batch.pixels.shape, generator=torch.Generator().manual_seed(3)) > 0.33
    observed[0, 1, :2, :2] = False
    return Batch(batch.pixels, observed)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", BUILD)
def test_log_det_is_that_of_the_whole_solve(kind: str, missing: bool) -> None:
    """Of the map from observed pixels to observed base values, by autograd, in float64 at a tight tolerance."""
    flow = build(kind, 1e-8).double()
    batch = pixels(2)
    batch = holes(batch) if missing else batch
    for i in range(len(batch)):
        one = batch[i : i + 1]
        at = flow.to_base(one)
        # As many copies of the object as there are base values: copy d has the gradient of value d, in one pass.
        copies = Batch(
            one.pixels.double().expand(32, 2, 4, 4).clone().requires_grad_(), one.observed.expand(32, 2, 4, 4)
        )
        values = flow.to_base(copies).values.flatten(1)
        jacobian = torch.autograd.grad(values.diagonal().sum(), copies.pixels)[0].flatten(1)
        seen, kept = one.observed.flatten(), at.mask.flatten().bool()
        assert seen.sum() == kept.sum() == (32 if not missing else seen.sum())
        assert not jacobian[:, ~seen].any()
        assert not jacobian[~kept].any()
        log_det = torch.linalg.slogdet(jacobian[kept][:, seen]).logabsdet
        assert float(at.log_det.detach()) == pytest.approx(float(log_det), abs=1e-5)


@pytest.mark.parametrize("kind", BUILD)
def test_inverse(kind: str) -> None:
    flow, batch = build(kind), pixels(6)
    with torch.no_grad():
        latents = flow.encode(batch)
        assert latents.shape == (6, 32)
        torch.testing.assert_close(flow.decode(latents), batch.pixels, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", BUILD)
def test_a_score_does_not_depend_on_who_shares_the_batch(kind: str) -> None:
    flow, batch = build(kind), pixels(6)
    missing = holes(batch)
    mixed = Batch(batch.pixels, torch.where(torch.arange(6)[:, None, None, None] < 3, missing.observed, True))
    extreme = Batch(torch.cat([mixed.pixels, 1e4 * batch.pixels[:1]]), torch.cat([mixed.observed, batch.observed[:1]]))
    together = flow.score(extreme)["bits_per_dim"]
    assert together.isfinite().all()
    assert together[6] > together[:6].max()
    alone = torch.cat([flow.score(mixed[i : i + 1])["bits_per_dim"] for i in range(6)])
    torch.testing.assert_close(together[:6], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", BUILD)
def test_evaluations_are_what_the_networks_were_called(kind: str) -> None:
    flow, batch = build(kind), pixels(4)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    solved = [layer for layer in flow.modules() if isinstance(layer, Continuous)]
    for layer in solved:
        layer.dynamics.clock.register_forward_hook(count)  # type: ignore[union-attr]
    effort = flow.effort(batch[:1])
    assert float(effort.nfe[0]) == calls
    assert len(solved) == (2 if kind == "multiscale" else 1)
    calls = 0
    said = flow.diagnostics(batch)
    assert said["nfe_mean"] <= said["nfe_max"]
    assert said["nfe_max"] <= calls
    assert calls == said["nfe_max"] or kind == "multiscale"
    assert all(layer.recorder is None for layer in solved)


def test_autocast_does_not_reach_into_a_solve() -> None:
    flow, batch = build("ffjord"), pixels(5)
    nfe, latents, drawn = flow.effort(batch).nfe, flow.encode(batch), flow.sample(3, torch.Generator().manual_seed(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(flow.effort(batch).nfe, nfe)
        assert torch.equal(flow.encode(batch), latents)
        assert torch.equal(flow.sample(3, torch.Generator().manual_seed(1)), drawn)


class Linear(Dynamics):
    """dz/dt = A z."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def trace_terms(self, mask: Tensor) -> tuple[Tensor]:
        return (mask @ self.matrix.diagonal(),)

    def velocity(self, time: Tensor, at: Tensor) -> Tensor:
        return at @ self.matrix.T

    def velocity_and_trace(
        self, time: Tensor, at: Tensor, mask: Tensor, trace_terms: tuple[Tensor, ...], probe: Tensor | None
    ) -> VelocityAndTrace:
        tangent = None if probe is None else (probe @ self.matrix.T) * mask
        return VelocityAndTrace(self.velocity(time, at) * mask, trace_terms[0], tangent)


MATRIX = torch.tensor([[0.3, -0.8, 0.1], [0.5, -0.4, 0.6], [-0.2, 0.9, 0.2]], dtype=torch.float64)


def many(n: int) -> FlowState:
    values = torch.tensor([[1.0, -0.5, 0.7]], dtype=torch.float64).expand(n, 3)
    return FlowState(values, torch.ones_like(values), values.new_zeros(n))


def layer(trace: str = "exact") -> Continuous:
    return Continuous(Linear(MATRIX), Solvers(Solver(1e-9), Solver(1e-9), trace))


def test_regularisers_are_the_integrals_that_they_stand_for() -> None:
    """Against Simpson's rule along the exact path, and |A e|^2, which has the expectation |A|_F^2."""
    solved = layer()
    with SolveRecorder(solved, training=True) as recorder:
        torch.manual_seed(4)
        solved(many(4000))
    effort = recorder.total()
    times = torch.linspace(0, 1, 201, dtype=torch.float64)
    speed = torch.stack([(MATRIX @ torch.matrix_exp(t * MATRIX) @ many(1).values[0]).square().sum() for t in times])
    weights = torch.tensor([1.0, *[4.0, 2.0] * 99, 4.0, 1.0], dtype=torch.float64) / 600
    torch.testing.assert_close(effort.kinetic, (weights @ speed).expand(4000), rtol=1e-7, atol=1e-7)
    torch.manual_seed(4)
    signs = torch.randint_like(many(4000).mask, 2) * 2 - 1
    torch.testing.assert_close(effort.jacobian, (signs @ MATRIX.T).square().sum(1))
    scatter = float(effort.jacobian.std()) / math.sqrt(4000)
    assert abs(float(effort.jacobian.mean() - MATRIX.square().sum())) < 4 * scatter


def test_hutchinsons_estimate_is_unbiased_and_its_probe_fixed_along_a_solve() -> None:
    solved = layer("hutchinson")
    with SolveRecorder(solved, training=True):
        torch.manual_seed(5)
        log_det = solved(many(4000)).log_det
    torch.manual_seed(5)
    signs = torch.randint_like(many(4000).mask, 2) * 2 - 1
    # A probe that changed within a solve would average: here each log|det| is one probe's value, to the digit.
    torch.testing.assert_close(log_det, torch.einsum("bi,ij,bj->b", signs, MATRIX, signs))
    assert abs(float(log_det.mean() - MATRIX.trace())) < 4 * float(log_det.std()) / math.sqrt(4000)
    torch.testing.assert_close(solved(many(2)).log_det, MATRIX.trace().expand(2), msg="densities must be exact")


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_the_loss_is_bits_per_dimension_plus_the_regularisers(trace: str) -> None:
    torch.manual_seed(6)
    flow = FFJORD(channels=2, size=4, width=8, kinetic=0.3, jacobian=0.2, trace=trace, training_tolerance=1e-6)
    batch = holes(pixels(64))
    torch.manual_seed(7)
    loss = flow.loss(batch, "flow")
    torch.manual_seed(7)
    with SolveRecorder(flow, training=True) as recorder:
        bits = -flow.log_prob(batch).sum() / math.log(2)
    effort = recorder.total()
    expected = (bits + 0.3 * effort.kinetic.sum() + 0.2 * effort.jacobian.sum()) / batch.observed.sum()
    torch.testing.assert_close(loss, expected)
    assert (effort.kinetic > 0).all()
    exact = -flow.log_prob(batch).sum() / math.log(2)
    assert torch.isclose(bits, exact, rtol=1e-5) == (trace == "exact")


def test_without_regularisers_the_loss_draws_no_random_numbers() -> None:
    flow = FFJORD(channels=2, size=4, width=8, kinetic=0.0, jacobian=0.0)
    state = torch.get_rng_state()
    loss = flow.loss(pixels(4), "flow")
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(loss.detach(), flow.score(pixels(4))["bits_per_dim"].mean(), rtol=1e-3, atol=1e-3)


def test_an_open_journal_closes_even_after_an_error() -> None:
    flow = build("ffjord")
    with pytest.raises(RuntimeError, match="on purpose"), SolveRecorder(flow, training=True):
        raise RuntimeError("on purpose")
    assert all(part.recorder is None for part in flow.modules() if isinstance(part, Continuous))


def test_refusals() -> None:
    with pytest.raises(SpecError, match=r"kinetic is -1; the weight of a regulariser is 0 \(none\) or positive"):
        FFJORD(channels=1, size=4, kinetic=-1)
    with pytest.raises(SpecError, match=r"jacobian is nan; the weight of a regulariser"):
        FFJORDLatent(channels=1, size=4, jacobian=float("nan"))
    with pytest.raises(SpecError, match=r"trace is 'guess'; a continuous flow trains on the 'exact' or 'hutchinson'"):
        FFJORD(channels=1, size=4, trace="guess")
    with pytest.raises(SpecError, match=r"blocks is 0; each scale needs at least one ODE"):
        FFJORDMultiscale(channels=1, size=4, blocks=0)
