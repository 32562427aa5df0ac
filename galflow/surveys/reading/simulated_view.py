"""One camera's view of one simulated galaxy, in galflow's units and free of noise; or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class SimulatedView:
    """A galaxy seen from one side."""

    camera: str
    light: np.ndarray | None = None
    """(band, y, x) nJy per square arcsecond, 0 where empty, as the file has it: dimmed or not; None: unreadable."""
    kpc_per_pixel: float = 0.0
    """Proper side of a pixel."""
    redshift: float | None = None
    """Of the snapshot, or that at which the file's image was made; None: the file does not say."""
    columns: Mapping[str, float] = field(default_factory=dict)
    """What else the file says of it, as camera_theta."""
    error: str | None = None
    """Why there is no light."""
