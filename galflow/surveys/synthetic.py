"""A survey made of nothing but a seed: bulge-and-disc galaxies, PSF, noise, planted anomalies, and the truth of it all.

For demonstrations, tests and benchmarks that need to know the answer. Every pixel is a function of the options and the
tile; nothing is stored. Neighbouring tiles lie side by side on one tangential projection and overlap, so that a galaxy
in the overlap is seen by two tiles with different noise. It refuses to pass for a real sky: galaxies do not cluster,
noise is white, colours and sizes follow rules of thumb.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError
from galflow.photometry import NJY
from galflow.surveys.base import Footprint, Image, Psf, Survey, Tile, TileFile
from galflow.surveys.drawing import galaxies
from galflow.surveys.drawing.anomalies import plant
from galflow.surveys.drawing.synthetic_galaxies import Cells, Population
from galflow.surveys.reading import detection, identity
from galflow.surveys.reading.last_tile import LastTile
from galflow.surveys.reading.positions import pixel_to_icrs
from galflow.surveys.synthetic_options import SyntheticOptions

CENTRE_DEG = (150.1, 2.2)
"""Where the common projection touches the sky (right ascension, declination): the COSMOS field."""
_REACH_ARCSEC = 14.0
"""Farther from its centre no galaxy is drawn."""


class Synthetic(Survey):
    """A simulated survey with a known truth; see the module's docstring."""

    Options = SyntheticOptions
    options: SyntheticOptions

    def __init__(self, name: str, release: str, options: SyntheticOptions) -> None:
        super().__init__(name, release, options)
        self._cells = Cells(
            seed=options.seed,
            count=options.objects_per_tile,
            shape=(options.tile_size, options.tile_size - options.overlap_pixels),
            bands=len(options.bands),
            magnitude_range=options.magnitude_range,
            anomaly_fraction=options.anomaly_fraction,
            anomaly_kinds=options.anomaly_kinds,
        )
        self._last = LastTile[tuple[np.ndarray, np.ndarray]]()
        unknown = sorted(set(options.revision) - {self._tile_name(i) for i in range(options.tiles)})
        if unknown:
            raise SpecError(
                f"revision names the tile {unknown[0]!r}; the tiles are {self._tile_name(0)} to "
                f"{self._tile_name(options.tiles - 1)}"
            )

    @staticmethod
    def _tile_name(index: int) -> str:
        return f"t{index:05d}"

    @staticmethod
    def _index(tile: Tile) -> int:
        return int(tile.name[1:])

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands, blue to red."""
        return self.options.bands

    @property
    def pixel_scale_arcsec(self) -> float:
        """The option of that name."""
        return self.options.pixel_scale_arcsec

    @property
    def unit(self) -> str:
        """nJy."""
        return NJY

    @property
    def joins_tiles(self) -> bool:
        """Not with one true catalogue for all tiles, in which a galaxy stands once."""
        return self.options.catalog != "truth"

    @property
    def detects(self) -> bool:
        """With catalog = detect."""
        return self.options.catalog == "detect"

    @cached_property
    def _sigma(self) -> np.ndarray:
        """(B,) sky sigma in nJy."""
        return np.broadcast_to(np.asarray(self.options.sky_sigma_njy, dtype=float), (len(self.bands),))

    @cached_property
    def _psf(self) -> Psf:
        scale, fwhm = self.options.pixel_scale_arcsec, self.options.psf_fwhm_arcsec
        size = 2 * math.ceil(4.0 * fwhm / scale) + 1
        return Psf(galaxies.psf_image(galaxies.psf_profile(Psf(None, fwhm), scale), scale, size), fwhm)

    def tiles(self) -> list[Tile]:
        """Tiles t00000, t00001, ...; the identity is a hash of the options, the tile's number and its revision."""
        content = json.dumps([self.version, self.options.content()], sort_keys=True)
        return [
            Tile(
                name=(name := self._tile_name(i)),
                files=(
                    TileFile("options", "", hashlib.sha256(content.encode()).hexdigest()),
                    TileFile("revision", "", str(self.options.revision.get(name, 0))),
                ),
                bands=self.bands,
            )
            for i in range(self.options.tiles)
        ]

    def footprint(self, tile: Tile, band: str | None = None) -> Footprint:
        """The tile's share of the common projection."""
        return Footprint(self._wcs(self._index(tile)), (self.options.tile_size, self.options.tile_size))

    def _origin(self, index: int) -> int:
        """The column of the projection at which a tile starts."""
        return index * (self.options.tile_size - self.options.overlap_pixels)

    def _wcs(self, index: int) -> WCS:
        wcs = WCS(naxis=2)
        degrees = self.options.pixel_scale_arcsec / 3600.0
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = CENTRE_DEG
        wcs.wcs.cdelt = [-degrees, degrees]
        wcs.wcs.crpix = [1.0 - self._origin(index), self.options.tile_size / 2 + 0.5]
        wcs.wcs.set()
        return wcs

    def _population(self, index: int) -> Population:
        """The galaxies whose light may reach a tile."""
        reach = max(self.options.anomaly_side, math.ceil(_REACH_ARCSEC / self.options.pixel_scale_arcsec))
        start, width = self._origin(index), self._origin(1)
        cells = range((start - reach) // width, (start + self.options.tile_size + reach) // width + 1)
        near = Population.joined([self._cells.populate(cell) for cell in cells])
        from_left = near.x - start
        return near.take((from_left > -reach) & (from_left < self.options.tile_size + reach))

    def _paint(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """``(observed, true)``, each (B, y, x) float32 in nJy: with noise and anomalies, and without both."""
        size = self.options.tile_size
        true = np.zeros((len(self.bands), size, size))
        population = self._population(index)
        x, y = population.x - self._origin(index), population.y
        for i in range(len(x)):
            self._draw(true, population, i, float(y[i]), float(x[i]))
        revision = self.options.revision.get(self._tile_name(index), 0)
        noise = np.random.default_rng([self.options.seed, 2, index, revision]).standard_normal(true.shape)
        observed = true + noise * self._sigma[:, None, None]
        for i in np.flatnonzero(population.anomaly != "").tolist():
            rng = np.random.default_rng([self.options.seed, 3, int(population.object_id[i])])
            self._plant(str(population.anomaly[i]), observed, round(y[i]), round(x[i]), rng)
        return observed.astype(np.float32), true.astype(np.float32)

    def _draw(self, canvas: np.ndarray, population: Population, i: int, y: float, x: float) -> None:
        """Add disc and bulge of galaxy ``i`` to ``canvas`` (B, y, x), in place: one drawing each serves all bands."""
        scale = self.options.pixel_scale_arcsec
        psf = galaxies.psf_profile(self._psf, scale)
        radius, ratio = float(population.half_light_radius_arcsec[i]), float(population.axis_ratio[i])
        angle = float(population.angle_deg[i])
        side = 2 * math.ceil(min(5.0 * radius + 3.0 * self.options.psf_fwhm_arcsec, _REACH_ARCSEC) / scale) + 1
        arms = self.options.arms
        parts = [
            ((1 - arms) * population.disc_flux[i], galaxies.sersic(1.0, radius, ratio, angle)),
            (population.bulge_flux[i], galaxies.sersic(4.0, 0.35 * radius, 0.5 + 0.5 * ratio, angle)),
        ]
        if arms:
            rng = np.random.default_rng([self.options.seed, 4, int(population.object_id[i])])
            parts.append((arms * population.disc_flux[i], galaxies.spiral_arms(radius, ratio, angle, rng)))
        for flux, galaxy in parts:
            stamp = galaxies.draw(galaxy, psf, size=side, pixel_scale_arcsec=scale, dy=y - round(y), dx=x - round(x))
            galaxies.add_stamp(canvas, flux[:, None, None] * stamp, round(y), round(x))

    def _plant(self, kind: str, observed: np.ndarray, row: int, column: int, rng: np.random.Generator) -> None:
        """Paint an anomaly into the square around a galaxy, in place; what lies off the tile counts as missing."""
        side = self.options.anomaly_side
        top, left = row - side // 2, column - side // 2
        y0, y1 = max(top, 0), min(top + side, observed.shape[1])
        x0, x1 = max(left, 0), min(left + side, observed.shape[2])
        if y0 >= y1 or x0 >= x1:
            return
        square = np.full((len(observed), side, side), np.nan)
        inside = (slice(None), slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        square[inside] = observed[:, y0:y1, x0:x1]
        fwhm = self.options.psf_fwhm_arcsec / self.options.pixel_scale_arcsec
        painted = plant(kind, square, None, sky_sigma=self._sigma, psf_fwhm_pix=fwhm, rng=rng)
        observed[:, y0:y1, x0:x1] = painted[inside]

    def _pixels(self, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
        return self._last.get(tile.identity, lambda: self._paint(self._index(tile)))

    def _band(self, band: str) -> int:
        if band not in self.bands:
            raise DataError(f"{self.name} has no band {band!r}; its bands are {', '.join(self.bands)}")
        return self.bands.index(band)

    def read(self, tile: Tile, band: str) -> Image:
        """One band of a tile in nJy, with WCS and PSF; inverse variance if ``give_ivar``."""
        channel = self._band(band)
        flux = self._pixels(tile)[0][channel]
        ivar = np.full(flux.shape, self._sigma[channel] ** -2, dtype=np.float32) if self.options.give_ivar else None
        wcs = self._wcs(self._index(tile))
        return Image(flux, NJY, self.pixel_scale_arcsec, ivar=ivar, wcs=wcs, psf=self._psf)

    def truth_image(self, tile: Tile, band: str) -> np.ndarray:
        """(y, x) float32 in nJy: the galaxies of a tile through the PSF, without noise and without anomalies."""
        return self._pixels(tile)[1][self._band(band)]

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """The galaxies whose centre lies in the tile: the truth, or with catalog = detect what galflow finds."""
        index = self._index(tile)
        if self.options.catalog == "detect":
            images = images or {band: self.read(tile, band) for band in self.bands}
            keys = identity.tile_keys(self._tile_name(i) for i in range(self.options.tiles))
            return detection.detect(images, detection.DetectionOptions(), identity.id_base(keys[tile.name]))
        population = self._population(index)
        x, size = population.x - self._origin(index), self.options.tile_size
        rows = (x >= -0.5) & (x < size - 0.5)
        inside = population.take(rows)
        table = self._table(inside)
        return table.append_column("x", pa.array(x[rows])).append_column("y", pa.array(inside.y))

    def catalog_schema(self, tile: Tile) -> pa.Schema:
        """Of the truth, or of a detection."""
        return detection.schema(self.bands) if self.detects else self.catalog(tile).schema

    def survey_catalog(self) -> pa.Table | None:
        """With catalog = truth: every galaxy whose centre lies in some tile, once."""
        if self.options.catalog != "truth":
            return None
        everything = Population.joined([self._cells.populate(cell) for cell in range(-1, self.options.tiles + 1)])
        end = self._origin(self.options.tiles - 1) + self.options.tile_size
        return self._table(everything.take((everything.x >= -0.5) & (everything.x < end - 0.5)))

    def _table(self, population: Population) -> pa.Table:
        ra, dec = pixel_to_icrs(self._wcs(0), population.x, population.y)
        columns = {"object_id": population.object_id, "ra_deg": ra, "dec_deg": dec}
        for name in ("magnitude", "half_light_radius_arcsec", "bulge_fraction", "axis_ratio", "angle_deg"):
            columns[name] = getattr(population, name)
        columns["anomaly"] = population.anomaly
        return pa.table({name: pa.array(values) for name, values in columns.items()})
