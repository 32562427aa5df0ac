"""What a person can say about the single-Sersic population, and what is refused at once because it cannot be meant."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from galflow.spec.run import SurveySpec
from galflow.surveys.base import Options
from galflow.surveys.drawing import galaxies


class SersicMockOptions(Options):
    """Options of the simulated single-Sersic population."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)
    # The identity of each tile holds that of the tile it imitates, and the imitated survey's own options.
    locations: ClassVar[frozenset[str]] = frozenset({"like"})
    later: ClassVar[frozenset[str]] = frozenset({"tiles", "shapes"})

    like: SurveySpec
    """The survey to imitate: kind, options."""
    count: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Mocks for each tile of it."""
    tiles: Annotated[int, Field(ge=1)] | None = None
    """So many of its tiles at most, evenly taken from their list; None: all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything random."""
    stamp_size: Annotated[int, Field(ge=8, le=512)] = 64
    """Side of a mock in pixels."""
    min_separation: Annotated[float, Field(ge=0)] = 3.0
    """Pixels between a mock's centre and the light of any real source: 2.5 half-light radii about its centre."""
    sersic_range: tuple[float, float] = (0.5, 6.0)
    """Sersic indices, drawn evenly in their logarithm; within 0.3 to 6.2."""
    axis_ratio_range: tuple[float, float] = (0.2, 1.0)
    """Axis ratios, drawn evenly."""
    shapes: Literal["drawn", "detected"] = "drawn"
    """detected: axis ratios are those of the objects that give flux and size, the PSF taken out, within that range."""

    @model_validator(mode="after")
    def _consistent(self) -> SersicMockOptions:
        if self.like.selection is not None and self.like.selection.stars is not None:
            raise ValueError("like.select.stars: mocks imitate what regions and rules take; leave stars out here")
        low, high = galaxies.SERSIC_RANGE
        if not low <= self.sersic_range[0] <= self.sersic_range[1] <= high:
            raise ValueError(f"sersic_range is {self.sersic_range}; give (low, high) within {low} to {high}")
        if not 0.05 <= self.axis_ratio_range[0] <= self.axis_ratio_range[1] <= 1.0:
            raise ValueError(f"axis_ratio_range is {self.axis_ratio_range}; give (low, high) within 0.05 to 1")
        return self
