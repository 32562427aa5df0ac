"""Single-Sersic galaxies made as real as a survey can make them: the background population of likelihood ratios.

After RealSim (Bottrell+19, MNRAS 490, 5390) and as Zanisi+21 (MNRAS 501, 4359) use it: each mock is a Sersic profile
with flux and size of a real object, seen through the tile's own PSF and laid on a patch of the tile's own sky, with the
noise, its correlations and the neighbours that are there. Mocks come as a mosaic, like ready-made images. What is left
out: the galaxy's own photon noise (it needs a gain), and structure of any kind, which is the point.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.spatial import cKDTree

from galflow.errors import DataError
from galflow.surveys.base import Image, Psf, Survey, Tile
from galflow.surveys.drawing import galaxies
from galflow.surveys.imitated import (
    Imitation,
    displayed_as,
    imitated_tile,
    imitating_tiles,
    psfs_of,
    read_on_one_grid,
)
from galflow.surveys.reading.detection import DetectionOptions, detect
from galflow.surveys.reading.grids import WCS_FAULTS, cause
from galflow.surveys.reading.identity import object_ids, tile_keys
from galflow.surveys.reading.last_tile import LastTile
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.reading.positions import icrs_to_pixel
from galflow.surveys.reading.selection import selected
from galflow.surveys.sersic_mock_options import SersicMockOptions
from galflow.surveys.sky_patches import SkyPatches, sky_of

_SMALLEST_RADIUS_PIX = 0.3
"""An object no larger than the PSF still gets a size, below which profiles cannot be told from points."""
_HALF_LIGHT_SIGMAS = 1.1774
"""Half-light radius of a Gaussian in its standard deviations."""
_SAME_OBJECT_PIX = 5.0
"""A detection this near to a catalogue's position is that object."""


@dataclass(frozen=True, eq=False)
class _Mocks:
    """The mocks of one tile."""

    images: dict[str, Image]
    catalog: pa.Table


class SersicMock(Imitation):
    """A single-Sersic population like a given survey; see the module's docstring."""

    Options = SersicMockOptions
    options: SersicMockOptions

    def __init__(self, name: str, release: str, options: SersicMockOptions) -> None:
        super().__init__(name, release, options)
        self._last = LastTile[_Mocks]()

    def tiles(self) -> list[Tile]:
        """One tile of mocks for each tile of the imitated survey, under its name; identity from it and the options."""
        base = self._base
        settings = [self.version, self.options.content(), base.version, base.options.content()]
        settings += [base.selection.model_dump(mode="json")] if base.selection is not None else []
        checksum = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return imitating_tiles(base, checksum, self.options.tiles)

    def displayed(self, tile: Tile) -> Mapping[str, bool]:
        """As the imitated tile."""
        return displayed_as(self._base, tile)

    def _mocks(self, tile: Tile) -> _Mocks:
        return self._last.get(tile.identity, lambda: self._make(tile))

    def _make(self, tile: Tile) -> _Mocks:
        wanted = tile.file("base")
        imitated = imitated_tile(self._base, tile.name, "" if wanted is None else wanted.checksum, self.name)
        images = read_on_one_grid(self._base, imitated, imitated.bands)
        rng = np.random.default_rng([self.options.seed, int(tile.identity[:15], 16)])
        sources = detect(images, DetectionOptions(), 0)
        psfs = _psfs(self._base, images, sources)
        truth = _draw_truth(_population(self._base, imitated, images, sources), images, psfs, self.options, rng)
        sky = sky_of(
            self._base,
            images,
            sources,
            count=self.options.count,
            size=self.options.stamp_size,
            separation=self.options.min_separation,
            rng=rng,
            else_noise=False,
        )
        mosaic = Mosaic(self.options.count, self.options.stamp_size)
        y, x = mosaic.centres
        nowhere = pa.nulls(self.options.count, pa.float64())
        keys = tile_keys(f"{self.name}/{t.name}" for t in self.tiles())
        table = {
            "object_id": object_ids(keys[f"{self.name}/{tile.name}"], np.arange(self.options.count)),
            "ra_deg": nowhere,
            "dec_deg": nowhere,
            "x": x.astype(np.float64),
            "y": y.astype(np.float64),
            **truth,
            "patch_x": sky.columns,
            "patch_y": sky.rows,
        }
        mocks = {band: self._paint(band, image, psfs[band], truth, sky) for band, image in images.items()}
        return _Mocks(mocks, pa.table({name: pa.array(values) for name, values in table.items()}))

    def _paint(self, band: str, image: Image, psf: Psf, truth: Mapping[str, np.ndarray], sky: SkyPatches) -> Image:
        """The mosaic of one band: in each cell a patch of the tile's sky with a galaxy on it."""
        size, scale = self.options.stamp_size, image.pixel_scale_arcsec
        profile = galaxies.psf_profile(psf, scale)
        flux = sky.flux[band]
        shapes = [
            truth[n]
            for n in ("sersic_index", "half_light_radius_pix", "axis_ratio", "position_angle_deg", f"flux_{band}")
        ]
        for i, (index, radius, axis_ratio, angle, total) in enumerate(zip(*shapes, strict=True)):
            galaxy = galaxies.sersic(index, radius * scale, axis_ratio, angle)
            stamp = galaxies.draw(galaxy, profile, size=size, pixel_scale_arcsec=scale, dy=0.0, dx=0.0)
            flux[i] += (total * stamp).astype(np.float32)
        # Of pictures that were stretched for display white is the most that a pixel can be.
        white = image.display_white
        return sky.image(band, image, flux if white is None else np.fmin(flux, np.float32(white)), psf)

    def read(self, tile: Tile, band: str) -> Image:
        """The mosaic of one band, NaN between the mocks; with the imitated tile's PSF, or its estimate."""
        mocks = self._mocks(tile)
        if band not in mocks.images:
            raise DataError(f"tile {tile.name} of {self.name} has no band {band!r}; it has {', '.join(mocks.images)}")
        return mocks.images[band]

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """One row a mock: its centre in the mosaic (no sky position) and the truth it was drawn from."""
        return self._mocks(tile).catalog


