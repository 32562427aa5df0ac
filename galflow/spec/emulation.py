"""What a person writes to have a survey emulated: whose galaxies, where they lie, and which telescope sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from galflow.errors import SpecError
from galflow.photometry import njy_per_count
from galflow.spec.cluster import ClusterSpec
from galflow.spec.document import read_document
from galflow.spec.part import ColumnName, Name, Part, describe
from galflow.spec.store import StoreSpec


class EmulatedBand(Part):
    """One band of the telescope."""

    of: Annotated[tuple[str, ...], Field(min_length=1)]
    """Bands of the model whose mean this band sees, one for a band that both have."""
    psf_fwhm_arcsec: Annotated[float, Field(gt=0, le=60)]
    """FWHM of its effective PSF, a round Gaussian or Moffat profile."""
    moffat_beta: Annotated[float, Field(gt=1, le=100)] | None = None
    """Exponent of a Moffat profile, as 2.5 to 4 from the ground; without it a Gaussian."""
    sky_sigma_njy: Annotated[float, Field(gt=0)]
    """Standard deviation of its white noise in a pixel, in nJy."""
    zero_point: Annotated[float, Field(ge=-50, le=50)] | None = None
    """AB magnitude of one count in its files; without it they are in nJy."""

    @property
    def njy_per_count(self) -> float:
        """nJy in one count of its files."""
        return 1.0 if self.zero_point is None else njy_per_count(self.zero_point)


class Telescope(Part):
    """What sees the emulated galaxies."""

    pixel_scale_arcsec: Annotated[float, Field(gt=0, le=60)]
    """Side of a pixel."""
    bands: Annotated[dict[ColumnName, EmulatedBand], Field(min_length=1)]
    """Name of each band -> how it sees."""


class EmulatedObjects(Part):
    """The catalogue of what lies where."""

    path: Annotated[str, Field(min_length=1)]
    """FITS, Parquet, VOTable, HDF5, CSV, ECSV or HATS, with positions, and every column that the model is given."""
    columns: dict[str, str] = Field(default_factory=dict)
    """object_id, ra_deg, dec_deg and the model's conditions -> the file's names, where they differ."""


class EmulationSpec(Part):
    """An emulated survey."""

    name: Name
    """Of the survey; its files lie below emulated/NAME."""
    model: Annotated[str, Field(min_length=1)]
    """URI of a trained model's folder, as `galflow show RUN` lists it: a Flow-VAE, or a WGAN or VQ-VAE-2, then for a
    telescope with the pixels and the PSF of the survey that it learnt from."""
    model_pixel_scale_arcsec: Annotated[float, Field(gt=0, le=60)]
    """Side of a pixel of the survey that the model learnt from."""
    objects: EmulatedObjects
    """What lies where."""
    telescope: Telescope
    """What sees it."""
    tile_size: Annotated[int, Field(ge=64, le=20_000)] = 2000
    """Side of a tile in pixels."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of shapes and noise: the same seed gives the same files."""
    draws: Annotated[int, Field(ge=64, le=1_000_000)] = 4096
    """Of a WGAN or VQ-VAE-2: so many galaxies are drawn, of which each row of the catalogue gets one that is as bright
    and as large."""
    store: StoreSpec = StoreSpec()
    cluster: ClusterSpec = ClusterSpec()

    @model_validator(mode="after")
    def _reads_sharply_enough(self) -> EmulationSpec:
        for name, band in self.telescope.bands.items():
            if band.psf_fwhm_arcsec < self.telescope.pixel_scale_arcsec:
                raise ValueError(
                    f"telescope.bands.{name}: a PSF of {band.psf_fwhm_arcsec:g} arcsec is narrower than a pixel of "
                    f"{self.telescope.pixel_scale_arcsec:g}; an effective PSF holds the pixel's own width"
                )
        return self


def load_emulation(path: str | Path, root: str | None = None) -> EmulationSpec:
    """The EmulationSpec of a YAML file; ``root`` replaces the store's root. SpecError if it is not valid."""
    try:
        spec = EmulationSpec.model_validate(read_document(path))
    except ValidationError as error:
        raise SpecError(describe(error, str(path))) from None
    if root is None:
        return spec
    return spec.model_copy(update={"store": spec.store.model_copy(update={"root": root})})
