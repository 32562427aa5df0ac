"""What a run publishes: a part of the specification."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from galflow.spec.part import ColumnName, Name, Part

GALLERY = 10_000
"""Objects of a report's gallery, unless the specification says otherwise."""


class OutputSpec(Part):
    """What is published."""

    catalog: Name = "anomalies"
    """The catalogue's name."""
    columns: tuple[str, ...] | None = None
    """Of the survey's and your own columns those that the catalogue carries; all by default."""
    formats: tuple[Literal["parquet", "fits", "votable", "hats"], ...] = ("parquet",)
    """Parquet is always written; fits, votable and hats beside it on request."""
    report: bool = True
    """Whether to write the HTML report."""
    top: Annotated[int, Field(ge=1, le=200)] = 16
    """How many of the most anomalous objects the report shows, and as many random normal ones."""
    gallery: Annotated[int, Field(ge=1, le=20_000)] = GALLERY
    """How many of the highest-ranked objects the report has in its gallery, to sort, filter and enlarge."""
    group_by: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A column of the catalogue, as layer: the report shows the ranking score of each of its values side by side."""
    residuals: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the ranked objects, the most anomalous first, of which pictures are stored: each model's reconstruction,
    and the residual (data minus reconstruction). 0: of none."""
    residuals_of: tuple[str, ...] = ()
    """The models whose residuals are stored; by default all of the survey's that reconstruct."""

    similar: ColumnName | None = None
    """The model in whose latents similar objects are found, and whose latents and residuals help to rank by labels: one
    that encodes, as a VAE or PCA. By default none, and nothing is made."""

    @model_validator(mode="after")
    def _residuals_of_some_objects(self) -> OutputSpec:
        if self.residuals_of and not self.residuals:
            raise ValueError(
                f"residuals_of is {', '.join(self.residuals_of)}, but residuals is 0, so no object's are stored; set "
                "residuals to the share of objects, as 0.01"
            )
        return self

    @property
    def unused(self) -> set[str]:
        """Fields that came later and are not used: a run that was published before them is the same run."""
        found = set() if self.residuals else {"residuals", "residuals_of"}
        found |= {"gallery"} if self.gallery == GALLERY else set()
        return found | ({"similar"} if self.similar is None else set())
