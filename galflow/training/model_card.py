"""The card of a trained model: what it is, what it was made of, and how well that went."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from galflow.spec.neighbours import Neighbours
from galflow.storage.checksums import FileSum
from galflow.training.learning_curve import CurvePoint
from galflow.training.stretch_card import StretchCard


class ModelCard(BaseModel):
    """What a trained model is, what it was made of, and how well that went."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    name: str
    model: str
    """As "wgan.WGAN"."""
    model_version: str
    source: str
    """The paper."""
    arguments: dict[str, Any]
    """The constructor's, channels and size among them."""
    cutouts: dict[str, Any]
    """The cutout specification."""
    bands: tuple[str, ...]
    unit: str
    """Of the flux before the stretch: nJy, or declared counts."""
    display_white: tuple[float, ...] | None = None
    """White per band of pictures that were stretched for display before galflow saw them; None: of flux."""
    stretch: StretchCard
    neighbours: Neighbours = "keep"
    """What it sees of other objects in a cutout."""
    bin_width: float | None
    """Width in stretched units of the bins whose mass a Density states; None: a density, or no Density at all."""
    training: dict[str, Any]
    """Settings, seed, fingerprints of the cutout sets, objects per split."""
    curves: tuple[CurvePoint, ...]
    metrics: dict[str, float]
    scores: dict[str, str]
    """Name -> what it measures; higher = more anomalous."""
    main_score: str
    abilities: dict[str, bool]
    fingerprint: str
    code_version: str
    files: dict[str, FileSum] = {}
    """What weights and reference distributions must be."""