def _psfs(base: Survey, images: Mapping[str, Image], sources: pa.Table) -> dict[str, Psf]:
    """Band -> its PSF; of ready-made images in which none can be measured one pixel wide."""
    try:
        return psfs_of(images, sources)
    except DataError:
        if not base.ready_made:
            raise
        return {band: image.psf or Psf(fwhm_arcsec=image.pixel_scale_arcsec) for band, image in images.items()}


def _population(base: Survey, tile: Tile, images: Mapping[str, Image], sources: pa.Table) -> pa.Table:
    """The objects to imitate, as galflow's detection measures them.

    They are the survey's catalogue where that is such a detection; else those of ``sources`` that lie on an entry of
    the catalogue, whose own fluxes and sizes may be of any kind.
    """
    everywhere = base.survey_catalog()
    if everywhere is None:
        entries, _ = selected(base.catalog(tile, images), base.selection)
        if set(sources.column_names) <= set(entries.column_names):
            return entries
        x, y = (entries[name].to_numpy(zero_copy_only=False) for name in ("x", "y"))
    else:
        wcs = next((image.wcs for image in images.values() if image.wcs is not None), None)
        if wcs is None:
            raise DataError(f"tile {tile.name} of {base.name} has no WCS, by which its catalogue could be laid on it")
        everywhere, _ = selected(everywhere, base.selection)
        ra, dec = (everywhere[name].to_numpy(zero_copy_only=False) for name in ("ra_deg", "dec_deg"))
        try:
            with np.errstate(all="ignore"):
                x, y = icrs_to_pixel(wcs, ra, dec)
        except WCS_FAULTS as error:
            raise DataError(f"tile {tile.name} of {base.name}: its WCS gives no positions: {cause(error)}") from error
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any() or len(sources) == 0:
        return sources.slice(0, 0)
    tree = cKDTree(np.column_stack([x[known], y[known]]))
    distance, _ = tree.query(np.column_stack([sources["x"].to_numpy(), sources["y"].to_numpy()]))
    return sources.filter(pa.array(distance <= _SAME_OBJECT_PIX))


def _draw_truth(
    population: pa.Table,
    images: Mapping[str, Image],
    psfs: Mapping[str, Psf],
    options: SersicMockOptions,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Columns of (count,): fluxes and size of real objects, drawn together and with repetition; Sersic indices evenly.

    The PSF's half-light radius is taken from the measured one in quadrature: exact for Gaussians only.
    """
    scale = next(iter(images.values())).pixel_scale_arcsec
    names = [f"flux_{band}" for band in images]
    fluxes = np.stack([population[name].to_numpy() for name in names], axis=1)
    measured = population["half_light_radius_pix"].to_numpy()
    usable = np.isfinite(fluxes).all(axis=1) & (fluxes.max(axis=1, initial=-np.inf) > 0) & (measured > 0)
    if not usable.any():
        raise DataError(
            f"none of the tile's {len(population)} catalogued objects has a positive flux and size to imitate; "
            "leave the tile out, or check the catalogue's positions"
        )
    chosen = rng.choice(np.flatnonzero(usable), size=options.count)
    blur = np.mean([galaxies.psf_profile(psf, scale).calculateHLR() for psf in psfs.values()]) / scale
    intrinsic = np.sqrt(np.maximum(measured[chosen] ** 2 - blur**2, _SMALLEST_RADIUS_PIX**2))
    # A faint object's flux may be negative in one band, by noise; a galaxy has none there.
    truth = {name: np.maximum(fluxes[chosen, i], 0.0) for i, name in enumerate(names)}
    low, high = options.sersic_range
    index = np.round(np.exp(rng.uniform(np.log(low), np.log(high), size=options.count)), 1)
    ratio = rng.uniform(*options.axis_ratio_range, size=options.count)
    if options.shapes == "detected":
        ratio = np.clip(_axis_ratio(population, blur)[chosen], *options.axis_ratio_range)
    return truth | {
        "half_light_radius_pix": intrinsic,
        "sersic_index": np.clip(index, *galaxies.SERSIC_RANGE),
        "axis_ratio": ratio,
        "position_angle_deg": rng.uniform(0.0, 180.0, size=options.count),
    }


def _axis_ratio(population: pa.Table, blur: float) -> np.ndarray:
    """(n,) b/a from the second moments of detected objects, without the PSF of half-light radius ``blur`` pixels."""
    spread = blur / _HALF_LIGHT_SIGMAS
    along, across = (population[name].to_numpy() for name in ("a_pix", "b_pix"))
    least = _SMALLEST_RADIUS_PIX**2
    squares = [np.maximum(np.nan_to_num(axis) ** 2 - spread**2, least) for axis in (across, along)]
    return np.sqrt(squares[0] / squares[1])
