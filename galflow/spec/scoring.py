"""How objects are scored and calibrated: a part of the specification. It scores nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from galflow.spec.part import Part


class ScoringSpec(Part):
    """How objects are scored."""

    primary: str | None = None
    """The score that ranks, as wgan_anomaly; by default what finds most of the anomalies that a run paints itself."""
    batch_objects: Annotated[int, Field(ge=1)] = 128
    """Objects on the device at a time. On a CPU more than its caches hold is slower; give a GPU thousands."""
    triage: bool = True
    """Measure each object for the triage and for its rank among its like; costs about half of what a VAE does."""
    trim_reference: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    """Largest share of the held-out objects that may be left out of the reference of what ranks, because their own
    fitted tail expects no such score. For a survey of which some percent are anomalies: held-out ones make every
    p-value large. It assumes that tail, where p-values otherwise assume nothing: where it is heavier, q promises too
    much. 0 leaves out none."""
