"""Where an emulated survey's galaxies come from: what every source of them tells a tile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from galflow.errors import SpecError
from galflow.photometry import NJY
from galflow.spec.emulation import EmulationSpec
from galflow.training.trained_model import TrainedModel

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DrawnGalaxies:
    """Some galaxies as the telescope sees them."""

    stamps: Mapping[str, npt.NDArray[np.float32]]
    """Band -> (n, s, s) flux in nJy, in the telescope's pixels."""
    known: Mapping[str, npt.NDArray[np.generic]]
    """Column -> (n,) what is true of them."""
    noise_variance: Mapping[str, Floats] = field(default_factory=dict)
    """Band -> (n,) variance of the noise that a stamp brings with it, nJy^2; without a band: none."""


class GalaxySource(ABC):
    """A trained model and the telescope that looks at what it draws."""

    spec: EmulationSpec
    model: TrainedModel

    @property
    @abstractmethod
    def conditions(self) -> tuple[str, ...]:
        """The catalogue columns by which a galaxy is drawn or chosen."""

    @property
    @abstractmethod
    def stamp_size(self) -> int:
        """Side of the stamps in the telescope's pixels, odd."""

    @abstractmethod
    def draw(self, object_id: npt.NDArray[np.integer], conditions: Floats, dy: Floats, dx: Floats) -> DrawnGalaxies:
        """Galaxies of ids (n,) and conditions (n, K), NaN: unknown, (dy, dx) (n,) pixels off the central pixel."""

    @property
    def left_out(self) -> set[str]:
        """Fields of the specification that change nothing of what this source draws."""
        return set()


def require_bands(spec: EmulationSpec, model: TrainedModel) -> None:
    """SpecError if the telescope asks for bands, or the model learnt from a unit, that cannot be meant."""
    card = model.card
    if card.unit != NJY:
        raise SpecError(f"model: {spec.model} learnt from {card.unit}; a telescope needs galaxies in nJy")
    for name, band in spec.telescope.bands.items():
        unknown = [of for of in band.of if of not in card.bands]
        if unknown:
            raise SpecError(
                f"telescope.bands.{name}.of: the model has no band {unknown[0]!r}; it has {', '.join(card.bands)}"
            )
