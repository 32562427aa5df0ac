"""Illustris galaxies as Sunrise rendered them: broadband images of several cameras, without noise, PSF and dimming.

Files are those of the project's "stellar mocks" (Torrey+15, MNRAS 447, 2753), under the names that its API gives them:
``broadband_<subhalo>.fits``, ``broadband_rest_<subhalo>.fits``, or the API's own path. What is inside:
galflow.surveys.reading.sunrise. Their light is as emitted, so that it is dimmed here, once. A file whose images do not
sum to its own magnitudes costs that view, with the reason.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from galflow.surveys.reading import sunrise
from galflow.surveys.reading.files import unchanged
from galflow.surveys.reading.simulated_galaxies import ALL, Galaxy, find_galaxies
from galflow.surveys.reading.simulated_view import SimulatedView
from galflow.surveys.simulation import Simulation
from galflow.surveys.simulation_options import SimulationOptions

SDSS_FILTERS = {band: f"{band}_SDSS.res" for band in "gri"}


class IllustrisOptions(SimulationOptions):
    """Options of Sunrise's broadband files."""

    pattern: str | tuple[str, ...] = (
        "**snapshots/{snapshot}/subhalos/{galaxy}/stellar_mocks/broadband.fits",
        "**broadband_rest_{galaxy}.fits",
        "**broadband_{galaxy}.fits",
    )
    """Paths of the files below root, with {galaxy} (the subhalo id) and, where there are several, {snapshot}."""
    bands: dict[str, str] = Field(default_factory=lambda: dict(SDSS_FILTERS))
    """Band to the name of its filter in the files."""
    cameras: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Cameras to take, as (0, 1); by default all of a file."""
    dust: bool = False
    """Take the images with dust (CAMERA<n>-BROADBAND) instead of those without (-NONSCATTER)."""
    light: Literal["emitted", "seen"] = "emitted"
    """emitted: not dimmed; seen: already dimmed to the file's redshift."""
    magnitude_tolerance: Annotated[float, Field(gt=0)] = 0.05
    """Magnitudes by which an image's sum may differ from the file's own magnitude."""

    @model_validator(mode="after")
    def _of_bands(self) -> IllustrisOptions:
        self.check_bands(tuple(self.bands))
        for pattern in self.patterns:
            if "{galaxy}" not in pattern or "{camera}" in pattern or "{band}" in pattern:
                raise ValueError(
                    f"pattern is {pattern!r}; expected {{galaxy}}, for a file holds all cameras and bands of one"
                )
        return self

    @property
    def patterns(self) -> tuple[str, ...]:
        """The option pattern, one or several."""
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern


class Illustris(Simulation):
    """Illustris; see the module's docstring."""

    Options = IllustrisOptions
    options: IllustrisOptions

    @property
    def bands(self) -> tuple[str, ...]:
        """Those of the option."""
        return tuple(self.options.bands)

    @property
    def seen_as_emitted(self) -> bool:
        """As declared."""
        return self.options.light == "emitted"

    def find(self) -> list[Galaxy]:
        """A file a galaxy, with all its cameras and filters."""
        return find_galaxies(self.root_uri, self.options.patterns, self.bands, self.options.snapshot)

    def check(self, galaxy: Galaxy) -> None:
        """By the names of the file's extensions."""
        sunrise.recognised_cameras(galaxy.files[ALL, ALL].uri, dust=self.options.dust)

    def views(self, galaxy: Galaxy) -> list[SimulatedView]:
        """One a camera."""
        options = self.options
        with unchanged(galaxy.files[ALL, ALL]) as uri:
            return sunrise.read_views(
                uri, options.bands, options.cameras, dust=options.dust, tolerance_mag=options.magnitude_tolerance
            )
