"""What a person can say about the synthetic survey, and what is refused at once because it cannot be meant."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from galflow.errors import SpecError
from galflow.surveys.base import Options
from galflow.surveys.drawing.anomalies import KINDS, check_kinds

MOST_OBJECTS = 1_000_000
Magnitude = Annotated[float, Field(ge=-50, le=50)]


class SyntheticOptions(Options):
    """Options of the synthetic survey."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)
    # A tile's identity says which tile and which revision it is; another number of tiles changes none of them.
    locations: ClassVar[frozenset[str]] = frozenset({"tiles", "revision"})
    later: ClassVar[frozenset[str]] = frozenset({"arms"})

    tiles: Annotated[int, Field(ge=1, le=1_000)] = 2
    """Number of tiles, side by side in right ascension."""
    tile_size: Annotated[int, Field(ge=64, le=8192)] = 512
    """Side of a tile in pixels."""
    overlap_pixels: Annotated[int, Field(ge=0)] = 32
    """Columns that neighbouring tiles share."""
    bands: tuple[str, ...] = ("g", "r", "i")
    """Bands, blue to red."""
    objects_per_tile: Annotated[int, Field(ge=1, le=100_000)] = 60
    """Galaxies in each tile, on a jittered grid."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of everything."""
    pixel_scale_arcsec: Annotated[float, Field(gt=0)] = 0.2
    """Arcseconds in a pixel."""
    psf_fwhm_arcsec: Annotated[float, Field(gt=0)] = 0.7
    """FWHM of the PSF (Moffat), the same in all bands."""
    sky_sigma_njy: tuple[Annotated[float, Field(gt=0)], ...] = (10.0, 12.0, 15.0)
    """Sigma of a pixel's white noise in nJy, one number a band or one for all."""
    magnitude_range: tuple[Magnitude, Magnitude] = (19.0, 23.0)
    """AB magnitudes of the galaxies in the last band; numbers grow as 10^(0.3 m)."""
    arms: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of each disc's light in clumps along two spiral arms: form at equal magnitude, size and index."""
    anomaly_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of galaxies with an anomaly painted over them."""
    anomaly_kinds: tuple[str, ...] = KINDS
    """Which kinds of anomaly."""
    anomaly_side: Annotated[int, Field(ge=16, le=256)] = 64
    """Side in pixels of the square around a galaxy within which its anomaly is painted."""
    give_ivar: bool = True
    """Whether images come with their inverse variance, or leave it to be measured."""
    catalog: Literal["truth", "tile_truth", "detect"] = "truth"
    """One true catalogue for all tiles, the truth tile by tile, or galflow's own detection."""
    revision: dict[str, int] = Field(default_factory=dict)
    """Tile name to revision: another revision is another realisation of that tile's noise, as an upstream update."""

    @model_validator(mode="after")
    def _consistent(self) -> SyntheticOptions:
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise ValueError(f"bands are {self.bands}; give at least one, each once")
        if len(self.sky_sigma_njy) not in (1, len(self.bands)):
            raise ValueError(f"sky_sigma_njy has {len(self.sky_sigma_njy)} numbers; give one, or {len(self.bands)}")
        if self.tiles * self.objects_per_tile > MOST_OBJECTS:
            raise ValueError(
                f"{self.tiles:,} tiles of {self.objects_per_tile:,} objects_per_tile are more than {MOST_OBJECTS:,} "
                "galaxies, which one catalogue holds in memory; give fewer"
            )
        if 2 * self.overlap_pixels >= self.tile_size:
            raise ValueError(f"overlap_pixels is {self.overlap_pixels}; give less than half of tile_size")
        if not self.magnitude_range[0] < self.magnitude_range[1]:
            raise ValueError(f"magnitude_range is {self.magnitude_range}; give (bright, faint)")
        if self.anomaly_fraction > 0 and not self.anomaly_kinds:
            raise ValueError("anomaly_kinds is empty; name at least one, or set anomaly_fraction to 0")
        try:
            check_kinds(self.anomaly_kinds)
        except SpecError as error:
            raise ValueError(str(error)) from error
        return self

    def declared_fwhm_arcsec(self, band: str) -> float | None:
        """The option, of every band."""
        return self.psf_fwhm_arcsec
