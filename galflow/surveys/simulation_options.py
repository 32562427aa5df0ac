"""What a person can say about how simulated galaxies are observed; what cannot be meant is refused at once."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from galflow.spec.run import SurveySpec
from galflow.surveys.base import Options
from galflow.surveys.drawing.redshifting import Cosmology, Dimming
from galflow.surveys.reading.detection import DetectionOptions

Step = Literal["dimming", "rebinning", "psf", "sky", "selection"]
STEPS: tuple[Step, ...] = ("dimming", "rebinning", "psf", "sky", "selection")
Positive = Annotated[float, Field(gt=0)]
OfBands = Positive | dict[str, Positive]
"""One number for all bands, or band to number."""


class SelectionOptions(Options):
    """What the survey would have found: a mock that it would not is kept and does not count."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)

    detection: DetectionOptions = DetectionOptions()
    """How objects are found in the mock images; a mock that is not found does not count."""
    minimum_snr: Positive | None = None
    """Least signal-to-noise of the detection."""
    band: str | None = None
    """Band of magnitude_range; by default the first."""
    magnitude_range: tuple[float, float] | None = None
    """AB magnitudes (bright, faint) as detected."""
    half_light_radius_arcsec: tuple[Annotated[float, Field(ge=0)], Positive] | None = None
    """Half-light radii (least, largest) as detected, PSF included."""

    @model_validator(mode="after")
    def _consistent(self) -> SelectionOptions:
        for name in ("magnitude_range", "half_light_radius_arcsec"):
            limits = getattr(self, name)
            if limits is not None and not limits[0] < limits[1]:
                raise ValueError(f"{name} is {limits}; give the smaller number first")
        return self


