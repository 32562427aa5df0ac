"""A real survey as those read it who lay simulated galaxies on its sky: its bands on one grid, each with its PSF.

It refuses a survey that imitates another one itself: its sky is not real.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.errors import DataError, SpecError
from galflow.spec.run import SurveySpec
from galflow.surveys.base import Image, Psf, Survey, Tile, TileFile
from galflow.surveys.drawing import galaxies
from galflow.surveys.reading.common_grid import on_grid
from galflow.surveys.reading.psf import estimate_fwhm_pix
from galflow.surveys.resolve import open_survey

_CLEAR_RADII = 2.5
"""A source reaches so many of its half-light radii: an exponential disc has 97 % of its light within them."""


def open_imitated(like: SurveySpec) -> Survey:
    """The survey to imitate. Mocks of mocks are refused: their sky is not real."""
    base = open_survey(like)
    if "like" in type(base.options).model_fields:
        raise SpecError(f"like.kind is {like.kind!r}, itself simulated; give the real survey that both should imitate")
    return base


class Imitation(Survey):
    """What surveys have in common that are laid out beside a real one, in its bands and its unit."""

    options: Any
    """With the survey to imitate, ``like``, and ``stamp_size``, the side of a stamp in pixels."""

    @cached_property
    def _base(self) -> Survey:
        return open_imitated(self.options.like)

    @property
    def bands(self) -> tuple[str, ...]:
        """Those of the imitated survey."""
        return self._base.bands

    @property
    def pixel_scale_arcsec(self) -> float:
        """That of the imitated survey."""
        return self._base.pixel_scale_arcsec

    @property
    def unit(self) -> str:
        """That of the imitated survey."""
        return self._base.unit

    @property
    def joins_tiles(self) -> bool:
        """No: each stamp is an object of its own, wherever the sky it is laid on lies."""
        return False

    @property
    def largest_cutout(self) -> int:
        """Twice the side of a stamp: more would see its neighbour."""
        return 2 * self.options.stamp_size


def imitated_tile(base: Survey, name: str, identity: str, what: str) -> Tile:
    """The tile of that name as it was planned with. DataError where it has changed since; ``what`` imitates it."""
    found = next((tile for tile in base.listed if tile.name == name), None)
    if found is None or found.identity != identity:
        raise DataError(
            f"tile {name} of {base.name}, which {what} imitates, has changed or gone since this run was planned; plan "
            "the run again"
        )
    return found


def imitating_tiles(base: Survey, checksum: str, most: int | None) -> list[Tile]:
    """One tile for each of ``base``, under its name, or for ``most`` of them, evenly; ``checksum``: of the options."""
    listed = base.listed
    if most is not None and most < len(listed):
        listed = [listed[number * len(listed) // most] for number in range(most)]
    return [
        Tile(tile.name, (TileFile("options", "", checksum), TileFile("base", "", tile.identity)), tile.bands)
        for tile in listed
    ]


def displayed_as(base: Survey, tile: Tile) -> Mapping[str, bool]:
    """Whether the tile of that name was stretched for display, under the name of what imitates it."""
    own = next((one for one in base.listed if one.name == tile.name), None)
    known = {} if own is None else base.displayed(own)
    return {tile.name: any(known.values())} if known else {}


def read_on_one_grid(base: Survey, tile: Tile, bands: Sequence[str]) -> dict[str, Image]:
    """The bands and their PSF images on the pixels of the first: a mock is one galaxy in one place of all bands."""
    images = {band: base.read(tile, band) for band in bands}
    reference = next(iter(images.values()))
    aligned = {}
    for band, image in images.items():
        try:
            made = on_grid(image, reference)
        except DataError as error:
            raise DataError(f"band {band}: {error}") from error
        aligned[band] = made if made is image else replace(made, psf=_psf_at_scale(image, made.pixel_scale_arcsec))
    return aligned


def _psf_at_scale(image: Image, scale: float) -> Psf | None:
    """The PSF of ``image`` drawn in pixels of ``scale`` arcsec; the grids' angle to each other is left out."""
    psf = image.psf
    if psf is None or psf.image is None or math.isclose(scale, image.pixel_scale_arcsec, rel_tol=1e-3):
        return psf
    side = 2 * math.ceil(max(psf.image.shape) * image.pixel_scale_arcsec / scale / 2) + 1
    drawn = galaxies.psf_image(galaxies.psf_profile(psf, image.pixel_scale_arcsec), scale, side)
    return Psf(drawn / drawn.sum(), psf.fwhm_arcsec)


def psfs_of(images: Mapping[str, Image], sources: pa.Table) -> dict[str, Psf]:
    """Band -> its PSF: the survey's own, else estimated from the band's own compact ``sources``. Raises DataError."""
    return {band: image.psf or _estimated(band, image, sources) for band, image in images.items()}


def _estimated(band: str, image: Image, sources: pa.Table) -> Psf:
    try:
        fwhm = estimate_fwhm_pix(image, sources["x"].to_numpy(), sources["y"].to_numpy())
    except DataError as error:
        raise DataError(f"band {band}: {error}") from error
    return Psf(fwhm_arcsec=fwhm * image.pixel_scale_arcsec)


def reach_pix(sources: pa.Table) -> np.ndarray:
    """(n,) how far the light of detected ``sources`` reaches, in pixels."""
    return _CLEAR_RADII * np.nan_to_num(sources["half_light_radius_pix"].to_numpy())
