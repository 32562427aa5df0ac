"""What a person can say about a survey of ready-made images, and what is refused at once because it cannot be meant."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from galflow.errors import SpecError
from galflow.surveys.base import Options
from galflow.surveys.reading.fits_options import MaskMeaning
from galflow.surveys.reading.stamp_pixel_options import StampPixelOptions
from galflow.surveys.reading.text_patterns import TextPattern

Hdus = int | str | dict[str, int | str] | None


class StampPlane(Options):
    """Where planes that go with an image lie: in its own file under another name, or in a file of their own."""

    model_config = ConfigDict(use_attribute_docstrings=True, allow_inf_nan=False)

    pattern: str | None = None
    """File of their own, below root: {id} (and {band}) as in the option pattern; by default the image's own file."""
    array: str | None = None
    """Name of the array in NPZ files, of shape (band, y, x), or (y, x) for all bands."""
    hdu: Hdus = None
    """FITS extension by number or name, for all bands or per band."""
    band_axis: Annotated[int, Field(ge=0, le=2)] | None = None
    """Axis of the bands, where it is another than the image's."""

    @model_validator(mode="after")
    def _somewhere(self) -> StampPlane:
        if self.pattern is None and self.array is None and self.hdu is None:
            raise ValueError("say where it lies: pattern (a file of its own), array (in NPZ) or hdu (in FITS)")
        return self


class StampWeight(StampPlane):
    """How well each pixel of an image is known."""

    kind: Literal["ivar", "variance", "sigma"] = "ivar"
    """Inverse variance, variance or standard deviation, in the image's own unit."""


class StampMask(StampPlane, MaskMeaning):
    """Flags of an image's pixels."""


class StampPsf(StampPlane):
    """The PSF of each image, as an image (band, y, x) of the same pixel scale."""


class StampsOptions(StampPixelOptions):
    """Options of a survey of ready-made images."""

    # Which files a tile has, with their checksums and labels, is in its identity; these options only lead to it.
    locations: ClassVar[frozenset[str]] = frozenset(
        {"root", "pattern", "labels", "select", "images_per_tile", "tile_bits"}
    )

    later: ClassVar[frozenset[str]] = StampPixelOptions.later | {"weight", "mask", "psf"}

    pattern: str | tuple[str, ...]
    """Which files below it: * within a folder, ** across; {id} and {band} where each band has a file of its own, {id}
    where weights, masks or PSFs have."""
    bands: tuple[str, ...] = ("r", "g", "b")
    """Names of the bands, in the order of the files' channels."""
    pixel_scale_arcsec: Annotated[float, Field(gt=0)]
    """Arcseconds in a pixel of the files, before resampling and binning."""
    weight: StampWeight | None = None
    """How well each pixel is known; by default the noise is measured from the sky."""
    mask: StampMask | None = None
    """Flags of the pixels."""
    psf: StampPsf | None = None
    """Image of each object's PSF."""
    array: str | None = None
    """Name of the array in NPZ files; by default the only one."""
    band_axis: Annotated[int, Field(ge=0, le=2)] = 0
    """Axis of the bands in arrays and FITS cubes."""
    hdu: Hdus = None
    """FITS extension by number or name, for all bands or per band; by default the first with an image."""
    images_per_tile: Annotated[int, Field(ge=1)] = 256
    """About how many images share a tile; see tile_bits."""
    tile_bits: Annotated[int, Field(ge=0, le=24)] | None = None
    """Deal images into 2^tile_bits tiles. By default the fewest that hold images_per_tile or less on average: then an
    added image changes one tile, except where it makes the number of tiles double. Set it for a growing collection."""
    id_pattern: str | None = None
    r"""Regular expression whose group (named id, or the first) is the object id: objectid(\d+); by default a hash."""
    folder_column: str | None = None
    """Catalogue column that takes the name of each image's folder, as label."""
    name_pattern: str | None = None
    r"""Regular expression with named groups that become catalogue columns, as score(?P<score>\d+)."""
    numbers: tuple[str, ...] = ()
    """Which of those groups are numbers."""
    labels: str | None = None
    """Table of labels (CSV, ECSV, FITS, Parquet, VOTable, HDF5); ${NAME} is replaced from the environment."""
    label_file_column: str = "file"
    """Its column of file names."""
    label_columns: dict[str, str] = Field(default_factory=dict)
    """Its columns to take, its name to catalogue name; by default all. A column group marks near-duplicates."""
    select: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """Keep images in which these columns have this value, or one of these."""

    @model_validator(mode="after")
    def _consistent(self) -> StampsOptions:
        if not self.bands or len(set(self.bands)) != len(self.bands) or not all(map(str.isalnum, self.bands)):
            raise ValueError(f"bands are {self.bands}; give at least one, each once, of letters and digits")
        self._check_planes()
        for name in ("id_pattern", "name_pattern"):
            try:
                TextPattern(getattr(self, name) or "()")
            except SpecError as error:
                raise ValueError(f"{name} {error}") from None
        return self

    def _check_planes(self) -> None:
        """Raise ValueError for planes that cannot be found as they are declared."""
        patterns = (self.pattern,) if isinstance(self.pattern, str) else self.pattern
        for name, source in self.planes.items():
            if source.pattern is not None and not all("{id}" in pattern for pattern in (*patterns, source.pattern)):
                raise ValueError(
                    f"{name}.pattern names a file of each image; give it and pattern an {{id}} that they share"
                )
        for name, hdu in {"": self.hdu, **{f"{n}.": source.hdu for n, source in self.planes.items()}}.items():
            if isinstance(hdu, dict) and set(hdu) != set(self.bands):
                raise ValueError(f"{name}hdu names bands {sorted(hdu)}; the survey has {sorted(self.bands)}")

    @property
    def planes(self) -> dict[str, StampPlane]:
        """What is declared to go with the images: role -> where it lies."""
        declared: dict[str, StampPlane | None] = {"weight": self.weight, "mask": self.mask, "psf": self.psf}
        return {role: source for role, source in declared.items() if source is not None}

    @property
    def scale_made_arcsec(self) -> float:
        """Arcseconds in a pixel after resampling and binning."""
        return (self.resample_arcsec or self.pixel_scale_arcsec) * self.bin
