"""A sky made here, seen by overlapping tiles of FITS files at declination 60, and the run whose numbers are checked.

Nothing of galflow makes these files: numpy draws Gaussian galaxies whose place and flux are known, astropy writes them.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

SCALE_ARCSEC = 0.2
SIDE, OVERLAP = 208, 64
"""Of a tile, pixels."""
RA, DEC = 150.0, 60.0
ZERO_POINTS = {"g": 27.0, "r": 26.5}
COLOUR = {"g": 1.0, "r": 1.4}
"""Counts of a galaxy in a band, in units of its flux."""
SIZE = 16
"""Of a cutout, pixels."""
FORMATS = ["parquet", "fits", "votable"] + ["hats"] * (importlib.util.find_spec("hats") is not None)
BIT_BAD, BIT_SATURATED, BIT_TRAIL = 0, 3, 5


@dataclass(frozen=True, eq=False)
class MadeSky:
    """Galaxies, (n,) each."""

    ra: np.ndarray
    dec: np.ndarray
    counts: np.ndarray
    """Times ``COLOUR``."""
    sigma_pixels: np.ndarray

    @classmethod
    def draw(cls, seed: int, width: int, height: int, flux: tuple[float, float] = (500, 4000)) -> MadeSky:
        """On a jittered grid of a plane of pixels, some of them with a close companion."""
        rng = np.random.default_rng(seed)
        x, y = (g.ravel() for g in np.meshgrid(np.arange(10, width, 20), np.arange(10, height, 20)))
        x, y = (v + rng.uniform(-3, 3, len(v)) for v in (x, y))
        counts = np.exp(rng.uniform(*np.log(flux), len(x)))
        sigma = rng.uniform(1.4, 2.0, len(x))
        # Of every fifteenth there are two, less than an arcsecond apart; beside another one is something far brighter.
        close, beside = np.arange(4, len(x), 15), np.arange(9, len(x), 15)
        x = np.concatenate([x, x[close] + 4.5, x[beside] + 7.0])
        y = np.concatenate([y, y[close] + 0.5, y[beside]])
        counts[close], sigma[close] = 3000, 1.4
        counts = np.concatenate([counts, np.full(len(close), 3000.0), np.full(len(beside), 12000.0)])
        sigma = np.concatenate([sigma, np.full(len(close), 1.4), np.full(len(beside), 1.5)])
        ra, dec = plane_wcs().all_pix2world(x, y, 0)
        return cls(ra, dec, counts, sigma)


def plane_wcs() -> WCS:
    """Of the plane on which galaxies are drawn."""
    return tan_wcs(RA, DEC, (0.0, 0.0), 0.0)


def tan_wcs(ra: float, dec: float, centre: tuple[float, float], angle_deg: float) -> WCS:
    """A gnomonic projection; ``centre``: 0-based pixel (x, y) of ra and dec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [centre[0] + 1, centre[1] + 1]
    angle = np.deg2rad(angle_deg)
    wcs.wcs.cd = SCALE_ARCSEC / 3600 * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.set()
    return wcs


@functools.cache
def tile_wcs(number: int) -> WCS:
    """Tiles lie in a row, the second one turned; each has its own tangent point."""
    middle = (SIDE - 1) / 2
    ra, dec = plane_wcs().all_pix2world([number * (SIDE - OVERLAP) + middle], [middle], 0)
    return tan_wcs(float(ra[0]), float(dec[0]), (middle, middle), 4.0 * (number % 2))


def draw_counts(sky: MadeSky, wcs: WCS, band: str) -> np.ndarray:
    """(y, x) float64 without noise."""
    x, y = wcs.all_world2pix(sky.ra, sky.dec, 0)
    columns, rows = np.arange(SIDE)[None, :], np.arange(SIDE)[:, None]
    image = np.zeros((SIDE, SIDE))
    for i in np.flatnonzero((x > -12) & (x < SIDE + 12) & (y > -12) & (y < SIDE + 12)):
        s = sky.sigma_pixels[i]
        light = np.exp(-0.5 * ((columns - x[i]) / s) ** 2) * np.exp(-0.5 * ((rows - y[i]) / s) ** 2)
        image += sky.counts[i] * COLOUR[band] / (2 * np.pi * s**2) * light
    return image


