"""Which kind of source a model is: a Flow-VAE draws light, a WGAN or a VQ-VAE-2 pictures to pick from."""

from __future__ import annotations

from galflow.emulation.galaxies import Emulator
from galflow.emulation.picked import PICKED_MODELS, PickedGalaxies
from galflow.emulation.source import GalaxySource
from galflow.spec.emulation import EmulationSpec
from galflow.training.trained_model import load_uri


def load_source(spec: EmulationSpec) -> GalaxySource:
    """The model at the specification's URI with its telescope; SpecError if they do not go together."""
    model = load_uri(spec.model, spec.store.endpoint_url)
    if isinstance(model.module, PICKED_MODELS):
        return PickedGalaxies.of(spec, model)
    return Emulator.of(spec, model)