class SimulationOptions(Options):
    """How simulated galaxies are observed; where they lie is for each kind to say."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)
    # Which files a tile has, with their checksums, is in its identity; so are the tables' and the imitated tile.
    locations: ClassVar[frozenset[str]] = frozenset(
        {"root", "properties", "redshift_catalog", "psf_images", "like", "galaxies_per_tile"}
    )

    root: str
    """Folder or URI; ${NAME} is replaced from the environment."""
    snapshot: Annotated[int, Field(ge=0)] | None = None
    """Snapshot of all galaxies, where their paths do not say it by {snapshot}."""
    properties: str | None = None
    """Table of the galaxies (CSV, FITS, Parquet): stellar mass, size, star formation; ${NAME} is replaced."""
    properties_id: str = "subhalo_id"
    """Its column of subhalo ids or galaxies' names."""
    properties_snapshot: str | None = None
    """Its column of snapshots, where it has several."""
    property_columns: dict[str, str] = Field(default_factory=dict)
    """Its columns to take, its name to catalogue name; by default all. A column group replaces the galaxy's own."""
    steps: tuple[Step, ...] = STEPS
    """What is done to the images; leave one out to switch it off."""
    redshift: Positive | None = None
    """Where all galaxies are put; by default where their files say they are."""
    redshift_catalog: str | None = None
    """A survey's catalogue from which each galaxy draws its redshift instead; ${NAME} is replaced."""
    redshift_column: str = "z"
    """Its column of redshifts."""
    redshift_range: tuple[Annotated[float, Field(ge=0)], Positive] | None = None
    """Only its redshifts within this range are drawn."""
    realisations: Annotated[int, Field(ge=1, le=1000)] = 1
    """How often each view is observed, each time with a redshift, a place and noise of its own."""
    cosmology: Cosmology = "Planck18"
    """Of astropy.cosmology."""
    dimming: Dimming = "per_frequency"
    """Surface brightness in nJy falls as (1+z)^-3 per_frequency, ^-4 bolometric, ^-5 per_wavelength."""
    k_correction: Literal["none", "rest_frame", "power_law"] = "none"
    """rest_frame: the filter shifts with the light, where per_frequency is exact; none: it stays the survey's;
    power_law: it stays, and the light that moves into it follows from each galaxy's own colour."""
    band_wavelengths_um: dict[str, Positive] | None = None
    """Wavelength of each band in micron, for k_correction: power_law."""
    pixel_scale_arcsec: Positive | None = None
    """Of the mock images; by default that of the imitated survey."""
    stamp_size: Annotated[int, Field(ge=8, le=1024)] = 64
    """Side of a mock in pixels."""
    like: SurveySpec | None = None
    """The survey to imitate (kind, options): its pixels, the PSF of one of its tiles, and that tile's sky."""
    psf_fwhm_arcsec: OfBands | None = None
    """FWHM of a Moffat PSF, instead of the imitated tile's."""
    psf_images: str | None = None
    """FITS images of the PSF in the mocks' pixels instead, with {band} in the path; ${NAME} is replaced."""
    sky: Literal["real", "noise"] = "real"
    """real: a patch of the imitated tile's empty sky; noise: white noise of its sigma."""
    min_separation: Annotated[float, Field(ge=0)] = 3.0
    """Pixels between a mock's centre and the light of any real source: 2.5 half-light radii about its centre."""
    sky_sigma_njy: OfBands | None = None
    """Sigma of a pixel's white noise, instead of any real sky."""
    electrons_per_njy: OfBands | None = None
    """Gain: photon noise of the galaxy's own light; none by default."""
    selection: SelectionOptions = SelectionOptions()
    """What counts, as the survey would have found it."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of redshifts, places and noise."""
    galaxies_per_tile: Annotated[int, Field(ge=1, le=4096)] = 32
    """About how many galaxies share a tile, with all their cameras."""

    later: ClassVar[frozenset[str]] = frozenset({"band_wavelengths_um"})

    @model_validator(mode="after")
    def _observable(self) -> SimulationOptions:
        if self.redshift is not None and self.redshift_catalog is not None:
            raise ValueError("redshift and redshift_catalog are given; give one of them")
        if self.redshift_range is not None and not self.redshift_range[0] < self.redshift_range[1]:
            raise ValueError(f"redshift_range is {self.redshift_range}; give the smaller number first")
        if self.pixel_scale_arcsec is None and self.like is None:
            raise ValueError("neither pixel_scale_arcsec nor like is given; give one of them")
        if self.psf_fwhm_arcsec is not None and self.psf_images is not None:
            raise ValueError("psf_fwhm_arcsec and psf_images are given; give one of them")
        has_psf = (self.psf_fwhm_arcsec, self.psf_images, self.like) != (None, None, None)
        if "psf" in self.steps and not has_psf:
            raise ValueError("steps has psf; give psf_fwhm_arcsec, psf_images or like, or leave psf out of steps")
        if "sky" in self.steps and self.sky_sigma_njy is None and self.like is None:
            raise ValueError("steps has sky; give sky_sigma_njy or like, or leave sky out of steps")
        if self.k_correction != "none" and "dimming" in self.steps and self.dimming != "per_frequency":
            raise ValueError(
                f"k_correction is {self.k_correction} and dimming {self.dimming}; light at its own frequency dims "
                "in nJy as (1+z)^-3: leave dimming at per_frequency"
            )
        if (self.k_correction == "power_law") != (self.band_wavelengths_um is not None):
            raise ValueError("k_correction: power_law and band_wavelengths_um belong together; give both or neither")
        return self

    def of_band(self, name: str, band: str) -> float | None:
        """The number for a band of an option that takes one for all or one for each; None: it is not given."""
        value: OfBands | None = getattr(self, name)
        return value.get(band) if isinstance(value, dict) else value

    def declared_fwhm_arcsec(self, band: str) -> float | None:
        """The option, if the mocks are seen through a PSF at all."""
        return self.of_band("psf_fwhm_arcsec", band) if "psf" in self.steps else None

    def check_bands(self, bands: tuple[str, ...]) -> None:
        """ValueError where an option is given for other bands than these."""
        if not bands or len(set(bands)) != len(bands):
            raise ValueError(f"bands are {bands}; give at least one, each once")
        for name in ("psf_fwhm_arcsec", "sky_sigma_njy", "electrons_per_njy"):
            value = getattr(self, name)
            if isinstance(value, dict) and set(value) != set(bands):
                raise ValueError(
                    f"{name} is given for {', '.join(value)}; give one number, or one each for {', '.join(bands)}"
                )
        wavelengths = self.band_wavelengths_um
        if wavelengths is not None and (set(wavelengths) != set(bands) or len(set(wavelengths.values())) < 2):
            raise ValueError(
                f"band_wavelengths_um is given for {', '.join(wavelengths)}; give one each for {', '.join(bands)}, "
                "which must be two bands or more of different wavelengths"
            )
        if self.selection.band is not None and self.selection.band not in bands:
            raise ValueError(f"selection.band is {self.selection.band!r}; expected one of {', '.join(bands)}")

    @property
    def takes_real_sky(self) -> bool:
        """Whether mocks are laid on patches of the imitated survey."""
        return "sky" in self.steps and self.sky_sigma_njy is None and self.sky == "real"

    @property
    def needs_imitated_tile(self) -> bool:
        """Whether pixels of the imitated survey are read at all."""
        own_psf = self.psf_fwhm_arcsec is not None or self.psf_images is not None
        return self.like is not None and (
            ("psf" in self.steps and not own_psf) or ("sky" in self.steps and self.sky_sigma_njy is None)
        )