def noise_sigma() -> np.ndarray:
    """(y, x): the right half of each tile was seen for a shorter time."""
    return np.where(np.arange(SIDE) < SIDE // 2, 1.0, 1.3) * np.ones((SIDE, 1))


def hole(number: int) -> np.ndarray:
    """(y, x) bool: pixels without weight, in the third tile."""
    lost = np.zeros((SIDE, SIDE), bool)
    if number == 2:
        lost[80:86, 90:150] = True
    return lost


def mask_bits(number: int, sky: MadeSky) -> np.ndarray:
    """(y, x) int32: a satellite's trail across the first tile, and the cores of some bright galaxies."""
    bits = np.zeros((SIDE, SIDE), np.int32)
    if number == 0:
        rows = np.arange(SIDE)
        for step in range(-1, 2):
            columns = (rows * 0.6 + 30).astype(int) + step
            inside = (columns >= 0) & (columns < SIDE)
            bits[rows[inside], columns[inside]] |= 1 << BIT_TRAIL
    x, y = tile_wcs(number).all_world2pix(sky.ra, sky.dec, 0)
    for i in np.arange(2, len(x), 17):
        column, row = round(float(x[i])), round(float(y[i]))
        bits[max(0, row - 1) : max(0, row + 2), max(0, column - 1) : max(0, column + 2)] |= 1 << BIT_SATURATED
    return bits


def write_tile(folder: Path, name: str, number: int, sky: MadeSky, seed: int) -> None:
    """Two bands with their inverse variances, and one mask for both."""
    folder.mkdir(parents=True, exist_ok=True)
    header = tile_wcs(number).to_header()
    for band, zero_point in ZERO_POINTS.items():
        sigma = noise_sigma()
        noise = np.random.default_rng([seed, number, ord(band)]).normal(size=sigma.shape) * sigma
        image = (draw_counts(sky, tile_wcs(number), band) + noise).astype(np.float32)
        header["MAGZPT"] = zero_point
        fits.writeto(folder / f"{name}-{band}.fits", image, header, overwrite=True)
        ivar = np.where(hole(number), 0, sigma**-2.0).astype(np.float32)
        fits.writeto(folder / f"{name}-{band}.weight.fits", ivar, overwrite=True)
    fits.writeto(folder / f"{name}.mask.fits", mask_bits(number, sky), overwrite=True)


def survey_document(folder: Path, **changes: Any) -> dict[str, Any]:
    """What a specification says of a folder of tiles."""
    planes = {BIT_BAD: "BAD", BIT_SATURATED: "SATURATED", BIT_TRAIL: "TRAIL"}
    return {
        "root": str(folder),
        "bands": {band: f"{{tile}}-{band}.fits" for band in ZERO_POINTS},
        "weight": {"pattern": {band: f"{{tile}}-{band}.weight.fits" for band in ZERO_POINTS}},
        "mask": {"pattern": "{tile}.mask.fits", "planes": planes},
        "psf": {"fwhm_arcsec": 0.7},
        "zero_point_keyword": "MAGZPT",
        "background": "none",
    } | changes


def run_document(folder: Path) -> dict[str, Any]:
    """A run on three tiles, with a comparison sample of one."""
    density = {"model": "maf.MAF", "options": {"layers": 1, "hidden_layers": 1, "width": 16}}
    mock = {"kind": "fits_tiles", "name": "mock", "options": survey_document(folder / "mock")}
    return {
        "name": "truth",
        "seed": 2,
        "survey": {"kind": "fits_tiles", "name": "sky", "options": survey_document(folder / "sky")},
        "cutouts": {"size": SIZE, "defects": False, "plant": {"per_tile": 4}},
        "models": [
            {"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 3}},
            density | {"name": "maf", "background": "plain"},
            density | {"name": "plain", "sample": "mock"},
        ],
        "training": {"epochs": 3, "batch_size": 32, "reference_fraction": 0.3},
        "comparison": {"controls": [], "bootstraps": 50, "samples": [{"name": "mock", "survey": mock}]},
        "cluster": {"workers": 1},
        "output": {"formats": FORMATS, "top": 3},
    }


def plain(column: pa.ChunkedArray) -> np.ndarray:
    """A column as numbers, NaN for null, or as texts, None for null."""
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    values: np.ndarray = column.to_pandas().to_numpy()
    return values.astype(np.int64) if values.dtype == np.uint32 else values


@dataclass(frozen=True, eq=False)
class Truth:
    """A finished run, and what it should have found."""

    folder: Path
    sky: MadeSky
    run: Finished

    @property
    def root(self) -> Path:
        """Of the store."""
        return Path(self.run.root)

    @functools.cached_property
    def table(self) -> pa.Table:
        """The published catalogue, read from its folder by pyarrow alone."""
        return pq.read_table(self.root / self.run.manifest.catalog.removeprefix(f"file://{self.root}/"))

    @functools.cached_property
    def columns(self) -> Mapping[str, np.ndarray]:
        """Its columns: numbers with NaN for null, texts with None."""
        return {field.name: plain(self.table[field.name]) for field in self.table.schema}

    @functools.cached_property
    def planted(self) -> pa.Table:
        """The copies with a painted anomaly, which lie beside it."""
        return pq.read_table(next(self.root.glob("catalogs/*/*_supplement/planted")))

    def pixels(self, tile: str, band: str, suffix: str = "") -> np.ndarray:
        """(y, x) as the file has them."""
        return np.asarray(fits.getdata(self.folder / "sky" / f"{tile}-{band}{suffix}.fits"), np.float64)

    def mask(self, tile: str) -> np.ndarray:
        """(y, x) bits."""
        return np.asarray(fits.getdata(self.folder / "sky" / f"{tile}.mask.fits"))

    @staticmethod
    def wcs(tile: str) -> WCS:
        """Of its files."""
        return tile_wcs(int(tile[1:]))


@pytest.fixture(scope="session")
def truth(run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """The run, made once; its store is for reading."""
    folder = tmp_path_factory.mktemp("truth")
    sky = MadeSky.draw(1, 3 * SIDE - 2 * OVERLAP, SIDE)
    for number in range(3):
        write_tile(folder / "sky", f"t{number}", number, sky, seed=7)
    write_tile(folder / "mock", "m0", 0, MadeSky.draw(5, SIDE, SIDE, flux=(300, 1500)), seed=9)
    return Truth(folder, sky, run_to_its_end(folder, run_document(folder), **prefect_api))
