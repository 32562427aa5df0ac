"""Continuous flows: flows some of whose layers are solved (galflow.layers.flows.continuous)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.flows.continuous import SolveRecorder, SolveStats
from galflow.models.shared.flow import Flow


class ContinuousFlow(Flow):
    """A flow some of whose layers are solved.

    The loss is bits per observed dimension plus ``kinetic`` and ``jacobian`` times the integrals of |f|^2 and
    |df/dz|_F^2 over time, per observed dimension too (Finlay+20): straight paths at an even pace take few evaluations.
    """

    kinetic: float = 0.0
    jacobian: float = 0.0

    def regularise(self, kinetic: float, jacobian: float) -> None:
        """Take over the weights of the regularisers."""
        for name, weight in (("kinetic", kinetic), ("jacobian", jacobian)):
            if not (math.isfinite(weight) and weight >= 0):
                raise SpecError(
                    f"{name} is {weight}; the weight of a regulariser is 0 (none) or positive, such as 0.01"
                )
        self.kinetic, self.jacobian = kinetic, jacobian

    def loss(self, batch: Batch, player: str) -> Tensor:
        """Bits per observed pixel and band plus the regularisers, solved at the training's tolerance."""
        with SolveRecorder(self, training=True) as recorder:
            bits = super().loss(batch, player)
        effort = recorder.total()
        extra = self.kinetic * effort.kinetic.sum() + self.jacobian * effort.jacobian.sum()
        return bits + extra / batch.observed.sum().clamp_min(1)

    @torch.no_grad()
    def effort(self, batch: Batch) -> SolveStats:
        """What the densities of a batch take at their own tolerance: (B,) function evaluations of each object."""
        with SolveRecorder(self, training=False) as recorder:
            self.to_base(batch)
        return recorder.total()

    @torch.no_grad()
    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """Function evaluations per object: their mean, and the largest, which the whole batch waits for."""
        nfe = self.effort(batch).nfe
        return {"nfe_mean": float(nfe.mean()), "nfe_max": float(nfe.max())}
