"""What surrounds the mocks of one tile: pixels, PSF and sky, of a real tile of the imitated survey or as declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from galflow.errors import DataError
from galflow.surveys.base import Image, Psf, Survey, Tile, TileFile
from galflow.surveys.drawing.empty_sky import empty_places
from galflow.surveys.imitated import imitated_tile, psfs_of, reach_pix, read_on_one_grid
from galflow.surveys.reading.detection import DetectionOptions, detect
from galflow.surveys.reading.files import unchanged
from galflow.surveys.reading.fits_io import read_image
from galflow.surveys.reading.sky import look_at_sky
from galflow.surveys.simulation_options import SimulationOptions


@dataclass(frozen=True, eq=False)
class Setting:
    """Pixels, PSF and sky."""

    pixel_scale_arcsec: float
    psfs: Mapping[str, Psf]
    """Band -> PSF; empty: images are not convolved."""
    sigma_njy: Mapping[str, float]
    """Band -> sigma of white noise; empty: there is none."""
    images: Mapping[str, Image] | None = None
    """The imitated tile's bands on one grid; None: none is needed."""
    sources: pa.Table | None = None
    """What was detected on them."""

    def place(self, size: int, separation: float, rng: np.random.Generator) -> tuple[int, int]:
        """``(y, x)`` centre pixel of an empty square of the imitated tile, ``separation`` pixels from sources' light.

        Raises DataError where there is none.
        """
        if self.images is None or self.sources is None:
            raise DataError("there is no imitated tile on which a mock could be laid; give the option like")
        y, x = empty_places(
            self.images,
            self.sources["x"].to_numpy(),
            self.sources["y"].to_numpy(),
            reach_pix(self.sources) + separation,
            count=1,
            size=size,
            rng=rng,
        )
        return int(y[0]), int(x[0])


def read_setting(
    options: SimulationOptions, bands: Sequence[str], scale_arcsec: float, tile: Tile, base: Survey | None, what: str
) -> Setting:
    """The setting of a tile of mocks; ``base``: the imitated survey. Raises DataError where it cannot be read."""
    psfs = _declared_psfs(options, bands, tile) if "psf" in options.steps else {}
    sigma = {}
    if "sky" in options.steps and options.sky_sigma_njy is not None:
        sigma = {band: options.of_band("sky_sigma_njy", band) or 0.0 for band in bands}
    if base is None or not options.needs_imitated_tile:
        return Setting(scale_arcsec, psfs, sigma)
    wanted = next(file for file in tile.files if file.role.startswith("like/"))
    imitated = imitated_tile(base, wanted.role.removeprefix("like/"), wanted.checksum, what)
    images = read_on_one_grid(base, imitated, bands)
    sources = detect(images, DetectionOptions(), 0)
    if "psf" in options.steps and not psfs:
        psfs = psfs_of(images, sources)
    if "sky" in options.steps and options.sky == "noise" and not sigma:
        sigma = {band: _sky_sigma(band, image) for band, image in images.items()}
    return Setting(scale_arcsec, psfs, sigma, images, sources)


def _sky_sigma(band: str, image: Image) -> float:
    look = look_at_sky(image.flux, image.mask, image.ivar)
    if not look.sigma > 0:
        raise DataError(f"band {band}: the imitated sky has no noise to be measured: {look.problem}")
    return look.sigma


def _declared_psfs(options: SimulationOptions, bands: Sequence[str], tile: Tile) -> dict[str, Psf]:
    """Band -> PSF by FWHM or image; empty where it is the imitated tile's own."""
    if options.psf_images is not None:
        return {band: _psf_image(tile.file(f"psf/{band}"), band) for band in bands}
    widths = {band: options.of_band("psf_fwhm_arcsec", band) for band in bands}
    return {band: Psf(fwhm_arcsec=width) for band, width in widths.items() if width is not None}


def _psf_image(file: TileFile | None, band: str) -> Psf:
    if file is None:
        raise DataError(f"band {band} has no PSF image; check the option psf_images")
    with unchanged(file) as uri:
        image, _ = read_image(uri)
    image = np.asarray(image, np.float64)
    height, width = image.shape
    if height != width or height % 2 == 0 or not np.isfinite(image).all() or not image.sum() > 0:
        raise DataError(
            f"{uri} is no PSF: {height} x {width} pixels that sum to {image.sum():g}; expected a square of odd side, "
            "its peak in the middle and a positive sum"
        )
    return Psf(image / image.sum())
