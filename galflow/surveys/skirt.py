"""Galaxies of any simulation as SKIRT rendered them: images in surface brightness, one band a file or cubes.

What a file must say, and what is declared where it is silent (TNG's and other releases' do not say everything): unit,
scale, wavelength, and whether surface brightness is already dimmed to the file's REDSHIFT
(galflow.surveys.reading.skirt_image). RealSim's inputs (Bottrell+19, MNRAS 490, 5390) are: ``light: seen``. Cameras of
one galaxy, and its snapshots where files have {snapshot}, are objects of their own and never parted in training.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from galflow.errors import DataError
from galflow.surveys.base import TileFile
from galflow.surveys.drawing.redshifting import kpc_per_arcsec
from galflow.surveys.reading.files import unchanged
from galflow.surveys.reading.simulated_galaxies import ALL, Galaxy, find_galaxies
from galflow.surveys.reading.simulated_view import SimulatedView
from galflow.surveys.reading.skirt_image import Declared, SkirtImage, check_header, read_layers
from galflow.surveys.simulation import Simulation
from galflow.surveys.simulation_options import OfBands, Positive, SimulationOptions


class SkirtOptions(SimulationOptions):
    """Options of SKIRT's images."""

    pattern: str
    """Paths of the files below root, with {galaxy}, and {band}, {camera} and {snapshot} where these have files of their
    own: photo_{band}_{galaxy}_{snapshot}_{camera}_total.fits."""
    bands: tuple[str, ...] = ("g", "r", "i")
    """Names of the bands, as in the paths."""
    layers: dict[str, Annotated[int, Field(ge=0)]] | None = None
    """Band to layer, from 0 on, where a file is a cube of all."""
    light: Literal["emitted", "seen"]
    """emitted: surface brightness is not dimmed; seen: it is already dimmed to the file's REDSHIFT."""
    unit: str | None = None
    """Unit of the pixels where BUNIT is not there: W/m2/micron/arcsec2, MJy/sr."""
    kpc_per_pixel: Positive | None = None
    """Side of a pixel in proper kpc where the header gives no scale."""
    distance_mpc: Positive | None = None
    """Distance from which images with a scale in angle were made, where the header gives none."""
    wavelength_micron: OfBands | None = None
    """Wavelength of the bands where no header gives it, for units per wavelength."""

    @model_validator(mode="after")
    def _of_bands(self) -> SkirtOptions:
        self.check_bands(self.bands)
        if self.layers is not None and set(self.layers) != set(self.bands):
            raise ValueError(
                f"layers is given for {', '.join(self.layers)}; give a layer for each of {', '.join(self.bands)}"
            )
        if "{galaxy}" not in self.pattern or ("{band}" in self.pattern) is (self.layers is not None):
            raise ValueError(f"pattern is {self.pattern!r}; expected {{galaxy}}, and {{band}} or the option layers")
        return self


class Skirt(Simulation):
    """SKIRT's images; see the module's docstring."""

    Options = SkirtOptions
    options: SkirtOptions

    @property
    def bands(self) -> tuple[str, ...]:
        """The option of that name."""
        return self.options.bands

    @property
    def seen_as_emitted(self) -> bool:
        """As declared."""
        return self.options.light == "emitted"

    def group(self, galaxy: Galaxy) -> str:
        """By name alone: snapshots of one galaxy look alike."""
        return galaxy.name

    @property
    def _declared(self) -> Declared:
        options = self.options
        to_length = functools.partial(kpc_per_arcsec, cosmology=options.cosmology)
        return Declared(to_length, options.unit, options.kpc_per_pixel, options.distance_mpc)

    def _wavelength_m(self, band: str) -> float | None:
        value = self.options.of_band("wavelength_micron", band)
        return None if value is None else value * 1e-6

    def find(self) -> list[Galaxy]:
        """Files of one camera and band each, as far as the pattern tells them apart."""
        return find_galaxies(self.root_uri, [self.options.pattern], self.bands, self.options.snapshot)

    def check(self, galaxy: Galaxy) -> None:
        """Unit and scale of each file."""
        for file in galaxy.files.values():
            check_header(file.uri, self._declared)

    def views(self, galaxy: Galaxy) -> list[SimulatedView]:
        """One a camera; one of which a band is missing or unusable has the reason."""
        of_camera: dict[str, dict[str, TileFile]] = {}
        for (camera, band), file in galaxy.files.items():
            of_camera.setdefault(camera, {})[band] = file
        return [self._view(camera, of_band) for camera, of_band in sorted(of_camera.items())]

    def _view(self, camera: str, of_band: Mapping[str, TileFile]) -> SimulatedView:
        name = "" if camera == ALL else camera
        try:
            images = self._images(of_band)
        except DataError as error:
            return SimulatedView(name, error=str(error))
        first = images[0]
        for image in images[1:]:
            if (image.light.shape, image.redshift) != (first.light.shape, first.redshift) or not np.isclose(
                image.kpc_per_pixel, first.kpc_per_pixel, rtol=1e-6
            ):
                told = f"{image.light.shape}, {image.kpc_per_pixel:g} kpc, z = {image.redshift}"
                expected = f"{first.light.shape}, {first.kpc_per_pixel:g} kpc, z = {first.redshift}"
                uris = ", ".join(file.uri for file in of_band.values())
                return SimulatedView(name, error=f"the bands of {uris} differ: {told}, and {expected}; they must agree")
        light = np.stack([image.light for image in images])
        return SimulatedView(name or (first.camera or ""), light, first.kpc_per_pixel, first.redshift)

    def _images(self, of_band: Mapping[str, TileFile]) -> list[SkirtImage]:
        """The bands in their order."""
        if self.options.layers is not None:
            with unchanged(of_band[ALL]) as uri:
                layers = [self.options.layers[band] for band in self.bands]
                wavelengths = [self._wavelength_m(band) for band in self.bands]
                return read_layers(uri, layers, self._declared, wavelengths)
        images = []
        for band in self.bands:
            if band not in of_band:
                there = ", ".join(file.uri for file in of_band.values())
                raise DataError(f"there is no file for band {band} beside {there}; expected one for each band")
            with unchanged(of_band[band]) as uri:
                images += read_layers(uri, None, self._declared, [self._wavelength_m(band)])
        return images
