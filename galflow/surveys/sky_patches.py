"""Pieces of a tile's empty sky, on which mocks are laid, or which are what is looked at; else noise like the tile's.

Real sky has the survey's noise with its correlations, its background and its neighbours. Where a tile has none (ready-
made images, which their galaxies fill) noise is drawn: white, of the tile's own variance and level, and it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from galflow.errors import DataError
from galflow.surveys.base import Image, Plane, Psf, Survey
from galflow.surveys.drawing.empty_sky import empty_places
from galflow.surveys.imitated import reach_pix
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.reading.sky import measure_sky

_NOWHERE = -1


@dataclass(frozen=True, eq=False)
class SkyPatches:
    """``count`` squares of sky in all bands."""

    rows: np.ndarray
    """(count,) centre pixel in the tile, along y; -1 of drawn noise."""
    columns: np.ndarray
    flux: Mapping[str, np.ndarray]
    """Band -> (count, size, size) float32."""
    ivar: Mapping[str, np.ndarray | None]
    mask: Mapping[str, np.ndarray | None]

    @property
    def drawn(self) -> bool:
        """Whether they are drawn noise and no sky."""
        return bool((self.rows == _NOWHERE).any())

    @classmethod
    def of(
        cls,
        images: Mapping[str, Image],
        sources: pa.Table,
        count: int,
        size: int,
        separation: float,
        rng: np.random.Generator,
    ) -> SkyPatches:
        """Real sky, ``separation`` pixels and more from the light of ``sources``. DataError without enough of it."""
        x, y = (sources[name].to_numpy() for name in ("x", "y"))
        rows, columns = empty_places(images, x, y, reach_pix(sources) + separation, count=count, size=size, rng=rng)
        window = np.arange(size) - size // 2
        at = (rows[:, None, None] + window[:, None], columns[:, None, None] + window)
        return cls(
            rows,
            columns,
            {band: image.flux[at].astype(np.float32) for band, image in images.items()},
            {band: None if image.ivar is None else image.ivar[at] for band, image in images.items()},
            {band: None if image.mask is None else image.mask[at] for band, image in images.items()},
        )

    @classmethod
    def noise(cls, images: Mapping[str, Image], count: int, size: int, rng: np.random.Generator) -> SkyPatches:
        """White noise at each band's level of the sky, of the variance that it has there."""
        flux, ivar = dict[str, np.ndarray](), dict[str, np.ndarray | None]()
        for band, image in images.items():
            sky = measure_sky(image.flux, image.mask, image.ivar)
            made = sky.level + sky.sigma * rng.standard_normal((count, size, size))
            flux[band] = made.astype(np.float32)
            ivar[band] = None if image.ivar is None else np.full(made.shape, sky.sigma**-2, np.float32)
        nowhere = np.full(count, _NOWHERE)
        return cls(nowhere, nowhere, flux, ivar, dict.fromkeys(images))

    def image(self, band: str, like: Image, flux: np.ndarray, psf: Psf | None) -> Image:
        """The mosaic of one band, with ``flux`` (count, size, size) in it; ``like``: the tile's image."""
        count, size, _ = flux.shape
        mosaic, ivar, mask = Mosaic(count, size), self.ivar[band], self.mask[band]
        return Image(
            mosaic.assemble(list(flux), np.nan, np.float32),
            like.unit,
            like.pixel_scale_arcsec,
            ivar=None if ivar is None else mosaic.assemble(list(ivar), 0.0, np.float32),
            mask=None if mask is None else mosaic.assemble(list(mask), int(Plane.NO_DATA), np.uint16),
            psf=psf,
            header=like.header,
            display_white=like.display_white,
        )


def sky_of(
    base: Survey,
    images: Mapping[str, Image],
    sources: pa.Table,
    *,
    count: int,
    size: int,
    separation: float,
    rng: np.random.Generator,
    else_noise: bool,
) -> SkyPatches:
    """The patches of a tile of ``base``: its own sky, or noise of ready-made images, which have none.

    ``else_noise``: noise, too, where a tile is too crowded; else that is a DataError.
    """
    if base.ready_made:
        return SkyPatches.noise(images, count, size, rng)
    try:
        return SkyPatches.of(images, sources, count, size, separation, rng)
    except DataError:
        if not else_noise:
            raise
        return SkyPatches.noise(images, count, size, rng)
