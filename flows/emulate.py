"""The flow of an emulated survey: a trained model's galaxies at a catalogue's places, under a chosen telescope."""

from __future__ import annotations

from prefect import flow
from prefect.states import State

from flows.beginning import begun_emulation
from flows.run_state import RunOutcome, stage_end
from galflow.spec.emulation import EmulationSpec
from tasks.emulated import draw_tiles


@flow(name="emulate", persist_result=False)
def emulate(spec: EmulationSpec) -> State[RunOutcome]:
    """Emulate a survey: FITS tiles with noise, inverse variance, PSF and the truth."""
    with begun_emulation(spec) as reached:
        found = draw_tiles(reached)
    return stage_end(RunOutcome(None, tuple(found.failures), tuple(found.partial)))
